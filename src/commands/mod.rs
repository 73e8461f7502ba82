//! One file a verb.

pub mod replay;
pub mod run;
pub mod state;

use crate::cli::{Cli, Command, StateCommand};
use crate::exit::Ended;

pub fn execute(cli: &Cli) -> Ended {
    let global = &cli.global;
    match &cli.command {
        Command::Run(args) => run::run(global, args),
        Command::Replay(args) => replay::replay(global, args),
        Command::State(StateCommand::Show(args)) => state::show(global, args),
        Command::State(StateCommand::Reset(args)) => state::reset(global, args),
    }
}
