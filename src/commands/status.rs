//! `status`: on one screen, whether it is running and when it last did, how far behind it is, what
//! is held back until when, and what is stuck where and why. It only looks: no lock is taken.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use crate::audit::rotation::{self, Plan};
use crate::cli::{Format, FormatArg, Global};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::message::{minute, on_one_line, span};
use crate::report::{count, print_json};
use crate::state::{State, Store, UNDELIVERED_FILE, lock};
use crate::terminal::{Colour, Painter, fit_line};

/// Of pairs and of DMs, so many are shown.
const MOST_LINES: usize = 8;

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
    under_investigation: Option<String>,
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
        Format::Text => print(&status, Painter::for_stdout(config.paths.no_color), now),
    }
    .context("cannot print the status")?;
    Ok(Exit::Done)
}

fn gather(config: &Config, store: &Store, state: &State, now: Timestamp) -> anyhow::Result<Status> {
    let log = &config.paths.audit_log;
    let kept = state.log(log);
    let last_run = last_run(store);
    let held_back = kept
        .into_iter()
        .flat_map(|kept| kept.stamps.iter())
        .filter_map(|(pair, stamp)| {
            Some(HeldBackPair {
                probe: pair.probe.clone(),
                category: pair.category.clone(),
                until: stamp.held_until(&config.debounce, now)?,
                count: stamp.held_back.map_or(0, |held| held.count),
            })
        });
    let outbox = state.outbox.iter().map(|dm| QueuedDm {
        queued_at: dm.queued_at,
        caller_session_id: dm.caller_session_id(),
        severity: dm.severity.clone(),
        cause: dm.cause.clone(),
    });
    // What cannot be read has no lag that could be told; `check` says why.
    let plan = kept.and_then(|kept| rotation::plan(log, &kept.tail, now).ok());
    Ok(Status {
        version: 1,
        audit_log: log.display().to_string(),
        state_dir: store.dir.display().to_string(),
        running: is_running(store),
        last_run,
        overdue: last_run.is_none_or(|last| now.duration_since(last) > config.patience()),
        position: kept.map(|kept| kept.tail.position.offset),
        lag: plan
            .map(|plan| lag(&plan))
            .transpose()
            .context("cannot read the audit log")?,
        held_back: held_back.collect(),
        outbox: outbox.collect(),
        undelivered: count_rows(&store.path(UNDELIVERED_FILE))
            .context("cannot read undelivered.jsonl")?,
        under_investigation: state
            .mark
            .as_ref()
            .map(|mark| mark.wake.caller_session_id()),
    })
}

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
        gap: plan.gap,
        ..Lag::default()
    };
    for stretch in &plan.stretches {
        let (bytes, rows) = count_lines(stretch.generation.read_from(stretch.from))?;
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
    match fs::File::open(path) {
        Ok(file) => count_lines(file).map(|(_, rows)| rows),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn print(status: &Status, painter: Painter, now: Timestamp) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let ago = |at: Timestamp| format!("{} ago", span(now.duration_since(at)));
    let last = match status.last_run {
        Some(at) if status.overdue => {
            let overdue = format!("{}, overdue: is it scheduled?", ago(at));
            painter.paint(Colour::Red, &overdue)
        }
        Some(at) => painter.paint(Colour::Green, &ago(at)),
        None => painter.paint(Colour::Red, "never: begin with probe-wake check"),
    };
    let running = if status.running == Some(true) {
        ", running now"
    } else {
        ""
    };
    writeln!(out, "last run     {last}{running}")?;
    let missing = match Path::new(&status.audit_log).exists() {
        true => "",
        false => ", which does not exist",
    };
    writeln!(
        out,
        "log          {}{missing}",
        on_one_line(&status.audit_log)
    )?;
    print_position(&mut out, status)?;
    print_held_back(&mut out, &status.held_back, now)?;
    print_outbox(&mut out, &status.outbox, painter, now)?;
    let undelivered = match status.undelivered {
        0 => "none".to_owned(),
        number => painter.paint(
            Colour::Red,
            &format!(
                "{number}, in {}/{UNDELIVERED_FILE}",
                on_one_line(&status.state_dir)
            ),
        ),
    };
    writeln!(out, "undelivered  {undelivered}")?;
    out.flush()
}

fn print_position(out: &mut impl Write, status: &Status) -> io::Result<()> {
    match (&status.position, &status.lag) {
        (None, _) => writeln!(out, "position     none yet: the next run is a first run")?,
        (Some(at), None) => writeln!(out, "position     byte {at}, the log cannot be read")?,
        (Some(at), Some(lag)) => {
            let gap = if lag.gap {
                ", nothing holds the position any more"
            } else {
                ""
            };
            writeln!(
                out,
                "position     byte {at}, {} and {} behind{gap}",
                count(lag.bytes, "byte", "bytes"),
                count(lag.rows, "row", "rows")
            )?;
        }
    }
    if let Some(wake) = &status.under_investigation {
        let wake = on_one_line(wake);
        if status.running == Some(true) {
            writeln!(out, "under way    {wake}: it is being investigated")?;
        } else {
            writeln!(out, "interrupted  {wake}: the next run goes on with it")?;
        }
    }
    Ok(())
}

fn print_held_back(out: &mut impl Write, pairs: &[HeldBackPair], now: Timestamp) -> io::Result<()> {
    if pairs.is_empty() {
        return writeln!(out, "held back    nothing");
    }
    let lines = pairs.iter().map(|pair| {
        let left = span(pair.until.duration_since(now));
        let until = minute(pair.until);
        let (probe, category) = (&pair.probe, &pair.category);
        let times = count(pair.count, "repeat", "repeats");
        format!("{probe}:{category}: {times}, until {until} (in {left})")
    });
    print_some(out, "held back", lines, |line| line)
}

/// The first few of a list, so that the answer stays on one screen.
fn print_some(
    out: &mut impl Write,
    title: &str,
    lines: impl ExactSizeIterator<Item = String>,
    paint: impl Fn(String) -> String,
) -> io::Result<()> {
    let more = lines.len().saturating_sub(MOST_LINES);
    for (index, line) in lines.take(MOST_LINES).enumerate() {
        let title = if index == 0 { title } else { "" };
        let line = fit_line(&format!("{title:<12} {}", on_one_line(&line)));
        writeln!(out, "{}", paint(line))?;
    }
    if more > 0 {
        writeln!(out, "{:<12} and {more} more: see --format json", "")?;
    }
    Ok(())
}

fn print_outbox(
    out: &mut impl Write,
    outbox: &[QueuedDm],
    painter: Painter,
    now: Timestamp,
) -> io::Result<()> {
    if outbox.is_empty() {
        return writeln!(out, "outbox       empty");
    }
    let lines = outbox.iter().map(|dm| {
        let waits = span(now.duration_since(dm.queued_at));
        let cause = dm.cause.as_deref().unwrap_or("not tried yet");
        format!("{} has waited for {waits}: {cause}", dm.caller_session_id)
    });
    print_some(out, "outbox", lines, |line| {
        painter.paint(Colour::Yellow, &line)
    })
}
