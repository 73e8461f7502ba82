//! Says what an engine is sent besides an alert, and lists the runbooks.

use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::Item;
use crate::commands::finding::{Finding, ok, warning};
use crate::commands::past;
use crate::config::{Config, variables as var};
use crate::context::Mode;
use crate::context::runbook;
use crate::text::on_one_line;
use crate::time::span;

/// A runbook that no alert used for this long is pointed out.
const UNUSED_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);

pub(super) fn context(config: &Config, now: Timestamp) -> Vec<Item> {
    let mut items = vec![("context", sent(config))];
    if let Some(dir) = &config.context.runbook_dir {
        let runbooks = runbooks(config, dir, now).into_iter();
        items.extend(runbooks.map(|one| ("runbooks", one)));
    }
    items
}

fn sent(config: &Config) -> Finding {
    let setting = var::CONTEXT.name;
    let (sent, next_step) = match config.context.mode {
        Mode::Off => (
            "the alert, its incident and the runbook, nothing of other rows",
            format!(
                "{setting}=kinds adds other alerts, service health, earlier diagnoses and kinds of rows"
            ),
        ),
        Mode::Kinds => (
            "the alert, its runbook, other alerts, service health, earlier diagnoses and which kinds of rows there were, \
             but no details of other rows",
            format!("{setting}=off sends less, {setting}=rows also details"),
        ),
        Mode::Rows => (
            "the alert, its runbook, other alerts, service health, earlier diagnoses and the details of other rows; \
             secrets are masked in the details of other rows, our own tokens everywhere",
            format!(
                "an engine on loopback that is a gateway may pass the rows on to another host: {setting}=kinds \
                 prevents that"
            ),
        ),
    };
    ok(format!("an engine is sent {sent}")).with_next_step(next_step)
}

fn runbooks(config: &Config, dir: &Path, now: Timestamp) -> Vec<Finding> {
    let past = past(config, u64::MAX);
    let since = now.checked_sub(UNUSED_AFTER).unwrap_or(now);
    let used = runbook::used(dir, past.pairs_since(since));
    let folder = dir.display();
    let finding = |(name, changed): (String, io::Result<Timestamp>)| {
        let shown = on_one_line(&name);
        let age = match changed {
            Ok(changed) => span(now.duration_since(changed)),
            Err(error) => {
                let message = format!("{folder}/{shown} is not used: {error}");
                return warning(message, "let nobody else write it, in UTF-8");
            }
        };
        ok(match used.contains(&name) {
            true => format!("{shown}, {age} old"),
            false => format!("{shown}, {age} old; no alert of the last 30 days used it"),
        })
    };
    let found: Vec<_> = runbook::list(dir).into_iter().map(finding).collect();
    match found.is_empty() {
        true => vec![ok(format!("there are none in {folder}"))],
        false => found,
    }
}
