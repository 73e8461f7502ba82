//! Section 9 of the contract: a dry run says what the next run would do, and does nothing.

use std::fs;

use serde_json::{Value, json};

use crate::support::{World, column, wake};

/// The report of a dry run, which must exit with this code and change no file.
#[track_caller]
fn dry(world: &World, code: i32) -> Value {
    world.age_state();
    let before = world.snapshot(&[]);
    let report = world
        .command("run --dry-run --format json")
        .exits(code)
        .json();
    assert!(before == world.snapshot(&[]), "a dry run wrote something");
    assert_eq!(report["dry_run"], true);
    report
}

#[test]
fn a_first_run_is_told_and_no_folder_is_made() {
    let world = World::new().quiet();
    world.append([wake("fly")]);
    let report = dry(&world, 0);
    assert_eq!(report["first_run"], true);
    assert_eq!(report["wakes"], json!([]));
    assert!(!world.state_dir().exists());
}

#[test]
fn each_new_wake_is_told_with_its_decision_and_nobody_is_asked() {
    let world = World::stamped().quiet();
    world.append([wake("fly"), wake("fly"), wake("sentry")]);
    for _ in 0..2 {
        let wakes = dry(&world, 0)["wakes"].take();
        let held = column(wakes.clone(), "/debounce_skipped");
        assert_eq!(held, [false, true, false]);
        for wake in wakes.as_array().unwrap() {
            assert_eq!(
                (&wake["reasoning_invoked"], &wake["dm_sent"]),
                (&json!(false), &json!(false))
            );
        }
    }
}

#[test]
fn its_decisions_are_those_of_the_run_that_follows() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    world.append([wake("fly"), wake("sentry"), wake("sentry")]);
    let (told, done) = (dry(&world, 0), world.report(0));
    for field in [
        "/probe",
        "/category",
        "/debounce_skipped",
        "/buffered_skipped",
    ] {
        let of = |report: &Value| column(report["wakes"].clone(), field);
        assert_eq!(of(&told), of(&done), "{field}");
    }
}

#[test]
fn as_text_it_names_the_wake() {
    let world = World::stamped().quiet();
    world.append([wake("fly")]);
    let before = world.snapshot(&[]);
    world
        .command("run --dry-run")
        .exits(0)
        .prints("fly")
        .prints("service_unhealthy");
    assert!(before == world.snapshot(&[]));
}

#[test]
fn without_an_engine_the_dm_is_known() {
    let world = World::stamped().without_engine();
    world.slack.never();
    let row = wake("fly");
    world.append([row.clone()]);
    assert_eq!(
        dry(&world, 0)["wakes"][0]["dm_text"],
        row.fallback("engine_unavailable")
    );
}

#[test]
fn it_leaves_the_outbox_alone() {
    let world = World::stamped();
    world.slack.never();
    world.queue([wake("fly")]);
    let before = world.snapshot(&[]);
    let _ = world.command("run --dry-run");
    assert!(before == world.snapshot(&[]));
}

#[test]
fn it_takes_no_lock() {
    let world = World::stamped();
    let run = world.start_held([wake("fly")]);
    world.command("run --dry-run").exits(0);
    world.engine.release();
    run.finish().exits(0).silent();
}

#[test]
fn a_state_that_cannot_be_read_stops_it_too() {
    let world = World::stamped().quiet();
    fs::write(world.state_dir().join("state.json"), "{").unwrap();
    let before = world.snapshot(&[]);
    world.command("run --dry-run").exits(1).warns("state reset");
    assert!(before == world.snapshot(&[]));
}

#[test]
fn what_becomes_of_queued_dms_is_told_as_it_will_be() {
    let says = |change: fn(&World), text: &str| {
        let world = World::stamped();
        world.slack.maybe();
        world.queue([wake("fly"), wake("sentry")]);
        change(&world);
        world.command("run --dry-run").exits(0).prints(text);
    };
    says(|_| (), "First, 2 queued DMs would be delivered.");
    says(
        |world| world.unset("KORA_SLACK_BOT_TOKEN"),
        "2 queued DMs would stay queued: KORA_SLACK_BOT_TOKEN is not set.",
    );
    says(
        |world| world.shift_state(-25),
        "2 queued DMs would go to undelivered.jsonl.",
    );
    says(
        |world| {
            let mut state = world.state();
            state["outbox"][0]["given_up"] = json!("no_text");
            world.give("state/state.json", &state.to_string());
        },
        "1 queued DM would go to undelivered.jsonl.",
    );
    says(
        |world| world.set("KORA_AUDIT_LOG_PATH", world.path("another.jsonl")),
        "First, 2 queued DMs would be delivered.",
    );
}

#[test]
fn an_engine_that_would_not_be_asked_is_not_said_to_be() {
    let world = World::stamped();
    world.set("KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR", "1");
    world.raise([wake("fly")]).exits(0);
    world.append([wake("sentry")]);
    world
        .command("run --dry-run")
        .exits(0)
        .prints("The engine would not be asked (investigation_budget_spent)");
}

#[test]
fn what_an_earlier_run_dispatched_is_not_said_to_be_dispatched_again() {
    let world = World::stamped();
    world.slack.never();
    world.start_held([wake("fly")]).kill();
    world
        .command("run --dry-run")
        .exits(0)
        .prints("was dispatched by an earlier run");
}

#[test]
fn a_recovery_is_told() {
    let world = World::stamped();
    world.set("KORA_PROBE_TELL_RECOVERY", "true");
    world.raise([wake("fly")]).exits(0);
    let healthy = json!({
        "computed_at": jiff::Timestamp::now().to_string(), "service_health": {"fly": "healthy"},
    });
    fs::create_dir(world.path("cache")).unwrap();
    world.give("cache/daemon_snapshot.json", &healthy.to_string());
    let before = world.snapshot(&[]);
    world
        .command("run --dry-run")
        .exits(0)
        .prints("✅ Probe recovered · fly");
    assert!(before == world.snapshot(&[]));
}
