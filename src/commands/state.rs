//! `state show`: what is remembered between runs.

use anyhow::Context;

use super::print_as;
use crate::cli::{FormatArg, Global};
use crate::config::Paths;
use crate::exit::{Ended, Exit};
use crate::message::minute;
use crate::state::{self, LogState, State, Store};
use crate::text::{for_terminal, on_one_line};

pub fn show(flags: &Global, args: &FormatArg) -> Ended {
    let paths = Paths::load(flags)?;
    let store = Store::at(&paths.state_dir);
    let state = store.load()?;
    print_as(args.format, &state, &lines(&store, &state)).context("cannot print the state")?;
    Ok(Exit::Done)
}

fn lines(store: &Store, state: &State) -> Vec<String> {
    let mut lines = vec![format!("state: {}", store.path(state::FILE).display())];
    if state.logs.is_empty() {
        lines.push("No audit log has a position yet: the next run is a first run.".to_owned());
    }
    for (log, kept) in &state.logs {
        add_log(&mut lines, log, kept);
    }
    lines.push(format!("investigations: {}", state.queue.len()));
    for one in &state.queue {
        let (at, name) = (minute(one.queued_at), on_one_line(&one.caller_session_id()));
        let what = match (&one.told, &one.late) {
            (None, _) => "the operator was told nothing yet",
            (Some(_), None) => "its facts were told",
            (Some(_), Some(_)) => "failed; a late diagnosis is hoped for",
        };
        let attempts = one.attempts;
        lines.push(format!("  {at}  {name}: {what}, begun {attempts} times"));
    }
    lines.push(format!("outbox: {}", state.outbox.len()));
    for dm in &state.outbox {
        let cause = dm.cause.as_ref().map(|cause| format!(": {cause}"));
        let about = dm.caller_session_id() + &cause.unwrap_or_default();
        let (at, about) = (minute(dm.queued_at), on_one_line(&about));
        lines.push(format!("  {at}  {about}"));
    }
    lines
}

fn add_log(lines: &mut Vec<String>, log: &str, kept: &LogState) {
    let checkpoint = &kept.checkpoint;
    let (offset, seen_at) = (checkpoint.offset(), minute(checkpoint.seen_at));
    lines.push(format!("log: {}", for_terminal(log)));
    lines.push(format!("  position: byte {offset} (looked at {seen_at})"));
    lines.push(format!("  stamps: {}", kept.stamps.len()));
    for (pair, stamp) in kept.stamps.iter() {
        let name = on_one_line(&format!("{}:{}", pair.probe, pair.category));
        let last = stamp.last_dispatch.map_or("never".to_owned(), minute);
        let held = stamp.held_back.map_or(0, |held| held.count);
        lines.push(format!(
            "    {name}  last dispatched {last}, {held} held back since"
        ));
    }
}
