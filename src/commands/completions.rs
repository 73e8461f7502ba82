//! `completions SHELL`: shell completions from the same description as the help text.

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::{Ended, Exit};
use crate::report;

pub fn completions(shell: Shell) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "probe-wake", &mut script);
    // clap_complete 4.6 stores a command's flags under one name and looks them up under another if
    // the program's name has a hyphen: bash would complete none of them.
    let script = String::from_utf8_lossy(&script).replace("probe__subcmd__wake", "probe__wake");
    report::print(&script).context("cannot print the completions")?;
    Ok(Exit::Done)
}
