//! Incidents that are shown as one, in words.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{HeldCounts, Incident, Investigation, Record};
use crate::engine::Reason;
use crate::incident::Pair;
use crate::report::count;
use crate::time::{period, span};

/// One incident, or several of one pair and title that follow each other.
#[derive(Debug)]
pub struct Group<'a> {
    pub last: &'a Incident,
    /// Oldest first.
    pub incidents: Vec<&'a Incident>,
    pub investigations: Vec<&'a Investigation>,
}

/// Puts incidents together that are shown as one. The groups are in the order in which they ended, as
/// the incidents must be.
pub fn fold<'a>(record: &'a Record, incidents: &[&'a Incident]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut newest: BTreeMap<&Pair, usize> = BTreeMap::new();
    for one in incidents {
        let known = newest.get(&one.pair).copied();
        let known =
            known.filter(|place| one.title.is_some() && groups[*place].last.title == one.title);
        let place = known.unwrap_or(groups.len());
        if known.is_none() {
            groups.push(Group {
                last: one,
                incidents: Vec::new(),
                investigations: Vec::new(),
            });
        }
        newest.insert(&one.pair, place);
        let group = &mut groups[place];
        group.last = one;
        group.incidents.push(one);
        let investigations = one.investigations.iter();
        let investigations = investigations.map(|place| &record.investigations[*place]);
        group.investigations.extend(investigations);
    }
    groups.sort_by_key(|group| group.last.end());
    groups
}

impl Group<'_> {
    /// `14:32 to 15:10 UTC (38 min)` or `42 times, 08:00 to 16:53 UTC`.
    pub fn when(&self, near: Timestamp) -> String {
        let first = self.incidents.first().unwrap_or(&self.last);
        let when = period(first.first_wake_at, self.last.end(), near);
        match self.incidents.len() {
            1 if self.last.length().as_secs() > 0 => {
                format!("{when} ({})", span(self.last.length()))
            }
            1 => when,
            times => format!("{times} times, {when}"),
        }
    }

    /// `5 wakes (3 repeats held back), 2 messages`, and what else is special.
    pub fn counts(&self) -> String {
        let sum = |of: fn(&Incident) -> u64| self.incidents.iter().map(|one| of(one)).sum::<u64>();
        let mut held_back = HeldCounts::default();
        for one in &self.incidents {
            held_back.merge(one.held_back);
        }
        let mut wakes = count(sum(|one| one.wakes), "wake", "wakes");
        if held_back.total() > 0 {
            wakes += &format!(" ({held_back} held back)");
        }
        let messages = count(sum(|one| one.messages), "message", "messages");
        let mut parts = vec![wakes, messages];
        if sum(|one| one.pending) > 0 {
            parts.push("investigation pending".to_owned());
        }
        for note in self.investigations.iter().flat_map(|one| one.notes()) {
            if !parts.contains(&note) {
                parts.push(note);
            }
        }
        parts.join(", ")
    }

    /// The last diagnosis.
    pub fn diagnosis(&self) -> Option<&str> {
        let mut newest_first = self.incidents.iter().rev();
        newest_first.find_map(|one| one.diagnosis.as_deref())
    }

    /// What failed, a line for each kind of failure.
    pub fn problems(&self) -> Vec<String> {
        let all = || self.investigations.iter();
        // A late diagnosis makes up for a failure. To have no engine is a choice, and nothing to explain.
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
