//! A state folder that cannot be written: full, read-only, not ours, of too small a quota. The run exits 1 and
//! sends nothing that it could not remember, and the next healthy run does it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Outcome, World, assert_all_sent, assert_sent_in_threads, mounting, wake};

fn two_wakes() -> World {
    let world = World::stamped();
    world.append(["fly", "sentry"].map(wake));
    world
}

#[track_caller]
fn run_through(world: &World, wrapper: &[String]) -> Outcome {
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    world.through(&wrapper, "run")
}

/// Without an interruption, nothing was asked and nothing was sent.
#[track_caller]
fn is_made_up_for(world: &World, interruptions: usize) {
    let asked = world.engine.requests().len() + world.slack.requests().len();
    assert!(asked == 0 || interruptions > 0, "{asked} requests");
    world.run().exits(0);
    assert_all_sent(world, &["fly", "sentry"].map(str::to_owned), interruptions);
}

/// A disk with so many free pages of 4 KiB while the run is on; what it holds then stays.
fn run_on_a_disk_with(world: &World, pages: usize) -> Option<Outcome> {
    let script = format!(
        "cp -a state kept; mount -t tmpfs -o size=64k,mode=700 none state; cp -a kept/. state/
         cat /dev/zero > state/filler 2>/dev/null || :
         size=$(stat -c %s state/filler); truncate -s $((size - {pages} * 4096)) state/filler
         set +e; \"$0\" \"$@\"; code=$?; set -e
         rm state/filler; cp -a state/. kept/; umount state; cp -a kept/. state/; rm -r kept; exit $code"
    );
    mounting(&script).map(|wrapper| run_through(world, &wrapper))
}

#[test]
fn on_a_full_disk_nothing_is_asked_and_nothing_is_sent() {
    let world = two_wakes();
    let Some(outcome) = run_on_a_disk_with(&world, 0) else {
        return drop(world.asked_or_not());
    };
    outcome.exits(1).warns("state.json").warns("No space left");
    is_made_up_for(&world, 0);
}

#[test]
fn a_disk_that_fills_up_during_the_run_loses_nothing() {
    let mut codes = Vec::new();
    for pages in 1..5 {
        let world = two_wakes();
        let Some(outcome) = run_on_a_disk_with(&world, pages) else {
            return drop(world.asked_or_not());
        };
        assert!(matches!(outcome.code, Some(0 | 1)), "{}", outcome.stderr);
        codes.push(outcome.code);
        is_made_up_for(&world, 1);
    }
    assert_eq!(
        codes.last(),
        Some(&Some(0)),
        "four pages are enough: {codes:?}"
    );
}

#[test]
fn in_a_read_only_folder_nothing_is_asked_and_nothing_is_sent() {
    let world = two_wakes();
    let read_only = "mount --bind state state; mount -o remount,bind,ro state";
    let Some(wrapper) = mounting(read_only) else {
        return drop(world.asked_or_not());
    };
    run_through(&world, &wrapper)
        .exits(1)
        .warns("state")
        .warns("Read-only file system");
    is_made_up_for(&world, 0);
}

#[test]
fn in_a_folder_of_somebody_else_nothing_is_asked_and_nothing_is_sent() {
    let world = two_wakes();
    let mode = |mode| fs::set_permissions(world.state_dir(), fs::Permissions::from_mode(mode));
    mode(0o500).unwrap();
    world
        .run_without_privileges()
        .exits(1)
        .warns("state")
        .warns("Permission denied");
    mode(0o700).unwrap();
    is_made_up_for(&world, 0);
}

/// A limit on a file's size cuts a write short before it fails, as a disk does that is almost full.
#[test]
fn files_that_may_not_grow_lose_nothing_and_keep_no_half_line() {
    for bytes in [0, 100, 500, 1_500, 2_000, 3_000] {
        let world = two_wakes();
        let script = format!("exec prlimit --fsize={bytes} \"$0\" \"$@\"");
        let wrapper = ["sh", "-c", &script].map(str::to_owned);
        let outcome = run_through(&world, &wrapper);
        assert!(matches!(outcome.code, Some(0 | 1)), "{}", outcome.stderr);
        if bytes == 0 {
            assert_eq!((outcome.code, world.slack.texts().len()), (Some(1), 0));
        }
        is_made_up_for(&world, 1);
        world.state_rows("outcomes.jsonl");
    }
}

/// Two wakes whose facts go first.
fn facts_first() -> World {
    let world = two_wakes();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    world
}

#[test]
fn a_disk_that_fills_up_while_facts_go_out_loses_nothing() {
    let told = |world: &World, outcome: Outcome| {
        assert!(matches!(outcome.code, Some(0 | 1)), "{}", outcome.stderr);
        world.run().exits(0);
        assert_sent_in_threads(world, &["fly", "sentry"].map(wake), 1);
    };
    for pages in 0..6 {
        let world = facts_first();
        let Some(outcome) = run_on_a_disk_with(&world, pages) else {
            return;
        };
        told(&world, outcome);
    }
    for bytes in [500, 1_500, 2_500, 3_000, 3_500, 4_000] {
        let world = facts_first();
        let script = format!("exec prlimit --fsize={bytes} \"$0\" \"$@\"");
        let wrapper = ["sh", "-c", &script].map(str::to_owned);
        let outcome = run_through(&world, &wrapper);
        told(&world, outcome);
    }
}
