//! `completions SHELL`: shell completions from the same description as the help text, with a line
//! on how to install them.

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, CompletionsArgs};
use crate::exit::{Ended, Exit};
use crate::report;

pub fn completions(args: &CompletionsArgs) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "probe-wake", &mut script);
    // clap_complete 4.6 stores a command's flags under one name and looks them up under another if
    // the program's name has a hyphen: bash would complete none of them.
    let script = String::from_utf8_lossy(&script).replace("probe__subcmd__wake", "probe__wake");
    let script = with_comment(&script, how_to_install(args.shell));
    report::print(&script).context("cannot print the completions")?;
    Ok(Exit::Done)
}

/// Puts the comment at the top, but below zsh's `#compdef`, which must be the first line.
fn with_comment(script: &str, comment: &str) -> String {
    match script.split_once('\n') {
        Some((first, rest)) if first.starts_with("#compdef") => {
            format!("{first}\n# To install: {comment}\n{rest}")
        }
        _ => format!("# To install: {comment}\n{script}"),
    }
}

fn how_to_install(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => {
            "probe-wake completions bash > \
             ~/.local/share/bash-completion/completions/probe-wake"
        }
        Shell::Zsh => {
            "probe-wake completions zsh > ~/.zfunc/_probe-wake, with 'fpath+=~/.zfunc' above \
             'compinit' in ~/.zshrc"
        }
        Shell::Fish => "probe-wake completions fish > ~/.config/fish/completions/probe-wake.fish",
        Shell::Elvish => "probe-wake completions elvish >> ~/.config/elvish/rc.elv",
        _ => "probe-wake completions powershell >> $PROFILE",
    }
}
