//! `undelivered`: lists the DMs that were given up, puts them back into the outbox (`--retry`), or
//! removes them (`--clear`).

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::warn;
use serde::Serialize;

use super::{consent, print_as};
use crate::cli::{Format, Global, UndeliveredArgs};
use crate::config::Paths;
use crate::exit::{Ended, Exit};
use crate::message::{begin_rest, minute};
use crate::report::{count, tell};
use crate::state::lock::Lock;
use crate::state::outbox::{Outbox, is_full};
use crate::state::undelivered::{self, Undelivered};
use crate::state::{Durability, State, Store};
use crate::terminal::wrapped;
use crate::text::quote;

const NOTHING: &str = "Nothing is undelivered.";

#[derive(Debug, Serialize)]
struct List {
    version: u32,
    file: String,
    undelivered: Vec<GivenUpDm>,
    unreadable: Vec<UnreadableLine>,
}

/// A DM that was given up.
#[derive(Debug, Serialize)]
struct GivenUpDm {
    id: String,
    given_up_at: Timestamp,
    caller_session_id: String,
    severity: String,
    reason: String,
    /// The part that was not delivered.
    text: String,
    notes: Vec<String>,
    further: String,
}

/// A line of the file that cannot be read as a DM.
#[derive(Debug, Serialize)]
struct UnreadableLine {
    line: u64,
    problem: String,
    begins: String,
}

pub fn undelivered(flags: &Global, args: &UndeliveredArgs) -> Ended {
    let store = Store::at(&Paths::load(flags)?.state_dir);
    store.check()?;
    if !args.retry && !args.clear {
        return list(&store, args.format.format);
    }
    if !store.path(undelivered::FILE).exists() {
        tell(NOTHING);
        return Ok(Exit::Done);
    }
    let _lock = Lock::take(&store.dir, Duration::ZERO)?;
    match args.retry {
        true => retry(&store),
        false => clear(&store, args.yes),
    }
}

fn list(store: &Store, format: Format) -> Ended {
    let (mut given_up, mut unreadable) = (Vec::new(), Vec::new());
    undelivered::for_each(store, &outbox(store), |line| match line.read() {
        Ok(row) => given_up.push(given_up_dm(row)),
        Err(problem) => unreadable.push(UnreadableLine {
            line: line.number,
            problem,
            begins: quote(&String::from_utf8_lossy(&line.bytes)),
        }),
    })?;
    let list = List {
        version: 1,
        file: store.path(undelivered::FILE).display().to_string(),
        undelivered: given_up,
        unreadable,
    };
    print_as(format, &list, &lines(&list)).context("cannot print the list")?;
    Ok(Exit::Done)
}

fn given_up_dm(row: Undelivered<'_>) -> GivenUpDm {
    let dm = row.dm.into_owned();
    GivenUpDm {
        caller_session_id: dm.caller_session_id(),
        id: dm.id,
        given_up_at: row.given_up_at,
        severity: dm.severity,
        reason: row.reason.into_owned(),
        text: dm.text,
        notes: dm.notes,
        further: dm.further,
    }
}

/// The columns of a time, and the space behind it.
const INDENT: usize = 22;

fn lines(list: &List) -> Vec<String> {
    let mut lines = Vec::new();
    let mut entry = |first: &str, texts: [&str; 3]| {
        for (first, text) in [first, "", ""].into_iter().zip(texts) {
            lines.push(format!("{first:<INDENT$}{}", wrapped(text, INDENT)));
        }
    };
    for given in &list.undelivered {
        let about = format!("{} ({})", given.caller_session_id, given.severity);
        let first_line = given.text.lines().next().unwrap_or_default();
        let reason = format!("given up: {}", given.reason);
        entry(&minute(given.given_up_at), [&about, &reason, first_line]);
    }
    for one in &list.unreadable {
        let number = format!("line {}", one.line);
        entry(&number, ["cannot be read", &one.problem, &one.begins]);
    }
    if lines.is_empty() {
        lines.push(NOTHING.to_owned());
    }
    lines
}

/// Puts the DMs that can be read back into the outbox. Their rows are removed after the state's commit,
/// or by the next run if this process is killed in between.
fn retry(store: &Store) -> Ended {
    let mut state = store.load()?;
    undelivered::forget_retried(store, &mut state.outbox)?;
    let back = take_back(store, &mut state)?;
    if back == 0 {
        tell("No DM was put back.");
        return Ok(Exit::Done);
    }
    store.commit(&state, Durability::Full)?;
    if let Err(error) = undelivered::forget_retried(store, &mut state.outbox) {
        warn!("{error:#}: the next run tries again");
    }
    let back = count(back, "DM is", "DMs are");
    tell(&format!(
        "{back} queued again: the next run sends what it can."
    ));
    Ok(Exit::Done)
}

/// Puts DMs into the outbox until it is full, and gives their number.
fn take_back(store: &Store, state: &mut State) -> Result<u64> {
    let (outbox, queue) = (&mut state.outbox, &mut state.queue);
    let file = undelivered::FILE;
    let now = Timestamp::now();
    let (mut back, mut left) = (0, 0_u64);
    undelivered::for_each(store, &Outbox::new(), |line| match line.read() {
        Err(problem) => warn!("line {} of {file} stays: {problem}", line.number),
        Ok(_) if is_full(outbox) => left += 1,
        Ok(row) => {
            let mut dm = row.dm.into_owned();
            dm.retry(now);
            begin_rest(&mut dm);
            // If a process was killed, the DM may be in both files, or its wake still in the queue.
            outbox.retain(|queued| queued.id != dm.id);
            queue.retain(|one| one.id != dm.id);
            outbox.push_back(dm);
            back += 1;
        }
    })?;
    if left > 0 {
        let left = count(left, "DM stays", "DMs stay");
        warn!("the outbox is full: {left} in {file}");
    }
    Ok(back)
}

fn clear(store: &Store, yes: bool) -> Ended {
    let number = undelivered::count(store, &outbox(store))?;
    let lost = format!("{} undelivered", count(number, "DM is", "DMs are"));
    if number > 0 && !consent::is_given(yes, &lost, "Remove for good?")? {
        tell("Nothing was removed.");
        return Ok(Exit::Failed);
    }
    undelivered::clear(store)?;
    tell(&format!("{} removed.", count(number, "DM was", "DMs were")));
    Ok(Exit::Done)
}

/// The outbox, which tells the rows that were taken back. If the state cannot be read, none was.
fn outbox(store: &Store) -> Outbox {
    store.load().map(|state| state.outbox).unwrap_or_default()
}
