//! Groups what is recorded into incidents, and incidents by pair. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{HeldCounts, Investigation, Resolution, worse};
use crate::incident::{Pair, Rules, Severity};
use crate::snapshot::{Health, Snapshot};
use crate::state::LogState;

/// What was wrong with one pair, from its first wake to its last, or to its recovery.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Incident {
    #[serde(flatten)]
    pub pair: Pair,
    /// The worst among its wakes.
    pub severity: String,
    /// That of its newest wake.
    pub title: Option<String>,
    pub first_wake_at: Timestamp,
    pub last_wake_at: Timestamp,
    pub recovered_at: Option<Timestamp>,
    pub resolution: Resolution,
    pub wakes: u64,
    pub dispatched: u64,
    /// Dispatched wakes whose investigation has not ended.
    pub pending: u64,
    pub held_back: HeldCounts,
    /// Alerts that were delivered.
    pub messages: u64,
    /// The last one.
    pub diagnosis: Option<String>,
    /// How many more of the same pair and title are folded into it.
    #[serde(skip)]
    pub repeats: u64,
    /// Whether it is open according to the state.
    #[serde(skip)]
    pub is_open: bool,
    /// The indexes of its investigations in the record.
    #[serde(skip)]
    pub investigations: Vec<usize>,
}

impl Incident {
    /// Returns what the state holds about a log's incidents: what no row says yet.
    pub fn of_state(log: Option<&LogState>, rules: &Rules, now: Timestamp) -> Vec<Self> {
        let incidents = log.into_iter().flat_map(|log| log.incidents.iter());
        let parts = incidents.filter(|one| one.wakes > 0).map(|one| Self {
            pair: one.pair.clone(),
            severity: one.worst.name().to_owned(),
            title: Some(one.title.clone()).filter(|title| !title.is_empty()),
            first_wake_at: one.first_wake,
            last_wake_at: one.last_raised,
            held_back: one.unrecorded,
            is_open: one.is_open(rules, now),
            ..Self::default()
        });
        parts.collect()
    }
}

/// Returns the incidents in the order in which they ended. Each investigation becomes a part, as if it were
/// an incident of its own; then all parts are joined.
pub fn group(investigations: &[Investigation], parts: &[Incident]) -> Vec<Incident> {
    let of_investigations = investigations.iter().enumerate().map(|(place, one)| {
        let first = one.first_wake_at.or(one.raised_at);
        let first = first.unwrap_or_else(|| one.begun_at());
        // Another incident may have begun before a late diagnosis came.
        let last = one.last_wake_at.or(one.raised_at);
        let last = last.filter(|_| !one.late_diagnosis).unwrap_or(first);
        let is_new = u64::from(!one.late_diagnosis);
        Incident {
            pair: one.pair.clone(),
            severity: one.severity.clone(),
            title: one.title.clone(),
            first_wake_at: first,
            last_wake_at: last.max(first),
            dispatched: is_new,
            messages: if one.is_delivered() { is_new } else { 0 },
            held_back: one.held_back,
            diagnosis: one.summary.clone().filter(|_| one.error.is_none()),
            investigations: vec![place],
            ..Incident::default()
        }
    });
    join(of_investigations.chain(parts.iter().cloned()).collect())
}

/// Joins parts of one pair that name the same first wake, or one of which begins before the other ended.
fn join(mut parts: Vec<Incident>) -> Vec<Incident> {
    // The sort is stable: of parts that begin together, a recovery stays last.
    parts.sort_by_cached_key(|part| (part.pair.clone(), part.first_wake_at));
    let mut incidents: Vec<Incident> = Vec::new();
    for mut part in parts {
        let before = incidents.last_mut().filter(|last| last.pair == part.pair);
        match before {
            Some(before) if before.includes(part.first_wake_at) => before.add(part),
            before => {
                // A repeat is inside a window, and no incident begins inside one.
                if part.last_wake_at == part.first_wake_at
                    && let Some(before) = before
                {
                    let repeat = std::mem::take(&mut part.held_back.repeat);
                    before.held_back.repeat = before.held_back.repeat.saturating_add(repeat);
                }
                incidents.push(part);
            }
        }
    }
    // Drop those that only a recovery is known of.
    incidents.retain(|one| !one.severity.is_empty() || !one.investigations.is_empty());
    incidents.sort_by_key(|one| (one.end(), one.first_wake_at));
    for one in &mut incidents {
        one.wakes = one.dispatched.saturating_add(one.held_back.total());
    }
    incidents
}

/// Notes for each incident whether it is over, as far as its recovery and the snapshot say.
pub fn resolve(incidents: &mut [Incident], snapshot: Option<&Snapshot>) {
    let mut pairs = BTreeSet::new();
    for one in incidents.iter_mut().rev() {
        let is_newest = pairs.insert(one.pair.clone());
        let health = snapshot.map(|it| (it.health(&one.pair.probe), it.computed_at));
        one.resolution = match health {
            _ if one.recovered_at.is_some() => Resolution::Resolved,
            // A snapshot from before the last wake says nothing.
            Some((Health::Healthy, at)) if at > one.last_wake_at => Resolution::Resolved,
            Some((Health::Bad, _)) if is_newest => Resolution::Active,
            _ if one.is_open => Resolution::Active,
            _ => Resolution::Unknown,
        };
    }
}

impl Incident {
    fn includes(&self, from: Timestamp) -> bool {
        from == self.first_wake_at
            || match self.recovered_at {
                Some(at) => from < at,
                None => from <= self.last_wake_at,
            }
    }

    fn add(&mut self, part: Self) {
        // A recovery has no severity of its own.
        self.severity = match (self.severity.is_empty(), part.severity.is_empty()) {
            (true, _) => part.severity,
            (_, true) => std::mem::take(&mut self.severity),
            _ => worse(&self.severity, &part.severity).to_owned(),
        };
        self.title = part.title.or(self.title.take());
        self.last_wake_at = self.last_wake_at.max(part.last_wake_at);
        self.recovered_at = self.recovered_at.max(part.recovered_at);
        self.dispatched += part.dispatched;
        self.pending += part.pending;
        self.held_back.merge(part.held_back);
        self.messages += part.messages;
        self.diagnosis = part.diagnosis.or(self.diagnosis.take());
        self.is_open |= part.is_open;
        self.investigations.extend(part.investigations);
    }

    /// Folds the next incident into this one.
    pub(super) fn repeat(&mut self, next: Self) {
        self.wakes = self.wakes.saturating_add(next.wakes);
        self.repeats += 1;
        self.resolution = next.resolution;
        let recovered_at = next.recovered_at;
        self.add(next);
        self.recovered_at = recovered_at;
    }

    /// Returns when it recovered, or else was last seen.
    pub fn end(&self) -> Timestamp {
        self.last_wake_at
            .max(self.recovered_at.unwrap_or(Timestamp::MIN))
    }

    /// Returns its state in words, if that is known.
    pub fn state(&self) -> Option<&'static str> {
        match self.resolution {
            Resolution::Resolved if self.recovered_at.is_some() => Some("recovered"),
            Resolution::Resolved => Some("healthy now"),
            Resolution::Active => Some("still bad"),
            Resolution::Unknown => None,
        }
    }

    pub fn length(&self) -> SignedDuration {
        self.end().duration_since(self.first_wake_at)
    }
}

/// Returns the incidents of each pair, in the order given. Pairs that are still bad come first, then the most
/// severe, then those that were bad longest.
pub fn by_pair<'a>(incidents: &[&'a Incident]) -> Vec<Vec<&'a Incident>> {
    let mut pairs: BTreeMap<&Pair, Vec<&Incident>> = BTreeMap::new();
    for one in incidents {
        pairs.entry(&one.pair).or_default().push(one);
    }
    let mut pairs: Vec<_> = pairs.into_values().collect();
    pairs.sort_by_key(|incidents| {
        let all = || incidents.iter();
        let is_active = all().any(|one| one.resolution == Resolution::Active);
        let worst = all().map(|one| Severity::named(&one.severity)).max();
        Reverse((is_active, worst, bad_for(incidents)))
    });
    pairs
}

/// Returns the worst severity of these incidents.
pub fn worst<'a>(incidents: &[&'a Incident]) -> &'a str {
    let severities = incidents.iter().map(|one| one.severity.as_str());
    severities.reduce(worse).unwrap_or_default()
}

/// Returns how long these incidents lasted in all.
pub fn bad_for(incidents: &[&Incident]) -> SignedDuration {
    let lengths = incidents.iter().map(|one| one.length());
    lengths.fold(SignedDuration::ZERO, SignedDuration::saturating_add)
}
