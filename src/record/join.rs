//! Finds the tools that were called for an investigation, and the wake that it is about. No row names
//! them, so they are found by session and time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Investigation, Record, Tool, WakeDecision, WakeRecord};
use crate::debounce::{Pair, Policy};

/// How far a row's clock may be ahead of this program's.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(30);
/// How long before its dispatch a wake is usually raised. A window begins with a dispatch. If a probe's
/// cycle is as long as the window, its next wake is raised shortly before the window's end, and is
/// dispatched after it.
const READ_DELAY: SignedDuration = SignedDuration::from_mins(1);

/// A tool that was called further than this from an investigation does not belong to it.
const LONGEST_DISTANCE: SignedDuration = SignedDuration::from_hours(6);

/// A dispatched wake whose investigation has not ended.
#[derive(Debug)]
pub struct OwedDispatch {
    pub at: Timestamp,
    pub pair: Pair,
    pub severity: String,
}

/// Gives each tool to the investigation of its session that is nearest in time.
pub fn join_tools(investigations: &mut [Investigation], tools: Vec<Tool>) {
    let mut of_session: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, one) in investigations.iter().enumerate() {
        let sessions = [Some(&one.caller_session_id), one.digest_session.as_ref()];
        for session in sessions.into_iter().flatten() {
            of_session.entry(session.clone()).or_default().push(index);
        }
    }
    for tool in tools {
        let distance = |index: &&usize| distance(&investigations[**index], tool.at);
        let near = of_session.get(&tool.session).into_iter().flatten();
        let nearest = near.min_by_key(distance);
        let nearest =
            nearest.filter(|index| tool.at.is_none() || distance(index) <= LONGEST_DISTANCE);
        if let Some(index) = nearest {
            investigations[*index].tools.push(tool);
        }
    }
    for one in investigations {
        one.tools.sort_by_key(|tool| tool.at);
    }
}

/// How far a tool's call is from the time of an investigation. A call without a time is nearest to the
/// last investigation.
fn distance(one: &Investigation, called_at: Option<Timestamp>) -> SignedDuration {
    let Some(called_at) = called_at else {
        return Timestamp::MAX.duration_since(one.at);
    };
    let nearest = called_at.clamp(one.asked_at(), one.at);
    nearest.duration_since(called_at).abs()
}

/// Notes that the engine's own tool acted at this time, in the investigations of the session that
/// were under way.
pub fn note_fix(investigations: &mut [Investigation], session: &str, at: Timestamp) {
    for one in investigations {
        let is_meanwhile = (one.asked_at()..=one.at).contains(&at);
        one.autofix_attempted |= is_meanwhile && one.is_in(session);
    }
}

/// The time of which runs have read the log; `None` where it is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Finds out which wakes were dispatched and which were held back, and gives each investigation title
/// and time of its wake.
///
/// `policy` is the current one. If another was in force, the wrong one of two repeats may be taken for the
/// dispatched one.
pub fn find_decisions(record: &mut Record, policy: &Policy, watched: Watched) {
    let histories = histories(record);
    let decided = histories
        .values()
        .flat_map(|one| one.decide(policy, watched.since));
    for (wake, decision, investigation) in decided.collect::<Vec<_>>() {
        let raised = &mut record.wakes[wake];
        let is_read = watched.until.is_none_or(|until| raised.at <= until);
        if is_read || decision == WakeDecision::Dispatched {
            raised.decision = decision;
        }
        if let Some(index) = investigation {
            link(&mut record.investigations[index], raised);
        }
    }
}

/// What is known of one pair, each list in the order of time.
#[derive(Default)]
struct PairHistory<'a> {
    wakes: Vec<IndexedWake<'a>>,
    dispatches: Vec<Dispatch<'a>>,
    /// When the operator was told of them.
    recoveries: Vec<Timestamp>,
}

/// A wake behind its index in the record.
type IndexedWake<'a> = (usize, &'a WakeRecord);

/// The index of a wake, its decision, and the index of its investigation.
type Decided = (usize, WakeDecision, Option<usize>);

struct Dispatch<'a> {
    at: Timestamp,
    severity: &'a str,
    /// How many wakes consecutive-required counted for it.
    counted: usize,
    investigation: Option<usize>,
}

fn histories(record: &Record) -> BTreeMap<Pair, PairHistory<'_>> {
    let mut found: BTreeMap<Pair, PairHistory<'_>> = BTreeMap::new();
    for (index, one) in record.wakes.iter().enumerate() {
        let history = found.entry(one.pair()).or_default();
        history.wakes.push((index, one));
    }
    for (index, one) in record.investigations.iter().enumerate() {
        if !one.late_diagnosis {
            let counted = one.buffered_consecutive_count.unwrap_or(1);
            let history = found.entry(one.pair.clone()).or_default();
            history.dispatches.push(Dispatch {
                at: one.asked_at(),
                severity: &one.severity,
                counted: usize::try_from(counted).unwrap_or(1).max(1),
                investigation: Some(index),
            });
        }
    }
    for one in &record.owed {
        let history = found.entry(one.pair.clone()).or_default();
        history.dispatches.push(Dispatch {
            at: one.at,
            severity: &one.severity,
            counted: 1,
            investigation: None,
        });
    }
    for one in &record.recoveries {
        let history = found.entry(one.pair.clone()).or_default();
        history.recoveries.push(one.at);
    }
    for history in found.values_mut() {
        history.dispatches.sort_by_key(|one| one.at);
    }
    found
}

impl PairHistory<'_> {
    fn decide(&self, policy: &Policy, watched_since: Option<Timestamp>) -> Vec<Decided> {
        let at: Vec<_> = self.dispatches.iter().map(|one| one.at).collect();
        let last = at.last().copied().unwrap_or(Timestamp::MIN);
        let mut following = at.len();
        let mut held_until = None;
        let mut decided = Vec::new();
        let mut left = &self.wakes[..];
        for (dispatch, end) in self.dispatches.iter().zip(policy.window_ends(&at)) {
            // What held wakes back before the first dispatch is not known, but nothing does so for
            // longer than a window.
            let surely_free = dispatch.at.checked_sub(policy.window);
            let surely_free = surely_free.unwrap_or(Timestamp::MIN);
            let first = watched_since.map_or(surely_free, |since| since.min(surely_free));
            let free = held_until.unwrap_or(first);
            // Each dispatch that follows has a wake, too.
            following -= 1;
            let most = raised_until(left, last).saturating_sub(following);
            let own = dispatch.own_wake(&left[..most], free, surely_free);
            let own = own.or_else(|| dispatch.own_wake(left, free, surely_free));
            if let Some(own) = own {
                decided.extend(not_dispatched(&left[..own], held_until, policy));
                let (wake, _) = left[own];
                decided.push((wake, WakeDecision::Dispatched, dispatch.investigation));
                left = &left[own + 1..];
            }
            held_until = Some(window_end(dispatch.at, end, &self.recoveries));
        }
        decided.extend(not_dispatched(left, held_until, policy));
        decided
    }
}

/// The decisions of wakes between two dispatches, of which the first opened a window up to
/// `held_until`.
fn not_dispatched(
    wakes: &[IndexedWake<'_>],
    held_until: Option<Timestamp>,
    policy: &Policy,
) -> impl Iterator<Item = Decided> {
    let decision = move |wake: &WakeRecord| {
        let is_in_window = held_until.is_some_and(|until| wake.at < until);
        match is_in_window || policy.consecutive_required > 1 {
            true => WakeDecision::HeldBack,
            false => WakeDecision::Unknown,
        }
    };
    wakes
        .iter()
        .map(move |(index, wake)| (*index, decision(wake), None))
}

/// How many of these wakes were raised by then, or a little later by a clock that is ahead.
fn raised_until(wakes: &[IndexedWake<'_>], until: Timestamp) -> usize {
    let until = until.checked_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX);
    wakes.partition_point(|(_, wake)| wake.at <= until)
}

impl Dispatch<'_> {
    /// Where the wake is that was dispatched: the first that was raised from `free` on, when no window
    /// is known to have held it back, or else from `surely_free` on, when none can have done so. `None` if
    /// the log does not have it any more.
    fn own_wake(
        &self,
        wakes: &[IndexedWake<'_>],
        free: Timestamp,
        surely_free: Timestamp,
    ) -> Option<usize> {
        let before = wakes.partition_point(|(_, wake)| wake.at <= self.at);
        let ahead = raised_until(wakes, self.at);
        // If several wakes were counted, the last one is dispatched. Their severities may differ.
        let fits = |wake: &WakeRecord| self.counted > 1 || wake.wake.severity == self.severity;
        let find = |(from, count): (Timestamp, usize)| {
            let mut wakes = wakes[..count].iter();
            wakes.position(|(_, wake)| fits(wake) && wake.at >= from)
        };
        let nearly_free = free.checked_sub(READ_DELAY).unwrap_or(free);
        let tries = [
            (free, before),
            (nearly_free, before),
            (free, ahead),
            (surely_free, ahead),
            (Timestamp::MIN, ahead),
        ];
        let first = tries.into_iter().find_map(find)?;
        Some(first.saturating_add(self.counted - 1).min(ahead - 1))
    }
}

/// When a window opened at `from` ends: at `end`, or at the first recovery before it.
pub(super) fn window_end(from: Timestamp, end: Timestamp, recoveries: &[Timestamp]) -> Timestamp {
    let recovery = recoveries.iter().find(|recovery| **recovery > from);
    recovery.map_or(end, |recovery| end.min(*recovery))
}

/// Gives each investigation its wake. This is for a replay, where the decisions are known.
pub fn link_in_order(record: &mut Record) {
    let mut dispatched: BTreeMap<Pair, Vec<usize>> = BTreeMap::new();
    for (index, one) in record.wakes.iter().enumerate().rev() {
        if one.decision == WakeDecision::Dispatched {
            dispatched.entry(one.pair()).or_default().push(index);
        }
    }
    for one in &mut record.investigations {
        let next = dispatched.get_mut(&one.pair).and_then(Vec::pop);
        if let Some(wake) = next {
            link(one, &record.wakes[wake]);
        }
    }
}

fn link(investigation: &mut Investigation, raised: &WakeRecord) {
    investigation.title = Some(raised.wake.title.clone());
    investigation.raised_at = Some(raised.at);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::audit::row::read_rows;
    use crate::audit::seams::Row;
    use crate::record::{Recovery, investigation};
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn policy() -> Policy {
        Policy {
            window: SignedDuration::from_secs(600),
            bypass_critical: false,
            bypass_escalation: false,
            consecutive_required: 1,
            backoff_factor: 1.0,
            max_window: SignedDuration::from_secs(86_400),
        }
    }

    fn raised(second: i64, severity: &str) -> WakeRecord {
        let row = json!({
            "emitted_at": at(second).to_string(), "seam": "probe.wake_requested",
            "details": {"probe": "fly", "category": "c", "severity": severity, "title": second.to_string()},
        });
        WakeRecord {
            at: at(second),
            wake: read_rows(row.to_string().as_bytes())
                .wakes()
                .next()
                .unwrap()
                .clone(),
            decision: WakeDecision::Unknown,
        }
    }

    /// An investigation that was dispatched at this second and took 5 s.
    fn told(second: i64, severity: &str, more: serde_json::Value) -> Investigation {
        let mut details = json!({
            "probe": "fly", "issue_category": "c", "severity": severity, "dm_status": "sent",
            "investigation_duration_ms": 5_000,
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            details[field] = value.clone();
        }
        let row = json!({
            "emitted_at": at(second + 5).to_string(), "caller_session_id": "probe:fly:c", "details": details,
        });
        investigation(&Row::of(row)).unwrap()
    }

    fn warnings(seconds: &[i64]) -> Vec<WakeRecord> {
        seconds
            .iter()
            .map(|second| raised(*second, "warning"))
            .collect()
    }

    /// The decisions of the wakes, a letter each, and the seconds of the wakes that were investigated.
    fn decided(
        mut record: Record,
        policy: &Policy,
        read_until: Option<i64>,
    ) -> (String, Vec<String>) {
        let watched = Watched {
            since: None,
            until: read_until.map(at),
        };
        find_decisions(&mut record, policy, watched);
        let titles = record
            .investigations
            .iter()
            .filter_map(|one| one.title.clone());
        (letters(&record), titles.collect())
    }

    fn letters(record: &Record) -> String {
        let letter = |one: &WakeRecord| match one.decision {
            WakeDecision::Dispatched => 'D',
            WakeDecision::HeldBack => 'h',
            WakeDecision::Unknown => '?',
        };
        record.wakes.iter().map(letter).collect()
    }

    fn of(wakes: Vec<WakeRecord>, investigations: Vec<Investigation>) -> Record {
        Record {
            wakes,
            investigations,
            ..Record::default()
        }
    }

    #[test]
    fn the_first_wake_that_nothing_held_back_is_the_dispatched_one() {
        let none = || json!({});
        for (wakes, dispatches, expected) in [
            (&[0, 1, 300, 599, 620][..], &[2, 621][..], "DhhhD"),
            // Whether a run read what is older than a window is not known.
            (&[0, 300, 700, 1_000], &[1_001], "??Dh"),
            (&[0, 20, 900], &[21, 901], "DhD"),
            // Both were dispatched, whatever the window is.
            (&[0, 300], &[301, 302], "DD"),
            (&[0, 300, 600, 900, 1_200], &[20, 621, 1_222], "DhDhD"),
            // From before the first run, and long after the last one.
            (&[-90_000, 0, 90_000], &[1], "?D?"),
            // The rows are gone.
            (&[300, 700], &[1], "h?"),
            (&[], &[1], ""),
            (&[5], &[], "?"),
        ] {
            let told = dispatches.iter().map(|at| told(*at, "warning", none()));
            let record = of(warnings(wakes), told.collect());
            assert_eq!(decided(record, &policy(), None).0, expected, "{wakes:?}");
        }
    }

    #[test]
    fn a_bypassing_wake_is_told_by_its_severity() {
        let severities = ["warning", "warning", "critical", "critical"];
        let wakes = severities
            .iter()
            .zip(0..)
            .map(|(severity, at)| raised(at * 10, severity));
        let told = vec![
            told(1, "warning", json!({})),
            told(31, "critical", json!({})),
        ];
        let (decisions, titles) = decided(of(wakes.collect(), told), &policy(), None);
        assert_eq!(
            (decisions.as_str(), titles),
            ("DhDh", vec!["0".to_owned(), "20".to_owned()])
        );
    }

    #[test]
    fn with_no_window_each_wake_has_an_investigation_of_its_own() {
        let off = Policy {
            window: SignedDuration::ZERO,
            ..policy()
        };
        for (wakes, dispatches) in [([0, 1, 2], [10, 16, 22]), ([0, 10, 20], [1, 12, 23])] {
            let told = dispatches.iter().map(|at| told(*at, "warning", json!({})));
            let record = of(warnings(&wakes), told.collect());
            let (decisions, titles) = decided(record, &off, None);
            assert_eq!((decisions.as_str(), titles.len()), ("DDD", 3), "{wakes:?}");
        }
    }

    #[test]
    fn of_wakes_that_were_read_together_after_an_outage_the_first_is_the_dispatched_one() {
        for (since, expected) in [(-3_600, "?Dhh"), (400, "??Dh")] {
            let told = told(700, "warning", json!({}));
            let mut record = of(warnings(&[-86_400, 0, 300, 690]), vec![told]);
            let watched = Watched {
                since: Some(at(since)),
                until: None,
            };
            find_decisions(&mut record, &policy(), watched);
            assert_eq!(letters(&record), expected, "{since}");
        }
    }

    #[test]
    fn counted_wakes_are_held_back_and_the_last_of_them_is_dispatched() {
        let counting = Policy {
            consecutive_required: 3,
            ..policy()
        };
        let counted = told(45, "warning", json!({"buffered_consecutive_count": 3}));
        let record = of(warnings(&[20, 30, 40, 50]), vec![counted]);
        assert_eq!(decided(record, &counting, None).0, "hhDh");
    }

    #[test]
    fn a_recovery_ends_the_window() {
        let told = vec![
            told(1, "warning", json!({})),
            told(301, "warning", json!({})),
        ];
        let mut record = of(warnings(&[0, 100, 300, 310]), told);
        record.recoveries = vec![Recovery {
            at: at(200),
            healthy_at: at(190),
            pair: record.wakes[0].pair(),
        }];
        assert_eq!(decided(record, &policy(), None).0, "DhDh");
    }

    #[test]
    fn a_late_diagnosis_is_no_dispatch_and_what_is_owed_is_one() {
        let late = told(200, "warning", json!({"late_diagnosis": true}));
        let mut record = of(
            warnings(&[0, 100, 700]),
            vec![told(1, "warning", json!({})), late],
        );
        record.owed = vec![OwedDispatch {
            at: at(701),
            pair: record.wakes[0].pair(),
            severity: "warning".to_owned(),
        }];
        assert_eq!(decided(record, &policy(), None).0, "DhD");
    }

    #[test]
    fn what_was_not_read_yet_is_not_held_back() {
        let record = of(
            warnings(&[0, 100, 200]),
            vec![told(1, "warning", json!({}))],
        );
        assert_eq!(decided(record, &policy(), Some(150)).0, "Dh?");
    }

    #[test]
    fn a_fix_counts_between_question_and_answer() {
        for (second, session, expected) in [
            (12, "probe:fly:c", true),
            (9, "probe:fly:c", false),
            (16, "probe:fly:c", false),
            (12, "probe:fly:d", false),
        ] {
            let mut told = [told(10, "warning", json!({}))];
            note_fix(&mut told, session, at(second));
            assert_eq!(told[0].autofix_attempted, expected, "{second} {session}");
        }
    }
}
