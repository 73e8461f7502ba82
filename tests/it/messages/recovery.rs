//! A service that is well again.

use std::thread::sleep;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{DEAD_URL, SLACK_TOKEN, Slack, World, wake};

/// Recoveries are announced, and the log holds nothing yet.
fn telling() -> World {
    let world = World::stamped();
    world.set("KORA_PROBE_TELL_RECOVERY", "true");
    world
}

/// Kora's daemon has looked so long ago.
fn snapshot(world: &World, ago: SignedDuration, health: Value) {
    let at = (Timestamp::now() - ago).to_string();
    let text = json!({"computed_at": at, "service_health": health}).to_string();
    world.give("cache/daemon_snapshot.json", &text);
}

fn healthy(world: &World, probe: &str) {
    snapshot(world, SignedDuration::ZERO, json!({probe: "healthy"}));
}

/// How many messages the operator got about recoveries.
fn recoveries(world: &World) -> usize {
    let texts = world.slack.texts();
    texts
        .iter()
        .filter(|text| text.contains("Probe recovered"))
        .count()
}

#[test]
fn it_is_announced_once_in_the_thread_of_the_incidents_first_message() {
    let world = telling();
    let rows = [31, 20, 10, 5].map(|minutes| wake("fly").minutes_ago(minutes));
    world.raise(rows).exits(0).silent();
    healthy(&world, "fly");
    world.run().exits(0).silent();
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    assert_eq!(posts.len(), 2, "{posts:?}");
    let begin = "✅ Probe recovered · fly\nHealthy at HH:MM UTC, after 31 min";
    assert!(posts[1].text.starts_with(begin), "{}", posts[1].text);
    assert_eq!(posts[1].thread_ts.as_deref(), Some("1.1"));
    assert_eq!(posts[1].channel, "D1");
    let row = &world.state_rows("outcomes.jsonl")[1];
    assert_eq!(row["seam"], "probe.recovery_told");
    let rows = world.state_rows("outcomes.jsonl");
    assert_eq!(row["details"]["id"], rows[0]["details"]["id"]);
}

#[test]
fn a_relapse_is_dispatched_at_once_and_without_the_repeats_of_before() {
    let world = telling();
    world.raise([wake("fly"), wake("fly")]).exits(0).silent();
    healthy(&world, "fly");
    world.run().exits(0).silent();
    world.raise([wake("fly")]).exits(0).silent();
    let texts = world.slack.texts();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(!texts[2].contains("held back"), "{}", texts[2]);
    healthy(&world, "fly");
    world.run().exits(0).silent();
    assert_eq!(recoveries(&world), 2);
    let last = world.slack.posts().pop().unwrap();
    assert_eq!(last.thread_ts.as_deref(), Some("1.3"));
}

#[test]
fn only_a_fresh_snapshot_from_after_the_last_wake_counts() {
    let minutes = SignedDuration::from_mins;
    let none = |health: Value, ago: SignedDuration| {
        let world = telling();
        world.raise([wake("fly").minutes_ago(4)]).exits(0).silent();
        snapshot(&world, ago, health.clone());
        world.run().exits(0).silent();
        assert_eq!(recoveries(&world), 0, "{health} {ago}");
    };
    none(json!({"fly": "healthy"}), minutes(11));
    none(json!({"fly": "healthy"}), minutes(5));
    none(json!({"fly": "degraded"}), minutes(0));
    none(json!({"fly": "unhealthy"}), minutes(0));
    none(json!({"fly": "unknown"}), minutes(0));
    none(json!({"vercel": "healthy"}), minutes(0));
    none(json!({}), minutes(0));
}

#[test]
fn silence_is_not_health() {
    let world = telling();
    world.raise([wake("fly")]).exits(0).silent();
    world.run().exits(0).silent();
    world.give("cache/daemon_snapshot.json", "{torn");
    world.run().exits(0).silent();
    assert_eq!(recoveries(&world), 0);
}

#[test]
fn a_wake_without_a_time_counts_from_when_it_was_read() {
    let world = telling();
    world.raise([wake("fly").at(Value::Null)]).exits(0).silent();
    snapshot(
        &world,
        SignedDuration::from_secs(60),
        json!({"fly": "healthy"}),
    );
    world.run().exits(0).silent();
    assert_eq!(recoveries(&world), 0);
    healthy(&world, "fly");
    world.run().exits(0).silent();
    assert_eq!(recoveries(&world), 1);
}

#[test]
fn it_is_announced_for_a_day_and_no_longer() {
    for (hours, expected) in [(23, 1), (25, 0)] {
        let world = telling();
        world.raise([wake("fly")]).exits(0).silent();
        world.shift_state(-hours);
        healthy(&world, "fly");
        world.run();
        assert_eq!(recoveries(&world), expected, "{hours} h");
    }
}

#[test]
fn it_waits_for_the_alert_to_be_delivered() {
    let world = telling();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3);
    healthy(&world, "fly");
    world.run().exits(3);
    world.reach_slack_at(world.slack.base());
    world.wait_for_pause();
    world.run().exits(0);
    let posts = world.slack.posts();
    assert_eq!(posts.len(), 2, "{posts:?}");
    assert_eq!(posts[1].thread_ts.as_deref(), Some("1.1"));
    assert_eq!(recoveries(&world), 1);
}

#[test]
fn wakes_of_a_digest_recover_in_its_thread() {
    let world = telling();
    world.set("KORA_PROBE_DIGEST_WAKES", "2");
    world.raise([wake("fly"), wake("sentry")]).exits(0).silent();
    let alerts = world.slack.posts().len();
    let health = json!({"fly": "healthy", "sentry": "healthy"});
    snapshot(&world, SignedDuration::ZERO, health);
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    assert_eq!(recoveries(&world), 2);
    for post in &posts[alerts..] {
        assert_eq!(post.thread_ts.as_deref(), Some("1.1"));
    }
}

#[test]
fn a_recovery_ends_the_retries_of_a_diagnosis() {
    let world = telling();
    world.set("KORA_PROBE_LATE_DIAGNOSIS_SECONDS", "86400");
    world.set("KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR", "1");
    world.raise([wake("sentry"), wake("fly")]);
    let pending = |world: &World| world.state()["queue"].as_array().unwrap().len();
    assert_eq!(pending(&world), 1, "fly's budget was spent");
    healthy(&world, "fly");
    world.run().exits(0);
    assert_eq!((recoveries(&world), pending(&world)), (1, 0));
}

#[test]
fn without_the_setting_nothing_is_announced() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    healthy(&world, "fly");
    world.run().exits(0).silent();
    assert_eq!(recoveries(&world), 0);
}

#[test]
#[ignore = "Slack is slow for eight seconds"]
fn an_alert_waits_for_no_recovery() {
    let world = telling();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    let probes: Vec<_> = (10..22).map(|number| format!("p{number}")).collect();
    world
        .raise(probes.iter().map(|probe| wake(probe)))
        .exits(0)
        .silent();
    let before = world.slack.posts().len();
    let health = probes.iter().map(|probe| (probe.clone(), json!("healthy")));
    snapshot(&world, SignedDuration::ZERO, health.collect());
    let pause = Duration::from_millis(600);
    world
        .slack
        .usually(move |_, before| Slack::took(before).after(pause));
    let run = world.start("run");
    sleep(Duration::from_millis(500));
    world.append([wake("new")]);
    run.finish().exits(0).silent();
    let texts = world.slack.texts().split_off(before);
    let told = texts.iter().position(|text| *text == wake("new").facts());
    assert!(told.is_some_and(|told| told < 12), "{texts:?}");
    assert_eq!(recoveries(&world), 12);
}

#[test]
fn a_row_that_calls_itself_recovered_is_an_alert_like_any() {
    let world = World::stamped();
    let row = || wake("fly").set("severity", "recovered");
    world.append([row()]);
    world
        .command("run --dry-run")
        .exits(0)
        .prints("would be dispatched")
        .hides("A recovery would be told");
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.run().exits(3);
    world.set("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN);
    world.run().exits(0).silent();
    let report = world.command("history --format json").exits(0).json();
    let told = &report["investigations"][0];
    assert!(told["delivered_at"].is_string(), "{told}");
}

#[test]
fn a_dry_run_for_stdout_announces_no_recovery() {
    let world = telling();
    world.raise([wake("fly")]).exits(0).silent();
    healthy(&world, "fly");
    world
        .command("run --dry-run --to stdout")
        .exits(0)
        .hides("A recovery would be told");
}
