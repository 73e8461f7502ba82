//! Asks for consent before something that cannot be undone.

use std::io::{self, BufRead, IsTerminal};

use anyhow::Context;

use crate::exit::Problem;
use crate::terminal::write_stderr;

/// Returns whether to go on. `lost` says what would be lost, as in "This gives up 2 unread wakes".
/// Without a terminal nobody can be asked: that is wrong usage.
pub fn is_given(yes: bool, lost: &str, question: &str) -> Result<bool, Problem> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        let problem = Problem::usage(format!("{lost}; nothing was touched"));
        return Err(problem.with_next_step("to go on without being asked, add --yes"));
    }
    write_stderr(&format!("{lost}. {question} [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.context("cannot read the answer")?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(matches!(answer.as_str(), "y" | "yes"))
}
