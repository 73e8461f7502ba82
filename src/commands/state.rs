//! `state show`: what is remembered between runs.

use std::io::{self, Write};

use anyhow::Context;

use crate::cli::{Format, FormatArg, Global};
use crate::config::Paths;
use crate::exit::{Ended, Exit};
use crate::message::minute;
use crate::report::print_json;
use crate::state::{self, LogState, State, Store};
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
