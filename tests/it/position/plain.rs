//! Rotation: the two plain rotations, each between two runs, with rows before and after.

use std::fs::{self, File};

use crate::support::{World, wake};

/// A world in which `before` was told, and `unread` was written after it.
fn begun() -> World {
    let world = World::stamped();
    world.raise([wake("told")]).exits(0).silent();
    world.append([wake("unread1"), wake("unread2")]);
    world
}

/// One run that must tell these probes, in this order, and see no gap.
#[track_caller]
fn assert_all_sent(world: &World, probes: &[&str]) {
    let before = world.slack.texts().len();
    let report = world.report(0);
    assert_eq!(report["position"]["gap"], false);
    let texts = world.slack.texts().split_off(before);
    let told: Vec<_> = texts
        .iter()
        .map(|text| text.lines().next().unwrap().rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(told, probes);
    assert_eq!(report["position"]["after"], world.log_length());
}

/// Moves the log to this name and puts an empty one in its place, as `create` does.
fn rename_and_create(world: &World, name: &str) {
    fs::rename(world.log(), world.path(name)).unwrap();
    File::create(world.log()).unwrap();
}

/// Copies the log to this name and empties it, as `copytruncate` does.
fn copy_and_truncate(world: &World, name: &str) {
    fs::copy(world.log(), world.path(name)).unwrap();
    File::options()
        .write(true)
        .open(world.log())
        .unwrap()
        .set_len(0)
        .unwrap();
}

#[test]
fn rows_on_both_sides_of_a_rotation_are_told_once() {
    for rotate in [rename_and_create, copy_and_truncate] {
        let world = begun();
        rotate(&world, "kora_audit_log.jsonl.1");
        let probes = ["a", "b", "c", "d", "e", "f"];
        world.append(probes.map(wake));
        assert_all_sent(&world, &[&["unread1", "unread2"], &probes[..]].concat());
        world.append([wake("later")]);
        assert_all_sent(&world, &["later"]);
    }
}

#[test]
fn an_empty_new_log_leaves_the_rest_of_the_old_one_to_be_told() {
    for rotate in [rename_and_create, copy_and_truncate] {
        let world = begun();
        rotate(&world, "kora_audit_log.jsonl.1");
        assert_all_sent(&world, &["unread1", "unread2"]);
    }
}

#[test]
fn a_log_emptied_without_a_copy_is_a_gap() {
    let world = World::stamped();
    world.raise([wake("told")]).exits(0).silent();
    fs::write(world.log(), "").unwrap();
    world.append([wake("after")]);
    let outcome = world.command("run --format json").exits(3);
    assert_eq!(outcome.json()["position"]["gap"], true);
    outcome.warns("probe-wake: warning: ");
    assert_eq!(world.slack.texts().len(), 2);
    assert_all_sent(&world, &[]);
}
