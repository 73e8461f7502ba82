//! `state show`: what is remembered between runs.

use anyhow::Context;

use super::print_as;
use crate::cli::{FormatArg, Global};
use crate::config::Paths;
use crate::exit::{Ended, Exit};
use crate::report::count;
use crate::state::queue::Stage;
use crate::state::{self, LogState, State, Store};
use crate::text::{for_terminal, on_one_line};
use crate::time::full;

pub fn show(flags: &Global, args: &FormatArg) -> Ended {
    let paths = Paths::load(flags)?;
    let mut store = Store::at(&paths.state_dir);
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
        let session = one.subject().caller_session_id();
        let (at, session) = (full(one.queued_at), on_one_line(&session));
        let stage = match &one.stage {
            Stage::New => "new, nothing sent yet",
            Stage::Announced(_) => "announced, the diagnosis is pending",
            Stage::Retrying(_) => "failed, the engine is asked again later",
        };
        let attempts = one.attempts;
        lines.push(format!(
            "  {at}  {session}: {stage}, begun {attempts} times"
        ));
    }
    lines.push(format!("outbox: {}", state.outbox.len()));
    for message in &state.outbox {
        let cause = message.cause.as_ref().map(|cause| format!(": {cause}"));
        let about = message.subject().caller_session_id() + &cause.unwrap_or_default();
        lines.push(format!(
            "  {}  {}",
            full(message.queued_at),
            on_one_line(&about)
        ));
    }
    lines
}

fn add_log(lines: &mut Vec<String>, log: &str, kept: &LogState) {
    lines.push(format!("log: {}", for_terminal(log)));
    lines.push(format!("  position: byte {}", kept.checkpoint.offset()));
    lines.push(format!("  incidents: {}", kept.incidents.len()));
    for incident in kept.incidents.iter() {
        let name = on_one_line(&format!(
            "{}:{}",
            incident.pair.probe, incident.pair.category
        ));
        let last = incident.last_dispatch.map_or("never".to_owned(), full);
        let wakes = count(incident.wakes, "wake", "wakes");
        lines.push(format!("    {name}  {wakes}, last dispatched {last}"));
    }
}
