//! One investigation and one message for each pair and window.

use std::fs;

use crate::support::{Reply, Row, World, wake};

/// Appends the rows, runs once, and returns how many messages Slack has got so far.
#[track_caller]
fn sent(world: &World, rows: impl IntoIterator<Item = Row>) -> usize {
    world.raise(rows).exits(0).silent();
    assert_eq!(world.engine.requests().len(), world.slack.texts().len());
    world.slack.texts().len()
}

#[test]
fn a_repeat_is_reported_as_held_back() {
    let world = World::stamped();
    world.append([wake("fly"), wake("fly")]);
    let held = &world.report(0)["wakes"][1];
    assert_eq!(held["debounce_skipped"], true);
    assert_eq!(held["dispatched"], false);
    assert_eq!(held["buffered_skipped"], false);
}

#[test]
fn another_probe_and_another_category_have_windows_of_their_own() {
    let slow = wake("fly").set("category", "slow");
    assert_eq!(
        sent(&World::stamped(), [wake("fly"), wake("sentry"), slow]),
        3
    );
}

#[test]
fn the_clock_is_the_runs_and_not_the_rows() {
    let world = World::stamped();
    assert_eq!(sent(&world, [wake("fly").minutes_ago(600), wake("fly")]), 1);
}

#[test]
fn the_window_opens_whatever_becomes_of_the_message() {
    let world = World::stamped();
    world.queue([wake("fly")]);
    world.raise([wake("fly")]).exits(0);
    assert_eq!(world.engine.requests().len(), 1);
    assert_eq!(
        world.slack.texts().len(),
        1,
        "the queued one, and none for the repeat"
    );
}

#[test]
fn the_window_opens_where_the_engine_failed() {
    let world = World::stamped();
    world.engine.script([Reply::text(503, "")]);
    world.append([wake("fly"), wake("fly")]);
    world.run().exits(0).warns("HTTP503");
    assert_eq!(world.slack.texts().len(), 1);
    assert_eq!(sent(&world, [wake("fly")]), 1, "and no more");
}

#[test]
fn each_log_has_windows_of_its_own() {
    let world = World::stamped();
    assert_eq!(sent(&world, [wake("fly")]), 1);
    fs::write(world.path("other.jsonl"), "").unwrap();
    world
        .command("run --audit-log other.jsonl")
        .exits(0)
        .silent();
    fs::write(world.path("other.jsonl"), wake("fly").line() + "\n").unwrap();
    world
        .command("run --audit-log other.jsonl")
        .exits(0)
        .silent();
    assert_eq!(world.slack.texts().len(), 2);
}
