//! The first run over a log replays no history, and the row after it is dispatched.

use std::fs;

use serde_json::json;

use crate::support::{World, plain, wake};

#[test]
fn a_log_full_of_wakes_counts_as_read_and_nobody_is_asked() {
    let world = World::new().quiet();
    world.append([wake("fly"), wake("sentry"), wake("doppler")]);
    world.run().exits(0).silent();
    world.run().exits(0).silent();
}

#[test]
fn it_reports_where_it_begins() {
    let world = World::new().quiet();
    world.append([wake("fly"), wake("sentry")]);
    let report = world.report(0);
    assert_eq!(report["first_run"], true);
    assert_eq!(report["wakes"], json!([]));
    assert_eq!(report["position"]["after"], world.log_length());
    assert_eq!(world.report(0)["first_run"], false);
}

#[test]
fn the_next_row_is_asked_about_and_sent_once_without_output() {
    let world = World::new();
    world.raise([wake("sentry")]).exits(0).silent();
    world.raise([wake("fly")]).exits(0).silent();
    world.run().exits(0).silent();
    assert_eq!(world.engine.requests().len(), 1);
    assert_eq!(world.slack.texts(), [plain("fly")]);
}

#[test]
fn a_row_that_is_unfinished_then_is_dispatched_when_it_is_finished() {
    let world = World::new();
    let line = wake("fly").line();
    let (start, end) = line.split_at(60);
    world.append([wake("sentry")]);
    world.append_raw(start);
    world.run().exits(0).silent();
    world.append_raw(format!("{end}\n"));
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts().len(), 1);
}

#[test]
fn an_empty_log_is_recorded_at_its_start() {
    let world = World::new();
    fs::write(world.log(), "").unwrap();
    world.run().exits(0).silent();
    world.raise([wake("fly")]).exits(0).silent();
    assert_eq!(world.slack.texts().len(), 1);
}

#[test]
fn a_log_that_is_not_there_yet_is_recorded_with_a_warning_so_that_its_first_row_is_dispatched() {
    let world = World::new();
    world
        .run()
        .exits(0)
        .warns("probe-wake: warning: ")
        .warns("kora_audit_log.jsonl");
    world.raise([wake("fly")]).exits(0).silent();
    assert_eq!(world.slack.texts().len(), 1);
}

#[test]
fn a_run_over_another_log_moves_no_position_of_this_one() {
    let world = World::stamped();
    fs::write(world.path("other.jsonl"), wake("vercel").line() + "\n").unwrap();
    world.append([wake("fly")]);
    world
        .command("run --audit-log other.jsonl")
        .exits(0)
        .silent();
    assert_eq!(
        world.engine.requests().len(),
        0,
        "a first run for the other log"
    );
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts().len(), 1);
}
