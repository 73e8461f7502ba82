//! What one pair's past says, and the decision on its next wake.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Before, Decision, HeldBack, Policy, Severity};
use crate::audit::wake::Wake;
use crate::json::is_default;

/// What one pair's past says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_dispatch: Option<Timestamp>,
    /// That of the last dispatched wake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// How many dispatches before the last came within two windows of each other.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backoff: u32,
    /// Repeats that no DM has told of yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBack>,
    /// Wakes counted towards consecutive-required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counting: Option<HeldBack>,
}

impl Stamp {
    /// Until when this pair's window holds wakes back, if it does so at `now`.
    pub fn held_until(&self, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
        let last = self.last_dispatch?;
        let window = policy.window_after(self.backoff);
        within(now, last, window).then(|| last.checked_add(window).unwrap_or(Timestamp::MAX))
    }

    pub(super) fn decide(&mut self, wake: &Wake, policy: &Policy, now: Timestamp) -> Decision {
        let passes = self.passes(wake, policy);
        if !passes && self.held_until(policy, now).is_some() {
            self.held_back = Some(one_more(self.held_back, now));
            return Decision::Debounced;
        }
        let mut raised = None;
        if policy.consecutive_required > 1 {
            let counting = self.count(policy.counting_window(), now);
            if !passes && counting.count < u64::from(policy.consecutive_required) {
                self.counting = Some(counting);
                return Decision::Buffered;
            }
            raised = Some(counting);
        }
        self.dispatch(wake, policy, now);
        Decision::Dispatch(Before {
            repeats: self.held_back.take(),
            raised,
        })
    }

    /// Whether the wake is held back by nothing.
    fn passes(&self, wake: &Wake, policy: &Policy) -> bool {
        let is_worse = || self.severity.is_some_and(|last| Severity::of(wake) > last);
        policy.bypass_critical && wake.severity == "critical"
            || policy.bypass_escalation && is_worse()
    }

    /// The wakes counted within `window` of the first, this one included.
    fn count(&self, window: SignedDuration, now: Timestamp) -> HeldBack {
        let running = self.counting;
        one_more(
            running.filter(|counting| within(now, counting.since, window)),
            now,
        )
    }

    fn dispatch(&mut self, wake: &Wake, policy: &Policy, now: Timestamp) {
        self.open_window(policy, now);
        self.severity = Some(Severity::of(wake));
        self.counting = None;
    }

    fn open_window(&mut self, policy: &Policy, now: Timestamp) {
        let window = policy.window_after(self.backoff);
        let is_soon = |last| within(now, last, window * 2);
        self.backoff = match self.last_dispatch.is_some_and(is_soon) {
            true => self.backoff.saturating_add(1),
            false => 0,
        };
        self.last_dispatch = Some(now);
    }

    pub(super) fn is_spent(&self, policy: &Policy, now: Timestamp) -> bool {
        let window = policy.window_after(self.backoff);
        let live =
            |since: Option<Timestamp>, length| since.is_some_and(|at| within(now, at, length));
        let counting = self.counting.map(|counting| counting.since);
        self.held_back.is_none()
            && !live(self.last_dispatch, window * 2)
            && !live(counting, policy.counting_window())
    }
}

impl Policy {
    /// When the windows end that these dispatches of one pair open.
    pub fn window_ends(&self, dispatches: &[Timestamp]) -> Vec<Timestamp> {
        let mut stamp = Stamp::default();
        let end = |at: &Timestamp| {
            stamp.open_window(self, *at);
            stamp.held_until(self, *at).unwrap_or(*at)
        };
        dispatches.iter().map(end).collect()
    }
}

fn one_more(held: Option<HeldBack>, now: Timestamp) -> HeldBack {
    let HeldBack { count, since } = held.unwrap_or(HeldBack {
        count: 0,
        since: now,
    });
    HeldBack {
        count: count + 1,
        since,
    }
}

/// Whether so little time went by. A time in the future is a clock that was set back: it must never
/// silence a pair.
fn within(now: Timestamp, since: Timestamp, length: SignedDuration) -> bool {
    let elapsed = now.duration_since(since);
    !elapsed.is_negative() && elapsed < length
}
