//! `probe-wake` turns the wake rows of an audit log into diagnosed Slack messages: one run, no
//! daemon. This file parses, runs, prints the error and sets the exit code. A run is told by
//! `commands/run`; a row passes through it from left to right:
//!
//! ```text
//! cli → config → commands/run → session ─┬─ read      audit: bytes → lines → wakes; rotation
//!                                        │            debounce: wake → dispatch or hold back
//!                                        ├─ dispatch  engine: wake → diagnosis or reason
//!                                        │            message: either of them → the DM's text
//!                                        └─ deliver   slack: text → delivered, refused, unknown
//! ```
//!
//! What it remembers is `state`, what it does to the world is `effects`, what it tells is `report`,
//! `outcome` and `metrics`, and how it ends is `exit`.

mod audit;
mod cli;
mod commands;
mod config;
mod debounce;
#[cfg(test)]
mod docs;
mod effects;
mod engine;
mod exit;
mod files;
mod http;
mod json;
mod logger;
mod message;
mod metrics;
mod outcome;
mod page;
mod random;
mod record;
mod report;
mod secret;
mod session;
mod slack;
mod snapshot;
mod state;
mod terminal;
mod text;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    logger::init(cli.global.verbose, config::stderr_is_journal());
    match commands::execute(&cli) {
        Ok(exit) => exit.into(),
        // A filter whose reader has enough ends quietly.
        Err(problem) if problem.is_closed_stdout() => exit::Exit::Done.into(),
        Err(problem) => {
            log::error!("{problem}");
            problem.exit.into()
        }
    }
}
