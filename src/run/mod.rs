//! One run in progress: the state as it will be committed, the effects, and the report. `next` chooses each
//! step; each step has a file of its own and calls no other step.
//!
//! The state is committed before anything leaves the process or takes time, and right after each answer from
//! Slack; in between, steps only change it in memory.

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

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use jiff::{SignedDuration, Timestamp};
use log::warn;

use crate::audit::generations::Checkpoint;
use crate::audit::names::log_key;
use crate::audit::tail::Tail;
use crate::config::Config;
use crate::context::earlier::Past;
use crate::incident::{Decision, Incident, MessageRef, Pair, Silence};
use crate::logger::warn_lasting;
use crate::outcome::Row;
use crate::report::{Report, WakeReport, count};
use crate::state::outbox::{Content, Message, Outcome};
use crate::state::queue::Alert;
use crate::state::{Durability, LogState, State, Store};
use crate::terminal::Waiting;
use effects::{Effects, Route};
use next::{Choice, Progress, Step};

/// One run in progress.
pub struct Run<'a> {
    config: &'a Config,
    pub state: State,
    effects: &'a mut dyn Effects,
    /// How the messages go out.
    pub route: Route,
    /// The state folder, for reading the files beside the state.
    store: Store,
    pub report: Report,
    /// A replay's clock, set by the times of the rows.
    pub clock: Option<Timestamp>,
    /// The key of the audit log in the state.
    log: String,
    progress: Progress,
    begun: Instant,
    /// How durable the next commit must be; `None` if nothing has changed since the last one.
    unsaved: Option<Durability>,
    /// Whether each wake is kept for the report, or only counted.
    pub keeps_wakes: bool,
    /// The indexes of an investigation's wakes in the report, by its id.
    reported: HashMap<String, Vec<usize>>,
    /// The silences, once they have been read in this look.
    silences: Option<Vec<Silence>>,
    /// Silences that are over; the next commit removes them.
    ended_silences: Vec<Silence>,
    /// The log around an alert, and how long into the run it was read.
    tail: Option<(Duration, Tail)>,
    /// Earlier incidents, once they have been read.
    past: OnceCell<Past>,
    /// How many investigations at the end of the queue come from this look.
    batch: usize,
    /// Inode and length of the log at the last look.
    log_end: Option<(u64, u64)>,
    /// Why the log is no longer read in this run.
    pub problem: Option<Error>,
    /// Warnings that were already printed and would come up again with every look.
    warned: HashSet<String>,
    /// How long nothing was watched; cleared by the commit of a message that says so.
    pub unwatched: Option<SignedDuration>,
    /// Whether a message that says so is not committed yet.
    says_unwatched: bool,
}

impl<'a> Run<'a> {
    pub fn new(
        config: &'a Config,
        state: State,
        effects: &'a mut dyn Effects,
        route: Route,
    ) -> Self {
        let is_dry = route == Route::Nowhere;
        Self {
            config,
            log: state.log_key(&config.paths.audit_log),
            state,
            effects,
            route,
            store: Store::at(&config.paths.state_dir),
            report: Report::new(log_key(&config.paths.audit_log), is_dry),
            clock: None,
            progress: Progress::default(),
            begun: Instant::now(),
            unsaved: None,
            keeps_wakes: false,
            reported: HashMap::new(),
            silences: None,
            ended_silences: Vec::new(),
            tail: None,
            past: OnceCell::new(),
            batch: 0,
            log_end: None,
            problem: None,
            warned: HashSet::new(),
            unwatched: None,
            says_unwatched: false,
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.unwrap_or_else(Timestamp::now)
    }

    /// Begins with a log that the state does not know yet: none of its rows is read in this run.
    pub fn begin(&mut self, checkpoint: Checkpoint) {
        let (log, now) = (&self.config.paths.audit_log, self.now());
        self.state.begin(log, checkpoint, now);
        self.progress.is_blind = true;
        self.note_change();
    }

    /// Takes one step after another until nothing is left to do.
    pub fn work(&mut self) -> Result<()> {
        loop {
            self.note_answer();
            self.note_handed_over()?;
            let choice = Choice {
                state: &self.state,
                log: &self.log,
                progress: &self.progress,
                config: self.config,
                route: self.route,
                now: self.now(),
                elapsed: self.begun.elapsed(),
            };
            match choice.next() {
                Step::Look => self.look(),
                Step::Conclude => self.conclude(),
                Step::Refuse(id, reason) => self.refuse(&id, reason),
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

    /// Waits for the engine or the fallback command, for at most `length`. Commits first, since it may take a
    /// while.
    fn wait(&mut self, length: Duration) -> Result<()> {
        self.commit_unsaved()?;
        let is_for_slack = self.progress.asking.is_none() && self.progress.handing_over.is_none();
        let _waiting = is_for_slack.then(|| Waiting::for_what("waiting for Slack"));
        // Work in the background wakes this thread when it is done. After an early wake-up, the next step is
        // to wait again.
        thread::park_timeout(length);
        Ok(())
    }

    fn note_change(&mut self) {
        self.unsaved = Some(Durability::Full);
    }

    fn commit(&mut self) -> Result<()> {
        self.note_change();
        self.commit_unsaved()
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
        self.report_message(&message);
        if self.unwatched.is_some() && !self.says_unwatched {
            message.unwatched = self.unwatched.map(|length| length.as_secs());
            self.says_unwatched = true;
        }
        if let Route::SlackWithout(variable) = self.route {
            message.cause = Some(format!("{variable} is not set"));
        }
        note_message(&mut self.state.logs, &message);
        self.progress.made.insert(message.id.clone());
        self.state.outbox.push_back(message);
        self.note_change();
    }

    /// Writes an outcome row.
    fn record_row(&mut self, row: &Row) {
        if self.effects.record(row)
            && let Some(log) = self.state.logs.get_mut(&self.log)
        {
            log.quiet.own_rows += 1;
            self.note_change();
        }
    }

    /// Returns whether the log has changed since the last look and could still be read in this run.
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

    /// Calls `act` with what is remembered of the log, which is taken out of the state for the call.
    fn with_log(&mut self, act: impl FnOnce(&mut Self, &mut LogState)) {
        match self.state.logs.remove(&self.log) {
            Some(mut kept) => {
                act(self, &mut kept);
                self.state.logs.insert(self.log.clone(), kept);
            }
            None => self.progress.is_blind = true,
        }
    }

    fn incidents(&self) -> impl Iterator<Item = &Incident> {
        let log = self.state.logs.get(&self.log);
        log.into_iter().flat_map(|log| log.incidents.iter())
    }

    /// Calls `act` with a message. The outbox is taken out of the state for the call.
    fn with_message(&mut self, at: usize, act: impl FnOnce(&mut Self, &mut Message)) {
        let mut outbox = std::mem::take(&mut self.state.outbox);
        act(self, &mut outbox[at]);
        self.state.outbox = outbox;
    }

    /// Commits what is left to commit, and counts what is left to deliver.
    pub fn finish(&mut self) -> Result<()> {
        let now = self.now();
        let queue = &mut self.state.queue;
        let before = queue.len();
        queue.retain(|one| !one.retry().is_some_and(|retry| retry.is_over(now)));
        if queue.len() < before {
            self.note_change();
        }
        for at in 0..self.state.outbox.len() {
            if !self.is_in_report(&self.state.outbox[at]) {
                self.record(at, false);
            }
        }
        let sending = &self.progress.sending;
        if sending.is_slack_at_fault || sending.suspect.is_some() {
            let elapsed = SignedDuration::try_from(self.begun.elapsed());
            let left = self.config.cadence - elapsed.unwrap_or(SignedDuration::MAX);
            self.state.slack.paused_until = now.checked_add(left).ok();
            self.note_change();
        }
        if self.unsaved.is_some() {
            self.prune(now);
            self.commit_unsaved()?;
        }
        let State { outbox, queue, .. } = &self.state;
        let pending = outbox.iter().filter(|one| !self.is_in_report(one)).count();
        let new = queue.iter().filter(|one| one.is_new());
        self.report.left_for_next_run = new.map(|one| one.alerts.len() as u64).sum();
        self.report.investigations.owed = queue.len() as u64;
        self.report.outbox.pending = pending as u64;
        self.warn_of_pending(pending);
        Ok(())
    }

    /// Forgets what no decision and no message will need again.
    fn prune(&mut self, now: Timestamp) {
        let log = self.state.logs.get_mut(&self.log);
        let forgotten = log.map_or(0, |log| log.incidents.prune(&self.config.debounce, now));
        if forgotten > 0 {
            let incidents = count(forgotten as u64, "incident is", "incidents are");
            warn!("there are more than 10,000 incidents: {incidents} forgotten");
        }
    }

    /// Returns whether this run made the message for its report: it stays queued until the report is printed.
    fn is_in_report(&self, message: &Message) -> bool {
        self.route == Route::Report && self.progress.made.contains(&message.id)
    }

    /// Records the report's messages as delivered, now that it has been printed.
    pub fn report_is_out(&mut self) -> Result<()> {
        let all = 0..self.state.outbox.len();
        let is_printed = |at: &usize| self.is_in_report(&self.state.outbox[*at]);
        let printed: Vec<_> = all.filter(is_printed).collect();
        if printed.is_empty() {
            return Ok(());
        }
        printed.iter().for_each(|at| self.record(*at, true));
        for at in printed.into_iter().rev() {
            self.state.outbox.remove(at);
        }
        self.commit()
    }

    /// Warns only once per run of what every look finds again.
    fn warn_once(&mut self, kind: &str, warning: String) {
        if !self.warned.contains(&warning) {
            warn_lasting(kind, &warning, &warning);
            self.warned.insert(warning);
        }
    }

    /// Changes the report's entries for the wakes of an investigation. They are added if an earlier run
    /// queued it.
    fn report(
        &mut self,
        id: &str,
        alerts: &[Alert],
        facts_first: bool,
        change: impl Fn(&mut WakeReport),
    ) {
        let wakes = &mut self.report.wakes;
        let add = || {
            let first = wakes.len();
            wakes.extend(alerts.iter().map(|alert| WakeReport {
                was_queued: true,
                facts_first,
                ..WakeReport::new(&alert.wake, &Decision::Dispatch(alert.dispatch.clone()))
            }));
            (first..wakes.len()).collect()
        };
        if self.keeps_wakes {
            let indexes = self.reported.entry(id.to_owned()).or_insert_with(add);
            indexes.iter().for_each(|at| change(&mut wakes[*at]));
        }
    }

    /// Puts the text of a message about alerts into the report. A wake can be megabytes long: the text is
    /// made only if somebody reads it.
    fn report_message(&mut self, message: &Message) {
        let Some(id) = reported_id(message).filter(|_| self.keeps_wakes) else {
            return;
        };
        let is_announced = matches!(message.content, Content::Announcement { .. });
        let is_result = matches!(message.content, Content::Result { .. });
        let text = self.render(message).text;
        let is_dry = self.report.dry_run;
        self.report(id, message.content.alerts(), is_result, |wake| {
            wake.facts_first |= is_announced;
            wake.dm_text = Some(text.clone());
            match message.content.outcome() {
                Some(Outcome::Diagnosis { .. }) => wake.reasoning_invoked = !is_dry,
                Some(Outcome::NoDiagnosis(reason)) => wake.error = Some(reason.clone()),
                _ => {}
            }
        });
    }

    /// Marks a message's wakes as sent in the report, including those of earlier runs.
    fn report_sent(&mut self, message: &Message) {
        let Some(id) = reported_id(message) else {
            return;
        };
        if !self.reported.contains_key(id) {
            self.report_message(message);
        }
        let alerts = message.content.alerts();
        self.report(id, alerts, false, |wake| wake.dm_sent = true);
    }
}

/// Returns the incident that an alert is about, unless its pair has begun a new one since.
fn incident_of<'a>(log: Option<&'a mut LogState>, alert: &Alert) -> Option<&'a mut Incident> {
    let incident = log?.incidents.get_mut(&Pair::of(&alert.wake))?;
    (incident.first_wake == alert.dispatch.since).then_some(incident)
}

/// Returns the id under which the report has a message's wakes; `None` if it is not about an investigation.
fn reported_id(message: &Message) -> Option<&String> {
    let is_recovery = matches!(message.content, Content::Recovery { .. });
    message.investigation.as_ref().filter(|_| !is_recovery)
}

/// Notes a message as the newest of its incidents, and as the first of those that had none.
fn note_message(logs: &mut BTreeMap<String, LogState>, message: &Message) {
    let Some(log) = logs.get_mut(&message.log) else {
        return;
    };
    for alert in message.content.alerts() {
        let incident = log.incidents.get_mut(&Pair::of(&alert.wake));
        if let Some(incident) = incident.filter(|_| message.content.is_alert()) {
            let it = MessageRef::new(&message.id);
            incident.first_message.get_or_insert_with(|| it.clone());
            incident.newest_message = Some(it);
        }
    }
}

/// Returns the result of work in the background, or `lost` if its thread is gone; `None` while it is running.
fn poll<T>(receiver: &Receiver<T>, lost: impl FnOnce() -> T) -> Option<T> {
    match receiver.try_recv() {
        Ok(it) => Some(it),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Disconnected) => Some(lost()),
    }
}
