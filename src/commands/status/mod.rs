//! `status`: the last run, how far it is behind, which pairs are quiet until when, and what is stuck
//! and why. It takes no lock and changes nothing.

mod lag;
mod text;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::health::{self, Runs};
use super::print_as;
use crate::cli::{Global, StatusArgs};
use crate::config::Config;
use crate::debounce::Pair;
use crate::exit::{Ended, Exit};
use crate::state::outbox::Dm;
use crate::state::queue::Investigation;
use crate::state::{EngineFailure, LogState, State, Store, undelivered};
use crate::terminal::Painter;
use crate::text::on_one_line;
use lag::Lag;

#[derive(Debug, Serialize)]
struct Status {
    version: u32,
    audit_log: String,
    /// Why it cannot be read.
    audit_log_problem: Option<String>,
    state_dir: String,
    /// `null` if this system does not list its locks.
    running: Option<bool>,
    last_run: Option<Timestamp>,
    /// The schedule should have started a run since the last one.
    overdue: bool,
    /// `null` before the first run.
    position: Option<u64>,
    /// `null` before the first run, and where the log cannot be read.
    lag: Option<Lag>,
    /// Pairs whose window is open.
    held_back: Vec<QuietPair>,
    outbox: Vec<QueuedDm>,
    undelivered: u64,
    investigations: Vec<OwedInvestigation>,
    /// The last question without a diagnosis. The next diagnosis clears it.
    last_failure: Option<EngineFailure>,
    /// What is wrong, a line each.
    problems: Vec<String>,
}

/// An investigation that has not ended.
#[derive(Debug, Serialize)]
struct OwedInvestigation {
    queued_at: Timestamp,
    caller_session_id: String,
    severity: String,
    /// Whether the operator has the facts.
    told: bool,
    /// Whether it failed and is tried again for a late diagnosis.
    late: bool,
    attempts: u32,
}

#[derive(Debug, Serialize)]
struct QuietPair {
    #[serde(flatten)]
    pair: Pair,
    until: Timestamp,
    /// Repeats that were held back.
    count: u64,
}

#[derive(Debug, Serialize)]
struct QueuedDm {
    queued_at: Timestamp,
    caller_session_id: String,
    severity: String,
    /// The message that it follows has to go first.
    waiting: bool,
    /// When it is tried again. Until then other DMs are sent.
    paused_until: Option<Timestamp>,
    /// In how many runs Slack refused it or gave no clear answer.
    failures: u32,
    cause: Option<String>,
}

pub fn status(flags: &Global, args: &StatusArgs) -> Ended {
    let config = Config::load(flags)?;
    let now = Timestamp::now();
    let store = Store::at(&config.paths.state_dir);
    let state = store.load()?;
    let status = gather(&config, &store, &state, now)?;
    let lines = match args.check {
        true => status.problems.clone(),
        false => text::lines(&status, Painter::for_stdout(config.paths.no_color), now),
    };
    print_as(args.format.format, &status, &lines).context("cannot print the status")?;
    match args.check && !status.problems.is_empty() {
        true => Ok(Exit::Unfinished),
        false => Ok(Exit::Done),
    }
}

fn gather(config: &Config, store: &Store, state: &State, now: Timestamp) -> anyhow::Result<Status> {
    let log = &config.paths.audit_log;
    let kept = state.log(log);
    let (lag, audit_log_problem) = match lag::look(log, kept, now) {
        Ok(lag) => (lag, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let runs = Runs::look(&store.dir);
    let overdue = runs.overdue(config, now);
    let is_overdue = overdue.is_some();
    let undelivered = undelivered::count(store, &state.outbox)?;
    let outbox = state.outbox.iter().map(|dm| queued(dm, now));
    let found = [
        overdue,
        runs.failing(now),
        health::queued(state, health::TOO_LONG, now),
        health::untold(state, now),
        health::undelivered(undelivered),
    ];
    let found = found.into_iter().flatten().map(|one| {
        let next_step = one.next_step.unwrap_or_default();
        format!("{}; {next_step}", one.message)
    });
    let problems = audit_log_problem.iter().cloned().chain(found);
    let problems = problems.map(|line| on_one_line(&line)).collect();
    Ok(Status {
        version: 1,
        audit_log: log.display().to_string(),
        audit_log_problem,
        state_dir: store.dir.display().to_string(),
        running: runs.is_running,
        last_run: runs.last,
        overdue: is_overdue,
        position: kept.map(|kept| kept.checkpoint.offset()),
        lag,
        held_back: quiet_pairs(kept, config, now),
        outbox: outbox.collect(),
        undelivered,
        investigations: state.queue.iter().map(owed).collect(),
        last_failure: state.last_failure.clone(),
        problems,
    })
}

fn quiet_pairs(kept: Option<&LogState>, config: &Config, now: Timestamp) -> Vec<QuietPair> {
    let stamps = kept.into_iter().flat_map(|kept| kept.stamps.iter());
    let pairs = stamps.filter_map(|(pair, stamp)| {
        Some(QuietPair {
            pair: pair.clone(),
            until: stamp.held_until(&config.debounce, now)?,
            count: stamp.held_back.map_or(0, |held| held.count),
        })
    });
    pairs.collect()
}

fn owed(one: &Investigation) -> OwedInvestigation {
    OwedInvestigation {
        queued_at: one.queued_at,
        caller_session_id: one.caller_session_id(),
        severity: one.main_wake().severity.clone(),
        told: !one.is_untold(),
        late: one.late.is_some(),
        attempts: one.attempts,
    }
}

fn queued(dm: &Dm, now: Timestamp) -> QueuedDm {
    let paused_until = dm.paused.as_ref().map(|paused| paused.until);
    QueuedDm {
        queued_at: dm.queued_at,
        caller_session_id: dm.caller_session_id(),
        severity: dm.severity.clone(),
        waiting: dm.is_waiting(),
        paused_until: paused_until.filter(|until| *until > now),
        failures: dm.failures,
        cause: dm.cause.clone(),
    }
}
