//! `undelivered`: lists the messages that were given up, puts them back into the outbox (`--retry`), or
//! removes them (`--clear`).

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use log::warn;
use serde::Serialize;

use super::{consent, print_as};
use crate::cli::{FormatArg, Global, UndeliveredArgs};
use crate::config::Paths;
use crate::exit::{Ended, Exit};
use crate::message::{Lines, render};
use crate::report::{count, tell};
use crate::state::lock::Lock;
use crate::state::outbox::{Outbox, is_full};
use crate::state::undelivered::{self, Entry, Undelivered};
use crate::state::{Durability, State, Store};
use crate::terminal::wrapped;
use crate::text::quote;
use crate::time::full;

const NOTHING: &str = "Nothing is undelivered.";

#[derive(Debug, Serialize)]
struct List {
    version: u32,
    folder: String,
    undelivered: Vec<GivenUp>,
    unreadable: Vec<Unreadable>,
}

/// A message that was given up.
#[derive(Debug, Serialize)]
struct GivenUp {
    id: String,
    given_up_at: Timestamp,
    caller_session_id: String,
    severity: String,
    title: String,
    reason: String,
    /// The part that was not delivered.
    text: String,
}

/// A file that is not a message.
#[derive(Debug, Serialize)]
struct Unreadable {
    file: String,
    problem: String,
}

pub fn undelivered(flags: &Global, args: &UndeliveredArgs) -> Ended {
    let mut store = Store::at(&Paths::load(flags)?.state_dir);
    store.check()?;
    if !args.retry && !args.clear {
        return list(&mut store, args.format);
    }
    if undelivered::ids(&store)?.is_empty() {
        tell(NOTHING);
        return Ok(Exit::Done);
    }
    let _lock = Lock::take(&store.dir, Duration::ZERO)?;
    match args.retry {
        true => retry(&mut store),
        false => clear(&mut store, args.yes),
    }
}

fn list(store: &mut Store, format: FormatArg) -> Ended {
    let outbox = outbox(store);
    let mut list = List {
        version: 1,
        folder: store.path(undelivered::FOLDER).display().to_string(),
        undelivered: Vec::new(),
        unreadable: Vec::new(),
    };
    for Entry { file, read } in undelivered::list(store, &outbox)? {
        match read {
            Ok(one) => list.undelivered.push(shown(one)),
            Err(problem) => list.unreadable.push(Unreadable { file, problem }),
        }
    }
    print_as(format, "the list", &list, &lines(&list))
}

fn shown(one: Undelivered) -> GivenUp {
    let (message, at) = (one.message, one.given_up_at);
    let fixed = message.fixed.as_ref();
    let rest = fixed.map(|fixed| fixed.text.here().get(fixed.sent..).unwrap_or_default());
    let text = || render(&message.content, &message.place, &Lines::default(), at).text;
    let alerts = message.content.alerts().iter();
    let titles: Vec<_> = alerts.map(|alert| alert.wake.title.as_str()).collect();
    GivenUp {
        given_up_at: at,
        caller_session_id: one.caller_session_id,
        severity: message.subject().severity,
        title: titles.join("; "),
        reason: one.reason,
        text: rest.map_or_else(text, str::to_owned),
        id: message.id,
    }
}

fn lines(list: &List) -> Vec<String> {
    /// The columns of a time, and the space after it.
    const INDENT: usize = 22;
    let line = |first: &str, text: &str| format!("{first:<INDENT$}{}", wrapped(text, INDENT));
    let mut lines = Vec::new();
    for given in &list.undelivered {
        let (session, severity) = (&given.caller_session_id, &given.severity);
        let about = format!("{session} ({severity}): {}", quote(&given.title));
        lines.push(line(&full(given.given_up_at), &about));
        lines.push(line("", &format!("given up: {}", given.reason)));
    }
    for one in &list.unreadable {
        lines.push(line("cannot be read", &one.file));
        lines.push(line("", &one.problem));
    }
    if lines.is_empty() {
        lines.push(NOTHING.to_owned());
    }
    lines
}

/// Puts all readable messages back into the outbox. Their files are removed after the commit, and only then
/// can they be sent: if this is interrupted, the next run finishes it.
fn retry(store: &mut Store) -> Ended {
    let mut state = store.load()?;
    let back = take_back(store, &mut state)?;
    if back == 0 {
        tell("No message was put back.");
        return Ok(Exit::Done);
    }
    store.commit(&mut state, Durability::Full)?;
    for message in state.outbox.iter_mut().filter(|one| one.is_retried) {
        undelivered::remove(store, &message.id)?;
        message.is_retried = false;
    }
    store.commit(&mut state, Durability::Full)?;
    let back = count(back, "message is", "messages are");
    tell(&format!(
        "{back} queued again: the next run sends what it can."
    ));
    Ok(Exit::Done)
}

/// Puts messages into the outbox until it is full, and returns how many.
fn take_back(store: &Store, state: &mut State) -> anyhow::Result<u64> {
    let now = Timestamp::now();
    let (mut back, mut left) = (0, 0);
    for Entry { file, read } in undelivered::list(store, &Outbox::new())? {
        match read {
            Err(problem) => warn!("{file} stays in undelivered/: {problem}"),
            Ok(_) if is_full(&state.outbox) => left += 1,
            Ok(one) => {
                let mut message = one.message;
                message.retry(now);
                // If a process was killed, the message may be in both, or its wake may still be in the queue.
                state.remove_message(&message.id);
                state.queue.retain(|queued| queued.id != message.id);
                state.outbox.push_back(message);
                back += 1;
            }
        }
    }
    if left > 0 {
        let left = count(left, "message stays", "messages stay");
        warn!("the outbox is full: {left} in undelivered/");
    }
    Ok(back)
}

fn clear(store: &mut Store, yes: bool) -> Ended {
    let outbox = outbox(store);
    let entries = undelivered::list(store, &outbox)?;
    let number = entries.len() as u64;
    let messages = count(number, "message is", "messages are");
    let lost = format!("{messages} undelivered");
    if number > 0 && !consent::is_given(yes, &lost, "Remove for good?")? {
        tell("Nothing was removed.");
        return Ok(Exit::Failed);
    }
    let folder = store.undelivered();
    let shown = |file: &str| folder.path(file).display().to_string();
    for Entry { file, .. } in &entries {
        let removed = folder.remove(file);
        removed.with_context(|| format!("cannot remove {}", shown(file)))?;
    }
    let synced = folder.sync();
    synced.with_context(|| format!("cannot sync {}", shown("")))?;
    let removed = count(number, "message was", "messages were");
    tell(&format!("{removed} removed."));
    Ok(Exit::Done)
}

/// Returns the outbox, which shows what was taken back. If the state cannot be read, nothing was.
fn outbox(store: &mut Store) -> Outbox {
    store.load().map(|state| state.outbox).unwrap_or_default()
}
