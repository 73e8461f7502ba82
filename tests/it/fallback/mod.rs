//! The second channel: what Slack does not take goes to a command.

mod command;
mod crashes;
pub mod examples;
mod handed_over;
mod lasting;
mod outage;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use jiff::SignedDuration;

use crate::support::{DEAD_URL, Sandbox, World, without_times};

/// Appends what it gets to a file, after a line with a mark and the probe.
const PAGE: &str = "#!/bin/sh\n{ echo \"== $PROBE_WAKE_PROBE\"; cat; } >> \"$HOME/pages\"\n";

/// Makes this script the fallback command, which gets an alert at once.
fn set_command(sandbox: &Sandbox, script: &str) -> PathBuf {
    let file = sandbox.give("given/bin/page", script);
    fs::set_permissions(&file, Permissions::from_mode(0o700)).unwrap();
    sandbox.set("KORA_PROBE_FALLBACK_COMMAND", &file);
    sandbox.set("KORA_PROBE_FALLBACK_AFTER_SECONDS", "0");
    file
}

/// No engine, nothing listens where Slack should be, and a command with this script.
fn without_slack(script: &str) -> World {
    let world = World::stamped().without_engine();
    world.slack.maybe();
    world.reach_slack_at(DEAD_URL);
    set_command(&world, script);
    world
}

fn slack_is_back(world: &World) {
    world.reach_slack_at(world.slack.base());
}

fn pass(world: &World, seconds: i64) {
    world.shift_state_by(-SignedDuration::from_secs(seconds));
}

/// What the command got, in order, each with the mark's probe.
fn pages(sandbox: &Sandbox) -> Vec<(String, String)> {
    let text = fs::read_to_string(sandbox.path("home/pages")).unwrap_or_default();
    let pages = text.split("== ").skip(1);
    let page = |page: &str| {
        let (probe, text) = page.split_once('\n').unwrap_or((page, ""));
        (probe.to_owned(), without_times(text.trim_end_matches('\n')))
    };
    pages.map(page).collect()
}

fn paged(sandbox: &Sandbox) -> Vec<String> {
    pages(sandbox).into_iter().map(|(probe, _)| probe).collect()
}
