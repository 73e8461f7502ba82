//! `state reset`: forgets the state, or a part of it. If something was not told to the operator yet, it
//! asks first, and queued DMs go to `undelivered.jsonl`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::warn;

use super::{checkpoint_at, consent};
use crate::audit::generations::Checkpoint;
use crate::audit::row::Event;
use crate::audit::wakes;
use crate::cli::{Global, ResetArgs, ResetPosition};
use crate::config::Paths;
use crate::exit::{Ended, Exit, Problem};
use crate::message::facts_alone;
use crate::report::{count, tell};
use crate::state::lock::Lock;
use crate::state::outbox::Dm;
use crate::state::queue::Investigation;
use crate::state::undelivered::{self, Undelivered};
use crate::state::{self, Durability, State, Store, log_name};

pub fn reset(flags: &Global, args: &ResetArgs) -> Ended {
    let paths = Paths::load(flags)?;
    let log = &paths.audit_log;
    if !paths.state_dir.exists() && args.position.is_none() {
        tell("There is no state: the next run is a first run.");
        return Ok(Exit::Done);
    }
    let store = Store::create(&paths.state_dir)?;
    let _lock = Lock::take(&store.dir, Duration::ZERO)?;
    // What can fail comes first, before anything is changed.
    let position = args.position.map(|place| checkpoint_at(log, place));
    let position = position.transpose()?;
    let Some(mut state) = state_to_reset(&store, args)? else {
        return Ok(Exit::Done);
    };
    let losses = losses(&state, log, args);
    if !losses.is_empty() {
        let lost = format!("This gives up {}", losses.join(", "));
        if !consent::is_given(args.yes, &lost, "Go on?")? {
            tell("Nothing was reset.");
            return Ok(Exit::Failed);
        }
        tell(&format!("{lost}."));
    }
    store.keep_old()?;
    let done = forget(&store, &mut state, log, args, position)?;
    store.commit(&state, Durability::Full)?;
    done.iter().for_each(|line| tell(line));
    Ok(Exit::Done)
}

/// Without a part that is named, all is reset.
fn is_whole(args: &ResetArgs) -> bool {
    args.position.is_none() && !args.debounce && !args.outbox
}

/// The state as it is. An unreadable one is set aside: with a position there is enough to begin a new
/// one, and where all is reset, `None`, there is nothing left to do.
fn state_to_reset(store: &Store, args: &ResetArgs) -> Result<Option<State>, Problem> {
    match store.load() {
        Err(problem) if is_whole(args) || args.position.is_some() => set_aside(store, &problem)?,
        loaded => return loaded.map(Some),
    }
    if args.position.is_some() {
        return Ok(Some(State::default()));
    }
    tell(
        "Without a position the next run is a first run and reads no history. To read the log from \
         its start: probe-wake state reset --position start",
    );
    Ok(None)
}

/// Changes the state, which the caller commits, and gives what to say of it then.
fn forget(
    store: &Store,
    state: &mut State,
    log: &Path,
    args: &ResetArgs,
    position: Option<Checkpoint>,
) -> Result<Vec<String>> {
    let mut done = Vec::new();
    let whole = is_whole(args);
    if whole || args.outbox {
        done.extend(give_up(store, state)?);
    }
    if whole {
        *state = State::default();
        done.push("Everything is forgotten: the next run is a first run.".to_owned());
    }
    if args.debounce {
        if let Some(kept) = state.log_mut(log) {
            kept.stamps.clear();
        }
        done.push(format!("The stamps of {} are forgotten.", log.display()));
    }
    if let Some(checkpoint) = position {
        let offset = checkpoint.offset();
        match state.log_mut(log) {
            Some(kept) => kept.checkpoint = checkpoint,
            None => state.begin(log, checkpoint),
        }
        done.push(format!("{} is read from byte {offset} on.", log.display()));
    }
    Ok(done)
}

/// What a reset drops, in words. A log that cannot be read may hold wakes, and is named too.
fn losses(state: &State, log: &Path, args: &ResetArgs) -> Vec<String> {
    let whole = is_whole(args);
    let mut unread = 0;
    let mut unknown = Vec::new();
    for (name, kept) in &state.logs {
        let is_passed_over = args.position == Some(ResetPosition::End) && *name == log_name(log);
        if whole || is_passed_over {
            let mut checkpoint = kept.checkpoint.clone();
            let now = Timestamp::now();
            let events = wakes::look(Path::new(name), &mut checkpoint, now);
            let events = events.map(|events| events.quietly().collect::<Result<Vec<_>>>());
            match events.flatten() {
                Ok(events) => {
                    let is_wake = |event: &&Event| matches!(event, Event::Wake(_));
                    unread += events.iter().filter(is_wake).count() as u64;
                }
                Err(error) => unknown.push(format!("unread rows ({error:#})")),
            }
        }
    }
    let (dms, investigations) = match whole || args.outbox {
        true => (state.outbox.len(), state.queue.len()),
        false => (0, 0),
    };
    let counted = [
        (unread, "unread wake", "unread wakes"),
        (dms as u64, "queued DM", "queued DMs"),
        (investigations as u64, "investigation", "investigations"),
    ];
    let counted = counted.into_iter().filter(|(number, ..)| *number > 0);
    let counted = counted.map(|(number, one, many)| count(number, one, many));
    counted.chain(unknown).collect()
}

/// Renames an unreadable state. It is kept because a person may still find DMs in it.
fn set_aside(store: &Store, problem: &Problem) -> Result<(), Problem> {
    let old = store.path(state::FILE);
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
    let aside = store.path(&format!("{}.unreadable-{stamp}", state::FILE));
    fs::rename(&old, &aside).with_context(|| format!("cannot rename {}", old.display()))?;
    warn!("{}", problem.what());
    tell(&format!("The state was set aside as {}.", aside.display()));
    Ok(())
}

/// Moves queued DMs and the facts of untold wakes to `undelivered.jsonl`. A row that is there already
/// is from a reset that was killed, and is not written again. Gives what to say of it.
fn give_up(store: &Store, state: &mut State) -> Result<Option<String>> {
    undelivered::forget_retried(store, &mut state.outbox)?;
    let there = undelivered::ids(store, &state.outbox)?;
    let untold = state.queue.iter().filter(|one| one.is_untold()).map(facts);
    let dms: Vec<Dm> = state.outbox.drain(..).chain(untold).collect();
    let now = Timestamp::now();
    for dm in dms.iter().filter(|dm| !there.contains(&dm.id)) {
        let row = Undelivered::new(dm, "state reset", now);
        store.append(undelivered::FILE, &row)?;
    }
    state.queue.clear();
    let number = dms.len() as u64;
    state.counters.undelivered += number;
    let dms = count(number, "DM", "DMs");
    Ok((number > 0).then(|| format!("{dms} went to {}.", undelivered::FILE)))
}

/// The DM about a wake whose investigation is given up. It has the investigation's id: if this process
/// is killed, the next run finds the id and takes the investigation out of the queue.
fn facts(investigation: &Investigation) -> Dm {
    let (message, subject) = (facts_alone(investigation), investigation.subject());
    let queued_at = investigation.queued_at;
    let mut dm = Dm::new(subject, message.text, message.notes, queued_at);
    dm.further = message.further;
    dm.id.clone_from(&investigation.id);
    dm
}
