//! The commands, a file or a folder each.

mod check;
mod completions;
mod consent;
mod finding;
mod health;
mod history;
mod raise;
mod replay;
mod reset;
mod run;
mod schedule;
mod silence;
mod state;
mod status;
mod undelivered;
mod user;

use std::io;
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::audit::generations::Checkpoint;
use crate::cli::{Cli, Command, Format, ResetPosition, StateCommand};
use crate::exit::Ended;
use crate::report::{print_json, print_lines};

/// Carries out what was typed.
pub fn execute(cli: &Cli) -> Ended {
    let global = &cli.global;
    match &cli.command {
        Command::Run(args) => run::run(global, args),
        Command::Replay(args) => replay::replay(global, args),
        Command::State(StateCommand::Show(args)) => state::show(global, args),
        Command::State(StateCommand::Reset(args)) => reset::reset(global, args),
        Command::Status(args) => status::status(global, args),
        Command::Silence(args) => silence::silence(global, args),
        Command::Ack(args) => silence::ack(global, args),
        Command::Undelivered(args) => undelivered::undelivered(global, args),
        Command::Raise(args) => raise::raise(global, args),
        Command::History(args) => history::history(global, args),
        Command::Check(args) => check::check(global, args),
        Command::Schedule(args) => schedule::schedule(global, args),
        Command::Completions(args) => completions::completions(args),
    }
}

/// The checkpoint from which a log is to be read. One that does not exist yet is read from its start.
fn checkpoint_at(log: &Path, place: ResetPosition) -> Result<Checkpoint> {
    Checkpoint::begin(log, place == ResetPosition::Start, Timestamp::now())
}

/// Prints lines for a person, or one JSON object.
fn print_as(format: Format, found: &impl Serialize, lines: &[String]) -> io::Result<()> {
    match format {
        Format::Text => print_lines(lines),
        Format::Json => print_json(found),
    }
}
