//! `status`: on one screen, whether it is running and when it last did, how far behind it is, what
//! is held back until when, and what is stuck where and why. It only looks: no lock is taken.

mod print;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use crate::audit::plan::Plan;
use crate::audit::rotation;
use crate::cli::{Format, FormatArg, Global};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::files::open_own;
use crate::report::print_json;
use crate::state::outbox::Dm;
use crate::state::queue::Investigation;
use crate::state::{EngineFailure, LogState, State, Store, UNDELIVERED_FILE, lock};
use crate::terminal::Painter;

#[derive(Debug, Serialize)]
struct Status {
    version: u32,
    audit_log: String,
    state_dir: String,
    /// `null` where this system does not tell who holds a lock.
    running: Option<bool>,
    last_run: Option<Timestamp>,
    /// The last run is longer ago than the schedule explains.
    overdue: bool,
    /// `null` before the first run.
    position: Option<u64>,
    lag: Option<Lag>,
    held_back: Vec<HeldBackPair>,
    outbox: Vec<QueuedDm>,
    undelivered: u64,
    investigations: Vec<Owed>,
    /// The last question that brought no diagnosis, until one does.
    last_failure: Option<EngineFailure>,
}

/// An investigation that is not ended.
#[derive(Debug, Serialize)]
struct Owed {
    queued_at: Timestamp,
    caller_session_id: String,
    severity: String,
    /// Whether the operator has the facts.
    told: bool,
    /// Whether it failed and a late diagnosis is hoped for.
    late: bool,
    attempts: u32,
}

impl Owed {
    fn of(one: &Investigation) -> Self {
        Self {
            queued_at: one.queued_at,
            caller_session_id: one.caller_session_id(),
            severity: one.main_wake().severity.clone(),
            told: !one.is_untold(),
            late: one.late.is_some(),
            attempts: one.attempts,
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct Lag {
    bytes: u64,
    rows: u64,
    gap: bool,
}

#[derive(Debug, Serialize)]
struct HeldBackPair {
    probe: String,
    category: String,
    until: Timestamp,
    count: u64,
}

#[derive(Debug, Serialize)]
struct QueuedDm {
    queued_at: Timestamp,
    caller_session_id: String,
    severity: String,
    cause: Option<String>,
}

pub fn status(flags: &Global, args: &FormatArg) -> Ended {
    let config = Config::load(flags)?;
    let now = Timestamp::now();
    let store = Store::at(&config.paths.state_dir);
    let state = store.load()?;
    let status = gather(&config, &store, &state, now)?;
    match args.format {
        Format::Json => print_json(&status),
        Format::Text => print::print(&status, Painter::for_stdout(config.paths.no_color), now),
    }
    .context("cannot print the status")?;
    Ok(Exit::Done)
}

fn gather(config: &Config, store: &Store, state: &State, now: Timestamp) -> anyhow::Result<Status> {
    let log = &config.paths.audit_log;
    let kept = state.log(log);
    let last_run = last_run(store);
    // What cannot be read has no lag that could be told; `check` says why.
    let plan = kept.and_then(|kept| rotation::plan(log, &kept.checkpoint, now).ok());
    Ok(Status {
        version: 1,
        audit_log: log.display().to_string(),
        state_dir: store.dir.display().to_string(),
        running: is_running(store),
        last_run,
        overdue: last_run.is_none_or(|last| now.duration_since(last) > config.overdue_after()),
        position: kept.map(|kept| kept.checkpoint.position.offset),
        lag: plan
            .map(|plan| lag(&plan))
            .transpose()
            .context("cannot read the audit log")?,
        held_back: held_back(kept, config, now),
        outbox: state.outbox.iter().map(QueuedDm::of).collect(),
        undelivered: count_rows(&store.path(UNDELIVERED_FILE))
            .context("cannot read undelivered.jsonl")?,
        investigations: state.queue.iter().map(Owed::of).collect(),
        last_failure: state.last_failure.clone(),
    })
}

fn held_back(kept: Option<&LogState>, config: &Config, now: Timestamp) -> Vec<HeldBackPair> {
    let stamps = kept.into_iter().flat_map(|kept| kept.stamps.iter());
    let pairs = stamps.filter_map(|(pair, stamp)| {
        Some(HeldBackPair {
            probe: pair.probe.clone(),
            category: pair.category.clone(),
            until: stamp.held_until(&config.debounce, now)?,
            count: stamp.held_back.map_or(0, |held| held.count),
        })
    });
    pairs.collect()
}

impl QueuedDm {
    fn of(dm: &Dm) -> Self {
        Self {
            queued_at: dm.queued_at,
            caller_session_id: dm.caller_session_id(),
            severity: dm.severity.clone(),
            cause: dm.cause.clone(),
        }
    }
}

/// When the last run ended, which the lock's time tells; `None` before the first.
pub fn last_run(store: &Store) -> Option<Timestamp> {
    let meta = fs::metadata(store.path(lock::FILE)).ok()?;
    Timestamp::try_from(meta.modified().ok()?).ok()
}

/// Whether a process holds the lock, from Linux's list of locks (proc_locks(5)): taking the lock to
/// find out could make a run end with 75.
fn is_running(store: &Store) -> Option<bool> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let Ok(meta) = fs::metadata(store.path(lock::FILE)) else {
        return Some(false);
    };
    let inode = format!(":{}", meta.ino());
    let holds = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1) == Some(&"FLOCK") && fields.get(5).is_some_and(|file| file.ends_with(&inode))
    };
    Some(locks.lines().any(holds))
}

fn lag(plan: &Plan) -> io::Result<Lag> {
    let mut lag = Lag {
        gap: plan.has_gap(),
        ..Lag::default()
    };
    for segment in &plan.segments {
        let (bytes, rows) = count_lines(segment.generation.read_from(segment.from)?)?;
        lag.bytes += bytes;
        lag.rows += rows;
    }
    Ok(lag)
}

/// Bytes and line ends. What a damaged gzip file holds behind the damage is not counted.
fn count_lines(mut source: impl Read) -> io::Result<(u64, u64)> {
    let (mut bytes, mut rows) = (0, 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok((bytes, rows)),
            Ok(read) => {
                bytes += read as u64;
                rows += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error().is_none() => return Ok((bytes, rows)),
            Err(error) => return Err(error),
        }
    }
}

fn count_rows(path: &Path) -> io::Result<u64> {
    match open_own(path, fs::File::options().read(true)) {
        Ok(file) => count_lines(file).map(|(_, rows)| rows),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}
