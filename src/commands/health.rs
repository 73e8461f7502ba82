//! What `status` and `check` report when the set-up is right and alerts still do not arrive: no
//! runs take place, or a message waits too long or was given up.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::finding::{Finding, failed, warning};
use crate::config::Config;
use crate::message::span;
use crate::report::count;
use crate::state::{State, lock};

/// A wake or message that waits this long is a problem, and so are runs that all fail for this
/// long.
pub const TOO_LONG: SignedDuration = SignedDuration::from_mins(15);

/// What the lock says about the runs.
pub struct Runs {
    pub last: Option<Timestamp>,
    /// `None`: this system does not list its locks.
    pub is_running: Option<bool>,
    failing_since: Option<Timestamp>,
}

impl Runs {
    pub fn look(state_dir: &Path) -> Self {
        Self {
            last: lock::last_run(state_dir),
            is_running: lock::is_held(state_dir),
            failing_since: lock::failing_since(state_dir),
        }
    }

    /// Returns a finding if a run should have begun by now. A time far in the future means that the
    /// clock was set back and no run has taken place since.
    pub fn overdue(&self, config: &Config, now: Timestamp) -> Option<Finding> {
        let Some(last) = self.last else {
            let message = "overdue: there has been no run yet";
            return Some(failed(message, "start one with: probe-wake run"));
        };
        let elapsed = now.duration_since(last);
        if elapsed.abs() <= config.overdue_after() {
            return None;
        }
        let ago = span(elapsed);
        Some(match self.is_running {
            Some(true) => failed(
                format!("overdue: a run that began {ago} ago holds the lock"),
                "see what it waits for, and end it",
            ),
            _ => failed(
                format!("overdue: the last run was {ago} ago"),
                "install a schedule: probe-wake schedule systemd (or cron)",
            ),
        })
    }

    /// Returns a finding if runs fail or are killed, and none has completed for too long. One that
    /// is under way may still complete.
    pub fn failing(&self, now: Timestamp) -> Option<Finding> {
        let length = age(self.failing_since?, now);
        let is_failing = length >= TOO_LONG && self.is_running != Some(true);
        is_failing.then(|| {
            let message = format!("no run has completed for {}", span(length));
            failed(message, "see what a run says: probe-wake run -v")
        })
    }
}

/// Reports messages that have waited for at least `least`.
pub fn queued(state: &State, least: SignedDuration, now: Timestamp) -> Option<Finding> {
    let age = |at| age(at, now);
    let late = state
        .outbox
        .iter()
        .filter(|one| age(one.queued_at) >= least);
    let number = late.clone().count() as u64;
    let oldest = late.max_by_key(|one| age(one.queued_at))?;
    let cause = oldest.cause.as_deref().unwrap_or("not tried yet");
    let messages = count(number, "message is", "messages are");
    let waited = span(age(oldest.queued_at));
    Some(warning(
        format!("{messages} queued, the oldest for {waited}: {cause}"),
        "the next run tries again; see: probe-wake status",
    ))
}

/// Reports wakes about which nothing has been sent for too long.
pub fn unsent(state: &State, now: Timestamp) -> Option<Finding> {
    let unsent = state.queue.iter().filter(|one| one.is_untold());
    let late = unsent.filter(|one| age(one.queued_at, now) >= TOO_LONG);
    let number: usize = late.clone().map(|one| one.count()).sum();
    let oldest = late.map(|one| age(one.queued_at, now)).max()?;
    let wakes = count(number as u64, "wake is", "wakes are");
    Some(warning(
        format!("{wakes} unsent, the oldest for {}", span(oldest)),
        "start a run by hand and see what it says: probe-wake run -v",
    ))
}

pub fn undelivered(number: u64) -> Option<Finding> {
    let messages = count(number, "message was", "messages were");
    let message = format!("{messages} given up");
    (number > 0).then(|| warning(message, "see: probe-wake undelivered"))
}

/// A time in the future means that the clock was set back: its distance stands for the unknown age.
pub fn age(at: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(at).abs()
}
