//! A log that has had no new row for long.

use std::fs;

use serde_json::Value;

use super::pass;
use crate::support::{World, other_row, wake};

/// A world that has read a row, and hears of it when two hours pass without another.
fn watching() -> World {
    let world = World::stamped();
    world.set("KORA_PROBE_QUIET_SECONDS", "7200");
    world.append_raw(other_row("heard") + "\n");
    world.run().exits(0).silent();
    world
}

#[test]
fn it_is_said_once_a_day_and_heard_again_in_its_thread() {
    let world = watching();
    world.engine.never();
    pass(&world, 119);
    world.run().exits(0).silent();
    assert_eq!(world.slack.posts().len(), 0);
    pass(&world, 4);
    world.run().exits(0).silent();
    world.run().exits(0).silent();
    let expected = "⚠️ Nothing heard · kora_audit_log.jsonl\nNo row since HH:MM UTC (2 h 3 min). \
                    Is the program that writes it still running?";
    assert_eq!(world.slack.texts(), [expected]);
    pass(&world, 23 * 60 + 59);
    world.run().exits(0).silent();
    assert_eq!(world.slack.posts().len(), 1);
    pass(&world, 1);
    world.run().exits(0).silent();
    assert_eq!(world.slack.posts().len(), 2);
    world.append_raw(other_row("again") + "\n");
    world.run().exits(0).silent();
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    assert_eq!(posts.len(), 3, "{posts:?}");
    assert_eq!(posts[2].text, "✅ Heard again at HH:MM UTC.");
    assert_eq!(posts[2].thread_ts.as_deref(), Some("1.2"));
}

#[test]
fn the_run_that_reads_a_row_again_says_nothing() {
    let world = watching().quiet();
    pass(&world, 125);
    world.append_raw(other_row("just in time") + "\n");
    world.run().exits(0).silent();
}

#[test]
fn before_any_row_it_is_counted_from_the_first_run() {
    let world = World::stamped();
    world.engine.never();
    world.set("KORA_PROBE_QUIET_SECONDS", "7200");
    pass(&world, 121);
    world.run().exits(0).silent();
    assert_eq!(world.slack.posts().len(), 1);
}

#[test]
fn our_own_rows_are_none() {
    let world = watching();
    world.set("KORA_PROBE_OUTCOME_LOG", world.log());
    world.raise([wake("fly")]).exits(0).silent();
    world.run().exits(0).silent();
    pass(&world, 121);
    world.run().exits(0).silent();
    let mut texts = world.slack.texts();
    assert!(
        texts
            .pop_if(|text| text.starts_with("⚠️ Nothing heard"))
            .is_some()
    );
}

#[test]
fn after_15_minutes_without_a_run_it_begins_anew() {
    let world = watching().quiet();
    pass(&world, 125);
    world.age_lock(16);
    world.run().exits(0).silent();
    pass(&world, 119);
    world.run().exits(0).silent();
}

#[test]
fn a_clock_that_was_set_back_begins_it_anew() {
    let world = watching();
    world.engine.never();
    pass(&world, -600);
    world.run().exits(0).silent();
    pass(&world, 121);
    world.run().exits(0).silent();
    assert_eq!(world.slack.posts().len(), 1);
}

#[test]
fn a_clock_that_was_set_back_begins_it_anew_where_the_log_cannot_be_read_too() {
    let world = watching();
    world.engine.never();
    fs::remove_file(world.log()).unwrap();
    fs::create_dir(world.log()).unwrap();
    pass(&world, -600);
    world.run().exits(1);
    pass(&world, 121);
    world.run().exits(1);
    assert_eq!(world.slack.posts().len(), 1);
}

#[test]
fn a_notice_that_was_not_delivered_yet_is_followed_by_the_word_that_rows_come_again() {
    let world = watching();
    world.engine.never();
    world.reach_slack_at(crate::support::DEAD_URL);
    pass(&world, 121);
    world.run().exits(3);
    world.append_raw(other_row("again") + "\n");
    world.run().exits(3);
    world.reach_slack_at(world.slack.base());
    world.wait_for_pause();
    world.run().exits(0);
    let posts = world.slack.posts();
    assert_eq!(posts.len(), 2, "{posts:?}");
    assert_eq!(posts[1].thread_ts.as_deref(), Some("1.1"));
}

#[test]
fn status_and_metrics_know_of_it() {
    let world = watching();
    world.engine.never();
    let metrics = world.path("metrics.prom");
    world.set("KORA_PROBE_WAKE_METRICS_FILE", &metrics);
    pass(&world, 125);
    world
        .command("status --check")
        .exits(3)
        .prints("no row since ")
        .prints("(2 h 5 min)");
    world.run().exits(0).silent();
    let text = std::fs::read_to_string(&metrics).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("probe_wake_last_row_timestamp_seconds"));
    let number: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    let status = world.command("status --format json").exits(0).json();
    let last: jiff::Timestamp = match &status["last_row"] {
        Value::String(text) => text.parse().unwrap(),
        other => panic!("{other}"),
    };
    assert!((number - last.as_second() as f64).abs() < 2.0);
    world.unset("KORA_PROBE_QUIET_SECONDS");
    world.command("status --check").exits(0);
}
