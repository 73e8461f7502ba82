//! The record by pairs: when each pair was bad, for how long, and which windows held repeats back.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::join::window_end;
use super::{Investigation, Record, Recovery, Resolution, WakeDecision, WakeRecord, count, worst};
use crate::debounce::{Pair, Policy, Severity};

/// While a service is bad, its probe writes a row every few minutes. In a longer gap between two wakes
/// the service counts as well.
const LONGEST_GAP: SignedDuration = SignedDuration::from_mins(30);

/// All that is known of one pair.
#[derive(Default)]
pub struct PairRecord<'a> {
    pub pair: Pair,
    pub wakes: Vec<&'a WakeRecord>,
    pub investigations: Vec<&'a Investigation>,
    /// The times of dispatches whose investigation has not ended.
    pub owed: Vec<Timestamp>,
    pub recoveries: Vec<&'a Recovery>,
    pub resolution: Resolution,
}

/// A time during which a pair was bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    /// The time of the last wake or of the recovery.
    pub to: Timestamp,
    /// Whether a recovery ended it.
    pub is_over: bool,
}

/// The pairs, the worst first: those that are still bad, then by severity, then by how long they were
/// bad.
pub fn pairs(record: &Record) -> Vec<PairRecord<'_>> {
    let mut found: BTreeMap<Pair, PairRecord<'_>> = BTreeMap::new();
    for one in &record.wakes {
        found.entry(one.pair()).or_default().wakes.push(one);
    }
    for one in &record.investigations {
        let pair = found.entry(one.pair.clone()).or_default();
        pair.investigations.push(one);
    }
    for one in &record.owed {
        let pair = found.entry(one.pair.clone()).or_default();
        pair.owed.push(one.at);
    }
    for one in &record.recoveries {
        let pair = found.entry(one.pair.clone()).or_default();
        pair.recoveries.push(one);
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
        let worse = (is_active, severity, pair.bad_for(), pair.wakes.len());
        (Reverse(worse), pair.pair.clone())
    });
    pairs
}

impl PairRecord<'_> {
    /// The worst severity of its wakes and investigations.
    pub fn severity(&self) -> &str {
        let wakes = self.wakes.iter().map(|one| one.wake.severity.as_str());
        let told = self.investigations.iter().map(|one| one.severity.as_str());
        worst(wakes.chain(told))
    }

    pub fn count(&self, decision: WakeDecision) -> usize {
        count(self.wakes.iter().copied(), decision)
    }

    /// The investigations without late diagnoses: these are about a wake that has one already.
    fn asked(&self) -> impl Iterator<Item = &Investigation> {
        let all = self.investigations.iter().copied();
        all.filter(|one| !one.late_diagnosis)
    }

    /// When its wakes were dispatched, in order.
    pub fn dispatches(&self) -> Vec<Timestamp> {
        let mut at: Vec<_> = self.asked().map(|one| one.asked_at()).collect();
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

    /// When its wakes were raised, in order. If a wake's row is gone, the time of its dispatch counts.
    fn raised(&self) -> Vec<Timestamp> {
        let gone = self.asked().filter(|one| one.raised_at.is_none());
        let mut raised: Vec<_> = gone.map(|one| one.asked_at()).collect();
        raised.extend(self.wakes.iter().map(|one| one.at));
        raised.sort();
        raised
    }

    /// The windows that its dispatches opened. Each ends with the next one at the latest.
    pub fn windows(&self, policy: &Policy) -> Vec<(Timestamp, Timestamp)> {
        let dispatches = self.dispatches();
        let recoveries: Vec<_> = self.recoveries.iter().map(|one| one.at).collect();
        let ends = policy.window_ends(&dispatches);
        let nexts = dispatches.iter().skip(1).chain([&Timestamp::MAX]);
        let windows = dispatches.iter().zip(ends).zip(nexts);
        windows
            .map(|((from, end), next)| (*from, window_end(*from, end, &recoveries).min(*next)))
            .collect()
    }

    /// When it was bad, by its wakes and recoveries. A long silence ends a span, but is no proof that
    /// the pair was well.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let recoveries = self.recoveries.iter().map(|one| one.healthy_at);
        let mut recoveries = recoveries.peekable();
        for at in self.raised() {
            while let Some(healthy) = recoveries.next_if(|healthy| *healthy < at) {
                end(&mut spans, healthy);
            }
            match spans.last_mut() {
                Some(last) if !last.is_over && at.duration_since(last.to) <= LONGEST_GAP => {
                    last.to = at
                }
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
        let spans = self.spans().into_iter();
        sum(spans.map(|span| span.to.duration_since(span.from)))
    }
}

/// All of these lengths together.
pub fn sum(lengths: impl Iterator<Item = SignedDuration>) -> SignedDuration {
    lengths.fold(SignedDuration::ZERO, SignedDuration::saturating_add)
}

/// Ends the last span at this time.
fn end(spans: &mut [Span], healthy: Timestamp) {
    if let Some(last) = spans.last_mut().filter(|last| !last.is_over) {
        last.to = last.to.max(healthy);
        last.is_over = true;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::audit::row::read_rows;
    use serde_json::json;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
    }

    fn record(wakes: &[(i64, &str)], recoveries: &[i64]) -> Record {
        let raised = |(minute, probe): &(i64, &str)| {
            let row = json!({"seam": "probe.wake_requested", "details": {"probe": probe, "category": "c"}});
            WakeRecord {
                at: at(*minute),
                wake: read_rows(row.to_string().as_bytes())
                    .wakes()
                    .next()
                    .unwrap()
                    .clone(),
                decision: WakeDecision::Dispatched,
            }
        };
        let recovery = |minute: &i64| Recovery {
            at: at(*minute),
            healthy_at: at(*minute),
            pair: Pair {
                probe: "fly".into(),
                category: "c".into(),
            },
        };
        Record {
            wakes: wakes.iter().map(raised).collect(),
            recoveries: recoveries.iter().map(recovery).collect(),
            ..Record::default()
        }
    }

    #[test]
    fn a_pair_is_bad_from_wake_to_wake_and_until_its_recovery() {
        for (wakes, recoveries, expected) in [
            (&[0][..], &[][..], &[(0, 0, false)][..]),
            (&[0, 5, 35], &[], &[(0, 35, false)]),
            (&[0, 5, 36], &[], &[(0, 5, false), (36, 36, false)]),
            (&[0, 5], &[12], &[(0, 12, true)]),
            (&[0, 5, 10], &[7], &[(0, 7, true), (10, 10, false)]),
            (&[0, 100], &[60, 130], &[(0, 60, true), (100, 130, true)]),
            (&[10], &[5], &[(10, 10, false)]),
        ] {
            let wakes: Vec<_> = wakes.iter().map(|minute| (*minute, "fly")).collect();
            let record = record(&wakes, recoveries);
            let spans = pairs(&record)[0].spans();
            let expected: Vec<_> = expected
                .iter()
                .map(|(from, to, is_over)| Span {
                    from: at(*from),
                    to: at(*to),
                    is_over: *is_over,
                })
                .collect();
            assert_eq!(spans, expected, "{wakes:?} {recoveries:?}");
        }
    }

    #[test]
    fn the_pairs_that_were_bad_longest_come_first_and_those_still_bad_before_them() {
        let wakes = [(0, "b"), (0, "c"), (10, "c"), (0, "a"), (20, "a")];
        let mut record = record(&wakes, &[]);
        let order = |record: &Record| {
            let pairs = pairs(record).into_iter();
            pairs.map(|pair| pair.pair.probe).collect::<Vec<_>>()
        };
        assert_eq!(order(&record), ["a", "c", "b"]);
        let still_bad = record.wakes[0].pair();
        record.resolutions.insert(still_bad, Resolution::Active);
        assert_eq!(order(&record), ["b", "a", "c"]);
    }
}
