//! From the outbox to the operator, one part of one message at a time. Before a request leaves, a commit
//! notes how far it may reach; Slack's answer is committed right after it. So a run may die anywhere: a part
//! that certainly did not leave is sent as it is, and one that may have left is sent again with a line that
//! says so.

use std::time::Duration;

use anyhow::Result;
use jiff::SignedDuration;
use log::info;

use super::effects::Route;
use super::{Run, incident_of, turn};
use crate::logger::warn_lasting;
use crate::message::{self, MAY_BE_REPEAT, Rendered};
use crate::outcome;
use crate::report::count;
use crate::slack::{NotPosted, PART_LIMIT, Thread, Trouble, next_message};
use crate::state::Folder;
use crate::state::outbox::{Fixed, Message, Place};
use crate::time::{full, span};

/// The pause before the one more try of a request that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The most requests in a row that Slack may answer with a rate limit.
const MOST_RATE_LIMITED: u32 = 5;

/// The kind of the warnings about messages that stay queued, whether or not this run tried them.
const OUTBOX: &str = "outbox";

/// The part of a message that goes into the next request.
#[derive(Clone, Copy)]
struct Part {
    /// Where it ends in the message's text, in bytes.
    end: usize,
    is_last: bool,
}

impl Run<'_> {
    /// Sends the next part of a message.
    pub(super) fn send(&mut self, id: &str) -> Result<()> {
        self.progress.is_fresh = false;
        self.progress.sending.again = None;
        let Some(at) = self.state.position(id) else {
            return Ok(());
        };
        self.with_message(at, Self::fix_text);
        let route = self.route;
        let message = &mut self.state.outbox[at];
        if route == Route::Report {
            // It stays queued until the report is printed: see `report_is_out`.
            message.unfix();
            self.progress.sending.tried.insert(id.to_owned());
            self.report.tally.sent += message.content.alerts().len() as u64;
            self.with_message(at, |run, message| run.report_sent(message));
            return Ok(());
        }
        let Some((text, part)) = next_part(message, self.store.texts(), route) else {
            return self.delivered(at);
        };
        let thread = message.thread().cloned();
        let before = message.fixed.as_ref().map_or(0, |fixed| fixed.reach);
        message.set_reach(before.max(part.end));
        self.commit()?;
        let text = match self.clock {
            Some(clock) => format!("{}\n{text}", full(clock)),
            None => text,
        };
        let posted = self.effects.post(&text, thread.as_ref());
        if posted.as_ref().err().map(|error| error.trouble) != Some(Trouble::Unknown) {
            self.state.outbox[at].set_reach(before);
        }
        match posted {
            Ok(own) => self.part_delivered(at, part, thread.or(own)),
            Err(failed) => self.not_delivered(at, failed, thread.is_some()),
        }
    }

    /// Makes the text of a message, unless a part of it may have reached Slack. It says what was held back
    /// until now.
    fn fix_text(&mut self, message: &mut Message) {
        let operator = &self.config.slack.operator;
        let is_other = |thread: &Thread| thread.operator.is_some() && thread.operator != *operator;
        if message.thread().is_some_and(is_other) {
            message.leave_thread();
            message.unfix();
        }
        if message.fixed.is_some() {
            return;
        }
        if message.content.is_alert() {
            let mut log = self.state.logs.get_mut(&message.log);
            for alert in message.content.alerts_mut() {
                if let Some(incident) = incident_of(log.as_deref_mut(), alert) {
                    alert.held_back.merge(incident.take_held_back());
                }
            }
        }
        let is_reported = |id: &String| self.reported.contains_key(id);
        if message.investigation.as_ref().is_some_and(is_reported) {
            self.report_message(message);
        }
        let Rendered { text, further } = self.render(message);
        let mut fixed = Fixed::new(text, further);
        fixed.reach = usize::from(message.may_have_arrived);
        message.fixed = Some(fixed);
    }

    /// Returns the text of a message as it would be sent now.
    pub(super) fn render(&self, message: &Message) -> Rendered {
        let lines = self.lines(message);
        let mut content = message.content.clone();
        content.load_texts(self.store.texts());
        message::render(&content, &message.place, &lines, self.now())
    }

    /// Notes that Slack took a part; `thread` is where the next one goes.
    fn part_delivered(&mut self, at: usize, part: Part, thread: Option<Thread>) -> Result<()> {
        let operator = self.config.slack.operator.clone();
        let thread = thread.map(|thread| Thread { operator, ..thread });
        let (now, route) = (self.now(), self.route);
        let sending = &mut self.progress.sending;
        sending.second_try = None;
        let message = &mut self.state.outbox[at];
        let id = message.id.clone();
        message.may_have_arrived = false;
        message.cause = None;
        if let Some(fixed) = &mut message.fixed {
            fixed.sent = part.end;
            fixed.parts += 1;
            fixed.thread.clone_from(&thread);
        }
        if message.parts() == 1 {
            let place = thread.map_or(Place::TopLevel, Place::Thread);
            self.state.settle(&id, Some(&place));
        }
        if route == Route::Slack {
            turn::note_delivery(&id, &mut self.state, sending, now);
        }
        match part.is_last {
            true => self.delivered(at),
            false => self.commit(),
        }
    }

    /// Takes a delivered message out of the outbox. This is committed before the next effect: if the run is
    /// killed before that, the message is sent again, marked as a possible repeat.
    fn delivered(&mut self, at: usize) -> Result<()> {
        self.record(at, true);
        self.note_change();
        let Some(message) = self.state.outbox.remove(at) else {
            return Ok(());
        };
        self.state.counters.delivered += 1;
        let probe = message.subject().probe;
        info!("the message about {probe} was delivered");
        match self.progress.made.contains(&message.id) {
            true => {
                self.report.tally.sent += message.content.alerts().len() as u64;
                self.report.tally.sent_messages += 1;
            }
            false => self.report.outbox.delivered += 1,
        }
        if message.is_recorded_unsent {
            for row in outcome::delivered(&message, self.now()) {
                self.record_row(&row);
            }
        }
        self.report_sent(&message);
        Ok(())
    }

    /// Handles a request that did not deliver: it leads to one more try, a verdict, or the end of sending.
    fn not_delivered(&mut self, at: usize, failed: NotPosted, in_thread: bool) -> Result<()> {
        let (now, elapsed) = (self.now(), self.begun.elapsed());
        let NotPosted { trouble, cause } = failed;
        let is_printed = self.route.is_printed();
        let message = &mut self.state.outbox[at];
        let (id, about) = (message.id.clone(), message.subject().probe);
        message.cause = Some(cause.clone());
        message.unfix();
        let sending = &mut self.progress.sending;
        let in_a_row = std::mem::take(&mut sending.limited_in_a_row) + 1;
        let is_tried_again = match trouble {
            Trouble::RateLimited(length) => {
                sending.limited_in_a_row = in_a_row;
                self.state.slack.limited_until = now.checked_add(length).ok();
                in_a_row < MOST_RATE_LIMITED && length <= turn::LONGEST_WAIT
            }
            Trouble::ThreadGone if in_thread => {
                sending.again = Some((id.clone(), elapsed));
                message.leave_thread();
                true
            }
            Trouble::NotSent | Trouble::Unknown if sending.second_try.as_ref() != Some(&id) => {
                sending.second_try = Some(id.clone());
                sending.again = Some((id.clone(), elapsed + RETRY_PAUSE));
                true
            }
            _ => false,
        };
        if is_tried_again {
            return self.commit();
        }
        sending.tried.insert(id);
        message.was_tried = true;
        match trouble {
            Trouble::MessageFault => message.give_up(cause.clone()),
            Trouble::NotSent | Trouble::Settings => {
                sending.has_stopped = true;
                sending.is_slack_at_fault = true;
            }
            Trouble::RateLimited(_) => sending.has_stopped = true,
            // A failure of stdout says nothing about Slack.
            _ if is_printed => sending.has_stopped = true,
            _ => turn::note_failure(message, &mut self.state.slack, sending, trouble, now),
        }
        self.record(at, false);
        if trouble != Trouble::MessageFault {
            self.state.counters.failed += 1;
            let next_step = match trouble {
                Trouble::Settings => "; see: probe-wake check",
                _ => "",
            };
            let warning = format!("the message about {about} stays queued: {cause}{next_step}");
            warn_lasting(OUTBOX, &cause, &warning);
        }
        self.commit()
    }

    /// Writes the outcome rows of a message's investigation, unless that was done already.
    pub(super) fn record(&mut self, at: usize, is_sent: bool) {
        let now = self.now();
        self.with_message(at, |run, message| {
            let Some(record) = message.record.take() else {
                return;
            };
            let (texts, log) = (run.store.texts(), run.state.logs.get_mut(&message.log));
            let rows = outcome::of_investigation(message, &record, is_sent, texts, log, now);
            rows.iter().for_each(|row| run.record_row(row));
            message.is_recorded_unsent = !is_sent;
            run.note_change();
        });
    }

    /// Warns of messages that stay queued and that this run has not mentioned yet. `pending` is how many are
    /// queued.
    pub(super) fn warn_of_pending(&self, pending: usize) {
        let sending = &self.progress.sending;
        let (why, number) = match self.route {
            Route::SlackWithout(variable) => (format!("{variable} is not set"), pending),
            Route::Stdout if sending.has_stopped => return,
            Route::Stdout | Route::Report => {
                ("what earlier runs queued is for Slack".to_owned(), pending)
            }
            Route::Slack if !sending.has_stopped => {
                let is_unsaid = |message: &&Message| {
                    let is_said = sending.tried.contains(&message.id) || message.given_up.is_some();
                    !is_said && !matches!(message.place, Place::After(_))
                };
                let unsaid = self.state.outbox.iter().filter(is_unsaid);
                let limit = self.config.max_runtime;
                let is_past = limit.is_some_and(|limit| self.begun.elapsed() >= limit);
                let mut causes = unsaid.clone().filter(|_| !is_past);
                let cause = causes.find_map(|one| one.cause.as_deref());
                let cause = cause.unwrap_or("the run's time was over");
                (cause.to_owned(), unsaid.count())
            }
            _ => return,
        };
        if number > 0 {
            let messages = count(number as u64, "message stays", "messages stay");
            let left = turn::left(self.state.slack.paused_until, self.now());
            let left = left.and_then(|left| SignedDuration::try_from(left).ok());
            let next = left.map(|left| format!("; the next try is in {}", span(left)));
            let next = next.unwrap_or_default();
            warn_lasting(OUTBOX, &why, &format!("{messages} queued: {why}{next}"));
        }
    }
}

impl Message {
    fn set_reach(&mut self, reach: usize) {
        if let Some(fixed) = &mut self.fixed {
            fixed.reach = reach;
        }
    }
}

/// Returns as much of the text as one request takes; `None` if nothing is left. A part that may be a repeat
/// says so itself, and that line takes up room, so that there can be more parts than before.
fn next_part(message: &Message, texts: &Folder, route: Route) -> Option<(String, Part)> {
    let fixed = message.fixed.as_ref()?;
    let text = fixed.text.load(texts);
    if route != Route::Slack {
        let (end, is_last) = (text.len(), true);
        return Some((text.into_owned(), Part { end, is_last }));
    }
    // If the text's file is lost, the text is shorter.
    let left = text.get(fixed.sent..fixed.further);
    let left = left.filter(|left| !left.is_empty());
    let left = left.or_else(|| text.get(fixed.sent..))?;
    let head = match fixed.parts > 0 && fixed.thread.is_none() {
        true => format!("{} (continued)\n", message.subject().probe),
        false => String::new(),
    };
    let doubt = message.may_be_repeat().then_some(MAY_BE_REPEAT);
    let room = PART_LIMIT - head.chars().count() - doubt.map_or(0, |line| line.len() + 2);
    let (part, rest) = next_message(left, room);
    if part.trim().is_empty() {
        return None;
    }
    let end = fixed.sent + left.len() - rest.len();
    // It goes directly below the status line that ends an alert.
    let note = match (doubt, end == text.len() && !message.is_reply()) {
        (None, _) => String::new(),
        (Some(line), true) => format!("\n{line}"),
        (Some(line), false) => format!("\n\n{line}"),
    };
    let is_last = text.get(end..).is_none_or(|rest| rest.trim().is_empty());
    let part = format!("{head}{}{note}", part.trim_end_matches('\n'));
    Some((part, Part { end, is_last }))
}
