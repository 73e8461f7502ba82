//! Recovery rows, for those without Kora.

use serde_json::json;

use super::{fly, pass, sent};
use crate::support::{DEAD_URL, World, recovery, wake};

/// The texts about recoveries, with the `ts` of their thread.
fn recoveries(world: &World) -> Vec<(String, Option<String>)> {
    let posts = world.slack.posts().into_iter();
    posts
        .filter(|post| post.text.starts_with("✅ Probe recovered"))
        .map(|post| (post.text, post.thread_ts))
        .collect()
}

fn recover(world: &World, probe: &str) {
    world.append_raw(recovery(probe, &json!({})));
}

#[test]
fn it_is_announced_once_in_the_thread_of_the_first_message() {
    let world = World::stamped();
    world
        .raise([fly("warning").minutes_ago(31)])
        .exits(0)
        .silent();
    pass(&world, 12);
    world.raise([fly("critical")]).exits(0).silent();
    recover(&world, "fly");
    recover(&world, "fly");
    world.run().exits(0).silent();
    world.run().exits(0).silent();
    let told = recoveries(&world);
    assert_eq!(told.len(), 1, "{told:?}");
    let (text, thread) = &told[0];
    assert!(
        text.starts_with("✅ Probe recovered · fly\nHealthy at HH:MM UTC, after 43 min."),
        "{text}"
    );
    assert_eq!(thread.as_deref(), Some("1.1"));
}

#[test]
fn with_a_category_it_ends_that_one_alone() {
    let world = World::stamped();
    let disk = || wake("fly").set("category", "disk");
    world.raise([wake("fly"), disk()]).exits(0).silent();
    world.append_raw(recovery("fly", &json!({"category": "disk"})));
    world.raise([wake("fly"), disk()]).exits(0).silent();
    assert_eq!((recoveries(&world).len(), sent(&world)), (1, 4));
    recover(&world, "fly");
    world.run().exits(0).silent();
    assert_eq!(recoveries(&world).len(), 3);
}

#[test]
fn without_ends_or_for_a_pair_that_is_fine_nothing_happens() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    world.append_raw(recovery("fly", &json!({"ends": null})));
    recover(&world, "sentry");
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 1);
}

#[test]
fn a_wake_after_it_is_a_new_incident_in_reading_order() {
    let world = World::stamped();
    world.append([wake("fly")]);
    recover(&world, "fly");
    world.append([wake("fly")]);
    recover(&world, "fly");
    world.append([wake("fly")]);
    let report = world.report(0);
    let wakes = report["wakes"].as_array().unwrap();
    assert!(wakes.iter().all(|wake| wake["dispatched"] == true));
    let told = recoveries(&world);
    assert_eq!((told.len(), sent(&world)), (2, 5));
    assert_ne!(told[0].1, told[1].1, "each is in its own alert's thread");
    let status = world.command("status --format json").exits(0).json();
    assert_eq!(status["open"][0]["wakes"], 1);
}

#[test]
fn it_waits_for_the_first_message_and_follows_it() {
    let world = World::stamped();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3);
    recover(&world, "fly");
    world.run().exits(3);
    world.reach_slack_at(world.slack.base());
    world.wait_for_pause();
    world.run().exits(0);
    let told = recoveries(&world);
    assert_eq!((told.len(), sent(&world)), (1, 2));
    assert_eq!(told[0].1.as_deref(), Some("1.1"));
}

#[test]
fn without_a_message_that_was_not_given_up_nothing_is_sent() {
    let world = World::stamped();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3);
    recover(&world, "fly");
    world.run().exits(3);
    // The alert expires, and nobody has heard of the incident.
    world.pass(jiff::SignedDuration::from_hours(25));
    world.run().exits(3);
    world.reach_slack_at(world.slack.base());
    world.run();
    assert_eq!(sent(&world), 0);
    assert!(world.outbox().is_empty(), "{:?}", world.outbox());
    world.slack.maybe();
}

#[test]
fn one_pair_of_a_digest_leaves_its_retry_and_the_others_stay() {
    let world = World::stamped();
    world.set("KORA_PROBE_DIGEST_WAKES", "2");
    world.set("KORA_PROBE_LATE_DIAGNOSIS_SECONDS", "86400");
    world.set("KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR", "1");
    world.raise([wake("neon")]).exits(0);
    world.raise([wake("fly"), wake("sentry")]);
    recover(&world, "fly");
    world.run();
    let queue = world.state()["queue"].clone();
    assert_eq!(queue.as_array().unwrap().len(), 1, "{queue}");
    let alerts = queue[0]["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["wake"]["probe"], "sentry");
    assert_eq!(recoveries(&world)[0].1.as_deref(), Some("1.2"));
    recover(&world, "sentry");
    world.run();
    assert_eq!(world.state()["queue"], json!([]));
}

#[test]
fn a_wake_that_is_sent_again_or_was_raised_before_undoes_nothing() {
    let world = World::stamped();
    let (first, early) = (wake("fly"), wake("fly").set("title", "late to arrive"));
    world.raise([first.clone()]).exits(0).silent();
    recover(&world, "fly");
    world.raise([first, early]).exits(0).silent();
    assert_eq!((recoveries(&world).len(), sent(&world)), (1, 2));
    let status = world.command("status --format json").exits(0).json();
    assert_eq!(status["open"], json!([]));
}

#[test]
fn a_recovery_row_that_is_sent_again_ends_no_later_incident() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    let row = recovery("fly", &json!({}));
    world.append_raw(&row);
    world.raise([wake("fly")]).exits(0).silent();
    world.append_raw(&row);
    world.run().exits(0).silent();
    assert_eq!((recoveries(&world).len(), sent(&world)), (1, 3));
    let status = world.command("status --format json").exits(0).json();
    assert_eq!(status["open"].as_array().unwrap().len(), 1);
}

#[test]
fn an_incident_that_is_over_recovers_for_a_day_and_no_longer() {
    for (hours, expected) in [(23, 1), (26, 0)] {
        let world = World::stamped();
        world.raise([wake("fly")]).exits(0).silent();
        world.pass(jiff::SignedDuration::from_hours(hours));
        recover(&world, "fly");
        world.run().exits(0).silent();
        assert_eq!(recoveries(&world).len(), expected, "{hours} h");
    }
}
