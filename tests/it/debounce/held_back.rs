//! What was held back: counted in the next message, and dispatched later where it was worse.

use jiff::SignedDuration;

use crate::support::{DIAGNOSIS, Row, World, column, wake};

fn fly(severity: &str) -> Row {
    wake("fly").set("severity", severity)
}

fn pass(world: &World, minutes: i64) {
    world.shift_state_by(-SignedDuration::from_mins(minutes));
}

#[test]
fn a_worse_wake_is_dispatched_at_the_windows_end_without_another_row() {
    let world = World::stamped();
    world
        .raise(["warning", "critical"].map(fly))
        .exits(0)
        .silent();
    let warning = fly("warning").diagnosed(DIAGNOSIS);
    assert_eq!(world.slack.texts(), [warning + " · 1 repeat held back"]);
    pass(&world, 9);
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts().len(), 1);
    pass(&world, 1);
    let report = world.report(0);
    assert_eq!(column(report["wakes"].clone(), "/severity"), ["critical"]);
    let critical = fly("critical").diagnosed(DIAGNOSIS);
    let text = world.slack.texts().pop().unwrap();
    assert_eq!(text, critical + " · alert 2 since HH:MM UTC");
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts().len(), 2);
}

#[test]
fn a_long_worse_wake_is_dispatched_whole() {
    let world = World::stamped().without_engine();
    let detail = "What happened, at length. ".repeat(130);
    let critical = fly("critical").set("detail", detail.trim_end());
    world
        .raise([fly("warning"), critical.clone()])
        .exits(0)
        .silent();
    let held = &world.state_file("state.json");
    assert!(!held.contains(detail.trim_end()), "it lies in texts/");
    pass(&world, 10);
    world.run().exits(0).silent();
    let text = world.slack.texts().pop().unwrap();
    let expected = critical.fallback("engine_unavailable");
    assert_eq!(text, expected + " · alert 2 since HH:MM UTC");
}

#[test]
fn where_it_is_asked_for_a_worse_wake_is_dispatched_at_once() {
    let world = World::stamped();
    world.set("KORA_PROBE_DEBOUNCE_BYPASS_ESCALATION", "Yes");
    world.raise([fly("warning")]).exits(0).silent();
    world.append(["critical", "critical", "warning", "info", "page"].map(fly));
    let report = world.report(0);
    let dispatched = column(report["wakes"].clone(), "/dispatched");
    assert_eq!(dispatched, [true, false, false, false, false]);
    let text = world.slack.texts().pop().unwrap();
    assert!(text.ends_with(" · 4 repeats held back"), "{text}");
}

#[test]
fn what_was_held_back_over_many_runs_is_said_once_by_the_next_message_and_its_prompt() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    for repeats in [2, 0, 3] {
        world.append((0..repeats).map(|_| wake("fly")));
        world.run().exits(0).silent();
    }
    pass(&world, 11);
    world.raise([wake("fly")]).exits(0).silent();
    pass(&world, 11);
    world.raise([wake("fly")]).exits(0).silent();
    let texts = world.slack.texts();
    let status: Vec<_> = texts
        .iter()
        .filter_map(|text| text.lines().last())
        .collect();
    let begin = "service_unhealthy · raised HH:MM UTC";
    let expected = [
        begin.to_owned(),
        format!("{begin} · alert 2 since HH:MM UTC · 5 repeats held back"),
        format!("{begin} · alert 3 since HH:MM UTC"),
    ];
    assert_eq!(status, expected);
}

#[test]
fn wakes_that_were_only_counted_are_reported_as_buffered_and_said_with_the_nth() {
    let world = World::stamped();
    world.set("KORA_PROBE_DEBOUNCE_CONSECUTIVE_REQUIRED", "3");
    world.append([wake("fly"), wake("fly")]);
    let wakes = world.report(0)["wakes"].take();
    assert_eq!(column(wakes, "/buffered_skipped"), [true, true]);
    assert_eq!(world.slack.posts().len(), 0);
    world.append([wake("fly")]);
    let wakes = world.report(0)["wakes"].take();
    assert_eq!(column(wakes, "/dispatched"), [true]);
    let text = world.slack.texts().remove(0);
    assert!(text.ends_with(" · seen 3 times since HH:MM UTC"), "{text}");
}

#[test]
fn a_row_that_a_log_shipper_sends_again_is_one_wake() {
    let world = World::stamped();
    let row = wake("fly");
    world.raise([row.clone()]).exits(0).silent();
    pass(&world, 60);
    world.append([row.clone().set("severity", "warning"), row]);
    // Moving the state's times does not move those of the rows, which it knows by their hash.
    let wakes = world.report(0)["wakes"].take();
    assert_eq!(column(wakes.clone(), "/dispatched"), [false, false]);
    assert_eq!(column(wakes, "/debounce_skipped"), [true, true]);
    assert_eq!(world.slack.texts().len(), 1);
}
