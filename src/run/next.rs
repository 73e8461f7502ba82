//! The order of a run, as a pure function: state, progress and time in, the next step out. After each step
//! the next one is chosen anew, and no step takes long.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::effects::Route;
use super::turn::{self, Sending};
use crate::engine::Reason;
use crate::state::State;
use crate::state::outbox::Message;
use crate::state::queue::Investigation;

/// How often the log is looked at while the engine or Slack is awaited.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// An investigation that so many runs were killed in ends without a question.
const MOST_ATTEMPTS: u32 = 2;
/// After so many wakes in a row whose question found the engine unreachable, the run asks no more.
const MOST_UNREACHABLE: u32 = 2;
const BUDGET_PERIOD: SignedDuration = SignedDuration::from_hours(1);
/// While so many announced investigations, or so many bytes of them, are pending, no more are announced.
const MOST_PENDING: usize = 256;
const MOST_PENDING_BYTES: usize = 4 * 1024 * 1024;
/// Reading stops while so many wakes, or so many bytes of them, have had nothing sent.
pub const MOST_NEW: usize = 256;
pub const MOST_NEW_BYTES: usize = 4 * 1024 * 1024;

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
    /// Say that the log has had no new row for long.
    Notice,
    /// Wait for the engine or for Slack.
    Wait(Duration),
    Done,
}

/// What a run goes by.
#[derive(Clone, Debug)]
pub struct RunRules {
    /// `None` is no limit.
    pub max_runtime: Option<Duration>,
    /// How long an alert waits for its diagnosis; `None` is for ever.
    pub facts_after: Option<SignedDuration>,
    pub has_engine: bool,
    /// Zero is no limit.
    pub questions_per_hour: usize,
    /// `None` is no limit.
    pub outbox_ttl: Option<SignedDuration>,
    pub tell_recovery: bool,
    /// After how long without a row the operator hears of it; `None` is never.
    pub quiet: Option<SignedDuration>,
    /// How long an alert waits for Slack before the fallback command gets it; `None` where there is none.
    pub fallback_after: Option<SignedDuration>,
    pub route: Route,
}

/// What a run has done so far, as far as the next step depends on it. Durations are since its beginning.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Whether the log is looked at no more in this run.
    pub is_blind: bool,
    /// When the log was looked at last, and whether nothing that takes time was done since.
    pub looked: Duration,
    pub is_fresh: bool,
    /// Whether the last look left rows unread, since there was no room for them.
    pub was_full: bool,
    /// The investigation that the engine is asked about, and whether it has answered.
    pub asking: Option<String>,
    pub is_answered: bool,
    /// How many wakes in a row found the engine unreachable, and as what the last time.
    pub unreachable_in_a_row: u32,
    pub unreachable: Option<Reason>,
    /// The investigations that this run queued, and those that it asked about again.
    pub queued: HashSet<String>,
    pub retried: HashSet<String>,
    /// The messages that this run made.
    pub made: HashSet<String>,
    pub sending: Sending,
    /// Whether the snapshot was looked at since anything changed.
    pub has_recovered: bool,
    /// The message that is being handed over, and whether that has failed in this run.
    pub handing_over: Option<String>,
    pub hand_over_failed: bool,
    /// Whether messages are left of which the reactions are to be asked for.
    pub has_reactions: bool,
    /// Since when the log has had no new row, where the operator has not heard of it yet.
    pub quiet_since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub now: Timestamp,
    /// Since the run began.
    pub elapsed: Duration,
}

/// Chooses the next step.
pub fn next(state: &State, progress: &Progress, rules: &RunRules, clock: Clock) -> Step {
    let choice = Choice {
        state,
        progress,
        rules,
        clock,
    };
    let conclude = progress.is_answered.then_some(Step::Conclude);
    conclude
        .or_else(|| choice.look())
        .or_else(|| choice.refuse())
        .or_else(|| choice.announce())
        .or_else(|| choice.send())
        .or_else(|| choice.hand_over())
        .or_else(|| choice.ask())
        .or_else(|| choice.recover())
        .or_else(|| choice.react())
        .or_else(|| choice.notice())
        .or_else(|| choice.send_first_of(true))
        .unwrap_or_else(|| choice.wait())
}

struct Choice<'a> {
    state: &'a State,
    progress: &'a Progress,
    rules: &'a RunRules,
    clock: Clock,
}

impl<'a> Choice<'a> {
    fn is_past_its_time(&self) -> bool {
        let limit = self.rules.max_runtime;
        limit.is_some_and(|limit| self.clock.elapsed >= limit)
    }

    fn look(&self) -> Option<Step> {
        let is_recent = self.clock.elapsed.saturating_sub(self.progress.looked) < LOOK_AGAIN;
        let is_needed = !(self.progress.is_fresh && is_recent) || self.progress.was_full;
        let can_look = !self.progress.is_blind && !self.is_past_its_time() && self.has_room();
        (is_needed && can_look).then_some(Step::Look)
    }

    /// A look may have to pass over all that was read before: after a full one, each should bring many
    /// rows.
    fn has_room(&self) -> bool {
        let share = if self.progress.was_full { 2 } else { 1 };
        let (count, bytes) = room_taken(self.state);
        count < MOST_NEW / share && bytes < MOST_NEW_BYTES / share
    }

    /// What is printed leaves the investigations of earlier runs alone.
    fn is_ours(&self, one: &Investigation) -> bool {
        !self.rules.route.is_printed() || self.progress.queued.contains(&one.id)
    }

    fn is_asking(&self, one: &Investigation) -> bool {
        self.progress.asking.as_ref() == Some(&one.id)
    }

    fn new_ones(&self) -> impl Iterator<Item = &'a Investigation> {
        let queue = self.state.queue.iter();
        queue.filter(|one| one.is_new() && self.is_ours(one))
    }

    /// Why an investigation is not asked about, where that is known without a question.
    fn refusal(&self, one: &Investigation) -> Option<Reason> {
        let now = self.clock.now;
        if !self.rules.has_engine {
            return Some(Reason::EngineUnavailable);
        }
        let is_retry = one.retry().is_some();
        if !is_retry && one.attempts >= MOST_ATTEMPTS {
            return Some(Reason::Interrupted);
        }
        let waited = now.duration_since(one.queued_at);
        if !is_retry && self.rules.outbox_ttl.is_some_and(|ttl| waited > ttl) {
            return Some(Reason::Expired);
        }
        if self.progress.unreachable_in_a_row >= MOST_UNREACHABLE {
            return self.progress.unreachable.clone();
        }
        let most = self.rules.questions_per_hour;
        let asked = self
            .state
            .questions
            .iter()
            .filter(|at| is_in_budget(**at, now));
        (most > 0 && asked.count() >= most).then_some(Reason::BudgetSpent)
    }

    fn refuse(&self) -> Option<Step> {
        let queue = self.state.queue.iter().filter(|one| self.is_ours(one));
        let mut open = queue.filter(|one| one.retry().is_none() && !self.is_asking(one));
        open.find_map(|one| Some(Step::Refuse(one.id.clone(), self.refusal(one)?)))
    }

    /// Announces all new investigations once one of them is due.
    fn announce(&self) -> Option<Step> {
        let length = self
            .rules
            .facts_after
            .filter(|_| self.rules.route.announces())?;
        let pending: Vec<_> = self
            .state
            .queue
            .iter()
            .filter(|one| one.is_pending())
            .collect();
        let mut new: Vec<_> = self.new_ones().collect();
        new.sort_by_key(|one| Reverse(one.severity()));
        let waits = !pending.is_empty() || self.is_past_its_time() || self.has_earlier_messages();
        let is_due = |one: &&Investigation| waits || due_in(one, length, self.clock.now).is_zero();
        if !new.iter().any(is_due) {
            return None;
        }
        let mut count = pending.len();
        let mut bytes: usize = pending.iter().map(|one| one.size()).sum();
        let fits = |one: &&&Investigation| {
            let fits = count < MOST_PENDING && bytes < MOST_PENDING_BYTES || self.is_asking(one);
            (count, bytes) = (count + 1, bytes + one.size());
            fits
        };
        let announced: Vec<_> = new
            .iter()
            .take_while(fits)
            .map(|one| one.id.clone())
            .collect();
        Some(match announced.is_empty() {
            false => Step::Announce(announced),
            true => Step::Refuse(new[0].id.clone(), Reason::Backlog),
        })
    }

    /// Whether messages of earlier runs could be sent now.
    fn has_earlier_messages(&self) -> bool {
        let outbox = self.state.outbox.iter();
        let mut earlier = outbox.filter(|one| !self.progress.made.contains(&one.id));
        self.can_send() && earlier.any(|one| self.is_sendable(one))
    }

    fn can_send(&self) -> bool {
        let sending = &self.progress.sending;
        self.rules.route == Route::Slack
            && !sending.has_stopped
            && turn::limited_for(&self.state.slack, self.clock.now).is_none()
    }

    fn is_sendable(&self, message: &Message) -> bool {
        let is_past = self.is_past_its_time();
        turn::can_go(message, self.state, &self.progress.sending, self.clock.now)
            && (!is_past || self.progress.made.contains(&message.id) && !message.is_long())
    }

    fn send(&self) -> Option<Step> {
        let (route, outbox) = (self.rules.route, &self.state.outbox);
        if route.is_printed() {
            if self.progress.sending.has_stopped {
                return None;
            }
            let is_next = |one: &&Message| {
                let is_made = self.progress.made.contains(&one.id);
                is_made && !self.progress.sending.tried.contains(&one.id)
            };
            return outbox
                .iter()
                .find(is_next)
                .map(|one| Step::Send(one.id.clone()));
        }
        if route == Route::Nowhere {
            return None;
        }
        if let Some(step) = outbox.iter().find_map(|one| self.give_up(one)) {
            return Some(step);
        }
        match &self.progress.sending.again {
            Some((id, at)) if self.can_send() => {
                let is_time = self.clock.elapsed >= *at;
                is_time.then(|| Step::Send(id.clone()))
            }
            _ => self.send_first_of(false),
        }
    }

    /// Sends the next part of the first message in the order; what is long waits for everything else that
    /// the run can do.
    fn send_first_of(&self, is_long: bool) -> Option<Step> {
        let sending = &self.progress.sending;
        if !self.can_send() || sending.again.is_some() {
            return None;
        }
        let outbox = self.state.outbox.iter();
        let sendable = outbox.filter(|one| one.is_long() == is_long && self.is_sendable(one));
        let next = turn::next(sendable, self.state, sending, self.clock.now);
        next.map(|one| Step::Send(one.id.clone()))
    }

    /// Gives up what is too old, and once a run what could not be written to `undelivered/` before.
    fn give_up(&self, message: &Message) -> Option<Step> {
        if self.progress.sending.unwritable.contains(&message.id) {
            return None;
        }
        let expired = self.is_expired(message).then(|| "expired".to_owned());
        let reason = message.given_up.clone().or(expired)?;
        // Only after one try of the second channel.
        if self.rules.fallback_after.is_some() && is_for_fallback(message) {
            let is_running = self.progress.handing_over.as_ref() == Some(&message.id);
            if message.hand_over.is_none() || is_running {
                return None;
            }
        }
        Some(Step::GiveUp(message.id.clone(), reason))
    }

    /// Hands over the most severe of the messages that Slack did not take in time. What the command failed on
    /// before comes after the others, so that one bad message delays nobody. No message can be sent when this
    /// is asked, unless one is about to get its one more try.
    fn hand_over(&self) -> Option<Step> {
        let length = self.rules.fallback_after?;
        let now = self.clock.now;
        let is_paused = self
            .state
            .fallback
            .as_ref()
            .is_some_and(|pause| pause.holds(now));
        let is_busy = self.progress.handing_over.is_some() || self.progress.hand_over_failed;
        let is_past = self.is_past_its_time();
        if is_busy || is_paused || is_past || !self.rules.route.announces() {
            return None;
        }
        let may_go_soon = self.can_send() && self.progress.sending.again.is_some();
        let is_due = |message: &&Message| {
            let waited = now.duration_since(message.waiting_since());
            let has_waited = waited >= length || waited.is_negative();
            let cannot_go = message.was_tried || !may_go_soon;
            is_for_fallback(message)
                && (has_waited && cannot_go
                    || message.given_up.is_some()
                    || self.is_expired(message))
        };
        let due = self.state.outbox.iter().filter(is_due);
        let first = due.min_by_key(|one| (one.hand_over.is_some(), Reverse(one.severity())))?;
        Some(Step::HandOver(first.id.clone()))
    }

    fn is_expired(&self, message: &Message) -> bool {
        let waited = self.clock.now.duration_since(message.queued_at);
        self.rules.outbox_ttl.is_some_and(|ttl| waited > ttl)
    }

    fn ask(&self) -> Option<Step> {
        if self.progress.asking.is_some() || self.is_past_its_time() {
            return None;
        }
        let rank = |one: &&Investigation| match one.retry() {
            None => Some((!one.is_new(), Reverse(Some(one.severity())))),
            Some(_) => None,
        };
        let queue = || self.state.queue.iter().filter(|one| self.is_ours(one));
        let first = queue().filter_map(|one| Some((rank(&one)?, one)));
        let first = first.min_by_key(|(rank, _)| *rank).map(|(_, one)| one);
        let retry = || queue().find(|one| self.is_retry_due(one));
        first.or_else(retry).map(|one| Step::Ask(one.id.clone()))
    }

    /// Breaker and budget postpone a retry.
    fn is_retry_due(&self, one: &Investigation) -> bool {
        let now = self.clock.now;
        let is_due = one
            .retry()
            .is_some_and(|retry| retry.is_due(now) && !retry.is_over(now));
        is_due && !self.progress.retried.contains(&one.id) && self.refusal(one).is_none()
    }

    fn recover(&self) -> Option<Step> {
        let is_due = self.rules.tell_recovery && !self.progress.has_recovered;
        (is_due && !self.rules.route.is_printed()).then_some(Step::Recover)
    }

    fn react(&self) -> Option<Step> {
        let can = self.progress.has_reactions && self.can_send() && !self.is_past_its_time();
        can.then_some(Step::React)
    }

    fn notice(&self) -> Option<Step> {
        let since = self.progress.quiet_since?;
        let is_quiet = self.clock.now.duration_since(since) >= self.rules.quiet?;
        (is_quiet && self.rules.route.announces()).then_some(Step::Notice)
    }

    fn wait(&self) -> Step {
        let limited = turn::limited_for(&self.state.slack, self.clock.now);
        let slack = self.until_slack(limited);
        let progress = self.progress;
        if progress.asking.is_none() && progress.handing_over.is_none() && slack.is_none() {
            return Step::Done;
        }
        let since_look = self.clock.elapsed.saturating_sub(self.progress.looked);
        let look = (!self.progress.is_blind).then(|| LOOK_AGAIN.saturating_sub(since_look));
        let left = self
            .rules
            .max_runtime
            .map(|limit| limit.saturating_sub(self.clock.elapsed));
        let steps = [look, self.until_due(), left, slack];
        // What is over already is awaited no more.
        let steps = steps.into_iter().flatten().filter(|wait| !wait.is_zero());
        Step::Wait(steps.min().unwrap_or(LOOK_AGAIN))
    }

    fn until_due(&self) -> Option<Duration> {
        let length = self
            .rules
            .facts_after
            .filter(|_| self.rules.route.announces())?;
        let due = self
            .new_ones()
            .map(|one| due_in(one, length, self.clock.now))
            .min()?;
        Duration::try_from(due).ok()
    }

    /// How long it is until Slack may be asked again, where something waits for that and the run has the
    /// time.
    fn until_slack(&self, limited: Option<Duration>) -> Option<Duration> {
        let sending = &self.progress.sending;
        if self.rules.route != Route::Slack || sending.has_stopped {
            return None;
        }
        let again = sending
            .again
            .as_ref()
            .map(|(_, at)| at.saturating_sub(self.clock.elapsed));
        let has_some = || self.state.outbox.iter().any(|one| self.is_sendable(one));
        let limited = limited.filter(|wait| *wait <= turn::LONGEST_WAIT && has_some());
        let wait = limited.or(again)?;
        let left = self
            .rules
            .max_runtime
            .map(|limit| limit.saturating_sub(self.clock.elapsed));
        // The one more try of a message that this run has begun with comes all the same.
        (again.is_some() && limited.is_none() || left.is_none_or(|left| wait < left))
            .then_some(wait)
    }
}

/// Whether the operator would hear of an alert by this message, and the fallback command has not got it.
fn is_for_fallback(message: &Message) -> bool {
    let is_over = message.hand_over.as_ref().is_some_and(|one| one.is_over());
    message.is_first_word() && !is_over
}

/// Returns how many wakes have had nothing sent, and how many bytes they take.
pub fn room_taken(state: &State) -> (usize, usize) {
    let new = state.queue.iter().filter(|one| one.is_new());
    new.fold((0, 0), |(count, bytes), one| {
        (count + one.alerts.len(), bytes + one.size())
    })
}

/// Whether a question of this time counts. One in the future is a clock that was set back.
pub fn is_in_budget(asked: Timestamp, now: Timestamp) -> bool {
    let elapsed = now.duration_since(asked);
    !elapsed.is_negative() && elapsed < BUDGET_PERIOD
}

/// Returns how long it is until the facts of an investigation are due. A time in the future is a clock
/// that was set back.
fn due_in(one: &Investigation, length: SignedDuration, now: Timestamp) -> SignedDuration {
    let waited = now.duration_since(one.queued_at);
    match waited.is_negative() {
        true => SignedDuration::ZERO,
        false => length.saturating_sub(waited).max(SignedDuration::ZERO),
    }
}

#[cfg(test)]
mod tests;
