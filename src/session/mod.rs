//! What one run has in its hands: the state as it will be committed, the effects, and the report.
//! `read` takes rows from the log to decisions, `dispatch` takes a wake from its decision to a DM
//! in the outbox, and `deliver` takes DMs from the outbox to the operator.

mod context;
mod deliver;
mod dispatch;
mod read;

use std::time::Instant;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use log::warn;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::position::Position;
use crate::config::Config;
use crate::effects::{Effects, Route};
use crate::engine::Reason;
use crate::exit::Exit;
use crate::report::Report;
use crate::state::{Durability, LogState, State, log_name};

/// One run in progress.
pub struct Session<'a, E: Effects> {
    config: &'a Config,
    pub state: State,
    pub effects: E,
    pub report: Report,
    /// Under which the state keeps the audit log.
    log_name: String,
    unsaved: Unsaved,
    /// Whether each wake is kept for the report, or only counted.
    keeps_wakes: bool,
    begun: Instant,
    /// Whether this run still sends DMs; a Slack that is down is tried once.
    sends: bool,
    /// So many DMs at the end of the outbox are told in the report, once that is printed.
    reported: usize,
    unreachable: Unreachable,
    /// For how long nothing was watched, until a DM has told it.
    pub unwatched: Option<SignedDuration>,
}

/// What changed since the last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unsaved {
    Nothing,
    Position,
    Stamps,
}

/// How often in a row the engine could not be reached, and as what the last time.
#[derive(Default)]
struct Unreachable {
    in_a_row: u32,
    reason: Option<Reason>,
}

impl<'a, E: Effects> Session<'a, E> {
    pub fn new(config: &'a Config, state: State, effects: E, report: Report) -> Self {
        Self {
            config,
            state,
            effects,
            report,
            log_name: log_name(&config.paths.audit_log),
            unsaved: Unsaved::Nothing,
            keeps_wakes: false,
            begun: Instant::now(),
            sends: true,
            reported: 0,
            unreachable: Unreachable::default(),
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

    /// What is kept of the audit log.
    fn log(&mut self) -> &mut LogState {
        let start = || LogState::new(Checkpoint::new(Position::start_of_nothing()));
        self.state
            .logs
            .entry(self.log_name.clone())
            .or_insert_with(start)
    }

    /// Stamps the log's first position.
    pub fn begin(&mut self, checkpoint: Checkpoint) {
        self.state
            .logs
            .insert(self.log_name.clone(), LogState::new(checkpoint));
        self.unsaved = Unsaved::Stamps;
    }

    /// How far the log was read; at the start of nothing where that was never stamped.
    pub fn checkpoint(&mut self) -> &mut Checkpoint {
        &mut self.log().checkpoint
    }

    fn commit(&mut self, durability: Durability) -> Result<()> {
        self.effects.commit(&self.state, durability)?;
        self.unsaved = Unsaved::Nothing;
        Ok(())
    }

    /// Commits what is left to commit, and counts what is left to deliver.
    pub fn finish(&mut self, now: Timestamp) -> Result<()> {
        self.report.outbox.pending = (self.state.outbox.len() - self.reported) as u64;
        self.count_run(now);
        if self.unsaved != Unsaved::Nothing {
            let policy = &self.config.debounce;
            let log = self.log();
            log.stamps.prune(policy, now);
            log.checkpoint.forget_done();
            let only_position = self.unsaved == Unsaved::Position;
            self.commit(if only_position {
                Durability::PositionOnly
            } else {
                Durability::Full
            })?;
        }
        let pending = self.report.outbox.pending;
        if let (Route::SlackWithout(variable), 1..) = (self.effects.route(), pending) {
            warn!("{variable} is not set: {pending} DM(s) stay queued until it is");
        }
        Ok(())
    }

    /// Counts the run. That alone is worth a commit only where somebody reads the counters.
    fn count_run(&mut self, now: Timestamp) {
        let counters = &mut self.state.counters;
        counters.runs += 1;
        counters.rows += self.report.rows.read;
        if self.report.exit() == Exit::Done {
            counters.last_success = Some(now);
        }
        if self.config.metrics_file.is_some() {
            self.unsaved = self.unsaved.max(Unsaved::Position);
        }
    }

    /// The report was printed, and what it tells is delivered.
    pub fn report_is_out(&mut self) -> Result<()> {
        if self.reported == 0 {
            return Ok(());
        }
        let kept = self.state.outbox.len() - std::mem::take(&mut self.reported);
        self.state.outbox.truncate(kept);
        self.commit(Durability::Full)
    }

    fn is_past_its_time(&self) -> bool {
        let limit = self.config.max_runtime;
        limit.is_some_and(|limit| self.begun.elapsed() >= limit)
    }
}
