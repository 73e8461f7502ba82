//! Decides whose turn it is in the outbox, and whose fault it is when a message cannot be sent: the message's
//! or Slack's. Pure.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::slack::Trouble;
use crate::state::outbox::{Message, Pause, Place};
use crate::state::{SlackState, State};
use crate::time::within;

/// The longest that a run waits for Slack.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// No rate limit is longer, nor is the pause after a run in which Slack was at fault: an end further ahead
/// means that the clock was set back.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);
/// After this many counted failures a message is given up.
const MOST_FAULTS: u32 = 5;
/// A message's failures are counted at most this often.
const FAULT_PERIOD: SignedDuration = SignedDuration::from_mins(1);
/// After an unknown answer, a message that never failed is sent at most this often just to see whether Slack
/// is well.
const WITNESS_PERIOD: SignedDuration = SignedDuration::from_mins(10);

/// What a run has found out about Slack.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// Whether this run has stopped sending.
    pub has_stopped: bool,
    /// Whether Slack or the settings were at fault.
    pub is_slack_at_fault: bool,
    /// The messages that Slack took, in whole or in part.
    pub taken: HashSet<String>,
    /// The message whose failure may be its own fault, and how it failed.
    pub suspect: Option<(String, Trouble)>,
    /// A message that gets one more try, and when, counted from the start of the run.
    pub again: Option<(String, Duration)>,
    /// The message that had its one more try.
    pub second_try: Option<String>,
    /// How many times in a row Slack has answered with a rate limit.
    pub limited_in_a_row: u32,
    /// Messages that were tried and stay queued.
    pub tried: HashSet<String>,
    /// Messages that could not be written to `undelivered/`.
    pub unwritable: HashSet<String>,
}

/// Returns whether nothing about this message keeps it from being sent now.
pub fn can_go(message: &Message, state: &State, sending: &Sending, now: Timestamp) -> bool {
    let is_paused = message.pause.as_ref().is_some_and(|pause| pause.holds(now));
    let is_slack_paused = left(state.slack.paused_until, now).is_some();
    !matches!(message.place, Place::After(_))
        && message.given_up.is_none()
        && !message.is_retried
        && !sending.tried.contains(&message.id)
        && !is_paused
        && !(is_slack_paused && message.was_tried && sending.taken.is_empty())
}

/// Returns for how much longer Slack is left alone; `None` if it is not.
pub fn left(until: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let left = until?.duration_since(now);
    let left = Some(left).filter(|left| left.is_positive() && *left <= LONGEST_PAUSE)?;
    left.try_into().ok()
}

/// Returns which of the sendable messages goes next: the first in the order or, if one is suspected, another
/// that shows whose fault it was.
pub fn next<'a>(
    sendable: impl Iterator<Item = &'a Message>,
    state: &State,
    sending: &Sending,
    now: Timestamp,
) -> Option<&'a Message> {
    // Whether a message that never failed was recently sent just to see whether Slack is well.
    let witness_at = state.slack.witness_at;
    let has_witness = witness_at.is_some_and(|at| within(now, at, WITNESS_PERIOD));
    let may_go = |(_, message): &(usize, &Message)| match &sending.suspect {
        None => true,
        Some((_, Trouble::Unknown)) if has_witness => {
            state.slack.witness.as_ref() == Some(&message.id)
        }
        Some(_) => !message.has_failed,
    };
    let sendable = sendable.enumerate().filter(may_go);
    let next = sendable.min_by_key(|(index, message)| order(message, *index));
    next.map(|(_, message)| message)
}

/// Returns the sort key. The messages by which the operator first hears of an alert come first, critical ones
/// before others, then by dispatch; then replies in the order they were queued; then further parts. Messages
/// that were at fault themselves go last.
fn order(message: &Message, index: usize) -> impl Ord + use<> {
    let class = match message {
        one if one.is_first_word() => 0,
        one if one.parts() == 0 => 1,
        one if !one.is_long() => 2,
        _ => 3,
    };
    let alerts = message.content.alerts().iter();
    let rank = (class == 0).then(|| {
        let dispatched = alerts.map(|alert| alert.dispatched_at).min();
        (!message.is_critical(), dispatched)
    });
    (message.faults > 0, class, rank, index)
}

/// Notes that a message was refused or its answer stayed unknown. If Slack took another message, this one is
/// at fault. If Slack failed on another one, too, Slack is at fault, and the run stops sending. Otherwise
/// another message has to show which it is.
pub fn note_failure(
    message: &mut Message,
    slack: &mut SlackState,
    sending: &mut Sending,
    trouble: Trouble,
    now: Timestamp,
) {
    let never_failed = !message.has_failed;
    message.has_failed = true;
    if trouble == Trouble::Unknown {
        message.pause = Some(Pause::after(message.pause.as_ref(), now));
    }
    if sending.taken.iter().any(|id| *id != message.id) {
        return count_fault(message, now);
    }
    let Some((_, suspected)) = sending.suspect else {
        sending.suspect = Some((message.id.clone(), trouble));
        return;
    };
    if suspected == Trouble::Unknown {
        slack.witness = Some(message.id.clone());
        if never_failed {
            slack.witness_at = Some(now);
        }
    }
    sending.has_stopped = true;
    sending.is_slack_at_fault = true;
}

/// Notes that Slack took a message or a part of it.
pub fn note_delivery(id: &str, state: &mut State, sending: &mut Sending, now: Timestamp) {
    sending.taken.insert(id.to_owned());
    sending.limited_in_a_row = 0;
    state.slack = SlackState::default();
    let suspect = sending.suspect.take().map(|(id, _)| id);
    for message in &mut state.outbox {
        let is_due = !sending.tried.contains(&message.id);
        if let Some(pause) = message.pause.as_mut().filter(|_| is_due) {
            pause.until = pause.until.min(now);
        }
        if suspect.as_ref() == Some(&message.id) {
            count_fault(message, now);
        }
    }
}

/// Counts a fault of a message, and gives the message up if there were too many.
fn count_fault(message: &mut Message, now: Timestamp) {
    let at = message.fault_at;
    if !at.is_some_and(|at| within(now, at, FAULT_PERIOD)) {
        message.faults += 1;
        message.fault_at = Some(now);
    }
    if message.faults >= MOST_FAULTS {
        message.give_up(message.cause.clone().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
