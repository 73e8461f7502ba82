//! From the queue to results: one question at a time, each in a commit that says it begins and one
//! that holds its result. While the engine is asked, this thread goes on reading and telling.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use log::warn;

use super::{LOOK_AGAIN, Session};
use crate::audit::seams::{AUTOFIX_SEAM, Row, for_each_line_of_log, for_each_row};
use crate::context::{Context, IncidentSoFar, Mode, Subject};
use crate::effects::{Effects, Route};
use crate::engine::{self, Answer, Failure, Knowledge, Metadata, Question, Reason};
use crate::mask::Masker;
use crate::message;
use crate::outcome;
use crate::state::outbox::{Dm, Follows};
use crate::state::queue::{Investigation, Late};
use crate::state::{Durability, EngineFailure};

/// A wake whose investigation killed so many runs is told without one.
const MOST_ATTEMPTS: u32 = 2;
/// After so many wakes in a row that found the engine unreachable, the run asks no more.
const MOST_UNREACHABLE: u32 = 2;
const BUDGET_PERIOD: SignedDuration = SignedDuration::from_hours(1);
/// The most investigations of which a late diagnosis is hoped for, and the most bytes of them where
/// there is more than one.
const MOST_LATE: usize = 64;
const MOST_LATE_BYTES: usize = 4 * 1024 * 1024;

impl<E: Effects> Session<'_, E> {
    /// Which investigation is next: of those that were told nothing the oldest, of those that are
    /// owed the most severe, and only then a late one that is due.
    pub(super) fn next_investigation(&mut self) -> Option<String> {
        let now = self.effects.now(None);
        // What is printed leaves earlier investigations alone.
        let is_printed = self.effects.route().is_printed();
        let is_mine = |one: &&Investigation| !is_printed || self.queued.contains(&one.id);
        let can_ask_late = self.config.engine.is_some();
        let rank = |one: &&Investigation| match &one.late {
            None if one.is_untold() => Some((0, 0)),
            None => Some((1, -(one.severity() as i8))),
            Some(late) => {
                let is_due = can_ask_late && late.is_due(now) && !self.hoped_for.contains(&one.id);
                is_due.then_some((2, 0))
            }
        };
        let mine = self.state.queue.iter().filter(is_mine);
        let ranked = mine.filter_map(|one| Some((rank(&one)?, one)));
        let next = ranked.min_by_key(|(rank, _)| *rank);
        let (rank, one) = next.map(|(rank, one)| (rank, one.id.clone()))?;
        // A late one waits for budget and engine, and its try does not count.
        let waits = rank.0 == 2 && self.why_not_ask(&one, now).is_some();
        (!waits).then_some(one)
    }

    /// Begins an investigation, asks, and ends it.
    pub(super) fn investigate(&mut self, id: &str) -> Result<()> {
        let Some(index) = self.index_of(id) else {
            return Ok(());
        };
        let now = self.effects.now(Some(self.state.queue[index].queued_at));
        let refusal = match self.state.queue[index].attempts {
            MOST_ATTEMPTS.. if self.state.queue[index].late.is_none() => {
                Some(Reason::Interrupted.into())
            }
            _ => self.why_not_ask(id, now),
        };
        self.prune(now);
        if refusal.is_none() {
            self.begin_question(index, now)?;
        }
        let asked = Instant::now();
        let shown = self
            .report
            .dry_run
            .then(|| prompt(&self.state.queue[index]));
        let log = PathBuf::from(&self.state.queue[index].log);
        let log_end = log_end(&log);
        let session = self.state.queue[index].caller_session_id();
        let was_asked = refusal.is_none();
        let mut ending = match refusal {
            Some(failure) => Ending::without(failure),
            None => Ending::with(self.ask(id, now)?),
        };
        ending.prompt = shown;
        if was_asked {
            ending.asked = Some(asked);
            let asked = now..=self.effects.now(None);
            ending.autofix_attempted = autofix_attempted(&log, log_end, &session, &asked);
        }
        self.end(id, ending)
    }

    /// Counts a question, and commits that before it is asked.
    fn begin_question(&mut self, index: usize, now: Timestamp) -> Result<()> {
        let investigation = &mut self.state.queue[index];
        match &mut investigation.late {
            Some(late) => {
                late.tries += 1;
                late.asked_at = now;
                self.hoped_for.insert(investigation.id.clone());
            }
            None => investigation.attempts += 1,
        }
        if self.config.max_investigations_per_hour > 0 {
            self.state.questions.push(now);
        }
        self.commit(Durability::Full)
    }

    /// Why this investigation is not asked about, where that is known before.
    pub(super) fn why_not_ask(&mut self, id: &str, now: Timestamp) -> Option<Failure> {
        if self.config.engine.is_none() {
            return Some(Reason::EngineUnavailable.into());
        }
        let owed = self.index_of(id).map(|index| &self.state.queue[index]);
        let owed = owed.filter(|one| one.late.is_none());
        if owed.is_some_and(|one| now.duration_since(one.queued_at) > self.config.outbox_ttl) {
            return Some(Reason::Expired.into());
        }
        if self.failures.unreachable_in_a_row >= MOST_UNREACHABLE {
            return self.failures.unreachable.clone();
        }
        let most = self.config.max_investigations_per_hour;
        self.state.questions.retain(|asked| {
            // A time in the future is a clock that was set back: it must not hold the budget.
            let elapsed = now.duration_since(*asked);
            !elapsed.is_negative() && elapsed < BUDGET_PERIOD
        });
        let is_spent = most > 0 && self.state.questions.len() >= most;
        is_spent.then(|| Reason::BudgetSpent.into())
    }

    /// Asks, and meanwhile reads what is new and tells what is due.
    fn ask(&mut self, id: &str, asked_at: Timestamp) -> Result<Answer> {
        let (Some(engine), Some(index)) = (&self.config.engine, self.index_of(id)) else {
            return Ok(Answer::without(Reason::EngineUnavailable));
        };
        let investigation = &self.state.queue[index];
        let question = Question {
            prompt: prompt(investigation),
            key: id.to_owned(),
            asked_at,
            caller_session_id: investigation.caller_session_id(),
            metadata: Metadata::of(investigation.main_wake()),
        };
        let answers = self.effects.ask(engine, question);
        self.asking = Some(id.to_owned());
        let answer = loop {
            match answers.recv_timeout(self.until_next_step()) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Disconnected) => {
                    break Answer::without(Reason::ConnectionError);
                }
                Err(RecvTimeoutError::Timeout) if self.is_past_its_time() => self.tell_untold()?,
                Err(RecvTimeoutError::Timeout) => {
                    self.look_again()?;
                    self.tell_due()?;
                }
            }
        };
        self.asking = None;
        self.note_answer(id, &answer, asked_at);
        Ok(answer)
    }

    /// How long there is nothing to do but to wait for the engine.
    fn until_next_step(&mut self) -> Duration {
        let due = self.next_due().and_then(|due| Duration::try_from(due).ok());
        let left = self.time_left().filter(|left| !left.is_zero());
        let steps = [Some(LOOK_AGAIN), due, left];
        steps.into_iter().flatten().min().unwrap_or(LOOK_AGAIN)
    }

    fn note_answer(&mut self, id: &str, answer: &Answer, asked_at: Timestamp) {
        let failure = answer.result.as_ref().err();
        let unreachable = failure.filter(|failure| failure.reason.is_unreachable());
        let in_a_row = &mut self.failures.unreachable_in_a_row;
        *in_a_row = unreachable.map_or(0, |_| *in_a_row + 1);
        self.failures.unreachable = unreachable.cloned();
        let label = failure.map_or("answered", |failure| failure.reason.label());
        self.state.counters.note_engine_call(label);
        let session = self
            .index_of(id)
            .map(|index| self.state.queue[index].caller_session_id());
        self.state.last_failure = failure.map(|failure| EngineFailure {
            at: asked_at,
            caller_session_id: session.unwrap_or_default(),
            reason: failure.reason.to_string(),
            message: failure.message.clone(),
        });
    }

    /// Takes an investigation off the queue and puts its result into the outbox, in one commit;
    /// then sends it.
    pub(super) fn end(&mut self, id: &str, ending: Ending) -> Result<()> {
        let Some(index) = self.index_of(id) else {
            return Ok(());
        };
        let now = self.effects.now(None);
        let duration_ms = ending.duration_ms();
        self.report_wakes_of(index);
        self.warn_of_failure(index, &ending.answer);
        if let (Some(late), Err(failure)) = (&self.state.queue[index].late, &ending.answer.result) {
            let is_over = late.is_over(now) || !failure.passes();
            let reason = Some(failure.reason.to_string());
            self.reported(id, |wake| wake.error.clone_from(&reason));
            return self.end_late_try(index, is_over);
        }
        let dm = self.result_dm(index, &ending.answer, now);
        let dm_id = dm.id.clone();
        if self.state.queue[index].is_untold() {
            self.note_told(index, &Follows::Dm(dm_id.clone()), now);
        }
        let Some(mut ended) = self.state.queue.remove(index) else {
            return Ok(());
        };
        // A wake can be megabytes long: its text is not kept where nobody asks for it.
        let is_shown = self.keeps_wakes || ending.answer.result.is_err();
        let shown = is_shown.then(|| message::with_notes(&dm.text, &dm.notes));
        self.queue_dm(dm);
        self.hope_for_late(&ended, &ending.answer, &dm_id, now);
        ended.drop_details();
        self.commit(Durability::Full)?;
        let sent = self.send_result(&dm_id)?;
        self.report_end(&ended, &ending, &dm_id, shown.as_deref());
        let outcome = outcome::Outcome {
            investigation: &ended,
            answer: &ending.answer,
            summary: summary(&ending.answer, shown),
            duration_ms,
            sent,
            autofix_attempted: ending.autofix_attempted,
        };
        for row in outcome::completed(&outcome, now) {
            self.effects.record(&row);
        }
        match sent {
            true => self.report.tally.sent += ended.count() as u64,
            false => drop(self.outgoing.failed_rows.insert(dm_id)),
        }
        Ok(())
    }

    /// The DM with the result: in the thread of its facts, or with all that there is to tell.
    fn result_dm(&self, index: usize, answer: &Answer, now: Timestamp) -> Dm {
        let investigation = &self.state.queue[index];
        let follows = investigation.told.clone();
        let follows = follows.filter(|told| *told != Follows::Undelivered);
        let message = match follows {
            Some(_) => message::result(investigation, &answer.result),
            None => message::whole(investigation, &answer.result),
        };
        let mut dm = self.dm(investigation, message, now);
        dm.follows = follows;
        dm
    }

    fn report_end(
        &mut self,
        ended: &Investigation,
        ending: &Ending,
        dm_id: &str,
        shown: Option<&str>,
    ) {
        let result = &ending.answer.result;
        let was_asked = !self.report.dry_run;
        self.reported(&ended.id, |wake| {
            let failure = result.as_ref().err();
            wake.reasoning_invoked = result.is_ok() && was_asked;
            wake.error = failure.map(|failure| failure.reason.to_string());
            wake.dm_text = shown.map(str::to_owned);
            wake.prompt.clone_from(&ending.prompt);
            wake.dms.push(dm_id.to_owned());
        });
    }

    /// Sends a DM that was put into the outbox, and those that go before it. Gives whether it was
    /// delivered.
    fn send_result(&mut self, dm_id: &str) -> Result<bool> {
        match self.effects.route() {
            Route::Report => {
                self.outgoing.made.insert(dm_id.to_owned(), true);
            }
            Route::Stdout => {
                let last = self.state.outbox.len() - 1;
                self.deliver(last)?;
            }
            Route::Slack | Route::SlackWithout(_) | Route::Nowhere => self.send_made()?,
        }
        Ok(self.outgoing.made.get(dm_id) == Some(&true))
    }

    fn warn_of_failure(&mut self, index: usize, answer: &Answer) {
        let Err(failure) = &answer.result else {
            return;
        };
        let is_told = match failure.reason {
            Reason::EngineUnavailable => true,
            Reason::BudgetSpent => std::mem::replace(&mut self.failures.budget_told, true),
            _ => false,
        };
        if !is_told && !self.report.dry_run {
            let investigation = &self.state.queue[index];
            let about = match investigation.is_digest() {
                true => format!("{} alerts", investigation.count()),
                false => investigation.alert.wake.probe.clone(),
            };
            warn!("no diagnosis for {about}: {failure}");
        }
    }

    /// A late try brought nothing: another one follows, or none and no word of it.
    fn end_late_try(&mut self, index: usize, is_over: bool) -> Result<()> {
        if is_over {
            self.state.queue.remove(index);
        }
        self.commit(Durability::Full)
    }

    /// Where the reason may pass, the engine is asked again in later runs.
    fn hope_for_late(&mut self, ended: &Investigation, answer: &Answer, dm: &str, now: Timestamp) {
        let length = self.config.late_diagnosis;
        let passes = answer.result.as_ref().is_err_and(Failure::passes);
        let is_printed = self.effects.route().is_printed();
        if length.is_zero() || !passes || ended.late.is_some() || is_printed {
            return;
        }
        let mut hoped = ended.clone();
        hoped.told = Some(Follows::Dm(dm.to_owned()));
        hoped.late = Some(Late::first(now, length, ended.queued_at));
        self.hoped_for.insert(hoped.id.clone());
        self.state.queue.push_back(hoped);
        self.drop_the_oldest_late();
    }

    fn drop_the_oldest_late(&mut self) {
        let late = self.state.queue.iter().filter(|one| one.late.is_some());
        let sizes: Vec<_> = late.map(|one| (one.id.clone(), one.size())).collect();
        let mut count = sizes.len();
        let mut bytes: usize = sizes.iter().map(|(_, size)| size).sum();
        for (id, size) in sizes {
            if count <= MOST_LATE && (count <= 1 || bytes <= MOST_LATE_BYTES) {
                return;
            }
            (count, bytes) = (count - 1, bytes - size);
            self.state.queue.retain(|one| one.id != id);
        }
    }

    /// Drops the late ones whose time is over.
    pub fn forget_late(&mut self) {
        let now = self.effects.now(None);
        let is_over = |one: &Investigation| one.late.as_ref().is_some_and(|late| late.is_over(now));
        let before = self.state.queue.len();
        self.state.queue.retain(|one| !is_over(one));
        if self.state.queue.len() < before {
            self.note_unsaved(Durability::Full);
        }
    }
}

/// What an investigation comes to.
pub(super) struct Ending {
    answer: Answer,
    /// `None` where it was not asked.
    asked: Option<Instant>,
    /// What a dry run shows.
    prompt: Option<String>,
    autofix_attempted: bool,
}

impl Ending {
    fn with(answer: Answer) -> Self {
        Self {
            answer,
            asked: None,
            prompt: None,
            autofix_attempted: false,
        }
    }

    /// Rounded up: the time of the row less this is when the engine was asked, and not later. How long
    /// Slack took is in neither.
    fn duration_ms(&self) -> u64 {
        let micros = self.asked.map_or(0, |asked| asked.elapsed().as_micros());
        u64::try_from(micros.div_ceil(1_000)).unwrap_or(u64::MAX)
    }

    /// Without a question.
    pub(super) fn without(failure: impl Into<Failure>) -> Self {
        Self::with(Answer::without(failure))
    }
}

/// The inode and the length of the audit log; `None` where there is none.
fn log_end(log: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(log).ok()?;
    Some((meta.ino(), meta.len()))
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
            // A file's time is some milliseconds behind the clock.
            let since = asked.start().checked_sub(SignedDuration::from_secs(1)).ok();
            let take = |line: &[u8]| Row::parse(line).into_iter().for_each(&mut judge);
            for_each_line_of_log(log, since, &[AUTOFIX_SEAM], take).map(drop)
        }
    };
    // A log that cannot be read is told by the look at it.
    read.is_ok() && attempted
}

fn prompt(investigation: &Investigation) -> String {
    let subjects = investigation.alerts().map(|alert| {
        let held = alert.before.repeats;
        let incident = IncidentSoFar {
            since: held.map(|held| held.since),
            wakes: held.map_or(1, |held| held.count + 1),
            held_back: vec![("repeats held back", held.map_or(0, |held| held.count))],
            ..IncidentSoFar::default()
        };
        Subject {
            wake: &alert.wake,
            incident,
            earlier: Vec::new(),
        }
    });
    let context = Context {
        mode: Mode::Off,
        now: Timestamp::now(),
        subjects: subjects.collect(),
        snapshot: None,
        others: Vec::new(),
        tail: None,
        masker: Masker::default(),
    };
    let wakes: Vec<_> = context.subjects.iter().map(|one| one.wake).collect();
    let knowledge = Knowledge {
        now: context.now,
        runbook: "",
        context: &context.render(),
    };
    engine::prompt(&wakes, &knowledge, &engine::fence())
}

/// The diagnosis, or the fallback's text.
fn summary(answer: &Answer, shown: Option<String>) -> String {
    match &answer.result {
        Ok(diagnosis) => diagnosis.text().to_owned(),
        Err(_) => shown.unwrap_or_default(),
    }
}
