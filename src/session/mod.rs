//! One run in progress: the state as it will be committed, the effects, and the report. `read` takes
//! rows to decisions and into the queue, `investigate` takes the queue to results, `tell` puts facts
//! and results into the outbox, and `deliver` takes the outbox to the operator.

mod deliver;
mod investigate;
mod read;
mod recover;
mod tell;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use jiff::{SignedDuration, Timestamp};
use log::warn;

use crate::audit::generations::Checkpoint;
use crate::config::{Config, FactsAfter};
use crate::debounce::Decision;
use crate::effects::{Effects, Route};
use crate::engine::Failure;
use crate::report::{Report, WakeReport};
use crate::secret::Secret;
use crate::state::queue::Alert;
use crate::state::{Durability, State};

/// How often the log is looked at while an engine or Slack is waited for.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// One run in progress.
pub struct Session<'a, E: Effects> {
    config: &'a Config,
    pub state: State,
    pub effects: E,
    pub report: Report,
    /// Under which the state keeps the audit log.
    log_name: String,
    /// The tokens that a row may quote.
    secrets: Vec<Secret>,
    /// What the next commit has to outlive; `None` where nothing changed since the last one.
    unsaved: Option<Durability>,
    /// Whether each wake is kept for the report, or only counted.
    keeps_wakes: bool,
    /// Where the wakes of an investigation stand in the report, by its id.
    reported_wakes: HashMap<String, Vec<usize>>,
    begun: Instant,
    /// When the log was looked at last, or the run began.
    looked: Instant,
    /// Whether the last look left rows unread, since there was no room for them.
    is_full: bool,
    /// Why the log is read no more in this run.
    pub problem: Option<Error>,
    /// What was warned of already, where it would be found again.
    warned: HashSet<String>,
    /// The ids of the investigations that this run queued.
    queued: HashSet<String>,
    /// The id of the investigation that the engine is asked about now.
    asking: Option<String>,
    /// The ids of the investigations whose late diagnosis is asked for in later runs.
    hoped_for: HashSet<String>,
    failures: Failures,
    outgoing: Outgoing,
    /// For how long nothing was watched, until a DM has told it.
    pub unwatched: Option<SignedDuration>,
}

/// The engine's failures in this run.
#[derive(Default)]
struct Failures {
    /// How many wakes in a row found the engine unreachable.
    unreachable_in_a_row: u32,
    /// As what, the last time.
    unreachable: Option<Failure>,
    /// Whether it was told that the hourly budget is spent.
    budget_told: bool,
}

/// What becomes of DMs in this run.
#[derive(Default)]
struct Outgoing {
    /// Whether this run sends no more.
    stopped: bool,
    /// Whether Slack took a message.
    proven: bool,
    /// Whether all else was done, so that a DM that failed again and again holds nobody up.
    tries_all: bool,
    /// DMs that this run made, by id, with whether each was delivered.
    made: HashMap<String, bool>,
    /// DMs that this run made and whose outcome rows say that they were not sent.
    failed_rows: HashSet<String>,
    /// The DM that is being sent from the next commit on.
    announced: Option<String>,
    /// DMs that were tried and stay queued.
    tried: HashSet<String>,
    /// So many DMs at the end of the outbox are told in the report, once that is printed.
    reported: usize,
}

impl<'a, E: Effects> Session<'a, E> {
    pub fn new(config: &'a Config, state: State, effects: E, report: Report) -> Self {
        let log_name = state.log_key(&config.paths.audit_log);
        Self {
            config,
            state,
            effects,
            report,
            log_name,
            secrets: config.secrets(),
            unsaved: None,
            keeps_wakes: false,
            reported_wakes: HashMap::new(),
            begun: Instant::now(),
            looked: Instant::now(),
            is_full: false,
            problem: None,
            warned: HashSet::new(),
            queued: HashSet::new(),
            asking: None,
            hoped_for: HashSet::new(),
            failures: Failures::default(),
            outgoing: Outgoing::default(),
            unwatched: None,
        }
    }

    /// A time without runs, for the next DM to tell.
    pub fn after_unwatched(mut self, length: SignedDuration) -> Self {
        // Before the first run there was nothing to watch.
        let is_new = self.state.logs.is_empty();
        self.unwatched = Some(length).filter(|length| !length.is_zero() && !is_new);
        self
    }

    /// Whether the report tells each wake, or only their number.
    pub fn keeping_wakes(mut self, keeps_wakes: bool) -> Self {
        self.keeps_wakes = keeps_wakes;
        self
    }

    /// Stamps the log's first position.
    pub fn begin(&mut self, checkpoint: Checkpoint) {
        self.state.begin(&self.config.paths.audit_log, checkpoint);
        self.note_unsaved(Durability::Full);
    }

    /// Reads, asks and tells until there is nothing more to do, or the run's time is over. The log
    /// is looked at again before each step.
    pub fn work(&mut self) -> Result<()> {
        while !self.is_past_its_time() {
            self.look()?;
            self.tell_due()?;
            self.send_outbox()?;
            if self.is_past_its_time() {
                break;
            }
            // Each step behind this one gives whether there was something to do.
            if let Some(id) = self.next_investigation() {
                self.investigate(&id)?;
            } else if !(self.send_one_late_part()?
                || self.send_one_in_doubt()?
                || self.tell_recoveries()?)
            {
                break;
            }
        }
        if self.is_past_its_time() {
            self.tell_untold()?;
            self.tell_recoveries()?;
        }
        Ok(())
    }

    fn note_unsaved(&mut self, durability: Durability) {
        self.unsaved = self.unsaved.max(Some(durability));
    }

    fn commit(&mut self, durability: Durability) -> Result<()> {
        self.effects.commit(&self.state, durability)?;
        self.unsaved = None;
        Ok(())
    }

    /// Commits what is left to commit, and counts what is left to deliver.
    pub fn finish(&mut self, now: Timestamp) -> Result<()> {
        let queue = &self.state.queue;
        self.report.outbox.pending = (self.state.outbox.len() - self.outgoing.reported) as u64;
        self.report.investigations.owed = queue.len() as u64;
        let untold = queue.iter().filter(|one| one.is_untold());
        self.report.left_for_next_run = untold.map(|one| one.count() as u64).sum();
        for wake in &mut self.report.wakes {
            wake.dm_sent |= wake
                .dms
                .iter()
                .any(|dm| self.outgoing.made.get(dm) == Some(&true));
        }
        if let Some(durability) = self.unsaved {
            self.prune(now);
            self.commit(durability)?;
        }
        self.warn_of_pending();
        Ok(())
    }

    /// Forgets what no decision and no DM will need again.
    fn prune(&mut self, now: Timestamp) {
        if let Some(log) = self.state.logs.get_mut(&self.log_name) {
            log.stamps.prune(&self.config.debounce, now);
            log.episodes.prune(now);
        }
    }

    /// The report was printed, and what it tells is delivered.
    pub fn report_is_out(&mut self) -> Result<()> {
        if self.outgoing.reported == 0 {
            return Ok(());
        }
        let kept = self.state.outbox.len() - std::mem::take(&mut self.outgoing.reported);
        self.state.outbox.truncate(kept);
        self.commit(Durability::Full)
    }

    fn is_past_its_time(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }

    /// `None` is no limit.
    fn time_left(&self) -> Option<Duration> {
        let limit = self.config.max_runtime?;
        Some(limit.saturating_sub(self.begun.elapsed()))
    }

    /// How long an alert waits for its diagnosis; `None` is for ever. What is printed is told once,
    /// with its diagnosis.
    fn facts_after(&self) -> Option<SignedDuration> {
        match (self.effects.route(), self.config.facts_after) {
            (Route::Stdout | Route::Report | Route::Nowhere, _) | (_, FactsAfter::Never) => None,
            (_, FactsAfter::After(length)) => Some(length),
        }
    }

    /// Warns once a run of what is found again with every look.
    fn warn_once(&mut self, warning: String) {
        if !self.warned.contains(&warning) {
            warn!("{warning}");
            self.warned.insert(warning);
        }
    }

    /// Gives the wakes of an investigation their entries in the report, where an earlier run queued
    /// it.
    fn report_wakes_of(&mut self, index: usize) {
        let one = &self.state.queue[index];
        if !self.keeps_wakes || self.reported_wakes.contains_key(&one.id) {
            return;
        }
        let wakes = &mut self.report.wakes;
        let first = wakes.len();
        let entry = |alert: &Alert| WakeReport {
            was_queued: true,
            ..WakeReport::new(&alert.wake, &Decision::Dispatch(alert.before))
        };
        wakes.extend(one.alerts().map(entry));
        let indexes = (first..wakes.len()).collect();
        self.reported_wakes.insert(one.id.clone(), indexes);
    }

    /// Changes the report's entries for the wakes of an investigation.
    fn reported(&mut self, id: &str, change: impl Fn(&mut WakeReport)) {
        for index in self.reported_wakes.get(id).into_iter().flatten() {
            change(&mut self.report.wakes[*index]);
        }
    }
}
