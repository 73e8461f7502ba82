//! Section 9 of the contract: `state show` and `state reset`, with its care for what is queued.

use std::fs;

use crate::support::{World, wake};

/// A world with one DM in the outbox.
fn queued() -> World {
    let world = World::stamped();
    world.queue([wake("fly")]);
    world
}

/// How many DMs Slack has got after one more run.
#[track_caller]
fn told(world: &World) -> usize {
    world.run().exits(0).silent();
    world.slack.texts().len()
}

#[test]
fn show_names_the_log_and_reads_as_json_too() {
    let world = World::stamped();
    world.append([wake("fly")]);
    world.run().exits(0).silent();
    let before = world.snapshot(&[]);
    world
        .command("state show")
        .exits(0)
        .prints("kora_audit_log.jsonl")
        .prints("fly");
    let shown = world
        .command("state show --format json")
        .exits(0)
        .json()
        .to_string();
    assert!(
        shown.contains("kora_audit_log.jsonl") && shown.contains("service_unhealthy"),
        "{shown}"
    );
    assert!(before == world.snapshot(&[]), "state show wrote something");
}

#[test]
fn show_names_what_is_queued() {
    let world = queued();
    world.slack.maybe();
    world.command("state show").exits(0).prints("fly");
}

#[test]
fn show_of_a_state_that_cannot_be_read_names_the_way_out() {
    let world = World::stamped().quiet();
    fs::write(world.state_dir().join("state.json"), "{").unwrap();
    world.command("state show").exits(1).warns("state reset");
}

#[test]
fn reset_makes_the_next_run_a_first_run() {
    let world = World::stamped().quiet();
    world.command("state reset --yes").exits(0);
    world.append([wake("fly")]);
    assert_eq!(world.report(0)["first_run"], true);
}

#[test]
fn reset_of_the_position_to_the_start_replays_the_log() {
    let world = World::new();
    world.append([wake("fly"), wake("sentry")]);
    assert_eq!(told(&world), 0);
    world.command("state reset --position start").exits(0);
    assert_eq!(told(&world), 2);
}

#[test]
fn reset_of_the_position_to_the_end_passes_over_what_is_there() {
    let world = World::stamped();
    world.append([wake("fly")]);
    world.command("state reset --position end").exits(0);
    assert_eq!(told(&world), 0);
    world.append([wake("sentry")]);
    assert_eq!(told(&world), 1);
}

#[test]
fn reset_of_the_position_keeps_the_windows() {
    let world = World::stamped();
    world.append([wake("fly")]);
    assert_eq!(told(&world), 1);
    world.command("state reset --position start").exits(0);
    assert_eq!(told(&world), 1);
}

#[test]
fn reset_of_the_debounce_keeps_the_position() {
    let world = World::stamped();
    world.append([wake("fly")]);
    assert_eq!(told(&world), 1);
    world.command("state reset --debounce").exits(0);
    assert_eq!(told(&world), 1);
    world.append([wake("fly")]);
    assert_eq!(told(&world), 2);
}

#[test]
fn without_a_yes_nothing_queued_is_dropped() {
    for flags in ["", "--outbox"] {
        let world = queued();
        let before = world.snapshot(&["state.lock"]);
        let outcome = world.command(&format!("state reset {flags}"));
        assert_ne!(outcome.code, Some(0), "{flags:?}");
        outcome.warns("--yes");
        assert!(
            before == world.snapshot(&["state.lock"]),
            "{flags:?} changed something"
        );
        assert_eq!(told(&world), 1);
    }
}

#[test]
fn with_a_yes_what_is_queued_goes_to_undelivered() {
    for flags in ["--yes", "--outbox --yes"] {
        let world = queued();
        world.slack.never();
        world.command(&format!("state reset {flags}")).exits(0);
        assert!(
            world
                .state_file("undelivered.jsonl")
                .contains("alert · fly"),
            "{flags:?}"
        );
        assert_eq!(told(&world), 0);
    }
}

#[test]
fn reset_of_the_outbox_keeps_position_and_windows() {
    let world = queued();
    world.slack.never();
    world.command("state reset --outbox --yes").exits(0);
    world.append([wake("fly")]);
    let report = world.report(0);
    assert_eq!(
        (
            &report["first_run"],
            &report["wakes"][0]["debounce_skipped"]
        ),
        (&false.into(), &true.into())
    );
}

#[test]
fn a_reset_that_cannot_open_the_log_gives_up_no_dm() {
    let world = queued();
    fs::rename(world.log(), world.path("kept")).unwrap();
    fs::create_dir(world.log()).unwrap();
    let before = world.snapshot(&["state.lock"]);
    world
        .command("state reset --outbox --position end --yes")
        .exits(1)
        .warns("kora_audit_log.jsonl");
    assert!(
        before == world.snapshot(&["state.lock"]),
        "something was reset"
    );
    assert_eq!(world.state_file("undelivered.jsonl"), "");
    fs::remove_dir(world.log()).unwrap();
    fs::rename(world.path("kept"), world.log()).unwrap();
    assert_eq!(told(&world), 1);
}

#[test]
fn an_unreadable_state_is_set_aside_and_not_deleted() {
    let world = World::stamped().quiet();
    fs::write(world.state_dir().join("state.json"), "{ broken").unwrap();
    let outcome = world.command("state reset --yes").exits(0);
    let said = outcome.stdout + &outcome.stderr;
    assert!(said.contains("--position start"), "{said}");
    let mut kept = fs::read_dir(world.state_dir())
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap());
    assert!(kept.any(|content| content == b"{ broken"));
    assert_eq!(world.report(0)["first_run"], true);
}

#[test]
fn after_an_unreadable_state_the_log_can_be_read_from_its_start() {
    let world = World::stamped();
    world.append([wake("fly")]);
    fs::write(world.state_dir().join("state.json"), "{ broken").unwrap();
    world.command("state reset --position start --yes").exits(0);
    assert_eq!(told(&world), 1);
}
