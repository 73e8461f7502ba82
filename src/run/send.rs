//! From the outbox to the operator, one part of one message at a time. Before a request leaves, a commit says
//! how far it may reach; what Slack answered is committed right after. So a run may die anywhere: a part
//! that surely did not leave is sent as it is, and one that may have left is sent once more with a line
//! that says so.

use std::time::Duration;

use anyhow::Result;
use jiff::SignedDuration;
use log::info;

use super::Run;
use super::effects::{Effects, Route};
use super::turn::{self, Failed, Verdict};
use crate::incident::{Incident, Pair};
use crate::logger::warn_lasting;
use crate::message::{self, MAY_BE_REPEAT, continued};
use crate::outcome;
use crate::report::count;
use crate::slack::{PART_LIMIT, Posted, Thread, next_message};
use crate::state::outbox::{Content, Fixed, Message, Place};
use crate::state::{Durability, LogState};

/// The pause before the one more try of a request that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often a request is made in a row while Slack says that it is too many.
const MOST_RATE_LIMITED: u32 = 5;

/// The kind of a problem with which messages stay queued, whether they were tried in this run or not.
const OUTBOX: &str = "outbox";

/// What the next request holds.
struct Part {
    text: String,
    /// Where it ends in the message's text, in bytes.
    end: usize,
    is_last: bool,
}

impl<E: Effects> Run<'_, E> {
    /// Sends the next part of a message.
    pub(super) fn send(&mut self, id: &str) -> Result<()> {
        self.progress.is_fresh = false;
        self.progress.sending.again = None;
        let Some(message) = self.state.message_mut(id) else {
            return Ok(());
        };
        leave_other_operator(message, self.config.slack.operator.as_deref());
        self.fix_text(id);
        if self.rules.route == Route::Report {
            self.put_into_report(id);
            return Ok(());
        }
        let texts = self.effects.texts();
        let Some(message) = self.state.message(id) else {
            return Ok(());
        };
        let Some(part) = next_part(message, texts, self.rules.route) else {
            return self.delivered(id);
        };
        let thread = message.thread().cloned();
        let before = message.fixed.as_ref().map_or(0, |fixed| fixed.reach);
        self.set_reach(id, before.max(part.end));
        self.note_unsaved(Durability::Full);
        self.commit_unsaved()?;
        let posted = self.effects.post(&part.text, thread.as_ref());
        if let Posted::Delivered(own) = posted {
            return self.part_delivered(id, &part, thread.or(own), before);
        }
        if !matches!(posted, Posted::Unknown { .. }) {
            self.set_reach(id, before);
        }
        self.not_delivered(id, &posted, thread.is_some())
    }

    fn set_reach(&mut self, id: &str, reach: usize) {
        if let Some(fixed) = self
            .state
            .message_mut(id)
            .and_then(|one| one.fixed.as_mut())
        {
            fixed.reach = reach;
        }
    }

    /// Makes the text of a message of which nothing may have reached Slack. It says what was held back until
    /// now.
    fn fix_text(&mut self, id: &str) {
        let Some(mut message) = self.state.remove_for_change(id) else {
            return;
        };
        if message.fixed.is_none() {
            if message.content.is_alert() {
                let log = self.state.logs.get_mut(&message.log);
                take_held_back(&mut message, log);
            }
            let lines = self.lines(&message);
            let content = self.loaded(&message.content);
            let text = message::render(&content, &message.place, &lines, self.effects.now());
            if let (Some(id), true) = (message.investigation.clone(), self.keeps_wakes) {
                self.report(&id, |wake| wake.dm_text = Some(text.text.clone()));
            }
            let mut fixed = Fixed::new(text.text, text.further);
            if message.may_have_arrived {
                fixed.reach = 1;
            }
            message.fixed = Some(fixed);
        }
        self.state.put_back(message);
    }

    /// Slack took a part; `thread` is where the next one goes.
    fn part_delivered(
        &mut self,
        id: &str,
        part: &Part,
        mut thread: Option<Thread>,
        reach: usize,
    ) -> Result<()> {
        let now = self.effects.now();
        if let Some(thread) = &mut thread {
            thread.operator.clone_from(&self.config.slack.operator);
        }
        let place = thread.clone().map_or(Place::TopLevel, Place::Thread);
        let Some(fixed) = self.state.message_mut(id).and_then(|one| {
            one.may_have_arrived = false;
            one.cause = None;
            one.fixed.as_mut()
        }) else {
            return Ok(());
        };
        fixed.sent = part.end;
        fixed.reach = reach;
        self.progress.sending.second_try = None;
        fixed.parts += 1;
        fixed.thread = thread;
        if fixed.parts == 1 {
            self.state.settle(id, Some(&place));
        }
        let sending = &mut self.progress.sending;
        let at_fault = match self.rules.route {
            Route::Slack => {
                let state = &mut self.state;
                turn::note_delivery(id, &mut state.outbox, &mut state.slack, sending, now)
            }
            _ => None,
        };
        if let Some(message) = at_fault.and_then(|id| self.state.message_mut(&id)) {
            message.given_up.clone_from(&message.cause);
        }
        self.note_unsaved(Durability::Full);
        match part.is_last {
            true => self.delivered(id),
            false => self.commit_unsaved(),
        }
    }

    fn delivered(&mut self, id: &str) -> Result<()> {
        let now = self.effects.now();
        self.record(id, true);
        self.note_unsaved(Durability::Full);
        let Some(message) = self.state.remove_message(id) else {
            return Ok(());
        };
        self.state.counters.delivered += 1;
        // Committed before the next effect: one that is killed before it sends this again, marked.
        info!(
            "the message about {} was delivered",
            message.subject().probe
        );
        let was_made = self.progress.made.contains(id);
        match was_made {
            true => {
                self.report.tally.sent += message.content.alerts().len() as u64;
                self.report.tally.sent_messages += 1;
            }
            false => self.report.outbox.delivered += 1,
        }
        if message.is_recorded_unsent {
            for row in outcome::delivered(&message, now) {
                self.record_row(&row);
            }
        }
        self.report_earlier(&message);
        self.report_sent(id);
        Ok(())
    }

    /// Adds the wakes of a message that an earlier run queued to the report.
    fn report_earlier(&mut self, message: &Message) {
        let is_first = match message.content {
            Content::Alert { .. } => false,
            Content::Announcement { .. } | Content::Result { .. } => true,
            _ => return,
        };
        let Some(id) = &message.investigation else {
            return;
        };
        if !self.reported.contains_key(id) {
            self.report_wakes(id, message.content.alerts(), is_first);
            let text = self.text_for_report(message);
            self.report(id, |wake| {
                wake.messages.push(message.id.clone());
                wake.dm_text.clone_from(&text);
            });
        }
    }

    /// The report has its text now. It stays queued until that is printed: see [`Run::report_is_out`].
    fn put_into_report(&mut self, id: &str) {
        self.progress.sending.tried.insert(id.to_owned());
        if let Some(message) = self.state.message_mut(id) {
            message.unfix();
            self.report.tally.sent += message.content.alerts().len() as u64;
        }
        self.report_sent(id);
    }

    fn report_sent(&mut self, id: &str) {
        let wakes = self.report.wakes.iter_mut();
        for wake in wakes.filter(|wake| wake.messages.iter().any(|one| one == id)) {
            wake.dm_sent = true;
        }
    }

    /// A request that did not deliver: one more try, a verdict, or the end of sending.
    fn not_delivered(&mut self, id: &str, posted: &Posted, in_thread: bool) -> Result<()> {
        let now = self.effects.now();
        let elapsed = self.begun.elapsed();
        let cause = posted.cause().to_owned();
        let sending = &mut self.progress.sending;
        if !matches!(posted, Posted::RateLimited { .. }) {
            sending.limited_in_a_row = 0;
        }
        match posted {
            Posted::RateLimited { retry_after, .. } => {
                sending.limited_in_a_row += 1;
                let until =
                    now.checked_add(SignedDuration::try_from(*retry_after).unwrap_or_default());
                self.state.slack.limited_until = until.ok();
                let goes_on = sending.limited_in_a_row < MOST_RATE_LIMITED
                    && *retry_after <= turn::LONGEST_WAIT;
                sending.has_stopped |= !goes_on;
                if goes_on {
                    return self.untried(id, cause);
                }
            }
            Posted::ThreadGone { .. } if in_thread => {
                sending.again = Some((id.to_owned(), elapsed));
                if let Some(message) = self.state.message_mut(id) {
                    message.leave_thread();
                }
                return self.untried(id, cause);
            }
            Posted::MessageFault { .. } => {
                self.note_tried(id, &cause);
                if let Some(message) = self.state.message_mut(id) {
                    message.given_up = Some(cause);
                }
                return self.commit_unsaved();
            }
            Posted::NotSent { .. } | Posted::Unknown { .. }
                if sending.second_try.as_deref() != Some(id) =>
            {
                sending.second_try = Some(id.to_owned());
                sending.again = Some((id.to_owned(), elapsed + RETRY_PAUSE));
                return self.untried(id, cause);
            }
            Posted::NotSent { .. } | Posted::Settings { .. } => {
                sending.has_stopped = true;
                sending.is_slack_at_fault = true;
            }
            Posted::Unknown { .. } => self.judge(id, Failed::Unknown, &cause),
            // What stdout does not take says nothing about Slack.
            _ if self.rules.route.is_printed() => sending.has_stopped = true,
            _ => self.judge(id, Failed::Refused, &cause),
        }
        self.state.counters.failed += 1;
        self.note_tried(id, &cause);
        let about = self
            .state
            .message(id)
            .map(|message| message.subject().probe);
        let about = about.unwrap_or_default();
        let next_step = match posted {
            Posted::Settings { .. } => "; see: probe-wake check",
            _ => "",
        };
        let warning = format!("the message about {about} stays queued: {cause}{next_step}");
        warn_lasting(OUTBOX, &cause, &warning);
        self.commit_unsaved()
    }

    /// It is tried again in this run.
    fn untried(&mut self, id: &str, cause: String) -> Result<()> {
        if let Some(message) = self.state.message_mut(id) {
            message.cause = Some(cause);
            message.unfix();
        }
        self.note_unsaved(Durability::Full);
        self.commit_unsaved()
    }

    fn note_tried(&mut self, id: &str, cause: &str) {
        self.progress.sending.tried.insert(id.to_owned());
        if let Some(message) = self.state.message_mut(id) {
            message.was_tried = true;
            message.cause = Some(cause.to_owned());
            message.unfix();
        }
        self.record(id, false);
        self.note_unsaved(Durability::Full);
    }

    fn judge(&mut self, id: &str, how: Failed, cause: &str) {
        let now = self.effects.now();
        let state = &mut self.state;
        let Some(message) = state.outbox.iter_mut().find(|message| message.id == id) else {
            return;
        };
        let sending = &mut self.progress.sending;
        match turn::note_failure(message, &mut state.slack, sending, how, now) {
            Verdict::GiveUp => message.given_up = Some(cause.to_owned()),
            Verdict::Slack => sending.is_slack_at_fault = true,
            Verdict::Open | Verdict::Message => {}
        }
    }

    /// Writes the outcome rows of a message's investigation, unless they were written.
    pub(super) fn record(&mut self, id: &str, is_sent: bool) {
        let now = self.effects.now();
        let Some(mut message) = self.state.remove_for_change(id) else {
            return;
        };
        if let Some(record) = message.record.take() {
            let content = self.loaded(&message.content);
            let mut log = self.state.logs.get_mut(&message.log);
            let mut rows = Vec::new();
            for (index, alert) in content.alerts().iter().enumerate() {
                let incident = log.as_mut().and_then(|log| incident(log, &alert.wake));
                let ended = outcome::Ended {
                    message: &message,
                    content: &content,
                    index,
                    record: &record,
                    is_sent,
                };
                rows.push(outcome::completed(&ended, incident.as_deref(), now));
                if let Some(incident) = incident {
                    incident.take_unrecorded();
                }
            }
            rows.iter().for_each(|row| self.record_row(row));
            message.is_recorded_unsent = !is_sent;
            self.note_unsaved(Durability::Full);
        }
        self.state.put_back(message);
    }

    /// Writes the outcome rows of messages that were not tried in this run.
    pub(super) fn record_the_rest(&mut self) {
        let outbox = &self.state.outbox;
        let unrecorded = outbox.iter().take(outbox.len() - self.in_report);
        let unrecorded = unrecorded.filter(|message| message.record.is_some());
        let ids: Vec<_> = unrecorded.map(|message| message.id.clone()).collect();
        ids.iter().for_each(|id| self.record(id, false));
    }

    /// Warns of messages that stay queued although nothing was said of them in this run.
    pub(super) fn warn_of_pending(&mut self) {
        let outbox = &self.state.outbox;
        let sending = &self.progress.sending;
        let (why, number) = match self.rules.route {
            Route::SlackWithout(variable) => (format!("{variable} is not set"), outbox.len()),
            Route::Stdout if sending.has_stopped => return,
            Route::Stdout | Route::Report => (
                "what earlier runs queued is for Slack".to_owned(),
                outbox.len() - self.in_report,
            ),
            Route::Slack if !sending.has_stopped => {
                let is_unsaid = |message: &&Message| {
                    let is_said = sending.tried.contains(&message.id) || message.given_up.is_some();
                    !is_said && !matches!(message.place, Place::After(_))
                };
                let unsaid = outbox.iter().filter(is_unsaid);
                let limit = self.rules.max_runtime;
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
            warn_lasting(OUTBOX, &why, &format!("{messages} queued: {why}"));
        }
    }
}

/// Ignores a thread that was opened with another operator.
fn leave_other_operator(message: &mut Message, operator: Option<&str>) {
    let other =
        |thread: &Thread| thread.operator.is_some() && thread.operator.as_deref() != operator;
    if message.thread().is_some_and(other) {
        message.leave_thread();
        message.unfix();
    }
}

/// Moves what was held back about a message's incidents into the message.
fn take_held_back(message: &mut Message, log: Option<&mut LogState>) {
    let Some(log) = log else {
        return;
    };
    for alert in message.content.alerts_mut() {
        // Another one may have begun since.
        let is_its = |one: &&mut Incident| one.first_wake == alert.dispatch.since;
        if let Some(incident) = incident(log, &alert.wake).filter(is_its) {
            alert.held_back.merge(incident.take_held_back());
        }
    }
}

fn incident<'a>(
    log: &'a mut LogState,
    wake: &crate::audit::wake::Wake,
) -> Option<&'a mut Incident> {
    log.incidents.get_mut(&Pair::of(wake))
}

/// Cuts off as much as one request takes; `None` where nothing is left. The doubt whether a part has arrived
/// stands in that very part, and its line makes it longer, so that there can be more parts than before.
fn next_part(message: &Message, texts: &crate::state::Folder, route: Route) -> Option<Part> {
    let fixed = message.fixed.as_ref()?;
    let text = fixed.text.load(texts);
    if route != Route::Slack {
        return Some(Part {
            text: text.clone().into_owned(),
            end: text.len(),
            is_last: true,
        });
    }
    let stop = if fixed.sent < fixed.further {
        fixed.further
    } else {
        text.len()
    };
    // A file that is lost is shorter.
    let left = text
        .get(fixed.sent..stop)
        .or_else(|| text.get(fixed.sent..))?;
    let head = match fixed.parts > 0 && fixed.thread.is_none() {
        true => continued(&message.subject().probe),
        false => String::new(),
    };
    let is_doubtful = fixed.reach > fixed.sent;
    let doubt = if is_doubtful {
        MAY_BE_REPEAT.len() + 2
    } else {
        0
    };
    let limit = PART_LIMIT - head.chars().count() - doubt;
    let (part, rest) = next_message(left, limit);
    if part.trim().is_empty() {
        return None;
    }
    let end = fixed.sent + left.len() - rest.len();
    let is_last = text.get(end..).is_none_or(|rest| rest.trim().is_empty());
    // It stands directly below the status line that ends an alert.
    let note = match (is_doubtful, end == text.len() && !message.is_reply()) {
        (false, _) => String::new(),
        (true, true) => format!("\n{MAY_BE_REPEAT}"),
        (true, false) => format!("\n\n{MAY_BE_REPEAT}"),
    };
    Some(Part {
        text: format!("{head}{}{note}", part.trim_end_matches('\n')),
        end,
        is_last,
    })
}
