//! The verbs, a file or a folder each. `run` is the one that the others are about.

mod check;
mod completions;
mod consent;
mod health;
mod history;
mod replay;
mod reset;
mod run;
mod schedule;
mod state;
mod status;
mod undelivered;
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
        Command::State(StateCommand::Reset(args)) => reset::reset(global, args),
        Command::Status(args) => status::status(global, args),
        Command::Undelivered(args) => undelivered::undelivered(global, args),
        Command::History(args) => history::history(global, args),
        Command::Check(args) => check::check(global, args),
        Command::Schedule(args) => schedule::schedule(global, args),
        Command::Completions(args) => completions::completions(args),
    }
}
