//! From an answer, or the reason why there was no question, to a message. The investigation leaves the queue
//! in the same commit that puts its result into the outbox.

use std::ops::RangeInclusive;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use log::warn;

use super::Run;
use super::ask::log_end;
use crate::audit::seams::{AUTOFIX_SEAM, Row, for_each_line_of_log, for_each_row};
use crate::engine::{Answer, Failure, Reason};
use crate::state::EngineFailure;
use crate::state::outbox::{Content, Message, Outcome, Place, Record};
use crate::state::queue::{Investigation, Retry, Stage};

/// The most investigations that are retried, and the most bytes of them if there is more than one.
const MOST_RETRIES: usize = 64;
const MOST_RETRY_BYTES: usize = 4 * 1024 * 1024;

impl Run<'_> {
    /// Ends the investigation that was asked about.
    pub(super) fn conclude(&mut self) {
        self.progress.is_fresh = false;
        let Some(mut asking) = self.progress.asking.take() else {
            return;
        };
        let Some(answer) = asking.answered.take() else {
            return;
        };
        let failure = answer.result.as_ref().err();
        let unreachable = failure.filter(|failure| failure.reason.is_unreachable());
        let before = self.progress.unreachable.take();
        let before = before.map_or(0, |(_, in_a_row)| in_a_row);
        self.progress.unreachable = unreachable.map(|one| (one.reason.clone(), before + 1));
        let label = failure.map_or("answered", |failure| failure.reason.label());
        let calls = &mut self.state.counters.engine_calls;
        *calls.entry(label.to_owned()).or_default() += 1;
        let before = self.state.last_failure.take();
        self.state.last_failure = failure.map(|failure| EngineFailure {
            at: asking.asked_at,
            caller_session_id: asking.session.clone(),
            reason: failure.reason.to_string(),
            message: failure.message.clone(),
            in_a_row: before.map_or(0, |one| one.in_a_row) + 1,
        });
        let asked = asking.asked_at..=self.now();
        let log = &self.config.paths.audit_log;
        let record = Record {
            prompt: Some(asking.prompt_size),
            duration_ms: u64::try_from(answer.took.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX),
            autofix_attempted: autofix_attempted(log, asking.log_end, &asking.session, &asked),
            ..Record::default()
        };
        self.end(&asking.id, answer, record);
    }

    /// Ends an investigation without a question.
    pub(super) fn refuse(&mut self, id: &str, reason: Reason) {
        self.end(id, Answer::without(reason), Record::default());
    }

    /// Ends an investigation. `record` is what is known about the question, if there was one.
    fn end(&mut self, id: &str, answer: Answer, record: Record) {
        let now = self.now();
        let at = self.state.queue.iter().position(|one| one.id == id);
        let Some((at, ended)) = at.and_then(|at| Some((at, self.state.queue.remove(at)?))) else {
            return;
        };
        self.note_change();
        let failure = answer.result.as_ref().err();
        let error = failure.map(|failure| failure.reason.to_string());
        let passes = failure.is_some_and(Failure::passes);
        let about = match ended.alerts.as_slice() {
            [alert] => alert.wake.probe.clone(),
            alerts => format!("{} alerts", alerts.len()),
        };
        if let Some(failure) = failure.filter(|_| !self.report.dry_run) {
            match failure.reason {
                Reason::EngineUnavailable => {}
                Reason::BudgetSpent if !self.warned.insert(failure.reason.to_string()) => {}
                _ => warn!("no diagnosis for {about}: {failure}"),
            }
        }
        let has_diagnosis = failure.is_none() && !self.report.dry_run;
        self.report(id, &ended.alerts, ended.is_pending(), |wake| {
            wake.reasoning_invoked = has_diagnosis;
            wake.error.clone_from(&error);
        });
        if let (Some(retry), Some(_)) = (ended.retry(), failure) {
            // Either another try follows, or the retry ends without a message.
            if passes && !retry.is_over(now) {
                self.state.queue.insert(at, ended);
            }
            return;
        }
        let mut message = result(&ended, answer, record, now);
        if self.clock.is_some() && self.config.engine.is_none() {
            message.content.leave_unsaid();
        }
        if passes {
            self.schedule_retry(&ended, &message.id, now);
        }
        match ended.is_new() {
            true => self.queue_first_word(message),
            false => self.queue_message(message),
        }
    }

    /// Schedules another question in later runs, since the reason may pass. `after` is the message with the
    /// fallback.
    fn schedule_retry(&mut self, ended: &Investigation, after: &str, now: Timestamp) {
        let length = self.config.late_diagnosis;
        if length.is_zero() || ended.retry().is_some() || self.route.is_printed() {
            return;
        }
        let until = ended.queued_at.checked_add(length);
        self.progress.retried.insert(ended.id.clone());
        self.state.queue.push_back(Investigation {
            stage: Stage::Retrying(Retry {
                place: Some(Place::After(after.to_owned())),
                asked_at: now,
                tries: 0,
                until: until.unwrap_or(Timestamp::MAX),
            }),
            ..ended.clone()
        });
        // If there are too many, the oldest are dropped.
        let queue = &mut self.state.queue;
        let retries = queue.iter().filter(|one| one.retry().is_some());
        let sizes: Vec<_> = retries.map(Investigation::size).collect();
        let (mut count, mut bytes) = (sizes.len(), sizes.into_iter().sum::<usize>());
        queue.retain(|one| {
            let is_kept = one.retry().is_none()
                || count <= MOST_RETRIES && (count <= 1 || bytes <= MOST_RETRY_BYTES);
            if !is_kept {
                (count, bytes) = (count - 1, bytes - one.size());
            }
            is_kept
        });
    }
}

/// Makes the message with the result: a reply to what the operator has read, or an alert with everything
/// there is to say.
fn result(ended: &Investigation, answer: Answer, record: Record, now: Timestamp) -> Message {
    let place = match &ended.stage {
        Stage::New => None,
        Stage::Announced(place) => place.clone(),
        Stage::Retrying(retry) => retry.place.clone(),
    };
    let (outcome, error, error_message) = match answer.result {
        Ok(diagnosis) => {
            let (text, cut_short) = (diagnosis.text.into(), diagnosis.cut_short);
            (Outcome::Diagnosis { text, cut_short }, None, None)
        }
        Err(failure) => {
            let reason = failure.reason.to_string();
            let outcome = Outcome::NoDiagnosis(reason.clone());
            (outcome, Some(reason), failure.message)
        }
    };
    let alerts = ended.alerts.clone();
    let content = match place {
        Some(_) => Content::Result { alerts, outcome },
        None => Content::Alert { alerts, outcome },
    };
    let mut message = Message::new(&ended.log, content, place.unwrap_or(Place::TopLevel), now);
    message.investigation = Some(ended.id.clone());
    message.record = Some(Record {
        ended_at: now,
        usage: answer.usage,
        error,
        error_message,
        facts_first: ended.is_pending(),
        late_diagnosis: ended.retry().is_some(),
        ..record
    });
    message
}

/// Returns whether the audit log says that the engine's tools acted in this session while it was asked.
/// `before` is where the log ended until then; if it has been rotated, all of its files that changed since
/// are read.
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
            // A file's modification time can be some milliseconds behind.
            let since = asked.start().checked_sub(SignedDuration::from_secs(1)).ok();
            let take = |line: &[u8]| Row::parse(line).into_iter().for_each(&mut judge);
            for_each_line_of_log(log, since, &[AUTOFIX_SEAM], take).map(drop)
        }
    };
    // If the log cannot be read, the look at it says so.
    read.is_ok() && attempted
}
