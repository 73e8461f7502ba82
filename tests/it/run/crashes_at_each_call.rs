//! A run of two wakes that is killed at one of its system calls, for each of them: the run after it loses nothing,
//! and says where it may repeat itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Calls, Fault, World, assert_all_sent, at_each_call, run_with, wake};

const PROBES: [&str; 2] = ["fly", "sentry"];

fn two_wakes() -> World {
    let world = World::stamped();
    world.append(PROBES.map(wake));
    world
}

#[track_caller]
fn kill_at_each(calls: Calls, fewest: usize) {
    let repeats = AtomicUsize::new(0);
    let kills = at_each_call(Fault::Kill, calls, two_wakes, |world, call, outcome| {
        // A call that only some runs make may not be reached.
        assert!(matches!(outcome.code, None | Some(0)), "{call}");
        world.run().exits(0);
        let repeated = assert_all_sent(world, &PROBES.map(str::to_owned), 1);
        repeats.fetch_add(repeated, Ordering::Relaxed);
    });
    assert!(kills > fewest, "only {kills} calls");
    println!("{kills} kills, {repeats:?} repeats");
}

#[test]
fn a_run_killed_at_any_call_that_changes_something_loses_nothing() {
    needs!("strace");
    kill_at_each(Calls::Visible, 60);
}

#[test]
#[ignore = "some hundred runs under strace: half a minute"]
fn a_run_killed_at_any_call_loses_nothing() {
    needs!("strace");
    kill_at_each(Calls::All, 250);
}

#[test]
#[ignore = "two hundred runs under strace: ten seconds"]
fn two_runs_killed_one_after_the_other_lose_nothing() {
    needs!("strace");
    let mut kills = 0;
    for (first, second) in (1..10).flat_map(|first| (1..10).map(move |second| (first, second))) {
        let world = two_wakes();
        let outcomes = [first, second].map(|n| run_with(&world, Fault::Kill, "write", n));
        let killed = outcomes.iter().filter(|one| one.code.is_none()).count();
        world.run().exits(0);
        assert_all_sent(&world, &PROBES.map(str::to_owned), killed);
        kills += killed;
    }
    println!("pairs of kills at a write: {kills} kills");
}
