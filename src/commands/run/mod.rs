//! `run`: one run, from taking the lock to the exit code. The steps are in `session`.

mod dry;
mod monitoring;

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use log::{info, warn};

use super::checkpoint_at;
use crate::cli::{Format, Global, ResetPosition, RunArgs};
use crate::config::{Config, time_limit};
use crate::effects::{Effects, Live, Route};
use crate::exit::{Ended, Problem};
use crate::report::{Report, print_json};
use crate::session::Session;
use crate::state::lock::{Lock, RunHistory};
use crate::state::{State, Store, log_name, undelivered};
use crate::terminal::write_line;

pub fn run(flags: &Global, args: &RunArgs) -> Ended {
    let mut config = Config::load(flags)?;
    if let Some(seconds) = args.max_runtime {
        config.max_runtime = time_limit(seconds.into());
    }
    if args.dry_run {
        return dry::dry_run(&config, args);
    }
    // Monitoring comes when the lock is released: it holds nobody up.
    let mut told = None;
    let ended = real_run(&config, args, &mut told);
    if let Some(path) = &config.metrics_file {
        monitoring::write_metrics(path, &config, told.as_ref(), &ended);
    }
    if let Some(url) = &config.heartbeat {
        monitoring::beat(&config, url, &ended);
    }
    ended
}

/// What the metrics tell of a run.
type Told = (Report, State, RunHistory);

/// `told` gets what the run did, also where it could not be ended.
fn real_run(config: &Config, args: &RunArgs, told: &mut Option<Told>) -> Ended {
    let store = Store::create(&config.paths.state_dir)?;
    let mut lock = Lock::take(&store.dir, Duration::from_secs(args.wait))?;
    let mut state = store.load()?;
    if let Err(error) = undelivered::forget_retried(&store, &mut state.outbox) {
        warn!("{error:#}");
    }
    let is_json = args.format.format == Format::Json;
    let effects = Live::new(config, store, args.to, is_json);
    let report = Report::new(log_name(&config.paths.audit_log), false);
    let unwatched = lock.unwatched(config.patience(), Timestamp::now());
    let mut session = Session::new(config, state, effects, report)
        .keeping_wakes(is_json)
        .after_unwatched(unwatched);
    let begun = session.unwatched.unwrap_or_default();
    // Where this fails, it is told when the run ends.
    let _ = lock.note_begun(begun);
    let done = one_run(&mut session, config);
    let is_done = done.is_ok() && session.problem.is_none();
    let exit = is_done.then(|| session.report.exit());
    if let Err(error) = lock.note_ended(exit, session.unwatched.unwrap_or_default()) {
        warn!("cannot note the time of this run: {error}");
    }
    let printed = match (&done, is_json) {
        (Ok(()), true) => print_report(&mut session),
        _ => Ok(()),
    };
    let problem = session.problem.take();
    let Session { report, state, .. } = session;
    let (summary, exit) = (report.summary(), report.exit());
    *told = Some((report, state, lock.history()));
    done?;
    printed?;
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    if !is_json && io::stderr().is_terminal() {
        write_line(&format!("probe-wake: {summary}"));
    } else {
        info!("{summary}");
    }
    Ok(exit)
}

/// A closed stdout is an error here: nobody would know what was done.
fn print_report<E: Effects>(session: &mut Session<E>) -> anyhow::Result<()> {
    let printed = print_json(&session.report);
    printed.map_err(|error| anyhow!("cannot print the report: {error}"))?;
    session.report_is_out()
}

/// What a run is, whatever its effects are.
fn one_run<E: Effects>(session: &mut Session<E>, config: &Config) -> Result<(), Problem> {
    let kept = session.state.log(&config.paths.audit_log);
    let before = kept.map(|kept| kept.checkpoint.offset());
    session.report.position.before = before.unwrap_or_default();
    session.report.position.after = session.report.position.before;
    drop_given_up(session, config)?;
    session.deliver_queue()?;
    session.forget_late();
    if before.is_none() {
        first_run(session, config)?;
    }
    session.work()?;
    session.finish(Timestamp::now())?;
    Ok(())
}

fn drop_given_up<E: Effects>(session: &mut Session<E>, config: &Config) -> anyhow::Result<()> {
    let State { outbox, queue, .. } = &session.state;
    if outbox.is_empty() && queue.is_empty() {
        return Ok(());
    }
    // Where the file cannot be read it cannot be written either, and that is told when it has to be.
    let store = Store::at(&config.paths.state_dir);
    match undelivered::ids(&store, outbox) {
        Ok(ids) => session.drop_given_up(&ids),
        Err(_) => Ok(()),
    }
}

/// Stamps the position behind the last complete line: no history is replayed.
fn first_run<E: Effects>(session: &mut Session<E>, config: &Config) -> anyhow::Result<()> {
    let log = &config.paths.audit_log;
    let checkpoint = checkpoint_at(log, ResetPosition::End)?;
    if checkpoint.current().is_none() {
        let log = log.display();
        warn!("{log} does not exist yet: it will be read from its start");
    }
    if let Route::SlackWithout(variable) = session.effects.route() {
        warn!("{variable} is not set: alerts stay queued until it is");
    }
    session.report.first_run = true;
    session.report.position.before = checkpoint.offset();
    session.report.position.after = checkpoint.offset();
    session.begin(checkpoint);
    Ok(())
}
