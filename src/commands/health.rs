//! What `status` and `check` report when the set-up is right and alerts still do not arrive: runs do
//! not take place, or a DM waits too long or was given up.

use jiff::{SignedDuration, Timestamp};

use super::finding::{Finding, failed, warning};
use crate::config::Config;
use crate::message::span;
use crate::report::count;
use crate::state::{State, undelivered};

/// A wake or DM that waits longer than this is a problem.
pub const TOO_LONG: SignedDuration = SignedDuration::from_mins(15);

/// A finding if a run should have begun by now. A time far in the future means that the clock was set
/// back and no run took place since.
pub fn overdue(
    config: &Config,
    last_run: Option<Timestamp>,
    is_running: bool,
    now: Timestamp,
) -> Option<Finding> {
    let Some(last_run) = last_run else {
        let message = "overdue: there was no run yet";
        return Some(failed("runs", message, "start one with: probe-wake run"));
    };
    let elapsed = now.duration_since(last_run);
    if elapsed.abs() <= config.overdue_after() {
        return None;
    }
    let ago = span(elapsed);
    Some(match is_running {
        true => failed(
            "runs",
            format!("overdue: a run that began {ago} ago holds the lock"),
            "see what it waits for, and end it",
        ),
        false => failed(
            "runs",
            format!("overdue: the last run was {ago} ago"),
            "install a schedule: probe-wake schedule systemd (or cron)",
        ),
    })
}

/// A finding if runs fail or are killed, and none was done for too long.
pub fn failing(since: Option<Timestamp>, now: Timestamp) -> Option<Finding> {
    let length = age(since?, now);
    (length >= TOO_LONG).then(|| {
        failed(
            "runs",
            format!("no run was done for {}", span(length)),
            "see what a run says: probe-wake run -v",
        )
    })
}

/// DMs that wait for at least `least`.
pub fn queued(state: &State, least: SignedDuration, now: Timestamp) -> Option<Finding> {
    let age = |at| age(at, now);
    let late = state.outbox.iter().filter(|dm| age(dm.queued_at) >= least);
    let number = late.clone().count() as u64;
    let oldest = late.max_by_key(|dm| age(dm.queued_at))?;
    let cause = oldest.cause.as_deref().unwrap_or("not tried yet");
    let (dms, waited) = (
        count(number, "DM is", "DMs are"),
        span(age(oldest.queued_at)),
    );
    Some(warning(
        "outbox",
        format!("{dms} queued, the oldest for {waited}: {cause}"),
        "the next run tries again; see: probe-wake status",
    ))
}

/// Wakes that the operator was told nothing about for too long.
pub fn untold(state: &State, now: Timestamp) -> Option<Finding> {
    let untold = state.queue.iter().filter(|one| one.is_untold());
    let late = untold.filter(|one| age(one.queued_at, now) >= TOO_LONG);
    let number: usize = late.clone().map(|one| one.count()).sum();
    let oldest = late.map(|one| age(one.queued_at, now)).max()?;
    let wakes = count(number as u64, "wake is", "wakes are");
    Some(warning(
        "wakes",
        format!("{wakes} untold, the oldest for {}", span(oldest)),
        "start a run by hand and see what it says: probe-wake run -v",
    ))
}

pub fn undelivered(number: u64) -> Option<Finding> {
    let dms = count(number, "DM lies", "DMs lie");
    let message = format!("{dms} in {}", undelivered::FILE);
    (number > 0).then(|| warning("undelivered", message, "see: probe-wake undelivered"))
}

/// If the time is in the future, the clock was set back, and the real age is not known.
pub fn age(at: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(at).abs()
}
