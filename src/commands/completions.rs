//! `completions SHELL`: completions made from the same description as the help text.

use std::io::{self, Write};

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::exit::{Ended, Exit};

pub fn completions(args: &CompletionsArgs) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "probe-wake", &mut script);
    // clap_complete 4.6 looks a verb's flags up under another name than it gives them, where the
    // program's name has a hyphen: in bash no flag of a verb would be completed.
    let script = String::from_utf8_lossy(&script).replace("probe__subcmd__wake", "probe__wake");
    io::stdout()
        .write_all(script.as_bytes())
        .context("cannot print the completions")?;
    Ok(Exit::Done)
}
