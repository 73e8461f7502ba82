//! Section 5 of the contract beyond the flat window: consecutive-required, backoff, the count of what was held
//! back, clocks that are set back, and stamps that do not pile up.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::{
    Calls, Fault, World, at_each_call, column, is_marked, other_row, plain, wake,
};

/// Appends this many wakes of fly, runs, and says how many of them were dispatched.
#[track_caller]
fn dispatched(world: &World, wakes: usize) -> usize {
    world.append((0..wakes).map(|_| wake("fly")));
    let dispatched = column(world.report(0)["wakes"].take(), "/dispatched");
    dispatched.iter().filter(|one| **one == true).count()
}

fn stamps(world: &World) -> Vec<Value> {
    let logs = world.state()["logs"].take();
    let log = logs.as_object().unwrap().values().next().unwrap();
    log["stamps"].as_array().unwrap().clone()
}

fn with(settings: &[(&str, &str)]) -> World {
    let world = World::stamped();
    for (name, value) in settings {
        world.set(&format!("KORA_PROBE_DEBOUNCE_{name}"), *value);
    }
    world
}

#[test]
fn consecutive_required_dispatches_at_the_nth_wake_of_one_run_or_of_many() {
    let world = with(&[("CONSECUTIVE_REQUIRED", "3")]);
    assert_eq!(dispatched(&world, 3), 1);
    let world = with(&[("CONSECUTIVE_REQUIRED", "3")]);
    world.engine.maybe();
    assert_eq!([1, 1, 1].map(|wakes| dispatched(&world, wakes)), [0, 0, 1]);
    assert_eq!(dispatched(&world, 5), 0, "now the window holds");
}

#[test]
fn those_before_the_nth_are_reported_as_buffered_and_told_as_raised() {
    let world = with(&[("CONSECUTIVE_REQUIRED", "3")]);
    world.append([wake("fly"), wake("fly"), wake("fly")]);
    let report = world.report(0);
    let flags = |wake: &Value| {
        ["dispatched", "debounce_skipped", "buffered_skipped"].map(|flag| wake[flag] == true)
    };
    let wakes: Vec<_> = report["wakes"]
        .as_array()
        .unwrap()
        .iter()
        .map(flags)
        .collect();
    let buffered = [false, false, true];
    assert_eq!(wakes, [buffered, buffered, [true, false, false]]);
    assert!(world.slack.texts()[0].contains("\n\nRaised 3 times since "));
}

#[test]
fn a_clock_set_back_counts_no_wake_of_the_future_and_silences_nothing() {
    let world = with(&[("CONSECUTIVE_REQUIRED", "2")]);
    assert_eq!(dispatched(&world, 1), 0);
    world.shift_state(24);
    assert_eq!([1, 1].map(|wakes| dispatched(&world, wakes)), [0, 1]);
}

#[test]
fn a_critical_wake_that_may_pass_passes_at_its_first() {
    let world = with(&[("CONSECUTIVE_REQUIRED", "5"), ("BYPASS_CRITICAL", "true")]);
    assert_eq!(dispatched(&world, 1), 1);
    world.append([wake("sentry").set("severity", "warning")]);
    assert_eq!(world.report(0)["wakes"][0]["buffered_skipped"], true);
}

/// Runs with one wake, so many hours after the run before.
#[track_caller]
fn after(world: &World, hours: i64) -> usize {
    world.shift_state(-hours);
    dispatched(world, 1)
}

#[test]
fn backoff_widens_the_window_and_a_quiet_stretch_sets_it_back() {
    let world = with(&[
        ("SECONDS", "3000"),
        ("BACKOFF_FACTOR", "3"),
        ("MAX_SECONDS", "20000"),
    ]);
    // Windows of 3,000, 9,000 and 20,000 (not 27,000) seconds; an hour is 3,600.
    assert_eq!(dispatched(&world, 1), 1);
    assert_eq!(after(&world, 1), 1);
    assert_eq!((after(&world, 2), after(&world, 1)), (0, 1));
    assert_eq!((after(&world, 5), after(&world, 1)), (0, 1));
    assert_eq!(
        after(&world, 12),
        1,
        "quiet for two windows of 20,000 seconds"
    );
    assert_eq!(after(&world, 1), 1, "so that it is 3,000 again");
}

#[test]
fn a_clock_set_back_ends_a_widened_window_too() {
    let world = with(&[("BACKOFF_FACTOR", "10")]);
    assert_eq!(dispatched(&world, 1), 1);
    world.shift_state(1_000);
    assert_eq!(dispatched(&world, 1), 1);
    assert_eq!(dispatched(&world, 1), 0, "and its own stamp counts");
}

#[test]
fn what_was_held_back_over_many_runs_is_told_once_in_dm_and_prompt() {
    let world = World::stamped();
    assert_eq!(dispatched(&world, 3), 1);
    assert_eq!([2, 0, 1].map(|wakes| dispatched(&world, wakes)), [0, 0, 0]);
    world.shift_state(-1);
    assert_eq!(dispatched(&world, 1), 1);
    world.shift_state(-1);
    assert_eq!(dispatched(&world, 1), 1);
    let texts = world.slack.texts();
    let note = texts[1].strip_prefix(&(plain("fly") + "\n\n")).unwrap();
    assert!(
        note.starts_with("5 repeats were held back since "),
        "{note}"
    );
    assert_eq!((&texts[0], &texts[2]), (&plain("fly"), &plain("fly")));
    let prompts = world.engine.prompts();
    assert!(prompts[1].contains('5') && prompts[1].to_lowercase().contains("held back"));
    assert!(!texts.iter().any(|text| is_marked(text)));
}

#[test]
fn stamps_are_dropped_after_two_windows_and_not_before_their_repeats_are_told() {
    let world = World::stamped();
    world.append((0..50).map(|n| wake(&format!("probe-{n}"))));
    world.raise([wake("fly"), wake("fly")]).exits(0).silent();
    assert_eq!(stamps(&world).len(), 51);
    world.shift_state(-1);
    world.raise([wake("sentry")]).exits(0).silent();
    let names = |world: &World| column(stamps(world), "/probe");
    assert_eq!(names(&world), ["fly", "sentry"]);
    world.raise([wake("fly")]).exits(0).silent();
    world.shift_state(-1);
    world.raise([wake("vercel")]).exits(0).silent();
    assert_eq!(names(&world), ["vercel"]);
}

#[test]
fn a_state_of_a_day_of_alerts_stays_small() {
    let world = World::stamped();
    for _ in 0..24 {
        world.append((0..20).map(|n| wake(&format!("probe-{n}"))));
        world.run().exits(0).silent();
        world.shift_state(-1);
    }
    world.raise([wake("fly")]).exits(0).silent();
    let state = world.state_file("state.json");
    assert!(state.len() < 3_000, "{} bytes: {state}", state.len());
}

#[test]
fn wakes_held_back_before_the_log_could_not_be_read_are_not_counted_twice() {
    needs!("strace");
    let prepare = || {
        let world = World::stamped();
        assert_eq!(dispatched(&world, 1), 1);
        world.append([wake("fly"), wake("fly")]);
        let padding = other_row(&"x".repeat(1_000_000)) + "\n";
        world.append_raw(padding.repeat(3));
        world
    };
    let failed = AtomicUsize::new(0);
    let calls = Calls::Named(&["pread64"]);
    at_each_call(Fault::Error("EIO"), calls, prepare, |world, _, outcome| {
        failed.fetch_add(usize::from(outcome.code == Some(1)), Ordering::Relaxed);
        world.run().exits(0);
        assert_eq!(stamps(world)[0]["held_back"]["count"], 2);
    });
    let failed = failed.into_inner();
    assert!(failed >= 3, "{failed} runs could not read the log");
}
