//! Section 5 of the contract: one investigation and one DM for each pair and window.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::support::{Reply, Row, World, wake};

/// Appends the rows, runs once, and says how many DMs Slack has got so far.
#[track_caller]
fn told(world: &World, rows: impl IntoIterator<Item = Row>) -> usize {
    world.raise(rows).exits(0).silent();
    assert_eq!(world.engine.requests().len(), world.slack.texts().len());
    world.slack.texts().len()
}

#[test]
fn a_repeat_in_the_same_run_is_held_back() {
    assert_eq!(
        told(&World::stamped(), [wake("fly"), wake("fly"), wake("fly")]),
        1
    );
}

#[test]
fn a_repeat_in_the_next_run_is_held_back() {
    let world = World::stamped();
    assert_eq!(told(&world, [wake("fly")]), 1);
    assert_eq!(told(&world, [wake("fly")]), 1);
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
        told(&World::stamped(), [wake("fly"), wake("sentry"), slow]),
        3
    );
}

#[test]
fn another_severity_has_not() {
    assert_eq!(
        told(
            &World::stamped(),
            [wake("fly"), wake("fly").set("severity", "info")]
        ),
        1
    );
}

#[test]
fn a_window_of_zero_holds_nothing_back() {
    let world = World::stamped().without_debounce();
    assert_eq!(told(&world, [wake("fly"), wake("fly")]), 2);
    assert_eq!(told(&world, [wake("fly")]), 3);
}

#[test]
fn a_window_that_is_over_holds_nothing_back() {
    let world = World::stamped();
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "1");
    assert_eq!(told(&world, [wake("fly")]), 1);
    sleep(Duration::from_millis(1_100));
    assert_eq!(told(&world, [wake("fly")]), 2);
}

#[test]
fn the_clock_is_the_runs_and_not_the_rows() {
    let world = World::stamped();
    assert_eq!(told(&world, [wake("fly").minutes_ago(600), wake("fly")]), 1);
}

#[test]
fn even_critical_is_held_back_by_default() {
    for value in ["false", "", "2", "maybe"] {
        let world = World::stamped();
        world.set("KORA_PROBE_DEBOUNCE_BYPASS_CRITICAL", value);
        assert_eq!(told(&world, [wake("fly"), wake("fly")]), 1, "{value:?}");
    }
}

#[test]
fn critical_passes_where_it_may() {
    for value in ["true", "TRUE", "1", "Yes", " on "] {
        let world = World::stamped();
        world.set("KORA_PROBE_DEBOUNCE_BYPASS_CRITICAL", value);
        assert_eq!(told(&world, [wake("fly"), wake("fly")]), 2, "{value:?}");
    }
}

#[test]
fn nothing_but_exactly_critical_passes() {
    let world = World::stamped();
    world.set("KORA_PROBE_DEBOUNCE_BYPASS_CRITICAL", "true");
    let odd =
        ["Critical", "critical ", "warning"].map(|severity| wake("fly").set("severity", severity));
    assert_eq!(told(&world, [wake("fly")]), 1);
    assert_eq!(told(&world, odd), 1);
}

#[test]
fn the_stamp_is_set_whatever_becomes_of_the_dm() {
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
fn the_stamp_is_set_where_the_engine_failed() {
    let world = World::stamped();
    world.engine.script([Reply::text(503, "")]);
    world.append([wake("fly"), wake("fly")]);
    world.run().exits(0).warns("HTTP503");
    assert_eq!(world.slack.texts().len(), 1);
    assert_eq!(told(&world, [wake("fly")]), 1, "and no more");
}

#[test]
fn each_log_has_windows_of_its_own() {
    let world = World::stamped();
    assert_eq!(told(&world, [wake("fly")]), 1);
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

#[test]
fn a_stamp_in_the_future_holds_nothing_back() {
    let world = World::stamped();
    assert_eq!(told(&world, [wake("fly")]), 1);
    world.shift_state(1_000);
    assert_eq!(told(&world, [wake("fly")]), 2);
    assert_eq!(told(&world, [wake("fly")]), 2, "the new stamp counts");
}

#[test]
fn a_stamp_of_the_past_holds_nothing_back() {
    let world = World::stamped();
    assert_eq!(told(&world, [wake("fly")]), 1);
    world.shift_state(-1_000);
    assert_eq!(told(&world, [wake("fly")]), 2);
}
