//! `state show` and `state reset`: what is remembered, and forgetting it with care. DMs that are
//! still queued are never dropped: they go to `undelivered.jsonl`, and only with a yes.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use log::warn;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::position::{Position, behind_last_line};
use crate::audit::rotation;
use crate::cli::{Format, FormatArg, Global, ResetArgs, ResetPosition};
use crate::config::Paths;
use crate::effects::Undelivered;
use crate::exit::{Ended, Exit, Problem};
use crate::message::minute;
use crate::report::{count, print_json};
use crate::state::lock::Lock;
use crate::state::{self, Durability, LogState, State, Store, UNDELIVERED_FILE, log_name};
use crate::text::{for_terminal, on_one_line};

pub fn show(flags: &Global, args: &FormatArg) -> Ended {
    let paths = Paths::load(flags)?;
    let store = Store::at(&paths.state_dir);
    let state = store.load()?;
    match args.format {
        Format::Json => print_json(&state).context("cannot print the state")?,
        Format::Text => print_state(&store, &state).context("cannot print the state")?,
    }
    Ok(Exit::Done)
}

fn print_state(store: &Store, state: &State) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "state: {}", store.path(state::FILE).display())?;
    if state.logs.is_empty() {
        writeln!(
            out,
            "No audit log has a position yet: the next run is a first run."
        )?;
    }
    for (log, kept) in &state.logs {
        print_log(&mut out, log, kept)?;
    }
    writeln!(out, "investigations: {}", state.queue.len())?;
    for one in &state.queue {
        let (at, name) = (minute(one.queued_at), on_one_line(&one.caller_session_id()));
        let what = match (&one.told, &one.late) {
            (None, _) => "the operator was told nothing yet",
            (Some(_), None) => "its facts were told",
            (Some(_), Some(_)) => "failed; a late diagnosis is hoped for",
        };
        writeln!(out, "  {at}  {name}: {what}, begun {} times", one.attempts)?;
    }
    writeln!(out, "outbox: {}", state.outbox.len())?;
    for dm in &state.outbox {
        let (at, name) = (minute(dm.queued_at), on_one_line(&dm.caller_session_id()));
        let cause = dm
            .cause
            .as_deref()
            .map(|cause| format!(": {}", on_one_line(cause)));
        writeln!(out, "  {at}  {name}{}", cause.unwrap_or_default())?;
    }
    out.flush()
}

fn print_log(out: &mut impl Write, log: &str, kept: &LogState) -> io::Result<()> {
    let position = &kept.checkpoint.position;
    writeln!(out, "log: {}", for_terminal(log))?;
    writeln!(
        out,
        "  position: byte {} (looked at {})",
        position.offset,
        minute(position.seen_at)
    )?;
    writeln!(out, "  stamps: {}", kept.stamps.len())?;
    for (pair, stamp) in kept.stamps.iter() {
        let name = on_one_line(&format!("{}:{}", pair.probe, pair.category));
        let last = stamp.last_dispatch.map_or("never".to_owned(), minute);
        let held = stamp.held_back.map_or(0, |held| held.count);
        writeln!(
            out,
            "    {name}  last dispatched {last}, {held} held back since"
        )?;
    }
    Ok(())
}

pub fn reset(flags: &Global, args: &ResetArgs) -> Ended {
    let paths = Paths::load(flags)?;
    let store = Store::at(&paths.state_dir);
    if !store.dir.exists() {
        println_or_ignore("There is no state: the next run is a first run.");
        return Ok(Exit::Done);
    }
    store.check()?;
    let _lock = Lock::take(&store.dir, Duration::ZERO)?;
    let whole = args.position.is_none() && !args.debounce && !args.outbox;
    let mut state = match store.load() {
        Ok(state) => state,
        Err(problem) if whole => return set_aside(&store, &problem).map(|()| Exit::Done),
        // With a position there is something to begin a new state with.
        Err(problem) if args.position.is_some() => {
            set_aside(&store, &problem)?;
            State::default()
        }
        Err(problem) => return Err(problem),
    };
    let log = &paths.audit_log;
    // Whatever can fail comes before a DM is given up.
    let position = args
        .position
        .map(|place| position_at(log, place))
        .transpose()?;
    if (whole || args.outbox) && !give_up_outbox(&store, &mut state, args.yes)? {
        return Ok(Exit::Failed);
    }
    if whole {
        state = State::default();
        println_or_ignore("Everything is forgotten: the next run is a first run.");
    }
    if args.debounce {
        if let Some(kept) = state.log_mut(log) {
            kept.stamps.clear();
        }
        println_or_ignore(&format!("The stamps of {} are forgotten.", log.display()));
    }
    if let Some(checkpoint) = position {
        reset_position(&mut state, log, checkpoint);
    }
    store.commit(&state, Durability::Full)?;
    Ok(Exit::Done)
}

/// An unreadable state may still hold DMs that a person can read: it is kept beside the new one.
fn set_aside(store: &Store, problem: &Problem) -> Result<(), Problem> {
    let old = store.path(state::FILE);
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let aside = store.path(&format!("{}.unreadable-{stamp}", state::FILE));
    fs::rename(&old, &aside).with_context(|| format!("cannot rename {}", old.display()))?;
    warn!("{problem}");
    println_or_ignore(&format!("The state was set aside as {}.", aside.display()));
    println_or_ignore(
        "Without a position the next run is a first run and reads no history. To read the log \
         from its start: probe-wake state reset --position start",
    );
    Ok(())
}

/// Moves the queued DMs to `undelivered.jsonl`; false where the answer was no.
fn give_up_outbox(store: &Store, state: &mut State, yes: bool) -> Result<bool, Problem> {
    let waiting = state.outbox.len() + state.queue.len();
    if waiting == 0 {
        return Ok(true);
    }
    if !yes && !confirmed(waiting)? {
        println_or_ignore("Nothing was reset.");
        return Ok(false);
    }
    let given_up_at = Timestamp::now();
    for dm in &state.outbox {
        let caller_session_id = dm.caller_session_id();
        let row = Undelivered {
            given_up_at,
            reason: "state reset",
            caller_session_id,
            dm,
        };
        store.append(UNDELIVERED_FILE, &row)?;
    }
    state.queue.clear();
    state.outbox.clear();
    println_or_ignore(&format!(
        "{} went to {UNDELIVERED_FILE}.",
        count(waiting as u64, "DM", "DMs")
    ));
    Ok(true)
}

fn confirmed(waiting: usize) -> Result<bool, Problem> {
    if !io::stdin().is_terminal() {
        let error = anyhow!(
            "{} still to be delivered and nothing was reset",
            count(waiting as u64, "DM is", "DMs are")
        );
        return Err(Problem::new(Exit::Failed, error)
            .with_next_step(format!("with --yes they go to {UNDELIVERED_FILE}")));
    }
    let mut stderr = io::stderr();
    let _ = write!(
        stderr,
        "{} not delivered. Move to {UNDELIVERED_FILE} and send no more? [y/N] ",
        count(waiting as u64, "DM was", "DMs were")
    );
    let _ = stderr.flush();
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// The checkpoint from which the log is to be read.
fn position_at(log: &Path, place: ResetPosition) -> Result<Checkpoint, Problem> {
    let now = Timestamp::now();
    let current = rotation::open_log(log)?;
    let position = match (&current, place) {
        (Some(generation), ResetPosition::End) => behind_last_line(generation, now)?,
        (Some(generation), ResetPosition::Start) => Position::start_of(generation, now),
        (None, _) => Position::start(log_name(log), None, now),
    };
    Ok(Checkpoint::first(log, position))
}

fn reset_position(state: &mut State, log: &Path, checkpoint: Checkpoint) {
    let offset = checkpoint.position.offset;
    match state.log_mut(log) {
        Some(kept) => kept.checkpoint = checkpoint,
        None => state.begin(log, checkpoint),
    }
    println_or_ignore(&format!("{} is read from byte {offset} on.", log.display()));
}

fn println_or_ignore(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
