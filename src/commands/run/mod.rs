//! `run`: one run, from the lock to the exit code. This file is the story; the rooms it calls hold
//! the chapters, the session above all.

mod dry;
mod monitoring;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use log::{info, warn};

use crate::audit::checkpoint::Checkpoint;
use crate::audit::position::{Position, behind_last_line};
use crate::audit::rotation;
use crate::cli::{Format, Global, RunArgs};
use crate::config::{Config, time_limit};
use crate::effects::{Effects, Live};
use crate::exit::{Ended, Problem};
use crate::report::Report;
use crate::session::Session;
use crate::state::lock::Lock;
use crate::state::{Store, log_name};

pub fn run(flags: &Global, args: &RunArgs) -> Ended {
    let mut config = Config::load(flags)?;
    if let Some(seconds) = args.max_runtime {
        config.max_runtime = time_limit(seconds.into());
    }
    if args.dry_run {
        return dry::dry_run(&config, args);
    }
    let ended = real_run(&config, args);
    if let Some(url) = &config.heartbeat {
        monitoring::beat(&config, url, &ended);
    }
    ended
}

fn real_run(config: &Config, args: &RunArgs) -> Ended {
    let store = Store::create(&config.paths.state_dir)?;
    let lock = Lock::take(&store.dir, Duration::from_secs(args.wait))?;
    let state = store.load()?;
    let is_json = args.format.format == Format::Json;
    let effects = Live::new(config, store, args.to, is_json);
    let report = Report::new(log_name(&config.paths.audit_log), false);
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
        monitoring::write_metrics(path, config, &report, &state);
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

fn read_log<E: Effects>(session: &mut Session<E>, config: &Config) -> Result<(), Problem> {
    let log = &config.paths.audit_log;
    let now = Timestamp::now();
    let Some(kept) = session.state.log(log) else {
        return first_run(session, config, now);
    };
    let before = kept.checkpoint.position.clone();
    let plan = rotation::plan(log, &kept.checkpoint, now)?;
    session.report.position.before = before.offset;
    session.report.position.rotated = plan.rotated;
    session.report.position.gap = plan.has_gap();
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
        session.report.tally.missed += 1;
    }
    for file in &plan.unreadable {
        warn!("cannot read {}: rows may have been missed", file.what);
        session.report.tally.missed += 1;
    }
    session.read_rows(plan, now)?;
    session.report.position.after = session.checkpoint().position.offset;
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
            Position::start(log_name(log), None, now)
        }
    };
    info!("first run: stamped at byte {}", position.offset);
    session.report.first_run = true;
    session.report.position.before = position.offset;
    session.report.position.after = position.offset;
    session.begin(Checkpoint::first(log, position));
    Ok(())
}
