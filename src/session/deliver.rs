//! The outbox's way to the operator. Before a request leaves, a commit says so; what becomes of it
//! is committed behind it. So a run may die anywhere: a DM that is known not to have left is sent as
//! it is, and one that may have left is sent once more with a line that says it may be a repeat.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use log::{info, warn};

use super::Session;
use crate::effects::{Effects, Route, Undelivered};
use crate::message::{self, MAY_BE_REPEAT, with_notes};
use crate::outcome;
use crate::slack::{self, PART_LIMIT, Posted, Thread};
use crate::state::Durability;
use crate::state::outbox::{Begun, Delivery, Dm};

/// The pause before the one more try of a request that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Refused in so many runs, a DM lets the next one go first, to see whose fault it is.
const REFUSALS_IN_DOUBT: u32 = 3;

/// What became of a DM in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryOutcome {
    Delivered,
    /// It went to `undelivered.jsonl`; the next can be sent.
    GivenUp,
    /// It stays queued and the run sends no more.
    Stays,
}

/// Why a request brought no delivery, and what is done about it.
enum Setback {
    /// One more try after this pause, unless this was it.
    Try(Duration, String),
    TryAtTopLevel(String),
    GiveUp(String),
    Stay(String),
}

/// What the next request holds.
struct Part {
    text: String,
    /// How much of the message that is, in bytes.
    length: usize,
    /// The message behind it.
    rest: String,
}

impl<E: Effects> Session<'_, E> {
    /// Delivers what earlier runs left, oldest first.
    pub fn deliver_queue(&mut self) -> Result<()> {
        let route = self.effects.route();
        if matches!(route, Route::Stdout | Route::Report | Route::Nowhere) {
            return Ok(());
        }
        self.give_up_the_expired()?;
        while route == Route::Slack && self.sends && !self.is_past_its_time() {
            let Some(index) = self.next_in_queue() else {
                break;
            };
            let fate = self.deliver_queued(index)?;
            if index > 0 && fate == DeliveryOutcome::Delivered {
                self.judge_oldest()?;
            }
        }
        Ok(())
    }

    fn deliver_queued(&mut self, index: usize) -> Result<DeliveryOutcome> {
        let dm = self.state.outbox[index].clone();
        let fate = self.deliver(index, false)?;
        if fate == DeliveryOutcome::Delivered {
            self.report.outbox.delivered += 1;
            let now = self.effects.now(None);
            self.effects.record(&outcome::delivered(&dm, now));
        }
        Ok(fate)
    }

    /// The DM behind the oldest went through, so that the fault is the oldest one's: unless it was a
    /// wrong token, say, that was mended since. One more try tells.
    fn judge_oldest(&mut self) -> Result<()> {
        let refused_runs = self.state.outbox[0].refused_runs;
        if self.deliver_queued(0)? != DeliveryOutcome::Stays {
            return Ok(());
        }
        let oldest = &self.state.outbox[0];
        if oldest.refused_runs > refused_runs {
            let cause = oldest.cause.clone().unwrap_or_default();
            self.give_up(0, &cause)?;
            self.sends = true;
        }
        Ok(())
    }

    /// The oldest, or the one behind it where the oldest was refused again and again.
    fn next_in_queue(&self) -> Option<usize> {
        let oldest = self.state.outbox.front()?;
        let in_doubt = oldest.refused_runs >= REFUSALS_IN_DOUBT && self.state.outbox.len() > 1;
        Some(usize::from(in_doubt))
    }

    fn give_up_the_expired(&mut self) -> Result<()> {
        let now = self.effects.now(None);
        let is_expired = |dm: &Dm| now.duration_since(dm.queued_at) > self.config.outbox_ttl;
        while let Some(index) = self.state.outbox.iter().position(is_expired) {
            self.give_up(index, "expired")?;
            self.report.outbox.expired += 1;
        }
        Ok(())
    }

    /// Moves a DM to `undelivered.jsonl`, and only then out of the outbox.
    fn give_up(&mut self, index: usize, reason: &str) -> Result<()> {
        let dm = &self.state.outbox[index];
        let row = Undelivered {
            given_up_at: self.effects.now(None),
            reason,
            caller_session_id: dm.caller_session_id(),
            dm,
        };
        self.effects.give_up(&row)?;
        warn!(
            "the DM about {} went to undelivered.jsonl: {reason}",
            dm.probe
        );
        self.state.outbox.remove(index);
        self.report.tally.undelivered += 1;
        self.state.counters.undelivered += 1;
        self.commit(Durability::Full)
    }

    /// Sends a DM, part by part. `announced`: the commit that says it is being sent stands already.
    pub(super) fn deliver(&mut self, index: usize, mut announced: bool) -> Result<DeliveryOutcome> {
        // How much of the message may have arrived already, in bytes.
        let dm = &self.state.outbox[index];
        let mut doubt = if announced { 0 } else { reach(dm) };
        let mut tried = false;
        loop {
            let part = self.next_part(index, doubt > 0);
            if !std::mem::replace(&mut announced, true) {
                self.state.outbox[index].delivery = Delivery::BeingSent;
                self.commit(Durability::Full)?;
            }
            let thread = self.state.outbox[index].thread();
            let posted = self.effects.post(&part.text, thread);
            if matches!(posted, Posted::Unknown { .. }) {
                doubt = doubt.max(part.length);
            }
            let in_thread = thread.is_some();
            match setback(posted) {
                Ok(_) if part.rest.is_empty() => return self.delivered(index),
                Ok(thread) => {
                    self.state.outbox[index].go_on_with(part.rest, thread);
                    doubt = doubt.saturating_sub(part.length);
                    (tried, announced) = (false, false);
                    if self.is_past_its_time() {
                        let cause = "the run's time was over between its parts".to_owned();
                        return self.stays(index, doubt > 0, cause);
                    }
                }
                Err(Setback::Try(pause, _)) if !tried => {
                    self.effects.pause(pause);
                    tried = true;
                }
                Err(Setback::TryAtTopLevel(_)) if in_thread => {
                    self.state.outbox[index].leave_thread();
                }
                Err(Setback::GiveUp(cause)) => {
                    return self
                        .give_up(index, &cause)
                        .map(|()| DeliveryOutcome::GivenUp);
                }
                Err(Setback::Try(_, cause)) => return self.stays(index, doubt > 0, cause),
                Err(Setback::Stay(cause) | Setback::TryAtTopLevel(cause)) => {
                    return self.refused(index, doubt > 0, cause);
                }
            }
        }
    }

    fn delivered(&mut self, index: usize) -> Result<DeliveryOutcome> {
        if let Some(dm) = self.state.outbox.remove(index) {
            info!("the DM about {} was delivered", dm.probe);
        }
        self.state.counters.delivered += 1;
        self.commit(Durability::Full)?;
        Ok(DeliveryOutcome::Delivered)
    }

    fn refused(&mut self, index: usize, doubtful: bool, cause: String) -> Result<DeliveryOutcome> {
        self.state.outbox[index].refused_runs += 1;
        self.stays(index, doubtful, cause)
    }

    fn stays(&mut self, index: usize, doubtful: bool, cause: String) -> Result<DeliveryOutcome> {
        self.sends = false;
        self.state.counters.failed += 1;
        let dm = &mut self.state.outbox[index];
        warn!("the DM about {} stays queued: {cause}", dm.probe);
        dm.delivery = if doubtful {
            Delivery::Unknown
        } else {
            Delivery::Queued
        };
        dm.cause = Some(cause);
        self.commit(Durability::Full)?;
        Ok(DeliveryOutcome::Stays)
    }

    fn next_part(&mut self, index: usize, doubtful: bool) -> Part {
        let now = self.effects.now(None);
        let dm = &self.state.outbox[index];
        match self.effects.route() {
            Route::Slack => part(dm, doubtful, now),
            _ => Part {
                text: whole(dm, now).into_owned(),
                length: 0,
                rest: String::new(),
            },
        }
    }
}

/// The text with its notes; one that was begun has its notes in the text.
fn whole(dm: &Dm, now: Timestamp) -> Cow<'_, str> {
    let late = message::late_note(dm, now);
    let notes: Vec<String> = dm.notes.iter().cloned().chain(late).collect();
    if dm.begun.is_some() || notes.is_empty() {
        return Cow::Borrowed(&dm.text);
    }
    Cow::Owned(with_notes(&dm.text, &notes))
}

/// How much of a message a request that was never answered may have delivered, in bytes. A line
/// about lateness behind it counts for nothing: it is not the same twice.
fn reach(dm: &Dm) -> usize {
    if !dm.may_be_repeat() {
        return 0;
    }
    let message = with_notes(&dm.text, &dm.notes);
    let (_, rest) = slack::next_message(&message, PART_LIMIT);
    message.len() - rest.len()
}

/// Cuts off as much as one Slack message takes. A doubt is told in the very parts that it is about,
/// and since its line takes room, these can be more than there were.
fn part(dm: &Dm, doubtful: bool, now: Timestamp) -> Part {
    let whole = whole(dm, now);
    let room = match doubtful {
        true => PART_LIMIT - MAY_BE_REPEAT.len() - 2,
        false => PART_LIMIT,
    };
    let (part, rest) = slack::next_message(&whole, room);
    // Behind other notes it is one more line of theirs.
    let ends_in_notes = rest.is_empty() && whole.len() > dm.text.len();
    let note = match (doubtful, ends_in_notes) {
        (false, _) => String::new(),
        (true, true) => format!("\n{MAY_BE_REPEAT}"),
        (true, false) => format!("\n\n{MAY_BE_REPEAT}"),
    };
    Part {
        text: format!("{part}{note}"),
        length: whole.len() - rest.len(),
        rest: rest.to_owned(),
    }
}

/// Slack's answer as what is to be done about it.
fn setback(posted: Posted) -> Result<Option<Thread>, Setback> {
    match posted {
        Posted::Delivered(thread) => Ok(thread),
        Posted::NotSent { cause } | Posted::Unknown { cause } => {
            Err(Setback::Try(RETRY_PAUSE, cause))
        }
        Posted::RateLimited { retry_after, cause } => Err(Setback::Try(retry_after, cause)),
        Posted::ThreadGone { cause } => Err(Setback::TryAtTopLevel(cause)),
        Posted::MessageFault { cause } => Err(Setback::GiveUp(cause)),
        Posted::Refused { cause } => Err(Setback::Stay(cause)),
    }
}

impl Dm {
    /// Slack took a part: what follows is its rest, as replies in the first part's thread.
    fn go_on_with(&mut self, rest: String, thread: Option<Thread>) {
        let begun = self.begun.get_or_insert(Begun {
            parts: 0,
            thread: None,
        });
        begun.parts += 1;
        begun.thread = begun.thread.take().or(thread);
        self.text = rest;
        self.notes.clear();
    }

    /// The thread is gone: the rest goes on beside it.
    fn leave_thread(&mut self) {
        if let Some(begun) = &mut self.begun {
            begun.thread = None;
        }
    }
}
