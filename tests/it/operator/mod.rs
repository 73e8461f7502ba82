//! What the operator can do about alerts: silences, acknowledgements at a terminal and from the phone; and what
//! ends an incident without the operator.

mod ack;
mod kills;
mod quiet;
mod reactions;
mod recovery_rows;
mod silence;
mod snapshot;
mod week;

use jiff::SignedDuration;
use serde_json::Value;

use crate::support::{Row, World, wake};

fn fly(severity: &str) -> Row {
    wake("fly").set("severity", severity)
}

fn pass(world: &World, minutes: i64) {
    world.pass(SignedDuration::from_mins(minutes));
}

/// How many messages Slack got.
fn sent(world: &World) -> usize {
    world.slack.posts().len()
}

/// The list of silences.
#[track_caller]
fn silences(world: &World) -> Vec<Value> {
    let list = world.command("silence --format json").exits(0).json();
    list["silences"].as_array().unwrap().clone()
}

/// What `history` and the page know of silences that are over.
fn over_rows(world: &World) -> Vec<Value> {
    let rows = world.state_rows("outcomes.jsonl").into_iter();
    rows.filter(|row| row["seam"] == "probe.silence_over")
        .collect()
}
