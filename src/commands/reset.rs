//! `state reset`: forgets the state, or a part of it. Where the operator has not heard of something yet, it
//! asks first, and queued messages go to `undelivered/`.

use std::fs;
use std::path::{Path, PathBuf};
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
use crate::outcome;
use crate::report::{count, tell};
use crate::state::lock::Lock;
use crate::state::outbox::{Content, Message, Outcome, Place};
use crate::state::queue::Investigation;
use crate::state::undelivered;
use crate::state::{self, Durability, State, Store};

pub fn reset(flags: &Global, args: &ResetArgs) -> Ended {
    let paths = Paths::load(flags)?;
    let log = &paths.audit_log;
    if !paths.state_dir.exists() && args.position.is_none() {
        tell("There is no state: the next run is a first run.");
        return Ok(Exit::Done);
    }
    let mut store = Store::create(&paths.state_dir)?;
    let _lock = Lock::take(&store.dir, Duration::ZERO)?;
    // What can fail comes first, before anything is changed.
    let position = args.position.map(|place| checkpoint_at(log, place));
    let position = position.transpose()?;
    let Some(mut state) = state_to_reset(&mut store, args)? else {
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
    let done = forget(&store, &mut state, &paths, args, position)?;
    store.commit(&mut state, Durability::Full)?;
    done.iter().for_each(|line| tell(line));
    Ok(Exit::Done)
}

/// Without a part that is named, all is reset.
fn is_whole(args: &ResetArgs) -> bool {
    args.position.is_none() && !args.debounce && !args.outbox
}

/// The state as it is. An unreadable one is set aside: with a position there is enough to begin a new
/// one, and where all is reset, `None`, there is nothing left to do.
fn state_to_reset(store: &mut Store, args: &ResetArgs) -> Result<Option<State>, Problem> {
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
    Paths {
        audit_log: log,
        outcome_log,
        ..
    }: &Paths,
    args: &ResetArgs,
    position: Option<Checkpoint>,
) -> Result<Vec<String>> {
    let mut done = Vec::new();
    let whole = is_whole(args);
    if whole || args.outbox {
        done.extend(give_up(store, state, outcome_log)?);
    }
    if whole {
        *state = State::default();
        done.push("Everything is forgotten: the next run is a first run.".to_owned());
    }
    if args.debounce {
        if let Some(kept) = state.log_mut(log) {
            kept.incidents.clear();
        }
        done.push(format!("The incidents of {} are forgotten.", log.display()));
    }
    if let Some(checkpoint) = position {
        let offset = checkpoint.offset();
        match state.log_mut(log) {
            Some(kept) => kept.checkpoint = checkpoint,
            None => state.begin(log, checkpoint, Timestamp::now()),
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
        let is_passed_over =
            args.position == Some(ResetPosition::End) && *name == state.log_key(log);
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
        (dms as u64, "queued message", "queued messages"),
        (investigations as u64, "investigation", "investigations"),
    ];
    let counted = counted.into_iter().filter(|(number, ..)| *number > 0);
    let counted = counted.map(|(number, one, many)| count(number, one, many));
    counted.chain(unknown).collect()
}

/// Renames an unreadable state. It is kept because a person may still find messages in it.
fn set_aside(store: &Store, problem: &Problem) -> Result<(), Problem> {
    let old = store.path(state::FILE);
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
    let aside = store.path(&format!("{}.unreadable-{stamp}", state::FILE));
    fs::rename(&old, &aside).with_context(|| format!("cannot rename {}", old.display()))?;
    warn!("{}", problem.what());
    tell(&format!("The state was set aside as {}.", aside.display()));
    Ok(())
}

/// Moves queued messages and the facts of queued wakes to `undelivered/`, with their outcome rows. A file that
/// is there already is from a reset that was killed. Returns what to say about it.
fn give_up(
    store: &Store,
    state: &mut State,
    outcome_log: &Option<PathBuf>,
) -> Result<Option<String>> {
    const REASON: &str = "state reset";
    let now = Timestamp::now();
    let new = state.queue.iter().filter(|one| one.is_new()).map(facts);
    let messages: Vec<Message> = state.outbox.drain(..).chain(new).collect();
    for message in &messages {
        let lost = message.given_up();
        undelivered::add(store, &lost, REASON, now)?;
        for row in outcome::undelivered(&lost, REASON, now) {
            if let Err(error) = outcome::append(outcome_log.as_deref(), &store.dir, &row) {
                warn!("the outcome row is lost: {error:#}");
            }
        }
    }
    state.queue.clear();
    let number = messages.len() as u64;
    state.counters.undelivered += number;
    let went = count(number, "message", "messages");
    Ok((number > 0).then(|| format!("{went} went to {}/.", undelivered::FOLDER)))
}

/// The message about a wake whose investigation is given up. It has the investigation's id: if this process
/// is killed, the next run finds the id and takes the investigation out of the queue.
fn facts(investigation: &Investigation) -> Message {
    let content = Content::Alert {
        alerts: investigation.alerts.clone(),
        outcome: Outcome::Unsaid,
    };
    let (log, queued_at) = (&investigation.log, investigation.queued_at);
    let mut message = Message::new(log, content, Place::TopLevel, queued_at);
    message.id.clone_from(&investigation.id);
    message.investigation = Some(investigation.id.clone());
    message
}
