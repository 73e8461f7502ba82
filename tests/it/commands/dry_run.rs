//! A dry run says what the next run would do, and does nothing.

use std::fs;

use serde_json::{Value, json};

use crate::support::{World, column, wake, without_times};

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
fn a_first_run_is_announced_and_no_folder_is_made() {
    let world = World::new().quiet();
    world.append([wake("fly")]);
    let report = dry(&world, 0);
    assert_eq!(report["first_run"], true);
    assert_eq!(report["wakes"], json!([]));
    assert!(!world.state_dir().exists());
}

#[test]
fn each_new_wake_has_its_decision_and_nobody_is_asked() {
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
    let (announced, done) = (dry(&world, 0), world.report(0));
    for field in [
        "/probe",
        "/category",
        "/debounce_skipped",
        "/buffered_skipped",
    ] {
        let of = |report: &Value| column(report["wakes"].clone(), field);
        assert_eq!(of(&announced), of(&done), "{field}");
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
fn without_an_engine_the_message_is_known() {
    let world = World::stamped().without_engine();
    world.slack.never();
    let row = wake("fly");
    world.append([row.clone()]);
    let report = dry(&world, 0);
    let text = report["wakes"][0]["dm_text"].as_str().unwrap();
    assert_eq!(without_times(text), row.fallback("engine_unavailable"));
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
fn it_says_what_becomes_of_queued_messages() {
    let says = |change: fn(&World), text: &str| {
        let world = World::stamped();
        world.slack.maybe();
        world.queue([wake("fly"), wake("sentry")]);
        change(&world);
        world.command("run --dry-run").exits(0).prints(text);
    };
    says(|_| (), "First, 2 queued messages would be delivered.");
    says(
        |world| world.unset("KORA_SLACK_BOT_TOKEN"),
        "2 queued messages would stay queued: KORA_SLACK_BOT_TOKEN is not set.",
    );
    says(
        |world| world.shift_state(-25),
        "2 queued messages would go to undelivered/.",
    );
    says(
        |world| {
            let mut state = world.state();
            state["outbox"][0]["given_up"] = json!("no_text");
            world.give("state/state.json", &state.to_string());
        },
        "1 queued message would go to undelivered/.",
    );
    says(
        |world| world.set("KORA_AUDIT_LOG_PATH", world.path("another.jsonl")),
        "First, 2 queued messages would be delivered.",
    );
}

#[test]
fn it_says_why_the_engine_would_not_be_asked() {
    let world = World::stamped();
    world.set("KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR", "1");
    world.raise([wake("fly")]).exits(0);
    world.append([wake("sentry")]);
    world
        .command("run --dry-run")
        .exits(0)
        .prints("The engine would not be asked: investigation_budget_spent");
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
fn it_shows_a_recovery() {
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
