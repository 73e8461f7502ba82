//! `run`: one run, from taking the lock to the exit code. The steps are in `crate::run`.

mod dry;
mod monitoring;

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use log::{info, warn};

use crate::audit::generations::Checkpoint;
use crate::cli::{Format, Global, RunArgs};
use crate::config::{Config, time_limit};
use crate::exit::{Ended, Exit, Problem, guarded};
use crate::logger;
use crate::report::{check_stdout, print_json};
use crate::run::Run;
use crate::run::effects::{Live, Route};
use crate::state::lock::{Lock, Note, wait_for_pace};
use crate::state::{State, Store};
use crate::terminal::{explain_interrupt, write_line};
use crate::text::quote;

/// After a longer time without runs, the wait for new rows starts again.
const QUIET_GAP: SignedDuration = SignedDuration::from_mins(15);

/// The most rounds of a run if the log is written each time it is about to end.
const MOST_LAST_LOOKS: u32 = 3;

pub fn run(flags: &Global, args: &RunArgs) -> Ended {
    let mut config = Config::examine(flags)?;
    if let Some(seconds) = args.max_runtime {
        config.max_runtime = time_limit(seconds.into());
    }
    if args.dry_run {
        config.env.print_warnings();
        return dry::dry_run(&config, args);
    }
    explain_interrupt();
    // Monitoring comes after the lock is released, so that it holds nobody up.
    let mut over = Over {
        state: None,
        note: Note::default(),
        beats: true,
    };
    let ended = guarded(|| real_run(&config, args, &mut over));
    if let Some(path) = &config.metrics_file {
        monitoring::write_metrics(path, &config, &over, &ended);
    }
    if let Some(url) = config.heartbeat.as_ref().filter(|_| over.beats) {
        monitoring::beat(&config, url, &ended);
    }
    ended
}

/// What monitoring learns about a run, even one that could not be finished.
struct Over {
    /// `None` if it is unknown.
    state: Option<State>,
    note: Note,
    /// Whether the heartbeat is due.
    beats: bool,
}

fn real_run(config: &Config, args: &RunArgs, over: &mut Over) -> Ended {
    let store = Store::create(&config.paths.state_dir)?;
    wait_for_pace(&store.dir, Duration::from_secs(args.pace));
    let mut lock = Lock::take(&store.dir, Duration::from_secs(args.wait))?;
    let now = Timestamp::now();
    let gap = lock.gap(now);
    let mut unwatched = lock.unwatched(config.patience(), now);
    // If this fails, the end of the run says so.
    let _ = lock.note_begun(unwatched);
    logger::begin_lasting(std::mem::take(&mut lock.note.printed));
    for warning in config.env.warnings() {
        let warning = warning.to_string();
        logger::warn_lasting("settings", &warning, &warning);
    }
    let (note, state) = (&mut lock.note, &mut over.state);
    let ended = locked_run(config, args, store, note, gap, &mut unwatched, state);
    lock.note.printed = logger::end_lasting();
    let (exit, said) = match &ended {
        Ok(exit) => (*exit, logger::last_problem()),
        Err(problem) => (problem.exit, Some(problem.what())),
    };
    let now = Timestamp::now();
    over.beats =
        config.heartbeat.is_some() && monitoring::is_beat_due(config, &lock.note, exit, now);
    if over.beats {
        lock.note.heartbeat = Some((now, exit == Exit::Done));
    }
    let said = said.filter(|_| exit != Exit::Done).map(|said| quote(&said));
    if let Err(error) = lock.note_ended(exit, said, unwatched) {
        warn!("cannot note the time of this run: {error}");
    }
    over.note.clone_from(&lock.note);
    ended
}

/// Does the part of a run that needs the lock. `gap` is the time since the run before. `unwatched` is the
/// time without runs that no message has mentioned: on entry as of before the run, on return as of after it.
fn locked_run(
    config: &Config,
    args: &RunArgs,
    mut store: Store,
    note: &mut Note,
    gap: SignedDuration,
    unwatched: &mut SignedDuration,
    left: &mut Option<State>,
) -> Ended {
    let state = store.load()?;
    // Before the first run there was nothing to watch.
    let is_new = state.logs.is_empty();
    let is_json = args.format.format == Format::Json;
    let mut effects = Live::new(config, store, args.to);
    let route = Route::of(config, args.to, is_json);
    let mut run = Run::new(config, state, &mut effects, route);
    run.keeps_wakes = is_json;
    run.unwatched = Some(*unwatched).filter(|length| !length.is_zero() && !is_new);
    if gap > QUIET_GAP && config.quiet_after.is_some() {
        run.wait_for_rows_anew();
    }
    if run.prepare_reactions(note.reactions_at) {
        note.reactions_at = Some(Timestamp::now());
    }
    let mut done = one_run(&mut run, config);
    if done.is_ok() && is_json {
        done = print_report(&mut run).map_err(Problem::from);
    }
    *unwatched = run.unwatched.unwrap_or_default();
    let Run {
        report,
        mut state,
        problem,
        ..
    } = run;
    if done.is_ok() && report.tally.dispatched > 0 {
        effects.store.sweep(&mut state);
    }
    *left = Some(state);
    done?;
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    if !is_json && io::stderr().is_terminal() {
        write_line(&format!("probe-wake: {}", report.summary()));
    } else {
        info!("{}", report.summary());
    }
    Ok(report.exit())
}

/// Prints the report. A closed stdout is an error here: nobody would know what was done.
fn print_report(run: &mut Run) -> anyhow::Result<()> {
    let printed = check_stdout().and_then(|()| print_json(&run.report));
    printed.map_err(|error| anyhow!("cannot print the report: {error}"))?;
    run.report_is_out()
}

/// Does one run, whatever its effects are.
fn one_run(run: &mut Run, config: &Config) -> Result<(), Problem> {
    let kept = run.state.log(&config.paths.audit_log);
    let before = kept.map(|kept| kept.checkpoint.offset());
    reconcile(run)?;
    match before {
        Some(at) => (run.report.position.before, run.report.position.after) = (at, at),
        None => first_run(run, config)?,
    }
    // A last look before the lock is released: a write during the run has started no other run.
    for _ in 0..MOST_LAST_LOOKS {
        run.work()?;
        run.finish()?;
        if !run.log_has_changed() {
            break;
        }
    }
    Ok(())
}

/// Brings the outbox and `undelivered/` back in line, if a process was killed between the two steps.
fn reconcile(run: &mut Run) -> anyhow::Result<()> {
    let State { outbox, queue, .. } = &run.state;
    if run.report.dry_run || outbox.is_empty() && queue.is_empty() {
        return Ok(());
    }
    run.finish_retries();
    run.drop_given_up()
}

/// Records what is in the log as read: no history is replayed.
fn first_run(run: &mut Run, config: &Config) -> anyhow::Result<()> {
    let log = &config.paths.audit_log;
    let checkpoint = Checkpoint::begin(log, false, Timestamp::now())?;
    if checkpoint.current().is_none() {
        let log = log.display();
        warn!("{log} does not exist yet: it will be read from its start");
    }
    if let Route::SlackWithout(variable) = run.route {
        warn!("{variable} is not set: alerts stay queued until it is");
    }
    run.report.first_run = true;
    run.report.position.before = checkpoint.offset();
    run.report.position.after = checkpoint.offset();
    run.begin(checkpoint);
    Ok(())
}
