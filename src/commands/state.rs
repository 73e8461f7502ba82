//! `state show`: what is remembered between runs. `state reset`: forgets it, or a part of it. If that drops
//! something that the operator has not heard of yet, it asks first, and queued messages go to `undelivered/`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::warn;

use super::{consent, print_as};
use crate::audit::generations::Checkpoint;
use crate::audit::row::Event;
use crate::audit::wakes;
use crate::cli::{FormatArg, Global, ResetArgs, ResetPosition};
use crate::config::Paths;
use crate::exit::{Ended, Exit, Problem};
use crate::incident::Scope;
use crate::outcome::{self, Row};
use crate::report::{count, tell};
use crate::state::lock::Lock;
use crate::state::outbox::{Content, Message, Outcome, Place, Record};
use crate::state::queue::{Investigation, Stage};
use crate::state::{self, Durability, State, Store, undelivered};
use crate::text::{for_terminal, on_one_line};
use crate::time::full;

/// Why messages and investigations are given up, in their outcome rows and files.
const REASON: &str = "state reset";

pub fn show(flags: &Global, args: &FormatArg) -> Ended {
    let paths = Paths::load(flags)?;
    let mut store = Store::at(&paths.state_dir);
    let state = store.load()?;
    print_as(*args, "the state", &state, &lines(&store, &state))
}

fn lines(store: &Store, state: &State) -> Vec<String> {
    let mut lines = vec![format!("state: {}", store.path(state::FILE).display())];
    if state.logs.is_empty() {
        lines.push("No audit log has a position yet: the next run is a first run.".to_owned());
    }
    for (log, kept) in &state.logs {
        lines.push(format!("log: {}", for_terminal(log)));
        lines.push(format!("  position: byte {}", kept.checkpoint.offset()));
        lines.push(format!("  incidents: {}", kept.incidents.len()));
        for incident in kept.incidents.iter() {
            let name = on_one_line(&Scope::Pair(incident.pair.clone()).to_string());
            let last = incident.last_dispatch.map_or("never".to_owned(), full);
            let wakes = count(incident.wakes, "wake", "wakes");
            lines.push(format!("    {name}  {wakes}, last dispatched {last}"));
        }
    }
    lines.push(format!("investigations: {}", state.queue.len()));
    for one in &state.queue {
        let session = on_one_line(&one.subject().caller_session_id());
        let stage = match &one.stage {
            Stage::New => "new, nothing sent yet",
            Stage::Announced(_) => "announced, the diagnosis is pending",
            Stage::Retrying(_) => "failed, the engine is asked again later",
        };
        let (at, attempts) = (full(one.queued_at), one.attempts);
        lines.push(format!(
            "  {at}  {session}: {stage}, begun {attempts} times"
        ));
    }
    lines.push(format!("outbox: {}", state.outbox.len()));
    for message in &state.outbox {
        let cause = message.cause.as_ref().map(|cause| format!(": {cause}"));
        let about = message.subject().caller_session_id() + &cause.unwrap_or_default();
        let (at, about) = (full(message.queued_at), on_one_line(&about));
        lines.push(format!("  {at}  {about}"));
    }
    lines
}

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
    let begin = |place| Checkpoint::begin(log, place == ResetPosition::Start, Timestamp::now());
    let position = args.position.map(begin).transpose()?;
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
    // These lines are printed once the state is committed.
    let mut done = Vec::new();
    if is_whole(args) || args.outbox {
        done.extend(give_up(&store, &mut state, paths.outcome_log.as_deref())?);
    }
    if is_whole(args) {
        state = State::default();
        done.push("Everything is forgotten: the next run is a first run.".to_owned());
    }
    let shown = log.display();
    if args.debounce {
        if let Some(kept) = state.log_mut(log) {
            kept.incidents.clear();
        }
        done.push(format!("The incidents of {shown} are forgotten."));
    }
    if let Some(checkpoint) = position {
        let offset = checkpoint.offset();
        match state.log_mut(log) {
            Some(kept) => kept.checkpoint = checkpoint,
            None => state.begin(log, checkpoint, Timestamp::now()),
        }
        done.push(format!("{shown} is read from byte {offset} on."));
    }
    store.commit(&mut state, Durability::Full)?;
    done.iter().for_each(|line| tell(line));
    Ok(Exit::Done)
}

/// Returns whether everything is reset: no part was named.
fn is_whole(args: &ResetArgs) -> bool {
    args.position.is_none() && !args.debounce && !args.outbox
}

/// Returns the state as it is. An unreadable one is set aside, since a person may still find messages in it.
/// With a position there is enough to begin a new one; if everything is reset, nothing is left to do: `None`.
fn state_to_reset(store: &mut Store, args: &ResetArgs) -> Result<Option<State>, Problem> {
    let problem = match store.load() {
        Err(problem) if is_whole(args) || args.position.is_some() => problem,
        loaded => return loaded.map(Some),
    };
    let old = store.path(state::FILE);
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
    let aside = store.path(&format!("{}.unreadable-{stamp}", state::FILE));
    fs::rename(&old, &aside).with_context(|| format!("cannot rename {}", old.display()))?;
    warn!("{}", problem.what());
    tell(&format!("The state was set aside as {}.", aside.display()));
    if args.position.is_some() {
        return Ok(Some(State::default()));
    }
    tell(
        "Without a position the next run is a first run and reads no history. To read the log from \
         its start: probe-wake state reset --position start",
    );
    Ok(None)
}

/// Returns in words what a reset drops. A log that cannot be read may hold wakes, so it is named, too.
fn losses(state: &State, log: &Path, args: &ResetArgs) -> Vec<String> {
    let whole = is_whole(args);
    let passed_over = (args.position == Some(ResetPosition::End)).then(|| state.log_key(log));
    let mut unread = 0;
    let mut unknown = Vec::new();
    for (name, kept) in &state.logs {
        if !whole && passed_over.as_ref() != Some(name) {
            continue;
        }
        let mut checkpoint = kept.checkpoint.clone();
        let events = wakes::look(Path::new(name), &mut checkpoint, Timestamp::now());
        match events.and_then(|events| events.quietly().collect::<Result<Vec<_>>>()) {
            Ok(events) => {
                let wakes = events.iter().filter(|one| matches!(one, Event::Wake(_)));
                unread += wakes.count();
            }
            Err(error) => unknown.push(format!("unread rows ({error:#})")),
        }
    }
    let incidents = state.logs.values().flat_map(|log| log.incidents.iter());
    let held = incidents.flat_map(|one| [&one.escalation, &one.silenced]);
    let held = held.filter(|held| whole && held.is_some()).count();
    let (messages, investigations) = match whole || args.outbox {
        true => (state.outbox.len(), state.queue.len()),
        false => (0, 0),
    };
    let counted = [
        (unread, "unread wake", "unread wakes"),
        (
            held,
            "held-back wake to be sent later",
            "held-back wakes to be sent later",
        ),
        (messages, "queued message", "queued messages"),
        (investigations, "investigation", "investigations"),
    ];
    let counted = counted.into_iter().filter(|(number, ..)| *number > 0);
    let counted = counted.map(|(number, one, many)| count(number as u64, one, many));
    counted.chain(unknown).collect()
}

/// Moves queued messages and the facts of queued wakes to `undelivered/`, and writes the outcome rows of what
/// ends with them, announced investigations included. A file that already exists is from a reset that was
/// killed. Returns the line to print about it.
fn give_up(store: &Store, state: &mut State, outcome_log: Option<&Path>) -> Result<Option<String>> {
    let now = Timestamp::now();
    let append = |row: &Row| {
        if let Err(error) = outcome::append(outcome_log, &store.dir, row) {
            warn!("the outcome row is lost: {error:#}");
        }
    };
    let ended = state.queue.drain(..).filter(|one| one.retry().is_none());
    let ended = ended.map(|one| (facts(&one, now), one.is_new()));
    let queued = state.outbox.drain(..).map(|message| (message, true));
    let mut number = 0;
    for (mut message, is_unsent) in queued.chain(ended) {
        if let Some(record) = message.record.take() {
            let (texts, log) = (store.texts(), state.logs.get_mut(&message.log));
            let rows = outcome::of_investigation(&message, &record, false, texts, log, now);
            rows.iter().for_each(append);
            message.is_recorded_unsent = true;
        }
        if is_unsent {
            let lost = message.given_up();
            undelivered::add(store, &lost, REASON, now)?;
            outcome::undelivered(&lost, REASON, now)
                .iter()
                .for_each(append);
            number += 1;
        }
    }
    state.counters.undelivered += number;
    let went = count(number, "message", "messages");
    Ok((number > 0).then(|| format!("{went} went to {}/.", undelivered::FOLDER)))
}

/// Returns the message about a wake whose investigation is given up. It has the investigation's id: if this
/// process is killed, the next run finds the id and takes the investigation out of the queue.
fn facts(investigation: &Investigation, now: Timestamp) -> Message {
    let content = Content::Alert {
        alerts: investigation.alerts.clone(),
        outcome: Outcome::Unsaid,
    };
    let (log, queued_at) = (&investigation.log, investigation.queued_at);
    Message {
        id: investigation.id.clone(),
        investigation: Some(investigation.id.clone()),
        record: Some(Record {
            ended_at: now,
            error: Some(REASON.to_owned()),
            facts_first: investigation.is_pending(),
            ..Record::default()
        }),
        ..Message::new(log, content, Place::TopLevel, queued_at)
    }
}
