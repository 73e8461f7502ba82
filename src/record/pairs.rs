//! The record pair by pair: when each was bad, for how long, and which windows held repeats back.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::join::window_end;
use super::{Fate, Investigation, Raised, Record, Resolution, worst};
use crate::debounce::{Pair, Policy, Severity};

/// A pair without a wake for longer than this is taken to have been well in between. While a service
/// is bad, its probe writes a row every few minutes.
const QUIET: SignedDuration = SignedDuration::from_mins(30);

/// All that is known of one pair.
#[derive(Default)]
pub struct PairRecord<'a> {
    pub pair: Pair,
    pub wakes: Vec<&'a Raised>,
    pub investigations: Vec<&'a Investigation>,
    /// Dispatches that are not ended yet.
    pub owed: Vec<Timestamp>,
    /// When recoveries were told, and from when on the pair was well.
    pub recoveries: Vec<(Timestamp, Timestamp)>,
    pub resolution: Resolution,
}

/// A time during which a pair was bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    /// The last wake, or the recovery.
    pub to: Timestamp,
    /// Whether it is known that it was over then.
    pub is_over: bool,
}

/// The worst first: those that are still bad, then by severity and by how long they were bad.
pub fn pairs(record: &Record) -> Vec<PairRecord<'_>> {
    let mut found: BTreeMap<Pair, PairRecord<'_>> = BTreeMap::new();
    for one in &record.wakes {
        found.entry(one.pair()).or_default().wakes.push(one);
    }
    for one in &record.investigations {
        let pair = found.entry(one.pair()).or_default();
        pair.investigations.push(one);
    }
    for one in &record.owed {
        let pair = found.entry(one.pair.clone()).or_default();
        pair.owed.push(one.at);
    }
    for one in &record.recoveries {
        let pair = found.entry(one.pair.clone()).or_default();
        pair.recoveries.push((one.at, one.healthy_at));
    }
    let named = found.into_iter().map(|(pair, mut one)| {
        one.resolution = record.resolutions.get(&pair).copied().unwrap_or_default();
        one.pair = pair;
        one
    });
    let mut pairs: Vec<_> = named.collect();
    pairs.sort_by_cached_key(|pair| {
        let severity = Severity::named(pair.severity());
        let is_active = pair.resolution == Resolution::Active;
        (
            Reverse((is_active, severity, pair.bad_for(), pair.wakes.len())),
            pair.pair.clone(),
        )
    });
    pairs
}

impl PairRecord<'_> {
    /// The worst that was seen.
    pub fn severity(&self) -> &str {
        let wakes = self.wakes.iter().map(|one| one.wake.severity.as_str());
        let told = self.investigations.iter().map(|one| one.severity.as_str());
        worst(wakes.chain(told))
    }

    pub fn count(&self, fate: Fate) -> usize {
        self.wakes.iter().filter(|one| one.fate == fate).count()
    }

    /// When its wakes were dispatched, in order.
    pub fn dispatches(&self) -> Vec<Timestamp> {
        let told = self.investigations.iter().filter(|one| !one.late_diagnosis);
        let mut at: Vec<_> = told.map(|one| one.asked_at()).collect();
        at.extend(&self.owed);
        at.sort();
        at
    }

    pub fn last_wake(&self) -> Timestamp {
        self.raised().last().copied().unwrap_or(Timestamp::MIN)
    }

    pub fn first_wake(&self) -> Timestamp {
        self.raised().first().copied().unwrap_or(Timestamp::MIN)
    }

    /// When it was raised, in order. A wake whose row is gone was raised before its dispatch.
    fn raised(&self) -> Vec<Timestamp> {
        let told = self.investigations.iter().filter(|one| !one.late_diagnosis);
        let told = told.filter(|one| one.raised_at.is_none());
        let mut raised: Vec<_> = told.map(|one| one.asked_at()).collect();
        raised.extend(self.wakes.iter().map(|one| one.at));
        raised.sort();
        raised
    }

    /// The windows that its dispatches opened. Each ends with the next one at the latest, and lasts
    /// as long as it is known to have held repeats back.
    pub fn windows(&self, policy: &Policy) -> Vec<(Timestamp, Timestamp)> {
        let dispatches = self.dispatches();
        let recoveries: Vec<_> = self.recoveries.iter().map(|(at, _)| *at).collect();
        let held = self.wakes.iter().filter(|one| one.fate == Fate::HeldBack);
        let held: Vec<_> = held.map(|one| one.at).collect();
        let mut windows = Vec::new();
        for (number, end) in policy.window_ends(&dispatches).into_iter().enumerate() {
            let from = dispatches[number];
            let next = dispatches
                .get(number + 1)
                .copied()
                .unwrap_or(Timestamp::MAX);
            let end = window_end(from, end, &recoveries);
            let behind_last = held.partition_point(|at| *at < next);
            let last_held = behind_last.checked_sub(1).map_or(from, |last| held[last]);
            windows.push((from, end.max(last_held).min(next)));
        }
        windows.retain(|(from, to)| from < to);
        windows
    }

    /// When it was bad, as far as its wakes and recoveries tell. Silence ends it, but is not health.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut recoveries = self
            .recoveries
            .iter()
            .map(|(_, healthy)| *healthy)
            .peekable();
        for at in self.raised() {
            while let Some(healthy) = recoveries.next_if(|healthy| *healthy < at) {
                end(&mut spans, healthy);
            }
            match spans.last_mut() {
                Some(last) if !last.is_over && at.duration_since(last.to) <= QUIET => last.to = at,
                _ => spans.push(Span {
                    from: at,
                    to: at,
                    is_over: false,
                }),
            }
        }
        recoveries.for_each(|healthy| end(&mut spans, healthy));
        spans
    }

    /// For how long it was bad, at least.
    pub fn bad_for(&self) -> SignedDuration {
        let lengths = self.spans().into_iter();
        let lengths = lengths.map(|span| span.to.duration_since(span.from));
        lengths.fold(SignedDuration::ZERO, |sum, length| {
            sum.saturating_add(length)
        })
    }
}

/// The last span was over at this time.
fn end(spans: &mut [Span], healthy: Timestamp) {
    if let Some(last) = spans.last_mut().filter(|last| !last.is_over) {
        last.to = last.to.max(healthy);
        last.is_over = true;
    }
}
