//! Where the last run is long ago, the next message says for how long nothing was watched.

use jiff::Timestamp;
use serde_json::Value;

use crate::support::{World, wake};

const NOTE: &str = "Nothing was watched for";

/// The message about one more wake.
#[track_caller]
fn next_message(world: &World, probe: &str) -> String {
    world.raise([wake(probe)]).exits(0).silent();
    world.slack.texts().pop().unwrap()
}

#[test]
fn a_time_without_runs_is_mentioned_once() {
    let world = World::stamped();
    world.age_lock(125);
    let text = next_message(&world, "fly");
    assert!(
        text.ends_with("UTC\nNothing was watched for 2 h 5 min before this."),
        "{text}"
    );
    assert!(!next_message(&world, "sentry").contains(NOTE));
}

#[test]
fn a_short_pause_is_not_mentioned() {
    let world = World::stamped();
    world.age_lock(14);
    assert!(!next_message(&world, "fly").contains(NOTE));
}

#[test]
fn patience_is_ten_cadences_where_that_is_longer() {
    let world = World::stamped();
    world.set("KORA_PROBE_WAKE_POLL_SEC", "600");
    world.age_lock(95);
    assert!(!next_message(&world, "fly").contains(NOTE));
    world.age_lock(105);
    assert!(next_message(&world, "sentry").contains(NOTE));
}

#[test]
fn idle_runs_in_between_do_not_forget_it() {
    let world = World::stamped();
    world.age_lock(60);
    for _ in 0..3 {
        let before = world.snapshot(&["state.lock", "state"]);
        world.run().exits(0).silent();
        assert!(
            before == world.snapshot(&["state.lock", "state"]),
            "an idle run wrote something"
        );
    }
    let text = next_message(&world, "fly");
    assert!(
        text.contains("Nothing was watched for 1 h before this."),
        "{text}"
    );
    assert!(!next_message(&world, "sentry").contains(NOTE));
}

/// What the lock file says, to a person too.
fn lock_note(world: &World) -> Value {
    serde_json::from_str(&world.state_file("state.lock")).unwrap()
}

#[test]
fn the_lock_file_says_since_when_nothing_was_watched_until_a_message_does() {
    let world = World::stamped();
    let says = |note: &Value| {
        note.get("unwatched_since")
            .or(note.get("unwatched_seconds"))
            .is_some()
    };
    assert!(!says(&lock_note(&world)));
    world.age_lock(60);
    for _ in 0..2 {
        world.run().exits(0).silent();
        let note = lock_note(&world);
        let time = |name: &str| note[name].as_str().unwrap().parse::<Timestamp>().unwrap();
        let gap = time("began").duration_since(time("unwatched_since"));
        assert!((3_600..3_660).contains(&gap.as_secs()), "{note}");
        let seconds = note["unwatched_seconds"].as_u64().unwrap();
        assert!((3_600..3_660).contains(&seconds), "{note}");
    }
    assert!(next_message(&world, "fly").contains(NOTE));
    assert!(!says(&lock_note(&world)));
}

#[test]
fn a_lock_file_that_says_nothing_or_nonsense_is_no_obstacle() {
    for text in ["", "nonsense", "{\"unwatched_seconds\":-1}", "\0\0\0"] {
        let world = World::stamped().quiet();
        world.give("state/state.lock", text);
        world.run().exits(0).silent();
        assert_eq!(lock_note(&world)["exit"], 0, "{text}");
    }
}

#[test]
fn times_without_runs_add_up_until_they_are_mentioned() {
    let world = World::stamped();
    world.age_lock(60);
    world.run().exits(0).silent();
    world.age_lock(120);
    assert!(next_message(&world, "fly").contains("Nothing was watched for 3 h before this."));
}

#[test]
fn it_waits_in_the_outbox_with_its_message() {
    let world = World::stamped();
    world.age_lock(60);
    world.queue([wake("fly")]);
    world.run().exits(0);
    assert!(world.slack.texts()[0].contains("Nothing was watched for 1 h before this."));
    assert!(!next_message(&world, "sentry").contains(NOTE));
}

#[test]
fn a_first_run_mentions_nothing_before_it() {
    let world = World::stamped();
    world.command("state reset").exits(0);
    world.age_lock(600);
    world.run().exits(0).silent();
    assert!(!next_message(&world, "fly").contains(NOTE));
}

#[test]
fn a_clock_that_was_set_back_is_no_such_time() {
    let world = World::stamped();
    world
        .shell("touch -d '+2 hours' state/state.lock")
        .finish()
        .exits(0);
    assert!(!next_message(&world, "fly").contains(NOTE));
}
