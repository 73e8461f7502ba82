//! Describes incidents in words, and folds successive ones of one pair and title into one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Incident, Record};
use crate::engine::Reason;
use crate::incident::Pair;
use crate::report::count;
use crate::time::{period, span};

/// Folds incidents that are shown as one. They must come in the order in which they ended, and are returned
/// in it.
pub fn fold(incidents: &[&Incident]) -> Vec<Incident> {
    let mut groups: Vec<Incident> = Vec::new();
    let mut newest: BTreeMap<&Pair, usize> = BTreeMap::new();
    for one in incidents {
        let before = newest.get(&one.pair).map(|place| &mut groups[*place]);
        match before.filter(|before| one.title.is_some() && before.title == one.title) {
            Some(before) => before.repeat((*one).clone()),
            None => {
                newest.insert(&one.pair, groups.len());
                groups.push((*one).clone());
            }
        }
    }
    groups.sort_by_key(Incident::end);
    groups
}

impl Incident {
    /// Returns `14:32 to 15:10 UTC (38 min)` or `42 times, 08:00 to 16:53 UTC`.
    pub fn when(&self, near: Timestamp) -> String {
        let when = period(self.first_wake_at, self.end(), near);
        match self.repeats {
            0 if self.length().as_secs() > 0 => format!("{when} ({})", span(self.length())),
            0 => when,
            repeats => format!("{} times, {when}", repeats + 1),
        }
    }

    /// Returns `5 wakes (3 repeats held back), 2 messages`, and whatever else is special.
    pub fn counts(&self, record: &Record) -> String {
        let mut wakes = count(self.wakes, "wake", "wakes");
        if self.held_back.total() > 0 {
            wakes += &format!(" ({} held back)", self.held_back);
        }
        let mut parts = vec![wakes, count(self.messages, "message", "messages")];
        if self.pending > 0 {
            parts.push("investigation pending".to_owned());
        }
        for note in record.investigations_of(self).flat_map(|one| one.notes()) {
            if !parts.contains(&note) {
                parts.push(note);
            }
        }
        parts.join(", ")
    }

    /// Returns what failed, a line for each kind of failure.
    pub fn problems(&self, record: &Record) -> Vec<String> {
        let all = || record.investigations_of(self);
        // A late diagnosis makes up for a failure. Having no engine is a choice and needs no explanation.
        let is_choice = Some(Reason::EngineUnavailable.to_string());
        let failed = all().filter(|one| one.failed && one.error != is_choice);
        let reasons: BTreeSet<_> = failed.filter_map(|one| one.failure()).collect();
        let reasons = reasons.into_iter();
        let mut problems: Vec<_> = reasons.map(|why| format!("No diagnosis: {why}")).collect();
        let lost = all().filter(|one| !one.is_delivered()).count();
        if lost > 0 {
            problems.push(count(lost as u64, "message", "messages") + " not delivered");
        }
        let tools = all().flat_map(|one| one.failed_tools());
        let tools: BTreeSet<_> = tools.map(ToString::to_string).collect();
        if !tools.is_empty() {
            let tools = Vec::from_iter(tools).join(", ");
            problems.push(format!("Tools that failed: {tools}"));
        }
        problems
    }
}
