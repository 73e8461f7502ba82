//! Says what an engine is sent besides an alert, and lists the runbooks.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::Item;
use crate::commands::finding::{Finding, ok, warning};
use crate::config::{Config, variables as var};
use crate::context::Mode;
use crate::context::earlier::Past;
use crate::context::runbook;
use crate::mask::Masker;
use crate::outcome;
use crate::text::on_one_line;
use crate::time::span;

/// A runbook that no alert used for so long is pointed out.
const UNUSED_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);

pub(super) fn context(config: &Config, now: Timestamp) -> Vec<Item> {
    let mut items = vec![("context", sent(config))];
    if let Some(dir) = &config.context.runbook_dir {
        let runbooks = runbooks(config, dir, now).into_iter();
        items.extend(runbooks.map(|finding| ("runbooks", finding)));
    }
    items
}

fn sent(config: &Config) -> Finding {
    let setting = var::CONTEXT.name;
    let (sent, next) = match config.context.mode {
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
    Finding {
        next_step: Some(next),
        ..ok(format!("an engine is sent {sent}"))
    }
}

fn runbooks(config: &Config, dir: &Path, now: Timestamp) -> Vec<Finding> {
    let secrets = config.secrets();
    let outcomes =
        [outcome::TURNED_FILE, outcome::FILE].map(|name| config.paths.state_dir.join(name));
    let files = outcomes.iter().map(|path| path.as_path());
    let past = Past::read(files, u64::MAX, Masker { secrets });
    let since = now.checked_sub(UNUSED_AFTER).unwrap_or(now);
    let used = runbook::used(dir, past.pairs_since(since));
    let shown = dir.display();
    let found = runbook::list(dir)
        .into_iter()
        .map(|(name, changed)| match changed {
            Err(error) => warning(
                format!("{shown}/{} is not used: {error}", on_one_line(&name)),
                "let nobody else write it, in UTF-8",
            ),
            Ok(changed) => {
                let age = span(now.duration_since(changed));
                let unused = match used.contains(&name) {
                    true => "",
                    false => "; no alert of the last 30 days used it",
                };
                ok(format!("{}, {age} old{unused}", on_one_line(&name)))
            }
        });
    let mut found: Vec<_> = found.collect();
    if found.is_empty() {
        found.push(ok(format!("there are none in {shown}")));
    }
    found
}
