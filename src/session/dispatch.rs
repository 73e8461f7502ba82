//! One wake from its decision to a DM in the outbox. Two commits enclose the question to the
//! engine: the first holds stamp and mark, so that a run killed here loses nothing; the second
//! holds the DM and the position behind the row, and takes the mark away.

use std::time::Instant;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use super::Session;
use super::deliver::DeliveryOutcome;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::hash::sha256;
use crate::audit::wake::Wake;
use crate::debounce::{Decision, HeldBack};
use crate::effects::{Effects, Route};
use crate::engine::{self, Answer, Metadata, Question, Reason};
use crate::message;
use crate::outcome;
use crate::report::WakeReport;
use crate::state::outbox::{Delivery, Dm};
use crate::state::{Durability, Mark, log_name};

/// A wake whose investigation killed so many runs is told without one.
const MOST_ATTEMPTS: u32 = 2;
/// After so many wakes in a row that found the engine unreachable, the run asks no more.
const MOST_UNREACHABLE: u32 = 2;
const BUDGET_PERIOD: SignedDuration = SignedDuration::from_hours(1);

impl<E: Effects> Session<'_, E> {
    /// Goes on with the wake whose investigation a run did not live to end.
    pub fn finish_interrupted(&mut self) -> Result<()> {
        match self.state.mark.clone() {
            Some(mark) => self.investigate_and_tell(mark),
            None => Ok(()),
        }
    }

    /// Investigates a wake and tells the operator; `after` is the checkpoint behind its row.
    pub(super) fn dispatch(
        &mut self,
        wake: Wake,
        held_back: Option<HeldBack>,
        now: Timestamp,
        after: Checkpoint,
    ) -> Result<()> {
        let log = log_name(&self.config.paths.audit_log);
        let place = after
            .position
            .last_row
            .as_ref()
            .map_or("", |row| &row.sha256);
        let name = format!("{log}\n{}\n{place}\n{now}", wake.caller_session_id());
        let key = sha256(name.as_bytes())[..32].to_owned();
        let mark = Mark {
            wake,
            dispatched_at: now,
            attempts: 0,
            held_back,
            key,
            log,
            after,
        };
        self.investigate_and_tell(mark)
    }

    fn investigate_and_tell(&mut self, mut mark: Mark) -> Result<()> {
        let now = self.effects.now(None);
        let refusal = match mark.attempts {
            MOST_ATTEMPTS.. => Some(Reason::Interrupted),
            _ => self.why_not_ask(now),
        };
        mark.attempts += 1;
        if refusal.is_none() && self.config.max_investigations_per_hour > 0 {
            self.state.investigations.push(now);
        }
        self.prune(&mark.log, now);
        self.state.mark = Some(mark);
        self.commit(Durability::Full)?;
        // Until the next commit it is on the disk only: a wake can be megabytes long.
        let Some(mark) = self.state.mark.take() else {
            return Ok(());
        };

        let held_back = mark.held_back.map_or(0, |held| held.count);
        let prompt = || engine::prompt(&mark.wake, held_back, &engine::fence());
        let shown = self.report.dry_run.then(prompt);
        let asked = Instant::now();
        let answer = match refusal {
            Some(reason) => Answer::without(reason),
            None => self.ask(&mark, prompt(), now),
        };
        let duration_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.tell(mark, &answer, duration_ms, shown)
    }

    fn why_not_ask(&mut self, now: Timestamp) -> Option<Reason> {
        if self.config.engine.is_none() {
            return Some(Reason::EngineUnavailable);
        }
        if self.unreachable.in_a_row >= MOST_UNREACHABLE {
            return self.unreachable.reason.clone();
        }
        let most = self.config.max_investigations_per_hour;
        self.state.investigations.retain(|asked| {
            // A time in the future is a clock that was set back: it must not hold the budget.
            let elapsed = now.duration_since(*asked);
            !elapsed.is_negative() && elapsed < BUDGET_PERIOD
        });
        (most > 0 && self.state.investigations.len() >= most).then_some(Reason::BudgetSpent)
    }

    fn ask(&mut self, mark: &Mark, prompt: String, asked_at: Timestamp) -> Answer {
        let Some(engine) = &self.config.engine else {
            return Answer::without(Reason::EngineUnavailable);
        };
        let question = Question {
            prompt,
            key: mark.key.clone(),
            asked_at,
            caller_session_id: mark.wake.caller_session_id(),
            metadata: Metadata::of(&mark.wake),
        };
        let answer = self.effects.ask(engine, &question);
        let reason = answer
            .result
            .as_ref()
            .err()
            .map(|failure| &failure.reason)
            .filter(|reason| reason.is_unreachable());
        self.unreachable.in_a_row = reason.map_or(0, |_| self.unreachable.in_a_row + 1);
        self.unreachable.reason = reason.cloned();
        self.state
            .counters
            .note_engine_call(answer.result.as_ref().err().map(|failure| &failure.reason));
        answer
    }

    /// Puts the DM into the outbox, moves the position behind the row, and sends the DM.
    fn tell(
        &mut self,
        mut mark: Mark,
        answer: &Answer,
        duration_ms: u64,
        prompt: Option<String>,
    ) -> Result<()> {
        let (is_sent_now, is_reported) = (self.sends_at_once(), self.is_reported());
        let text = message::text(&mark.wake, &answer.result);
        mark.wake.detail = String::new();
        let wake = &mark.wake;
        let dm = self.dm(&mark, answer, text);
        let shown = self
            .keeps_wakes
            .then(|| message::with_notes(&dm.text, &dm.notes));
        self.state.outbox.push_back(dm);
        self.state.counters.dispatched += 1;
        if let Some(log) = self.state.logs.get_mut(&mark.log) {
            log.checkpoint = mark.after;
        }
        self.commit(Durability::Full)?;

        let last = self.state.outbox.len() - 1;
        let sent =
            is_reported || is_sent_now && self.deliver(last, true)? == DeliveryOutcome::Delivered;
        self.reported += usize::from(is_reported);
        let now = self.effects.now(None);
        self.effects
            .record(&outcome::completed(wake, answer, duration_ms, sent, now));
        self.report.tally.dispatched += 1;
        self.report.tally.sent += u64::from(sent);
        let was_asked = !self.report.dry_run;
        self.keep(|| WakeReport {
            reasoning_invoked: answer.result.is_ok() && was_asked,
            dm_sent: sent,
            error: answer
                .result
                .as_ref()
                .err()
                .map(|failure| failure.reason.to_string()),
            dm_text: shown,
            prompt,
            ..WakeReport::new(wake, &Decision::Dispatch(mark.held_back))
        });
        Ok(())
    }

    /// The DM as it is queued: one that goes out at once is being sent from that commit on.
    fn dm(&mut self, mark: &Mark, answer: &Answer, text: String) -> Dm {
        let (wake, result) = (&mark.wake, &answer.result);
        let mut notes = message::notes(wake, result, mark.held_back, mark.dispatched_at);
        notes.extend(self.unwatched.take().map(message::unwatched_note));
        let queued_at = self.effects.now(None);
        let mut dm = Dm::new(wake, text, notes, queued_at);
        if self.sends_at_once() || self.is_reported() {
            dm.delivery = Delivery::BeingSent;
        }
        if let Route::SlackWithout(variable) = self.effects.route() {
            dm.cause = Some(format!("{variable} is not set"));
        }
        dm
    }

    /// Whether DMs are told in the report that closes the run.
    fn is_reported(&self) -> bool {
        self.effects.route() == Route::Report
    }

    /// A DM goes out at once where nothing older waits before it.
    fn sends_at_once(&self) -> bool {
        match self.effects.route() {
            Route::Stdout => true,
            Route::Slack => self.sends && self.state.outbox.is_empty(),
            Route::SlackWithout(_) | Route::Report | Route::Nowhere => false,
        }
    }

    fn prune(&mut self, log: &str, now: Timestamp) {
        if let Some(log) = self.state.logs.get_mut(log) {
            log.stamps.prune(&self.config.debounce, now);
        }
    }

    /// Keeps a wake for the report, where that tells each wake.
    pub(super) fn keep(&mut self, wake: impl FnOnce() -> WakeReport) {
        if self.keeps_wakes {
            self.report.wakes.push(wake());
        }
    }
}
