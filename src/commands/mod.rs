//! The commands, a file or a folder each.

mod check;
mod completions;
mod consent;
mod finding;
mod health;
mod history;
mod raise;
mod replay;
mod run;
mod schedule;
mod silence;
mod state;
mod status;
mod undelivered;
mod user;

use anyhow::Context;
use serde::Serialize;

use crate::cli::{Cli, Command, Format, FormatArg, StateCommand};
use crate::config::Config;
use crate::context::earlier::Past;
use crate::exit::{Ended, Exit};
use crate::mask::Masker;
use crate::outcome;
use crate::report::{print_json, print_lines};

/// Runs the command that was typed.
pub fn execute(cli: &Cli) -> Ended {
    let global = &cli.global;
    match &cli.command {
        Command::Run(args) => run::run(global, args),
        Command::Replay(args) => replay::replay(global, args),
        Command::State(StateCommand::Show(args)) => state::show(global, args),
        Command::State(StateCommand::Reset(args)) => state::reset(global, args),
        Command::Status(args) => status::status(global, args),
        Command::Silence(args) => silence::silence(global, args),
        Command::Ack(args) => silence::ack(global, args),
        Command::Undelivered(args) => undelivered::undelivered(global, args),
        Command::Raise(args) => raise::raise(global, args),
        Command::History(args) => history::history(global, args),
        Command::Check(args) => check::check(global, args),
        Command::Schedule(args) => schedule::schedule(global, args),
        Command::Completions { shell } => completions::completions(*shell),
    }
}

/// Prints lines for a person, or one JSON object. `what` names them in an error, as in "the list".
fn print_as(args: FormatArg, what: &str, found: &impl Serialize, lines: &[String]) -> Ended {
    let printed = match args.format {
        Format::Text => print_lines(lines),
        Format::Json => print_json(found),
    };
    printed.with_context(|| format!("cannot print {what}"))?;
    Ok(Exit::Done)
}

/// Returns what the outcome rows say; only the last `most` bytes of each file are read.
fn past(config: &Config, most: u64) -> Past {
    let dir = &config.paths.state_dir;
    let files = [outcome::TURNED_FILE, outcome::FILE].map(|name| dir.join(name));
    Past::read(&files, most, Masker(config.secrets()))
}
