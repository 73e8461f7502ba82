//! `run`: one run, from the lock to the exit code. This file is the story; the rooms it calls hold
//! the chapters.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use log::{info, warn};

use crate::audit::position::{Position, behind_last_line};
use crate::audit::rotation::{self, Tail};
use crate::cli::{Format, Global, RunArgs, To};
use crate::config::Config;
use crate::effects::{Dry, Effects, Live};
use crate::exit::{Ended, Exit, Problem};
use crate::http::Endpoint;
use crate::message::{for_terminal, on_one_line};
use crate::metrics::{self, Gauges};
use crate::report::{Report, WakeReport, count};
use crate::session::Session;
use crate::state::lock::Lock;
use crate::state::{State, Store, key};
use crate::terminal::Waiting;

/// A monitor that does not answer must not hold up the next run.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

pub fn run(flags: &Global, args: &RunArgs) -> Ended {
    let mut config = Config::load(flags)?;
    if let Some(seconds) = args.max_runtime {
        config.max_runtime = Duration::from_secs(seconds.into());
    }
    if args.dry_run {
        return dry_run(&config, args);
    }
    let ended = real_run(&config, args);
    if let Some(url) = &config.heartbeat {
        beat(&config, url, &ended);
    }
    ended
}

fn real_run(config: &Config, args: &RunArgs) -> Ended {
    let store = Store::create(&config.paths.state_dir)?;
    let lock = Lock::take(&store.dir, Duration::from_secs(args.wait))?;
    let state = store.load()?;
    let is_json = args.format.format == Format::Json;
    let effects = Live::new(config, store, args.to, is_json);
    let report = Report::new(key(&config.paths.audit_log), false);
    let unwatched = lock.unwatched(config.patience(), Timestamp::now());
    let mut session = Session::new(config, state, effects, report)
        .keeping_wakes(is_json)
        .after_unwatched(unwatched);
    let done = one_run(&mut session, config);
    // Whatever came of it, this was a run.
    if let Err(error) = lock.note_run(session.unwatched.unwrap_or_default()) {
        warn!("cannot note the time of this run: {error}");
    }
    done?;
    if is_json {
        // Not a filter: that nobody reads the report of what was done is worth a word.
        let printed = session.report.print_json();
        printed.map_err(|error| anyhow!("cannot print the report: {error}"))?;
        session.report_is_out()?;
    }
    let Session { report, state, .. } = session;
    if let Some(path) = &config.metrics_file {
        write_metrics(path, config, &report, &state);
    }
    if !is_json && io::stderr().is_terminal() {
        let _ = writeln!(io::stderr(), "probe-wake: {}", report.summary());
    } else {
        info!("{}", report.summary());
    }
    Ok(report.exit())
}

/// What a run is, whatever its effects are.
fn one_run<E: Effects>(session: &mut Session<E>, config: &Config) -> Result<(), Problem> {
    session.deliver_queue()?;
    session.finish_interrupted()?;
    // Where the log cannot be read to its end, what was decided since the last commit is forgotten:
    // the next run reads those rows again, and must not count them twice.
    read_log(session, config)?;
    session.finish(Timestamp::now())?;
    Ok(())
}

/// Tells a monitor that watches for silence how the run ended. A run that found the lock held is
/// told by the one that holds it.
fn beat(config: &Config, url: &Endpoint, ended: &Ended) {
    let url = match ended {
        Ok(Exit::Done) => url.clone(),
        Err(problem) if problem.exit == Exit::Locked => return,
        _ => url.join("/fail"),
    };
    let _waiting = Waiting::for_what("telling the heartbeat");
    match config.http().get(&url, HEARTBEAT_TIMEOUT) {
        Ok(reply) if reply.is_success() => {}
        Ok(reply) => info!("the heartbeat was answered with HTTP {}", reply.status),
        Err(error) => info!("the heartbeat did not arrive: {error}"),
    }
}

fn write_metrics(path: &Path, config: &Config, report: &Report, state: &State) {
    let length = fs::metadata(&config.paths.audit_log).map_or(0, |meta| meta.len());
    let gauges = Gauges {
        now: Timestamp::now(),
        lag_bytes: length.saturating_sub(report.position.after),
        outbox: state.outbox.len(),
        oldest: state.outbox.iter().map(|dm| dm.queued_at).min(),
    };
    if let Err(error) = metrics::write(path, &state.counters, &gauges) {
        warn!("cannot write the metrics to {}: {error}", path.display());
    }
}

fn read_log<E: Effects>(session: &mut Session<E>, config: &Config) -> Result<(), Problem> {
    let log = &config.paths.audit_log;
    let now = Timestamp::now();
    let Some(kept) = session.state.log(log) else {
        return first_run(session, config, now);
    };
    let before = kept.tail.position.clone();
    let plan = rotation::plan(log, &kept.tail, now)?;
    session.report.position.before = before.offset;
    session.report.position.rotated = plan.rotated;
    session.report.position.gap = plan.gap;
    let path = log.display();
    if plan.gap {
        let (offset, at) = (before.offset, before.seen_at);
        warn!(
            "{path}: nothing holds the position any more (byte {offset}, of {at}): rows may have \
             been missed; it is read from its start"
        );
    } else if plan.missing && !plan.rotated && plan.waiting_for.is_none() {
        warn!(
            "{path} does not exist: its position stays at byte {}",
            before.offset
        );
    }
    for file in &plan.unreadable {
        warn!("cannot read {file}: rows may have been missed");
        session.report.tally.missed += 1;
    }
    session.read_rows(plan, now)?;
    session.report.position.after = session.tail().position.offset;
    Ok(())
}

/// Stamps the position behind the last complete line: no history is replayed.
fn first_run<E: Effects>(
    session: &mut Session<E>,
    config: &Config,
    now: Timestamp,
) -> Result<(), Problem> {
    let log = &config.paths.audit_log;
    let position = match rotation::open_log(log)? {
        Some(generation) => behind_last_line(&generation, now)?,
        None => {
            warn!(
                "{} does not exist yet: it will be read from its start",
                log.display()
            );
            Position::start(key(log), None, now)
        }
    };
    info!("first run: stamped at byte {}", position.offset);
    session.report.first_run = true;
    session.report.position.before = position.offset;
    session.report.position.after = position.offset;
    session.begin(Tail::first(log, position));
    Ok(())
}

/// The next run, told and not done: nothing is written, asked or sent, and no lock is taken.
fn dry_run(config: &Config, args: &RunArgs) -> Ended {
    let state = Store::at(&config.paths.state_dir).load()?;
    let queued = state.outbox.len() as u64;
    let report = Report::new(key(&config.paths.audit_log), true);
    let mut session = Session::new(config, state, Dry, report).keeping_wakes(true);
    one_run(&mut session, config)?;
    let mut report = session.report;
    report.outbox.pending = queued;
    match args.format.format {
        Format::Json => report.print_json(),
        Format::Text => print_dry_run(&report, args.to),
    }
    .context("cannot print the report")?;
    Ok(report.exit())
}

fn print_dry_run(report: &Report, to: To) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let log = on_one_line(&report.audit_log);
    if report.first_run {
        writeln!(out, "{log}: the next run is a first run")?;
        writeln!(
            out,
            "It stamps the position at byte {} and reads no history.",
            report.position.after
        )?;
        return Ok(());
    }
    let (position, rows) = (&report.position, &report.rows);
    writeln!(
        out,
        "{log}: bytes {} to {}, {}, {}",
        position.before,
        position.after,
        count(rows.read, "new row", "new rows"),
        count(report.tally.wakes, "wake", "wakes")
    )?;
    if report.outbox.pending > 0 && to == To::Slack {
        writeln!(
            out,
            "First, {} would be delivered.",
            count(report.outbox.pending, "queued DM", "queued DMs")
        )?;
    }
    for wake in &report.wakes {
        print_dry_wake(&mut out, wake)?;
    }
    if report.left_for_next_run > 0 {
        writeln!(
            out,
            "\n{} would be left for the run after.",
            count(report.left_for_next_run, "wake", "wakes")
        )?;
    }
    out.flush()
}

fn print_dry_wake(out: &mut impl Write, wake: &WakeReport) -> io::Result<()> {
    let decision = match (wake.dispatched, wake.debounce_skipped) {
        (true, _) => "would be dispatched",
        (false, true) => "would be held back: it repeats one inside the window",
        (false, false) => "would be held back: too few in a row so far",
    };
    let name = on_one_line(&wake.caller_session_id);
    writeln!(
        out,
        "\n{name} ({}): {decision}",
        on_one_line(&wake.severity)
    )?;
    for (title, text) in [
        ("The engine would be asked", &wake.prompt),
        ("The DM", &wake.dm_text),
    ] {
        if let Some(text) = text {
            writeln!(out, "  {title}:")?;
            for line in for_terminal(text).lines() {
                writeln!(out, "  | {line}")?;
            }
        }
    }
    Ok(())
}
