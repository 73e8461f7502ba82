//! What `status` and `check` report when the set-up is right and alerts still do not arrive: runs fail or do
//! not take place, the log is quiet, or a message waits too long or was given up.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::finding::{Finding, failed, warning};
use crate::config::{Config, variables as var};
use crate::exit::Exit;
use crate::report::count;
use crate::slack::is_settings_fault;
use crate::snapshot::Snapshot;
use crate::state::lock::{self, Note};
use crate::state::{LogState, State};
use crate::text::with_reason;
use crate::time::{clock, span};

/// A wake or message that waits this long is a problem.
pub const TOO_LONG: SignedDuration = SignedDuration::from_mins(15);
/// A correction sets the clock back by less than this.
const CLOCK_STEP: SignedDuration = SignedDuration::from_mins(1);
/// This many questions in a row without an answer are a problem.
const MOST_FAILURES: u64 = 3;

/// What the lock says about the runs.
pub struct Runs {
    note: Note,
    /// `None` if this system does not list its locks.
    pub is_running: Option<bool>,
}

impl Runs {
    pub fn look(state_dir: &Path) -> Self {
        Self {
            note: lock::note(state_dir).unwrap_or_default(),
            is_running: lock::is_held(state_dir),
        }
    }

    /// Returns when the last run began.
    pub fn last(&self) -> Option<Timestamp> {
        self.note.began
    }

    /// Returns a finding if a run should have begun by now.
    pub fn overdue(&self, config: &Config, now: Timestamp) -> Option<Finding> {
        let Some(last) = self.last() else {
            let message = "overdue: there has been no run yet";
            return Some(failed(message, "start one with: probe-wake run"));
        };
        let elapsed = now.duration_since(last);
        if elapsed < -CLOCK_STEP {
            let message = format!("the last run was {} in the future", span(elapsed.abs()));
            return Some(failed(message, "was the clock set back? See: date"));
        }
        if elapsed <= config.overdue_after() {
            return None;
        }
        let ago = span(elapsed);
        if self.is_running == Some(true) {
            let message = format!("overdue: a run that began {ago} ago holds the lock");
            return Some(failed(message, "see what it waits for, and end it"));
        }
        let message = format!("overdue: the last run was {ago} ago");
        let next_step = "install a schedule: probe-wake schedule systemd (or cron)";
        Some(failed(message, next_step))
    }

    /// Returns a finding if the last run failed or was killed.
    pub fn failing(&self, now: Timestamp) -> Option<Finding> {
        const SEE: &str = "find out why: probe-wake check";
        let Some(exit) = self.note.exit else {
            let began = clock(self.note.began?, now);
            let message = format!("the last run ({began}) was killed, or the machine stopped");
            return (self.is_running == Some(false)).then(|| failed(message, SEE));
        };
        if [Exit::Done as u8, Exit::Locked as u8].contains(&exit) {
            return None;
        }
        let message = format!("the last run ended with exit {exit}");
        let message = with_reason(&message, self.note.said.as_deref());
        // Unfinished work is taken care of, or reported on its own.
        Some(match exit == Exit::Unfinished as u8 {
            true => warning(message, SEE),
            false => failed(message, SEE),
        })
    }
}

/// Reports messages that have waited for at least `least`.
pub fn queued(state: &State, least: SignedDuration, now: Timestamp) -> Option<Finding> {
    let outbox = state.outbox.iter();
    let late = outbox.map(|one| (age(one.queued_at, now), one));
    let late = late.filter(|(age, _)| *age >= least);
    let messages = count(late.clone().count() as u64, "message is", "messages are");
    let (age, oldest) = late.max_by_key(|(age, _)| *age)?;
    let (age, cause) = (span(age), oldest.cause.as_deref());
    let cause = cause.unwrap_or("not tried yet");
    let message = format!("{messages} queued, the oldest for {age}: {cause}");
    let next_step = "the next run tries again; see: probe-wake status";
    Some(warning(message, next_step))
}

/// Reports why no message can be sent, if that does not pass by itself.
pub fn refused(config: &Config, state: &State) -> Option<Finding> {
    let mut causes = state.outbox.iter().filter_map(|one| one.cause.as_deref());
    let missing = config.missing_for_slack();
    let cause = match missing.filter(|_| !state.outbox.is_empty()) {
        Some(variable) => format!("{variable} is not set"),
        None => causes.find(|cause| is_settings_fault(cause))?.to_owned(),
    };
    let message = format!("no message can be sent: {cause}");
    let next_step = "correct the token or the operator; see: probe-wake check";
    Some(failed(message, next_step))
}

/// Reports wakes about which nothing has been sent for too long.
pub fn unsent(state: &State, now: Timestamp) -> Option<Finding> {
    let new = state.queue.iter().filter(|one| one.is_new());
    let late = new.filter(|one| age(one.queued_at, now) >= TOO_LONG);
    let number: usize = late.clone().map(|one| one.alerts.len()).sum();
    let oldest = span(late.map(|one| age(one.queued_at, now)).max()?);
    let wakes = count(number as u64, "wake is", "wakes are");
    let message = format!("{wakes} unsent, the oldest for {oldest}");
    let next_step = "start a run by hand and see what it says: probe-wake run -v";
    Some(warning(message, next_step))
}

pub fn undelivered(number: u64) -> Option<Finding> {
    let messages = count(number, "message was", "messages were");
    let message = format!("{messages} given up");
    (number > 0).then(|| warning(message, "see: probe-wake undelivered"))
}

/// Reports an engine that has not answered for several questions.
pub fn engine(state: &State) -> Option<Finding> {
    let failure = state.last_failure.as_ref();
    let failure = failure.filter(|one| one.in_a_row >= MOST_FAILURES)?;
    let (times, reason) = (failure.in_a_row, &failure.reason);
    let message = format!("the engine has failed {times} times in a row: {reason}");
    let message = with_reason(&message, failure.message.as_deref());
    Some(failed(message, "see: probe-wake check --ask-engine"))
}

/// Reports a log that has had no new row for too long, if that is watched.
pub fn quiet(config: &Config, kept: Option<&LogState>, now: Timestamp) -> Option<Finding> {
    let since = kept?.quiet.since;
    let length = now.duration_since(since);
    let is_quiet = config.quiet_after.is_some_and(|quiet| length >= quiet);
    is_quiet.then(|| {
        let message = format!("no row since {} ({})", clock(since, now), span(length));
        failed(message, "is the program that writes the log still running?")
    })
}

/// Reports why no recovery can be seen in Kora's snapshot, if recoveries are switched on.
pub fn recovery(config: &Config, kept: Option<&LogState>, now: Timestamp) -> Option<Finding> {
    let incidents = kept.into_iter().flat_map(|kept| kept.incidents.iter());
    let open = incidents.filter(|one| one.is_open(&config.debounce, now));
    let probes = open.map(|one| one.pair.probe.as_str());
    let path = &config.paths.snapshot_path;
    let trouble = || Snapshot::trouble(path, probes, now);
    let trouble = config.tell_recovery.then(trouble).flatten()?;
    let variable = var::SNAPSHOT_PATH.name;
    let next_step = format!("start Kora's daemon, or name its snapshot with {variable}");
    let message = format!("no recovery can be seen: {trouble}");
    Some(warning(message, next_step))
}

/// Returns the age of a time. If it is in the future, the clock was set back, and the real age is unknown.
pub fn age(at: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(at).abs()
}
