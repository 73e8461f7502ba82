//! Recoveries that Kora's snapshot shows, beyond `messages/recovery.rs`.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{fly, pass, sent};
use crate::support::{World, wake};

fn telling() -> World {
    let world = World::stamped();
    world.set("KORA_PROBE_TELL_RECOVERY", "true");
    world
}

fn snapshot(world: &World, computed_at: &str, health: Value) {
    let text = json!({"computed_at": computed_at, "service_health": health}).to_string();
    world.give("cache/daemon_snapshot.json", &text);
}

/// A time of now without a zone, as Python's `utcnow` writes it.
fn without_zone() -> String {
    Timestamp::now()
        .to_string()
        .trim_end_matches('Z')
        .to_owned()
}

#[test]
fn a_time_without_a_zone_is_utc() {
    let world = telling();
    world.raise([wake("fly")]).exits(0).silent();
    snapshot(&world, &without_zone(), json!({"fly": "healthy"}));
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 2);
}

#[test]
fn an_incident_without_a_message_ends_and_nothing_is_sent() {
    let world = telling().quiet();
    world.command("silence fly --for 1h").exits(0);
    world.raise([fly("critical")]).exits(0).silent();
    snapshot(&world, &without_zone(), json!({"fly": "healthy"}));
    world.run().exits(0).silent();
    pass(&world, 61);
    world.run().exits(0).silent();
}

#[test]
fn where_it_cannot_work_status_check_and_verbose_runs_name_the_path() {
    let world = telling();
    world.raise([wake("fly")]).exits(0).silent();
    let old = (Timestamp::now() - SignedDuration::from_mins(12)).to_string();
    for (text, trouble) in [
        (None, "daemon_snapshot.json is missing"),
        (
            Some("{torn".to_owned()),
            "daemon_snapshot.json is no snapshot",
        ),
        (
            Some(json!({"computed_at": old, "service_health": {"fly": "healthy"}}).to_string()),
            "daemon_snapshot.json is 12 min",
        ),
        (
            Some(
                json!({"computed_at": without_zone(), "service_health": {"neon": "healthy"}})
                    .to_string(),
            ),
            "daemon_snapshot.json does not know fly",
        ),
    ] {
        if let Some(text) = text {
            world.give("cache/daemon_snapshot.json", &text);
        }
        for line in ["status", "check"] {
            let said = world.command(line).stdout.replace('\n', " ");
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains(trouble), "{line}: no {trouble:?} in {said}");
        }
        world.command("run -v").exits(0).warns(trouble);
        world.run().exits(0).silent();
    }
    snapshot(&world, &without_zone(), json!({"fly": "degraded"}));
    world
        .command("status")
        .exits(0)
        .hides("no recovery can be seen");
}
