//! Section 9 of the contract: `status` tells on one screen how things stand, and changes nothing.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{DEAD_URL, Engine, Reply, Sandbox, World, arguments, other_row, wake};

fn status(world: &Sandbox) -> Value {
    world.command("status --format json").exits(0).json()
}

#[test]
fn before_the_first_run_it_says_so() {
    let sandbox = Sandbox::new();
    sandbox
        .command("status")
        .exits(0)
        .prints("last run     never")
        .prints("the next run is a first run")
        .prints("which does not exist");
    let told = status(&sandbox);
    assert_eq!(
        (&told["last_run"], &told["position"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!sandbox.state_dir().exists(), "status made a folder");
}

#[test]
fn after_a_run_it_tells_when_and_that_nothing_waits() {
    let world = World::stamped().quiet();
    let before = world.snapshot(&[]);
    let told = status(&world);
    let last: Timestamp = told["last_run"].as_str().unwrap().parse().unwrap();
    assert!(Timestamp::now().duration_since(last) < SignedDuration::from_secs(60));
    assert_eq!(told["lag"], json!({"bytes": 0, "rows": 0, "gap": false}));
    assert_eq!(
        (&told["overdue"], &told["running"], &told["undelivered"]),
        (&json!(false), &json!(false), &json!(0))
    );
    world
        .command("status")
        .exits(0)
        .prints("s ago\n")
        .prints("outbox       empty")
        .prints("held back    nothing");
    assert!(before == world.snapshot(&[]), "status wrote something");
}

#[test]
fn a_run_that_waits_for_the_engine_is_running_now() {
    let world = World::stamped();
    world.engine.script([Engine::answer("Found.").held()]);
    world.append([wake("fly")]);
    let running = world.start(&arguments("run"));
    world.engine.wait_for(1);
    assert_eq!(status(&world)["running"], true);
    world
        .command("status")
        .exits(0)
        .prints("running now")
        .prints("under way    probe:fly:service_unhealthy");
    world.engine.release();
    running.finish().exits(0);
    assert_eq!(status(&world)["running"], false);
}

#[test]
fn a_wake_whose_run_was_killed_is_interrupted() {
    let world = World::stamped();
    world.engine.script([Reply::Hang]);
    world.slack.never();
    world.append([wake("fly")]);
    let running = world.start(&arguments("run"));
    world.engine.wait_for(1);
    running.kill();
    world
        .command("status")
        .exits(0)
        .prints("interrupted  probe:fly:service_unhealthy");
    let told = status(&world);
    assert_eq!(told["under_investigation"], "probe:fly:service_unhealthy");
}

#[test]
fn the_lag_is_told_in_bytes_and_rows_across_a_rotation() {
    let world = World::stamped().quiet();
    world.append_raw(other_row("read") + "\n");
    world.run().exits(0).silent();
    world.append_raw((other_row("old") + "\n").repeat(2));
    let behind = world.log_length() - u64::try_from(other_row("read").len() + 1).unwrap();
    fs::rename(world.log(), world.path("kora_audit_log.jsonl.1")).unwrap();
    world.append_raw((other_row("new") + "\n").repeat(3));
    let lag = &status(&world)["lag"];
    assert_eq!(lag["rows"], 5);
    assert_eq!(lag["bytes"], behind + world.log_length());
    world.command("status").exits(0).prints("5 rows behind");
}

#[test]
fn a_gap_is_told_before_the_run_that_meets_it() {
    let world = World::stamped().quiet();
    world.append_raw(other_row("a") + "\n");
    world.run().exits(0).silent();
    fs::write(world.log(), other_row("another file altogether") + "\n").unwrap();
    assert_eq!(status(&world)["lag"]["gap"], true);
}

#[test]
fn what_is_held_back_is_told_with_its_end_and_its_number() {
    let world = World::stamped();
    world.append([wake("fly"), wake("fly"), wake("fly"), wake("sentry")]);
    world.run().exits(0).silent();
    world
        .command("status")
        .exits(0)
        .prints("held back    fly:service_unhealthy: 2 repeats, until ")
        .prints("(in ");
    let held = status(&world)["held_back"].clone();
    assert_eq!(
        (&held[0]["probe"], &held[0]["count"]),
        (&json!("fly"), &json!(2))
    );
    let until: Timestamp = held[0]["until"].as_str().unwrap().parse().unwrap();
    let left = until.duration_since(Timestamp::now());
    assert!(left > SignedDuration::from_mins(8) && left <= SignedDuration::from_mins(10));
}

#[test]
fn a_queued_dm_is_told_with_its_cause() {
    let world = World::stamped();
    world.slack.never();
    world.reach_slack_at(DEAD_URL);
    world.append([wake("fly")]);
    world.run().exits(3);
    let outbox = status(&world)["outbox"].clone();
    assert_eq!(
        outbox[0]["caller_session_id"],
        "probe:fly:service_unhealthy"
    );
    let cause = outbox[0]["cause"].as_str().unwrap();
    assert!(!cause.is_empty());
    world
        .command("status")
        .exits(0)
        .prints("outbox       probe:fly:service_unhealthy has waited for ")
        .prints(cause);
}

#[test]
fn a_dm_that_waits_for_a_token_names_the_variable() {
    let world = World::stamped();
    world.slack.never();
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.append([wake("fly")]);
    world.run().exits(3);
    world
        .command("status")
        .exits(0)
        .prints("KORA_SLACK_BOT_TOKEN is not set");
}

#[test]
fn what_was_given_up_is_counted_and_its_file_is_named() {
    let world = World::stamped();
    world.slack.never();
    world.reach_slack_at(DEAD_URL);
    world.append([wake("fly"), wake("sentry")]);
    world.run().exits(3);
    world.command("state reset --outbox --yes").exits(0);
    assert_eq!(status(&world)["undelivered"], 2);
    world
        .command("status")
        .exits(0)
        .prints("undelivered  2, in ")
        .prints("undelivered.jsonl");
}

#[test]
fn a_schedule_that_has_stopped_is_overdue() {
    let world = World::stamped().quiet();
    for (minutes, overdue) in [(14, false), (16, true)] {
        world.age_lock(minutes);
        assert_eq!(status(&world)["overdue"], overdue, "{minutes}");
    }
    world.command("status").exits(0).prints("overdue");
    world.set("KORA_PROBE_WAKE_POLL_SEC", "600");
    for (minutes, overdue) in [(49, false), (51, true)] {
        world.age_lock(minutes);
        assert_eq!(status(&world)["overdue"], overdue, "{minutes}");
    }
}

#[test]
fn many_pairs_still_fit_on_a_screen() {
    let world = World::stamped();
    world.append((0..40).map(|number| wake(&format!("probe-{number}"))));
    world.run().exits(0).silent();
    let told = world.command("status").exits(0).prints("and 32 more");
    assert!(told.stdout.lines().count() < 24, "{}", told.stdout);
}

#[test]
fn a_hostile_name_does_not_steer_the_terminal() {
    let world = World::stamped();
    world.append([wake("fly\u{202e}\u{9b}2J").set("category", "a\u{1b}]0;x\u{7}")]);
    world.run().exits(0).silent();
    for line in ["status", "status --format json", "state show", "history"] {
        let told = world.command(line).exits(0);
        let steering = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!told.stdout.contains(steering), "{line}: {:?}", told.stdout);
    }
}
