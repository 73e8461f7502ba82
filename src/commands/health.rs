//! What keeps alerts from arriving although the set-up is right, for `status` and `check`: runs that
//! do not take place, and what waits too long or was given up.

use std::fs;

use jiff::{SignedDuration, Timestamp};

use crate::config::Config;
use crate::message::span;
use crate::report::count;
use crate::state::{State, Store, lock, undelivered};

/// What waits to be told for so long is in trouble.
pub const TOO_LONG: SignedDuration = SignedDuration::from_mins(15);

/// What is wrong, and what to do about it.
pub struct Trouble {
    pub subject: &'static str,
    pub message: String,
    pub next_step: String,
}

impl Trouble {
    pub fn line(&self) -> String {
        format!("{}; {}", self.message, self.next_step)
    }
}

/// When the last run began or ended, which the lock's time tells; `None` before the first.
pub fn last_run(store: &Store) -> Option<Timestamp> {
    let meta = fs::metadata(store.path(lock::FILE)).ok()?;
    Timestamp::try_from(meta.modified().ok()?).ok()
}

/// Whether a run should have begun by now. A time far in the future is a clock that was set back, and
/// no run took place since.
pub fn overdue(config: &Config, last_run: Option<Timestamp>, now: Timestamp) -> Option<Trouble> {
    let trouble = |message, next_step: &str| Trouble {
        subject: "runs",
        message,
        next_step: next_step.to_owned(),
    };
    let Some(last_run) = last_run else {
        let message = "overdue: there was no run yet".to_owned();
        return Some(trouble(message, "start one with: probe-wake run"));
    };
    let elapsed = now.duration_since(last_run);
    (elapsed.abs() > config.overdue_after()).then(|| {
        trouble(
            format!("overdue: the last run was {} ago", span(elapsed)),
            "install a schedule: probe-wake schedule systemd (or cron)",
        )
    })
}

/// DMs that wait for at least so long.
pub fn queued(state: &State, least: SignedDuration, now: Timestamp) -> Option<Trouble> {
    let age = |at| age(at, now);
    let late = state.outbox.iter().filter(|dm| age(dm.queued_at) >= least);
    let number = late.clone().count();
    let oldest = late.max_by_key(|dm| age(dm.queued_at))?;
    let cause = oldest.cause.as_deref().unwrap_or("not tried yet");
    Some(Trouble {
        subject: "outbox",
        message: format!(
            "{} queued, the oldest for {}: {cause}",
            count(number as u64, "DM is", "DMs are"),
            span(age(oldest.queued_at))
        ),
        next_step: "the next run tries again; see: probe-wake status".to_owned(),
    })
}

/// Wakes that were told nothing for too long.
pub fn untold(state: &State, now: Timestamp) -> Option<Trouble> {
    let untold = state.queue.iter().filter(|one| one.is_untold());
    let late = untold.filter(|one| age(one.queued_at, now) >= TOO_LONG);
    let wakes: usize = late.clone().map(|one| one.count()).sum();
    let oldest = late.map(|one| age(one.queued_at, now)).max()?;
    Some(Trouble {
        subject: "wakes",
        message: format!(
            "{} untold, the oldest for {}",
            count(wakes as u64, "wake is", "wakes are"),
            span(oldest)
        ),
        next_step: "start a run by hand and see what it says: probe-wake run -v".to_owned(),
    })
}

pub fn undelivered(number: u64) -> Option<Trouble> {
    (number > 0).then(|| Trouble {
        subject: "undelivered",
        message: format!(
            "{} in {}",
            count(number, "DM lies", "DMs lie"),
            undelivered::FILE
        ),
        next_step: "see: probe-wake undelivered".to_owned(),
    })
}

/// A time in the future is a clock that was set back: how long ago it was is not known.
fn age(at: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(at).abs()
}
