//! One run in progress: the state as it will be committed, the effects, and the report. `next` chooses each
//! step; what a step does is in a file of its own and calls no other step.
//!
//! A commit comes before everything that leaves the process or takes time, and right after what Slack
//! answered: in between, steps only change the state in memory.

mod announce;
mod ask;
mod conclude;
pub mod effects;
mod give_up;
pub mod hand_over;
mod knowledge;
mod look;
mod next;
mod notice;
mod reactions;
mod recover;
mod replay;
mod send;
mod turn;

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use jiff::{SignedDuration, Timestamp};
use log::warn;

use crate::audit::generations::Checkpoint;
use crate::config::Config;
use crate::incident::{Decision, MessageRef, Pair, Silence};
use crate::logger::warn_lasting;
use crate::outcome::Row;
use crate::report::{Report, WakeReport, count};
use crate::secret::Secret;
use crate::state::outbox::Message;
use crate::state::queue::{Alert, Investigation};
use crate::state::{Durability, State};
use ask::Asking;
use effects::{Answered, Effects, Route};
use hand_over::HandingOver;
use knowledge::Known;
use next::{Clock, Progress, RunRules, Step, next};
use reactions::Reactions;

/// How often the fallback command is looked at while the engine is asked, too.
const HAND_OVER_POLL: Duration = Duration::from_millis(20);

/// One run in progress.
pub struct Run<'a, E: Effects> {
    config: &'a Config,
    pub state: State,
    pub effects: E,
    pub report: Report,
    /// The key of the audit log in the state.
    log: String,
    /// The tokens that a row may quote.
    secrets: Vec<Secret>,
    rules: RunRules,
    progress: Progress,
    asking: Option<Asking>,
    answered: Option<Answered>,
    handing_over: Option<HandingOver>,
    begun: Instant,
    begun_at: Timestamp,
    /// What the next commit has to outlive; `None` where nothing changed since the last one.
    unsaved: Option<Durability>,
    /// Whether each wake is kept for the report, or only counted.
    keeps_wakes: bool,
    /// Where the wakes of an investigation are in the report, by its id.
    reported: HashMap<String, Vec<usize>>,
    /// The silences, once they were read in this look.
    silences: Option<Vec<Silence>>,
    /// Silences that are over, until the next commit.
    ended_silences: Vec<Silence>,
    reactions: Reactions,
    known: Known,
    /// The ids of the investigations that this look has queued.
    batch: Vec<String>,
    /// Inode and length of the log when it was looked at last.
    log_end: Option<(u64, u64)>,
    /// Why the log is read no more in this run.
    pub problem: Option<Error>,
    /// Warnings that were printed already, where they would be found again.
    warned: HashSet<String>,
    /// For how long nothing was watched, until the commit of a message that says so.
    pub unwatched: Option<SignedDuration>,
    /// The message that says so, not committed yet.
    says_unwatched: bool,
    /// So many messages at the end of the outbox are in the report, once that is printed.
    in_report: usize,
}

impl<'a, E: Effects> Run<'a, E> {
    pub fn new(config: &'a Config, state: State, effects: E, report: Report) -> Self {
        let rules = RunRules {
            max_runtime: config.max_runtime,
            facts_after: config.facts_after,
            has_engine: config.engine.is_some(),
            questions_per_hour: config.max_investigations_per_hour,
            outbox_ttl: config.outbox_ttl,
            tell_recovery: config.tell_recovery,
            quiet: config.quiet_after,
            fallback_after: config
                .fallback_command
                .as_ref()
                .map(|_| config.fallback_after),
            route: effects.route(),
        };
        Self {
            config,
            begun_at: effects.now(),
            effects,
            report,
            log: state.log_key(&config.paths.audit_log),
            state,
            secrets: config.secrets().to_vec(),
            rules,
            progress: Progress::default(),
            asking: None,
            answered: None,
            handing_over: None,
            begun: Instant::now(),
            unsaved: None,
            keeps_wakes: false,
            reported: HashMap::new(),
            silences: None,
            ended_silences: Vec::new(),
            reactions: Reactions::default(),
            known: Known::default(),
            batch: Vec::new(),
            log_end: None,
            problem: None,
            warned: HashSet::new(),
            unwatched: None,
            says_unwatched: false,
            in_report: 0,
        }
    }

    /// A time without runs, for the next message to mention. Before the first run there was nothing to
    /// watch.
    pub fn after_unwatched(mut self, length: SignedDuration) -> Self {
        let is_new = self.state.logs.is_empty();
        self.unwatched = Some(length).filter(|length| !length.is_zero() && !is_new);
        self
    }

    /// Whether the report has each wake, or only their number.
    pub fn keeping_wakes(mut self, keeps_wakes: bool) -> Self {
        self.keeps_wakes = keeps_wakes;
        self
    }

    /// Begins with a log of which nothing is known: no row of it is read in this run.
    pub fn begin(&mut self, checkpoint: Checkpoint) {
        let now = self.effects.now();
        self.state
            .begin(&self.config.paths.audit_log, checkpoint, now);
        self.progress.is_blind = true;
        self.note_unsaved(Durability::Full);
    }

    /// Does one step after the other until there is nothing more to do.
    pub fn work(&mut self) -> Result<()> {
        self.note_quiet();
        loop {
            self.progress.is_answered = self.is_answered();
            self.await_hand_over(Duration::ZERO)?;
            match next(&self.state, &self.progress, &self.rules, self.clock()) {
                Step::Look => self.look()?,
                Step::Conclude => self.conclude()?,
                Step::Refuse(id, reason) => self.refuse(&id, reason)?,
                Step::Announce(ids) => self.announce(&ids),
                Step::Send(id) => self.send(&id)?,
                Step::GiveUp(id, reason) => self.give_up(&id, &reason)?,
                Step::HandOver(id) => self.hand_over(&id)?,
                Step::Ask(id) => self.ask(&id)?,
                Step::Recover => self.recover(),
                Step::React => self.ask_for_reactions(),
                Step::Notice => self.notice(),
                Step::Wait(length) => self.wait(length)?,
                Step::Done => return Ok(()),
            }
        }
    }

    fn clock(&self) -> Clock {
        Clock {
            now: self.effects.now(),
            elapsed: self.begun.elapsed(),
        }
    }

    fn is_answered(&mut self) -> bool {
        if let (Some(asking), None) = (&self.asking, &self.answered) {
            self.answered = match asking.answers.try_recv() {
                Ok(answered) => Some(answered),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(asking.lost()),
            };
        }
        self.answered.is_some()
    }

    /// Waits for the engine and the fallback command, or for so long. Everything is committed before: it may
    /// take a while.
    fn wait(&mut self, length: Duration) -> Result<()> {
        self.commit_unsaved()?;
        let is_handing_over = self.handing_over.is_some();
        let Some(asking) = &self.asking else {
            match is_handing_over {
                true => self.await_hand_over(length)?,
                false => self.effects.pause(length),
            }
            return Ok(());
        };
        let most = if is_handing_over {
            HAND_OVER_POLL
        } else {
            length
        };
        match asking.answers.recv_timeout(length.min(most)) {
            Ok(answered) => self.answered = Some(answered),
            Err(RecvTimeoutError::Disconnected) => self.answered = Some(asking.lost()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        Ok(())
    }

    fn note_unsaved(&mut self, durability: Durability) {
        self.unsaved = self.unsaved.max(Some(durability));
    }

    fn commit_unsaved(&mut self) -> Result<()> {
        if let Some(durability) = self.unsaved {
            self.effects.commit(&mut self.state, durability)?;
            self.unsaved = None;
            if std::mem::take(&mut self.says_unwatched) {
                self.unwatched = None;
            }
            self.remove_ended_silences();
        }
        Ok(())
    }

    /// Puts a message into the outbox; the first one mentions unwatched time.
    fn queue_message(&mut self, mut message: Message) {
        if self.unwatched.is_some() && !self.says_unwatched {
            message.unwatched = self.unwatched.map(|length| length.as_secs());
            self.says_unwatched = true;
        }
        match self.rules.route {
            Route::Report => self.in_report += 1,
            Route::SlackWithout(variable) => message.cause = Some(format!("{variable} is not set")),
            _ => {}
        }
        self.note_message(&message);
        self.progress.made.insert(message.id.clone());
        self.state.outbox.push_back(message);
        self.note_unsaved(Durability::Full);
    }

    /// Writes an outcome row.
    fn record_row(&mut self, row: &Row) {
        if self.effects.record(row)
            && let Some(log) = self.state.logs.get_mut(&self.log)
        {
            log.quiet.own_rows += 1;
            self.note_unsaved(Durability::Full);
        }
    }

    /// Notes for the incidents of a message which one is their first and which their newest.
    fn note_message(&mut self, message: &Message) {
        if !message.content.is_alert() {
            return;
        }
        let Some(log) = self.state.logs.get_mut(&message.log) else {
            return;
        };
        for alert in message.content.alerts() {
            let Some(incident) = log.incidents.get_mut(&Pair::of(&alert.wake)) else {
                continue;
            };
            let it = MessageRef::new(&message.id);
            incident.first_message.get_or_insert_with(|| it.clone());
            incident.newest_message = Some(it);
        }
    }

    /// Whether the log was written since it was looked at, and could still be read in this run.
    pub fn log_has_changed(&mut self) -> bool {
        let is_read = !self.progress.is_blind && !self.progress.was_full;
        let has_changed = ask::log_end(&self.config.paths.audit_log) != self.log_end;
        self.progress.is_fresh = false;
        is_read && has_changed && !self.report.dry_run
    }

    fn log_file_name(&self) -> String {
        let name = self.config.paths.audit_log.file_name();
        name.unwrap_or_default().to_string_lossy().into_owned()
    }

    fn investigation(&self, id: &str) -> Option<&Investigation> {
        self.state.queue.iter().find(|one| one.id == id)
    }

    /// Commits what is left to commit, and counts what is left to deliver.
    pub fn finish(&mut self) -> Result<()> {
        let now = self.effects.now();
        self.forget_retries(now);
        self.record_the_rest();
        let sending = &self.progress.sending;
        if sending.is_slack_at_fault || sending.suspect.is_some() {
            self.state.slack.paused_until = self.begun_at.checked_add(self.config.cadence).ok();
            self.note_unsaved(Durability::Full);
        }
        if self.unsaved.is_some() {
            self.prune(now);
            self.commit_unsaved()?;
        }
        let queue = &self.state.queue;
        self.report.outbox.pending = (self.state.outbox.len() - self.in_report) as u64;
        self.report.investigations.owed = queue.len() as u64;
        let new = queue.iter().filter(|one| one.is_new());
        self.report.left_for_next_run = new.map(|one| one.alerts.len() as u64).sum();
        self.warn_of_pending();
        Ok(())
    }

    /// Forgets what no decision and no message will need again.
    fn prune(&mut self, now: Timestamp) {
        let mut forgotten = 0;
        if let Some(log) = self.state.logs.get_mut(&self.log) {
            forgotten = log.incidents.prune(&self.config.debounce, now);
        }
        if forgotten > 0 {
            let incidents = count(forgotten as u64, "incident is", "incidents are");
            warn!("there are more than 10,000 incidents: {incidents} forgotten");
        }
    }

    /// Drops the retries whose time is over.
    fn forget_retries(&mut self, now: Timestamp) {
        let queue = &mut self.state.queue;
        let before = queue.len();
        queue.retain(|one| !one.retry().is_some_and(|retry| retry.is_over(now)));
        if queue.len() < before {
            self.note_unsaved(Durability::Full);
        }
    }

    /// The report was printed, and what it says is delivered.
    pub fn report_is_out(&mut self) -> Result<()> {
        if self.in_report == 0 {
            return Ok(());
        }
        let kept = self.state.outbox.len() - std::mem::take(&mut self.in_report);
        let printed = self.state.outbox.iter().skip(kept);
        let ids: Vec<_> = printed.map(|message| message.id.clone()).collect();
        ids.iter().for_each(|id| self.record(id, true));
        self.state.outbox.truncate(kept);
        self.note_unsaved(Durability::Full);
        self.commit_unsaved()
    }

    /// Warns once a run of what is found again with every look.
    fn warn_once(&mut self, kind: &str, warning: String) {
        if !self.warned.contains(&warning) {
            warn_lasting(kind, &warning, &warning);
            self.warned.insert(warning);
        }
    }

    /// Adds the wakes of an investigation to the report, where an earlier run queued it.
    fn report_wakes_of(&mut self, id: &str) {
        if let Some(one) = self.investigation(id) {
            let is_announced = one.is_pending();
            let alerts = one.alerts.clone();
            self.report_wakes(id, &alerts, is_announced);
        }
    }

    fn report_wakes(&mut self, id: &str, alerts: &[Alert], is_announced: bool) {
        if !self.keeps_wakes || self.reported.contains_key(id) {
            return;
        }
        let wakes = &mut self.report.wakes;
        let first = wakes.len();
        wakes.extend(alerts.iter().map(|alert| WakeReport {
            was_queued: true,
            facts_first: is_announced,
            ..WakeReport::new(&alert.wake, &Decision::Dispatch(alert.dispatch.clone()))
        }));
        self.reported
            .insert(id.to_owned(), (first..wakes.len()).collect());
    }

    /// Changes the report's entries for the wakes of an investigation.
    fn report(&mut self, id: &str, change: impl Fn(&mut WakeReport)) {
        for index in self.reported.get(id).into_iter().flatten() {
            change(&mut self.report.wakes[*index]);
        }
    }
}
