//! `completions SHELL`: completions made from the same description as the help text.

use std::io::{self, Write};

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::exit::{Ended, Exit};

pub fn completions(args: &CompletionsArgs) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "probe-wake", &mut script);
    io::stdout()
        .write_all(&script)
        .context("cannot print the completions")?;
    Ok(Exit::Done)
}
