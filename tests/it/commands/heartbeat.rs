//! The heartbeat, by healthchecks.io's convention.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{DEAD_URL, Reply, Slack, World, at_once, wake};

/// A world whose heartbeat is watched, and the monitor that watches it.
fn watched() -> (World, Slack) {
    let (world, monitor) = (World::stamped(), Slack::start());
    let url = format!("http://{}/ping/uuid?rid=7", monitor.address());
    world.set("KORA_PROBE_WAKE_HEARTBEAT_URL", url);
    world.engine.maybe();
    world.slack.maybe();
    (world, monitor)
}

fn asked(monitor: &Slack) -> Vec<String> {
    let requests = monitor.requests();
    requests
        .iter()
        .map(|one| format!("{} {}", one.method, one.path))
        .collect()
}

#[test]
fn a_run_that_ended_well_is_reported() {
    let (world, monitor) = watched();
    world.run().exits(0).silent();
    world.wait_for_pause();
    world.raise([wake("fly"), wake("fly")]).exits(0).silent();
    assert_eq!(asked(&monitor), ["GET /ping/uuid?rid=7"; 2]);
}

#[test]
fn the_same_result_is_reported_once_a_cadence_and_another_one_at_once() {
    let (world, monitor) = watched();
    world.set("KORA_PROBE_WAKE_POLL_SEC", "600");
    world.run().exits(0).silent();
    world.run().exits(0).silent();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3);
    world.raise([wake("sentry")]).exits(3);
    let expected = ["GET /ping/uuid?rid=7", "GET /ping/uuid/fail?rid=7"];
    assert_eq!(asked(&monitor), expected);
}

#[test]
fn a_run_that_left_something_is_reported_as_a_failure() {
    let (world, monitor) = watched();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3);
    assert_eq!(asked(&monitor), ["GET /ping/uuid/fail?rid=7"]);
}

#[test]
fn a_run_that_could_not_be_done_is_reported_as_a_failure() {
    let (world, monitor) = watched();
    fs::write(world.state_dir().join("state.json"), "{").unwrap();
    world.run().exits(1);
    assert_eq!(asked(&monitor), ["GET /ping/uuid/fail?rid=7"]);
}

#[test]
fn a_log_that_is_missing_is_reported_as_a_failure_from_the_second_run_on() {
    let (world, monitor) = (World::new(), Slack::start());
    let url = format!("http://{}/ping/uuid", monitor.address());
    world.set("KORA_PROBE_WAKE_HEARTBEAT_URL", url);
    world.engine.never();
    world.slack.never();
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.set("KORA_PROBE_WAKE_POLL_SEC", "600");
    let first = world.run().exits(0);
    first
        .warns("kora_audit_log.jsonl does not exist yet")
        .warns("KORA_SLACK_BOT_TOKEN is not set");
    let second = world.run().exits(3);
    second.warns("kora_audit_log.jsonl does not exist");
    world.run().exits(3);
    let asked = asked(&monitor);
    assert_eq!(asked, ["GET /ping/uuid", "GET /ping/uuid/fail"]);
}

#[test]
fn a_monitor_that_hangs_does_not_hold_the_next_run_up() {
    let (world, monitor) = watched();
    let metrics = world.path("given/probe_wake.prom");
    world.set("KORA_PROBE_WAKE_METRICS_FILE", &metrics);
    monitor.script([Reply::Hang]);
    let first = world.start("run");
    monitor.wait_for(1);
    assert!(metrics.exists(), "the metrics wait for no monitor");
    world.raise([wake("fly")]).exits(0).silent();
    assert_eq!(world.slack.texts().len(), 1);
    first.kill();
}

#[test]
fn a_run_that_found_the_lock_held_reports_nothing() {
    let (world, monitor) = watched();
    world.engine.script([Reply::text(503, "").held()]);
    world.append([wake("fly")]);
    let running = world.start("run");
    world.engine.wait_for(1);
    world.run().exits(75);
    assert_eq!(asked(&monitor), Vec::<String>::new());
    world.engine.release();
    running.finish().exits(0);
    assert_eq!(asked(&monitor).len(), 1);
}

#[test]
fn other_commands_and_a_dry_run_report_nothing() {
    let (world, monitor) = watched();
    monitor.never();
    for line in ["run --dry-run", "status", "check", "history"] {
        world.command(line);
    }
}

#[test]
#[ignore = "the monitor hangs for seconds"]
fn a_monitor_that_hangs_or_drips_holds_a_run_up_for_five_seconds_at_most() {
    let replies = [
        Reply::Hang,
        Reply::Drip(Duration::from_millis(700), "ok".repeat(99)),
    ];
    at_once(replies, |reply| {
        let (world, monitor) = watched();
        monitor.script([reply]);
        let begun = Instant::now();
        world.run().exits(0).silent();
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(5_900), "{took:?}");
    });
}

#[test]
fn a_monitor_that_is_down_changes_neither_exit_nor_silence() {
    let (world, monitor) = watched();
    monitor.script([Reply::Cut]);
    world.run().exits(0).silent();
    world.wait_for_pause();
    monitor.script([Reply::text(500, "")]);
    world.run().exits(0).silent();
    world.wait_for_pause();
    world.set("KORA_PROBE_WAKE_HEARTBEAT_URL", DEAD_URL);
    world.run().exits(0).silent();
    world.wait_for_pause();
    world
        .command("run -v")
        .exits(0)
        .warns("probe-wake: the heartbeat did not arrive");
}

#[test]
fn its_url_is_held_to_the_same_rules() {
    let world = World::stamped().quiet();
    for url in [
        "http://kora.example/ping",
        "https://a:b@kora.example/",
        "nonsense",
    ] {
        world.set("KORA_PROBE_WAKE_HEARTBEAT_URL", url);
        world.run().exits(2).warns("KORA_PROBE_WAKE_HEARTBEAT_URL");
    }
}
