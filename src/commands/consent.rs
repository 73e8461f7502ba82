//! Asks for consent before something that cannot be undone.

use anyhow::Context;

use crate::exit::Problem;
use crate::terminal::ask;

/// Returns whether to go on. `lost` says what would be lost, as in "This gives up 2 unread wakes".
/// Without a terminal nobody can be asked: that is wrong usage.
pub fn is_given(yes: bool, lost: &str, question: &str) -> Result<bool, Problem> {
    if yes {
        return Ok(true);
    }
    let asked = ask(&format!("{lost}. {question}")).context("cannot read the answer")?;
    asked.ok_or_else(|| {
        Problem::usage(format!("{lost}; nothing was touched"))
            .with_next_step("to go on without being asked, add --yes")
    })
}
