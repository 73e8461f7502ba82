//! From an answer, or the reason why there was no question, to a message: the investigation leaves the
//! queue in the commit that has its result in the outbox.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use log::warn;

use super::Run;
use super::ask::{Asking, log_end};
use super::effects::Effects;
use crate::audit::seams::{AUTOFIX_SEAM, Row, for_each_line_of_log, for_each_row};
use crate::engine::{Answer, Failure, Reason};
use crate::message;
use crate::state::outbox::{Content, Message, Outcome, Place, PromptSize, Record};
use crate::state::queue::{Investigation, Retry, Stage};
use crate::state::text::load_wake;
use crate::state::{Durability, EngineFailure};

/// The most investigations that are retried, and the most bytes of them where there is more than one.
const MOST_RETRIES: usize = 64;
const MOST_RETRY_BYTES: usize = 4 * 1024 * 1024;

/// What an investigation comes to.
struct Ending {
    answer: Answer,
    /// `None`: nothing was asked.
    prompt: Option<PromptSize>,
    took: Duration,
    autofix_attempted: bool,
}

impl<E: Effects> Run<'_, E> {
    /// Ends the investigation that was asked about.
    pub(super) fn conclude(&mut self) -> Result<()> {
        self.progress.is_fresh = false;
        self.progress.asking = None;
        let Some((asking, answered)) = self.asking.take().zip(self.answered.take()) else {
            return Ok(());
        };
        self.note_answer(&asking, &answered.answer);
        let asked = answered.asked_at..=self.effects.now();
        let log = &self.config.paths.audit_log;
        let autofix_attempted = autofix_attempted(log, asking.log_end, &asking.session, &asked);
        let ending = Ending {
            answer: answered.answer,
            prompt: Some(asking.prompt_size),
            took: answered.took,
            autofix_attempted,
        };
        self.end(&asking.id, ending);
        Ok(())
    }

    /// Ends an investigation without a question.
    pub(super) fn refuse(&mut self, id: &str, reason: Reason) -> Result<()> {
        let ending = Ending {
            answer: Answer::without(reason),
            prompt: None,
            took: Duration::ZERO,
            autofix_attempted: false,
        };
        self.end(id, ending);
        Ok(())
    }

    fn note_answer(&mut self, asking: &Asking, answer: &Answer) {
        let failure = answer.result.as_ref().err();
        let unreachable = failure.filter(|failure| failure.reason.is_unreachable());
        let in_a_row = &mut self.progress.unreachable_in_a_row;
        *in_a_row = unreachable.map_or(0, |_| *in_a_row + 1);
        self.progress.unreachable = unreachable.map(|failure| failure.reason.clone());
        let label = failure.map_or("answered", |failure| failure.reason.label());
        self.state.counters.note_engine_call(label);
        let before = self
            .state
            .last_failure
            .as_ref()
            .map_or(0, |one| one.in_a_row);
        self.state.last_failure = failure.map(|failure| EngineFailure {
            at: asking.asked_at,
            caller_session_id: asking.session.clone(),
            reason: failure.reason.to_string(),
            message: failure.message.clone(),
            in_a_row: before + 1,
        });
    }

    fn end(&mut self, id: &str, ending: Ending) {
        let now = self.effects.now();
        self.report_wakes_of(id);
        let Some(index) = self.state.queue.iter().position(|one| one.id == id) else {
            return;
        };
        self.note_unsaved(Durability::Full);
        let answer = &ending.answer;
        self.warn_of_failure(index, answer);
        if let (Some(retry), Err(failure)) = (self.state.queue[index].retry(), &answer.result) {
            // Another try follows, or none and nothing is said.
            if retry.is_over(now) || !failure.passes() {
                self.state.queue.remove(index);
            }
            let reason = failure.reason.to_string();
            self.report(id, |wake| wake.error = Some(reason.clone()));
            return;
        }
        let Some(ended) = self.state.queue.remove(index) else {
            return;
        };
        let mut message = result(&ended, &ending, now);
        if self.effects.is_replay() && !self.rules.has_engine {
            message.content.leave_unsaid();
        }
        self.schedule_retry(&ended, answer, &message, now);
        let failure = answer
            .result
            .as_ref()
            .err()
            .map(|failure| failure.reason.to_string());
        let has_diagnosis = answer.result.is_ok() && !self.report.dry_run;
        let text = self.text_for_report(&message);
        self.report(id, |wake| {
            wake.reasoning_invoked = has_diagnosis;
            wake.error.clone_from(&failure);
            wake.dm_text.clone_from(&text);
            wake.messages.push(message.id.clone());
        });
        let message_id = message.id.clone();
        self.queue_message(message);
        if ended.is_new() {
            self.queue_early_recoveries(&ended.alerts, &message_id, id);
        }
    }

    /// A wake can be megabytes long: its text is made only where somebody reads it.
    pub(super) fn text_for_report(&mut self, message: &Message) -> Option<String> {
        if !self.keeps_wakes {
            return None;
        }
        let lines = self.lines(message);
        let content = self.loaded(&message.content);
        Some(message::render(&content, &message.place, &lines, self.effects.now()).text)
    }

    /// Returns the content with its whole texts.
    pub(super) fn loaded(&self, content: &Content) -> Content {
        let texts = self.effects.texts();
        let mut content = content.clone();
        for alert in content.alerts_mut() {
            alert.wake = load_wake(&alert.wake, texts).into_owned();
        }
        if let Content::Alert { outcome, .. } | Content::Result { outcome, .. } = &mut content
            && let Outcome::Diagnosis { text, .. } = outcome
        {
            *text = text.load(texts).into_owned().into();
        }
        content
    }

    fn warn_of_failure(&mut self, index: usize, answer: &Answer) {
        let Err(failure) = &answer.result else {
            return;
        };
        let one = &self.state.queue[index];
        let about = match one.is_digest() {
            true => format!("{} alerts", one.alerts.len()),
            false => one.main_wake().probe.clone(),
        };
        let warning = format!("no diagnosis for {about}: {failure}");
        match failure.reason {
            _ if self.report.dry_run => {}
            Reason::EngineUnavailable => {}
            Reason::BudgetSpent if !self.warned.insert(failure.reason.to_string()) => {}
            _ => warn!("{warning}"),
        }
    }

    /// Where the reason may pass, the engine is asked again in later runs.
    fn schedule_retry(
        &mut self,
        ended: &Investigation,
        answer: &Answer,
        message: &Message,
        now: Timestamp,
    ) {
        let length = self.config.late_diagnosis;
        let passes = answer.result.as_ref().is_err_and(Failure::passes);
        let is_printed = self.rules.route.is_printed();
        if length.is_zero() || !passes || ended.retry().is_some() || is_printed {
            return;
        }
        let mut retried = ended.clone();
        retried.stage = Stage::Retrying(Retry {
            place: Some(Place::After(message.id.clone())),
            asked_at: now,
            tries: 0,
            until: ended
                .queued_at
                .checked_add(length)
                .unwrap_or(Timestamp::MAX),
        });
        self.progress.retried.insert(retried.id.clone());
        self.state.queue.push_back(retried);
        self.drop_oldest_retries();
    }

    fn drop_oldest_retries(&mut self) {
        let retries = self.state.queue.iter().filter(|one| one.retry().is_some());
        let sizes: Vec<_> = retries.map(|one| (one.id.clone(), one.size())).collect();
        let mut count = sizes.len();
        let mut bytes: usize = sizes.iter().map(|(_, size)| size).sum();
        for (id, size) in sizes {
            if count <= MOST_RETRIES && (count <= 1 || bytes <= MOST_RETRY_BYTES) {
                return;
            }
            (count, bytes) = (count - 1, bytes - size);
            self.state.queue.retain(|one| one.id != id);
        }
    }
}

/// Makes the message with the result: a reply to what the operator has read, or an alert with everything
/// there is to say.
fn result(ended: &Investigation, ending: &Ending, now: Timestamp) -> Message {
    let (place, is_retry) = match &ended.stage {
        Stage::New => (None, false),
        Stage::Announced(place) => (place.clone(), false),
        Stage::Retrying(retry) => (retry.place.clone(), true),
    };
    let outcome = match &ending.answer.result {
        Ok(diagnosis) => Outcome::Diagnosis {
            text: diagnosis.text.clone().into(),
            cut_short: diagnosis.cut_short.clone(),
        },
        Err(failure) => Outcome::NoDiagnosis(failure.reason.to_string()),
    };
    let mut alerts = ended.alerts.clone();
    // What was delivered is not said again.
    if !matches!(place, None | Some(Place::After(_))) {
        alerts
            .iter_mut()
            .for_each(|alert| alert.wake.drop_details());
    }
    let content = match place {
        Some(_) => Content::Result { alerts, outcome },
        None => Content::Alert { alerts, outcome },
    };
    let failure = ending.answer.result.as_ref().err();
    let mut message = Message::new(&ended.log, content, place.unwrap_or(Place::TopLevel), now);
    message.investigation = Some(ended.id.clone());
    message.record = Some(Record {
        ended_at: now,
        prompt: ending.prompt,
        usage: ending.answer.usage.clone(),
        duration_ms: u64::try_from(ending.took.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX),
        error: failure.map(|failure| failure.reason.to_string()),
        error_message: failure.and_then(|failure| failure.message.clone()),
        autofix_attempted: ending.autofix_attempted,
        facts_first: !ended.is_new() && !is_retry,
        late_diagnosis: is_retry,
    });
    message
}

/// Whether the audit log says that the engine's tools acted in this session while it was asked. It ended
/// `before` that; where it was rotated meanwhile, all its files are read that were changed since.
fn autofix_attempted(
    log: &Path,
    before: Option<(u64, u64)>,
    session: &str,
    asked: &RangeInclusive<Timestamp>,
) -> bool {
    let mut attempted = false;
    let mut judge = |row: Row| {
        attempted |= row.is_of(AUTOFIX_SEAM)
            && row.is_in(session)
            && row.emitted_at().is_some_and(|at| asked.contains(&at));
    };
    let read = match before.zip(log_end(log)) {
        Some(((inode, from), (now, length))) if inode == now && from <= length => {
            for_each_row(log, from, AUTOFIX_SEAM, judge)
        }
        _ => {
            // A file's time is some milliseconds late.
            let since = asked.start().checked_sub(SignedDuration::from_secs(1)).ok();
            let take = |line: &[u8]| Row::parse(line).into_iter().for_each(&mut judge);
            for_each_line_of_log(log, since, &[AUTOFIX_SEAM], take).map(drop)
        }
    };
    // The look at a log that cannot be read says so.
    read.is_ok() && attempted
}
