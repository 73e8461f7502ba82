//! The verbs, a file or a folder each. `run` is the one that the others are about.

mod check;
mod completions;
mod history;
mod replay;
mod run;
mod schedule;
mod state;
mod status;
mod user;

use crate::cli::{Cli, Command, StateCommand};
use crate::exit::Ended;

/// Carries out what was typed.
pub fn execute(cli: &Cli) -> Ended {
    let global = &cli.global;
    match &cli.command {
        Command::Run(args) => run::run(global, args),
        Command::Replay(args) => replay::replay(global, args),
        Command::State(StateCommand::Show(args)) => state::show(global, args),
        Command::State(StateCommand::Reset(args)) => state::reset(global, args),
        Command::Status(args) => status::status(global, args),
        Command::History(args) => history::history(global, args),
        Command::Check(args) => check::check(global, args),
        Command::Schedule(args) => schedule::schedule(global, args),
        Command::Completions(args) => completions::completions(args),
    }
}
