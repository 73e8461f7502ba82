//! The order of a run, as a pure function: state, progress and time in, the next step out. After each step
//! the next one is chosen from scratch, and no step takes long.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::ask::Asking;
use super::effects::Route;
use super::hand_over::HandingOver;
use super::reactions::Reactions;
use super::turn::{self, Sending};
use crate::config::Config;
use crate::engine::Reason;
use crate::state::State;
use crate::state::outbox::{HandOver, Message};
use crate::state::queue::{Investigation, Retry};
use crate::time::within;

/// How often the log is looked at while the run waits for the engine or Slack.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// After this many runs were killed in an investigation, it ends without a question.
const MOST_ATTEMPTS: u32 = 2;
/// After this many questions in a row that found the engine unreachable, the run asks no more.
const MOST_UNREACHABLE: u32 = 2;
pub const BUDGET_PERIOD: SignedDuration = SignedDuration::from_hours(1);
/// How often the operator is notified that the log has had no new row.
const NOTICE_PERIOD: SignedDuration = SignedDuration::from_hours(24);
/// While this many announced investigations, or this many bytes of them, are pending, no more are announced.
const MOST_PENDING: usize = 256;
const MOST_PENDING_BYTES: usize = 4 * 1024 * 1024;
/// Reading stops while this many wakes, or this many bytes of them, have had nothing sent.
const MOST_NEW: usize = 256;
const MOST_NEW_BYTES: usize = 4 * 1024 * 1024;

/// The next thing that a run does.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Look at the log, and decide on what is new.
    Look,
    /// Put the result of the question into the outbox.
    Conclude,
    /// End an investigation without a question.
    Refuse(String, Reason),
    /// Put the facts of these investigations into the outbox.
    Announce(Vec<String>),
    /// Send the next part of a message.
    Send(String),
    /// Move a message to `undelivered/`.
    GiveUp(String, String),
    /// Hand a message over to the fallback command.
    HandOver(String),
    /// Begin a question.
    Ask(String),
    /// Announce the recoveries that the snapshot shows.
    Recover,
    /// Ask Slack for the reactions to a message.
    React,
    /// Say that the log has had no new row for a long time.
    Notice,
    /// Wait for the engine or for Slack.
    Wait(Duration),
    Done,
}

/// What a run has done so far that the next step depends on. Durations count from its start.
#[derive(Debug, Default)]
pub struct Progress {
    /// Whether the log is no longer looked at in this run.
    pub is_blind: bool,
    /// When the log was last looked at, and whether nothing that takes time has been done since.
    pub looked: Duration,
    pub is_fresh: bool,
    /// Whether the last look left rows unread because there was no room for them.
    pub was_full: bool,
    pub asking: Option<Asking>,
    /// Why the last question found the engine unreachable, and how many did so in a row.
    pub unreachable: Option<(Reason, u32)>,
    /// The investigations that this run queued, and those that it asked about again.
    pub queued: HashSet<String>,
    pub retried: HashSet<String>,
    /// The messages that this run made.
    pub made: HashSet<String>,
    pub sending: Sending,
    /// Whether the snapshot has been looked at since anything last changed.
    pub has_recovered: bool,
    pub handing_over: Option<HandingOver>,
    /// Whether the fallback command has failed in this run.
    pub hand_over_failed: bool,
    pub reactions: Reactions,
}

/// Everything that the next step depends on.
pub struct Choice<'a> {
    pub state: &'a State,
    /// The key of the audit log in the state.
    pub log: &'a str,
    pub progress: &'a Progress,
    pub config: &'a Config,
    pub route: Route,
    pub now: Timestamp,
    /// Since the run began.
    pub elapsed: Duration,
}

impl<'a> Choice<'a> {
    /// Chooses the next step.
    pub fn next(&self) -> Step {
        self.conclude()
            .or_else(|| self.look())
            .or_else(|| self.refuse())
            .or_else(|| self.announce())
            .or_else(|| self.send())
            .or_else(|| self.hand_over())
            .or_else(|| self.ask())
            .or_else(|| self.recover())
            .or_else(|| self.react())
            .or_else(|| self.notice())
            .or_else(|| self.send_first_of(true))
            .unwrap_or_else(|| self.wait())
    }

    /// Returns how much of the run's time is left; `None` is no limit.
    fn time_left(&self) -> Option<Duration> {
        let limit = self.config.max_runtime?;
        Some(limit.saturating_sub(self.elapsed))
    }

    fn is_past_its_time(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }

    fn conclude(&self) -> Option<Step> {
        let asking = self.progress.asking.as_ref()?;
        asking.answered.as_ref().map(|_| Step::Conclude)
    }

    /// Looks at the log if a look is due. It may have to pass over everything that was read before: after a
    /// look that ran out of room, the next one waits until there is room for many rows.
    fn look(&self) -> Option<Step> {
        let is_recent = self.elapsed.saturating_sub(self.progress.looked) < LOOK_AGAIN;
        let is_needed = !(self.progress.is_fresh && is_recent) || self.progress.was_full;
        let share = if self.progress.was_full { 2 } else { 1 };
        let can_look = !self.progress.is_blind && !self.is_past_its_time();
        (is_needed && can_look && has_room(self.state, share)).then_some(Step::Look)
    }

    /// Returns the queue. A run that prints its messages leaves the investigations of earlier runs alone.
    fn queue(&self) -> impl Iterator<Item = &'a Investigation> {
        let is_ours = |one: &&Investigation| {
            !self.route.is_printed() || self.progress.queued.contains(&one.id)
        };
        self.state.queue.iter().filter(is_ours)
    }

    /// Returns the investigations that have not ended yet.
    fn open(&self) -> impl Iterator<Item = &'a Investigation> {
        self.queue().filter(|one| one.retry().is_none())
    }

    fn new_ones(&self) -> impl Iterator<Item = &'a Investigation> {
        self.queue().filter(|one| one.is_new())
    }

    fn is_asking(&self, one: &Investigation) -> bool {
        let mut asking = self.progress.asking.iter();
        asking.any(|asking| asking.id == one.id)
    }

    /// Returns why an investigation is not asked about, if that is known without a question.
    fn refusal(&self, one: &Investigation) -> Option<Reason> {
        let now = self.now;
        if self.config.engine.is_none() {
            return Some(Reason::EngineUnavailable);
        }
        let is_retry = one.retry().is_some();
        if !is_retry && one.attempts >= MOST_ATTEMPTS {
            return Some(Reason::Interrupted);
        }
        if !is_retry && self.config.is_expired(one.queued_at, now) {
            return Some(Reason::Expired);
        }
        if let Some((reason, MOST_UNREACHABLE..)) = &self.progress.unreachable {
            return Some(reason.clone());
        }
        let most = self.config.max_investigations_per_hour;
        let asked = self.state.questions.iter();
        let asked = asked.filter(|at| within(now, **at, BUDGET_PERIOD));
        (most > 0 && asked.count() >= most).then_some(Reason::BudgetSpent)
    }

    fn refuse(&self) -> Option<Step> {
        let mut open = self.open().filter(|one| !self.is_asking(one));
        open.find_map(|one| Some(Step::Refuse(one.id.clone(), self.refusal(one)?)))
    }

    /// Announces all new investigations once one of them is due.
    fn announce(&self) -> Option<Step> {
        let pending = || self.state.queue.iter().filter(|one| one.is_pending());
        let mut count = pending().count();
        let mut bytes: usize = pending().map(|one| one.size()).sum();
        let waits = count > 0 || self.is_past_its_time() || self.has_earlier_messages();
        let mut new: Vec<_> = self.new_ones().collect();
        new.sort_by_key(|one| !one.is_critical());
        let is_due = |one: &&Investigation| {
            let due = self.due_in(one);
            due.is_some_and(|due| waits || due.is_zero())
        };
        if !new.iter().any(is_due) {
            return None;
        }
        let fits = |one: &&&Investigation| {
            let fits = count < MOST_PENDING && bytes < MOST_PENDING_BYTES || self.is_asking(one);
            (count, bytes) = (count + 1, bytes + one.size());
            fits
        };
        let announced = new.iter().take_while(fits).map(|one| one.id.clone());
        let announced: Vec<_> = announced.collect();
        Some(match announced.is_empty() {
            false => Step::Announce(announced),
            true => Step::Refuse(new[0].id.clone(), Reason::Backlog),
        })
    }

    /// Returns how long it is until the facts of an investigation are due, if they are sent on their own.
    fn due_in(&self, one: &Investigation) -> Option<Duration> {
        let length = self.config.facts_after?;
        let (now, queued_at) = (self.now, one.queued_at);
        let due = match within(now, queued_at, length) {
            true => length.saturating_sub(now.duration_since(queued_at)),
            false => SignedDuration::ZERO,
        };
        let due = Duration::try_from(due).ok();
        due.filter(|_| self.route.announces())
    }

    /// Returns whether messages of earlier runs could be sent now.
    fn has_earlier_messages(&self) -> bool {
        let outbox = self.state.outbox.iter();
        let mut earlier = outbox.filter(|one| !self.progress.made.contains(&one.id));
        self.can_send() && earlier.any(|one| self.is_sendable(one))
    }

    fn can_send(&self) -> bool {
        self.route == Route::Slack
            && !self.progress.sending.has_stopped
            && turn::left(self.state.slack.limited_until, self.now).is_none()
    }

    fn is_sendable(&self, message: &Message) -> bool {
        let is_past = self.is_past_its_time();
        turn::can_go(message, self.state, &self.progress.sending, self.now)
            && (!is_past || self.progress.made.contains(&message.id) && !message.is_long())
    }

    fn send(&self) -> Option<Step> {
        let (sending, outbox) = (&self.progress.sending, &self.state.outbox);
        if self.route.is_printed() {
            let is_next = |one: &&Message| {
                self.progress.made.contains(&one.id) && !sending.tried.contains(&one.id)
            };
            let next = outbox.iter().find(is_next);
            let next = next.filter(|_| !sending.has_stopped)?;
            return Some(Step::Send(next.id.clone()));
        }
        if self.route == Route::Nowhere {
            return None;
        }
        let given_up = outbox.iter().find_map(|one| self.give_up(one));
        given_up.or_else(|| self.send_first_of(false))
    }

    /// Sends the message that gets one more try, or else the next part of the first message in the order.
    /// Long messages wait for everything else that the run can do.
    fn send_first_of(&self, is_long: bool) -> Option<Step> {
        let sending = &self.progress.sending;
        let outbox = self.state.outbox.iter();
        let sendable = outbox.filter(|one| one.is_long() == is_long && self.is_sendable(one));
        let id = match &sending.again {
            _ if !self.can_send() => None,
            Some((id, at)) => (self.elapsed >= *at).then_some(id),
            None => turn::next(sendable, self.state, sending, self.now).map(|one| &one.id),
        };
        id.cloned().map(Step::Send)
    }

    /// Gives up a message that is too old or has failed for good, at most once per run if it cannot be
    /// written to `undelivered/`.
    fn give_up(&self, message: &Message) -> Option<Step> {
        if self.progress.sending.unwritable.contains(&message.id) {
            return None;
        }
        let expired = self.is_expired(message).then(|| "expired".to_owned());
        let reason = message.given_up.clone().or(expired)?;
        // Only after the second channel was tried once.
        if self.config.fallback_command.is_some() && is_for_fallback(message) {
            let mut running = self.progress.handing_over.iter();
            let is_running = running.any(|one| one.id == message.id);
            if message.hand_over.is_none() || is_running {
                return None;
            }
        }
        Some(Step::GiveUp(message.id.clone(), reason))
    }

    /// Hands over a message that Slack did not take in time, critical ones first. Those that the command
    /// failed on before come last, so that one bad message does not delay the others. When this is called, no
    /// message can be sent, unless one is waiting for its one more try.
    fn hand_over(&self) -> Option<Step> {
        let now = self.now;
        let pause = self.state.fallback.as_ref();
        let is_paused = pause.is_some_and(|pause| pause.holds(now));
        let is_busy = self.progress.handing_over.is_some() || self.progress.hand_over_failed;
        let has_command = self.config.fallback_command.is_some() && self.route.announces();
        if !has_command || is_busy || is_paused || self.is_past_its_time() {
            return None;
        }
        let may_go_soon = self.can_send() && self.progress.sending.again.is_some();
        let is_due = |message: &&Message| {
            let has_waited = !within(now, message.waiting_since(), self.config.fallback_after);
            let cannot_go = message.was_tried || !may_go_soon;
            is_for_fallback(message)
                && (has_waited && cannot_go
                    || message.given_up.is_some()
                    || self.is_expired(message))
        };
        let due = self.state.outbox.iter().filter(is_due);
        let first = due.min_by_key(|one| (one.hand_over.is_some(), !one.is_critical()))?;
        Some(Step::HandOver(first.id.clone()))
    }

    fn is_expired(&self, message: &Message) -> bool {
        self.config.is_expired(message.queued_at, self.now)
    }

    fn ask(&self) -> Option<Step> {
        if self.progress.asking.is_some() || self.is_past_its_time() {
            return None;
        }
        let rank = |one: &&Investigation| (!one.is_new(), !one.is_critical());
        let first = self.open().min_by_key(rank);
        let retry = || self.queue().find(|one| self.is_retry_due(one));
        first.or_else(retry).map(|one| Step::Ask(one.id.clone()))
    }

    /// Returns whether a retry is due. The breaker and the budget postpone it.
    fn is_retry_due(&self, one: &Investigation) -> bool {
        let is_due = |retry: &Retry| retry.is_due(self.now) && !retry.is_over(self.now);
        one.retry().is_some_and(is_due)
            && !self.progress.retried.contains(&one.id)
            && self.refusal(one).is_none()
    }

    fn recover(&self) -> Option<Step> {
        let is_due = self.config.tell_recovery && !self.progress.has_recovered;
        (is_due && !self.route.is_printed()).then_some(Step::Recover)
    }

    fn react(&self) -> Option<Step> {
        let has_some = !self.progress.reactions.left.is_empty();
        (has_some && self.can_send() && !self.is_past_its_time()).then_some(Step::React)
    }

    fn notice(&self) -> Option<Step> {
        let quiet = &self.state.logs.get(self.log)?.quiet;
        let is_quiet = self.now.duration_since(quiet.since) >= self.config.quiet_after?;
        let noticed_at = quiet.noticed_at;
        let was_said = noticed_at.is_some_and(|at| within(self.now, at, NOTICE_PERIOD));
        (is_quiet && !was_said && self.route.announces()).then_some(Step::Notice)
    }

    fn wait(&self) -> Step {
        let slack = self.until_slack();
        let progress = self.progress;
        if progress.asking.is_none() && progress.handing_over.is_none() && slack.is_none() {
            return Step::Done;
        }
        let since_look = self.elapsed.saturating_sub(progress.looked);
        let look = (!progress.is_blind).then(|| LOOK_AGAIN.saturating_sub(since_look));
        let due = self.new_ones().filter_map(|one| self.due_in(one)).min();
        // There is no point in waiting for a time that has passed.
        let steps = [look, due, self.time_left(), slack].into_iter().flatten();
        let next = steps.filter(|wait| !wait.is_zero()).min();
        Step::Wait(next.unwrap_or(LOOK_AGAIN))
    }

    /// Returns how long it is until Slack may be asked again, if something waits for that and the run has the
    /// time.
    fn until_slack(&self) -> Option<Duration> {
        let sending = &self.progress.sending;
        if self.route != Route::Slack || sending.has_stopped {
            return None;
        }
        let limited = turn::left(self.state.slack.limited_until, self.now);
        let has_some = || self.state.outbox.iter().any(|one| self.is_sendable(one));
        let limited = limited.filter(|wait| *wait <= turn::LONGEST_WAIT && has_some());
        let has_time = |wait: &Duration| self.time_left().is_none_or(|left| *wait < left);
        let again = sending.again.as_ref();
        // A message that this run has already tried gets its one more try even if time is short.
        match again.map(|(_, at)| at.saturating_sub(self.elapsed)) {
            Some(again) if limited.is_none() => Some(again),
            _ => limited.filter(has_time),
        }
    }
}

/// Returns whether the operator would first hear of an alert through this message and, as far as is known,
/// the fallback command has not got it. If two runs died while handing it over, it counts as handed over.
fn is_for_fallback(message: &Message) -> bool {
    let is_over = |one: &HandOver| one.done.is_some() || one.unended > 1;
    message.is_first_word() && !message.hand_over.as_ref().is_some_and(is_over)
}

/// Returns whether the wakes that have had nothing sent take up less than 1/`share` of the room for them.
pub fn has_room(state: &State, share: usize) -> bool {
    let new = state.queue.iter().filter(|one| one.is_new());
    let (count, bytes) = new.fold((0, 0), |(count, bytes), one| {
        (count + one.alerts.len(), bytes + one.size())
    });
    count < MOST_NEW / share && bytes < MOST_NEW_BYTES / share
}

#[cfg(test)]
mod tests;
