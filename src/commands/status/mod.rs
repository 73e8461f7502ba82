//! `status`: what is open now, the last run, what is unread, and what is stuck and why. It takes no lock and
//! changes nothing.

mod text;

use std::cmp::Reverse;
use std::path::Path;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde::Serialize;

use super::health::{self, Runs};
use super::print_as;
use super::silence::{Listed, in_force};
use crate::audit::generations::open_log;
use crate::audit::lag::{Lag, lag};
use crate::cli::{Global, StatusArgs};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::incident::{Incident, Pair, Severity, Silence};
use crate::state::outbox::{Message, Place};
use crate::state::queue::Investigation;
use crate::state::{EngineFailure, LogState, State, Store, undelivered};
use crate::terminal::Painter;
use crate::text::on_one_line;

#[derive(Debug, Serialize)]
struct Status {
    version: u32,
    audit_log: String,
    /// Why it cannot be read.
    audit_log_problem: Option<String>,
    state_dir: String,
    /// What is open, the most severe first.
    open: Vec<OpenIncident>,
    /// What is over without a recovery; shown for 24 hours.
    over: Vec<OpenIncident>,
    /// `null` if this system does not list its locks.
    running: Option<bool>,
    last_run: Option<Timestamp>,
    /// The schedule should have started a run since the last one.
    overdue: bool,
    /// `null` before the first run.
    position: Option<u64>,
    /// `null` before the first run, and if the log cannot be read.
    lag: Option<Lag>,
    /// When the log last had a new row, or since when one is awaited; `null` before the first run.
    last_row: Option<Timestamp>,
    outbox: Vec<QueuedMessage>,
    undelivered: u64,
    investigations: Vec<OpenInvestigation>,
    /// The last question without a diagnosis. The next diagnosis clears it.
    last_failure: Option<EngineFailure>,
    silences: Vec<Listed>,
    /// Why no recovery can be seen, if Kora's snapshot is meant to show them.
    recovery_problem: Option<String>,
    /// What is wrong, one line each.
    problems: Vec<String>,
}

/// An incident.
#[derive(Debug, Serialize)]
struct OpenIncident {
    #[serde(flatten)]
    pair: Pair,
    severity: Severity,
    title: String,
    since: Timestamp,
    last_seen: Timestamp,
    wakes: u64,
    messages: u64,
    held_back: u64,
    /// Until when it is quiet, and why: `window`, `silenced` or `acknowledged`.
    quiet_until: Option<Timestamp>,
    quiet_by: Option<&'static str>,
    /// The silence's pair as typed, and why it was made.
    silence: Option<String>,
}

/// An investigation that has not ended.
#[derive(Debug, Serialize)]
struct OpenInvestigation {
    queued_at: Timestamp,
    caller_session_id: String,
    severity: String,
    /// `new`, `announced` or `retrying`.
    stage: &'static str,
    attempts: u32,
}

#[derive(Debug, Serialize)]
struct QueuedMessage {
    queued_at: Timestamp,
    caller_session_id: String,
    severity: String,
    /// The message that it follows has to go first.
    waiting: bool,
    /// When it is tried again. Until then other messages are sent.
    paused_until: Option<Timestamp>,
    /// How often it failed while Slack took others.
    failures: u32,
    cause: Option<String>,
}

pub fn status(flags: &Global, args: &StatusArgs) -> Ended {
    let config = Config::load(flags)?;
    let now = Timestamp::now();
    let mut store = Store::at(&config.paths.state_dir);
    let state = store.load()?;
    let status = gather(&config, &store, &state, now)?;
    let lines = match args.check {
        true => status.problems.clone(),
        false => text::lines(&status, Painter::for_stdout(config.paths.no_color), now),
    };
    print_as(args.format, "the status", &status, &lines)?;
    match args.check && !status.problems.is_empty() {
        true => Ok(Exit::Unfinished),
        false => Ok(Exit::Done),
    }
}

fn gather(config: &Config, store: &Store, state: &State, now: Timestamp) -> Result<Status> {
    let log = &config.paths.audit_log;
    let kept = state.log(log);
    let (lag, audit_log_problem) = match unread(log, kept, now) {
        Ok(lag) => (lag, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let runs = Runs::look(&store.dir);
    let overdue = runs.overdue(config, now);
    let is_overdue = overdue.is_some();
    let undelivered = undelivered::count(store, &state.outbox)?;
    let found = [
        runs.failing(now),
        overdue,
        health::quiet(config, kept, now),
        health::refused(config, state),
        health::queued(state, health::TOO_LONG, now),
        health::unsent(state, now),
        health::undelivered(undelivered),
        health::engine(state),
    ];
    let found = found.into_iter().flatten().map(|one| {
        let next_step = one.next_step.unwrap_or_default();
        format!("{}; {next_step}", one.message)
    });
    let problems = audit_log_problem.iter().cloned().chain(found);
    let problems = problems.map(|line| on_one_line(&line)).collect();
    let silences = in_force(store, kept, now);
    let [open, over] = incidents(kept, config, &silences, now);
    let silences = silences.into_iter().map(|one| Listed::new(one, kept));
    let recovery = health::recovery(config, kept, now);
    Ok(Status {
        version: 1,
        audit_log: log.display().to_string(),
        audit_log_problem,
        state_dir: store.dir.display().to_string(),
        open,
        over,
        running: runs.is_running,
        last_run: runs.last(),
        overdue: is_overdue,
        position: kept.map(|kept| kept.checkpoint.offset()),
        lag,
        last_row: kept.map(|kept| kept.quiet.since),
        outbox: state.outbox.iter().map(|one| queued(one, now)).collect(),
        undelivered,
        investigations: state.queue.iter().map(investigation).collect(),
        last_failure: state.last_failure.clone(),
        silences: silences.collect(),
        recovery_problem: recovery.map(|one| one.message),
        problems,
    })
}

/// Returns how much of the log is unread; `None` before the first run. The error says why that is unknown.
fn unread(log: &Path, kept: Option<&LogState>, now: Timestamp) -> Result<Option<Lag>> {
    let lag = kept.map(|kept| lag(log, &kept.checkpoint, now));
    let lag = lag.transpose()?;
    let is_missing = match &lag {
        Some(lag) => lag.missing,
        None => open_log(log)?.is_none(),
    };
    if is_missing {
        let log = log.display();
        return Err(anyhow!(
            "the audit log {log} does not exist; name the right file with KORA_AUDIT_LOG_PATH"
        ));
    }
    Ok(lag)
}

/// Returns what is open, the most severe first, and what is over without a recovery, the newest first.
fn incidents(
    kept: Option<&LogState>,
    config: &Config,
    silences: &[Silence],
    now: Timestamp,
) -> [Vec<OpenIncident>; 2] {
    let rules = &config.debounce;
    let incidents = kept.into_iter().flat_map(|kept| kept.incidents.iter());
    let unrecovered = incidents
        .filter(|one| one.wakes > 0 && one.recovered.is_none() && !one.is_forgotten(rules, now));
    let (mut open, mut over): (Vec<_>, Vec<_>) =
        unrecovered.partition(|one| one.is_open(rules, now));
    open.sort_by_key(|one| (Reverse(one.worst), one.first_wake));
    over.sort_by_key(|one| Reverse(one.last_raised));
    let shown = |one: &Incident| incident(one, config, silences, now);
    [open, over].map(|all| all.into_iter().map(shown).collect())
}

fn incident(one: &Incident, config: &Config, silences: &[Silence], now: Timestamp) -> OpenIncident {
    let holding = silences.iter().filter(|silence| silence.holds(one, now));
    let holding = holding.max_by_key(|silence| (silence.acknowledges.is_none(), silence.until));
    let silence = holding.filter(|silence| silence.acknowledges.is_none());
    let quiet_by = silence.map_or("acknowledged", |_| "silenced");
    let window = one.quiet_until(&config.debounce, now);
    let quiet = holding.map(|holding| (holding.until, quiet_by));
    let quiet = quiet.or(window.map(|until| (until, "window")));
    OpenIncident {
        pair: one.pair.clone(),
        severity: one.worst,
        title: one.title.clone(),
        since: one.first_wake,
        last_seen: one.last_raised,
        wakes: one.wakes,
        messages: one.messages,
        held_back: one.held_back.counts.total(),
        quiet_until: quiet.map(|(until, _)| until),
        quiet_by: quiet.map(|(_, by)| by),
        silence: silence.map(|silence| match &silence.reason {
            Some(reason) => format!("{} ({reason})", silence.scope),
            None => silence.scope.to_string(),
        }),
    }
}

fn investigation(one: &Investigation) -> OpenInvestigation {
    let subject = one.subject();
    OpenInvestigation {
        queued_at: one.queued_at,
        caller_session_id: subject.caller_session_id(),
        severity: subject.severity,
        stage: match (one.is_new(), one.is_pending()) {
            (true, _) => "new",
            (_, true) => "announced",
            _ => "retrying",
        },
        attempts: one.attempts,
    }
}

fn queued(message: &Message, now: Timestamp) -> QueuedMessage {
    let paused_until = message.pause.as_ref().map(|pause| pause.until);
    let subject = message.subject();
    QueuedMessage {
        queued_at: message.queued_at,
        caller_session_id: subject.caller_session_id(),
        severity: subject.severity,
        waiting: matches!(message.place, Place::After(_)),
        paused_until: paused_until.filter(|until| *until > now),
        failures: message.faults,
        cause: message.cause.clone(),
    }
}
