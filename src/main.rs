//! `probe-wake` turns the wake rows of an audit log into diagnosed Slack messages: one run, no
//! daemon. This file parses, runs, prints the error and sets the exit code. `commands/run` is one
//! run; a row passes through it from left to right:
//!
//! ```text
//! cli → config → commands/run → run: next chooses, in this order
//!                                ├─ look      audit: bytes → lines → wakes; rotation
//!                                │            incident: wake → dispatch or hold back
//!                                │            state: one commit for incidents, queue, checkpoint
//!                                ├─ announce  message: facts that do not wait for their diagnosis
//!                                ├─ send      slack: text → delivered, refused, unknown
//!                                ├─ ask       engine: wake → prompt → diagnosis or reason
//!                                ├─ conclude  the result → outbox
//!                                └─ recover   snapshot: what is healthy again
//! ```
//!
//! `state` is what it remembers, `run/effects` what it does to the world, `report`, `outcome` and `metrics`
//! what it says about itself, and `exit` how it ends.

mod audit;
mod cli;
mod commands;
mod config;
mod context;
#[cfg(test)]
mod docs;
mod engine;
mod exit;
mod files;
mod http;
mod incident;
mod json;
mod logger;
mod mask;
mod message;
mod metrics;
mod outcome;
mod page;
mod random;
mod record;
mod report;
mod run;
mod secret;
mod slack;
mod snapshot;
mod state;
mod terminal;
mod text;
mod time;

use std::env;
use std::mem::ManuallyDrop;
use std::process::{self, ExitCode};
use std::sync::Arc;

use clap::{ColorChoice, CommandFactory, FromArgMatches};
use signal_hook::consts::SIGXFSZ;

use exit::Exit;

fn main() -> ExitCode {
    // With a handler, a write beyond the file size limit fails like one to a full disk. Without one, it kills
    // the run.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    let screen = config::screen();
    terminal::init(screen);
    let help_colour = match screen.escapes {
        true => ColorChoice::Auto,
        false => ColorChoice::Never,
    };
    // Leaked on purpose: it lives until the process exits.
    let mut command = ManuallyDrop::new(cli::Cli::command().color(help_colour));
    let matches = command.try_get_matches_from_mut(env::args_os());
    let parsed = matches.and_then(|matches| cli::Cli::from_arg_matches(&matches));
    let cli = parsed.unwrap_or_else(|error| {
        let _ = error.print();
        if let Some(tip) = cli::tip(&error) {
            eprintln!("\n  tip: {tip}");
        }
        process::exit(error.exit_code());
    });
    logger::init(cli.global.verbose, config::stderr_is_journal());
    exit::log_panics();
    let exit = exit::guarded(|| commands::execute(&cli)).unwrap_or_else(|problem| {
        // As a filter does when its reader has had enough.
        if problem.is_closed_stdout() {
            return Exit::Done;
        }
        // If another run is doing the work, nothing went wrong.
        if problem.exit != Exit::Locked || logger::is_talkative() {
            log::error!("{problem}");
        }
        problem.exit
    });
    ExitCode::from(exit as u8)
}
