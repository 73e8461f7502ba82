//! A run of two wakes that is killed at its n-th system call, for every n of every call that changes something
//! or tells somebody: the run behind it loses nothing, and says where it may repeat itself.

use crate::support::{Fault, World, assert_told, run_with, wake};

/// Kills a run at each of its calls of this name; how many there were, and how many repeats came of it.
#[track_caller]
fn kill_at_each(syscall: &str, fewest: usize) {
    let probes = ["fly", "sentry"].map(str::to_owned);
    let mut repeats = 0;
    for n in 1.. {
        let world = World::stamped();
        world.append(["fly", "sentry"].map(wake));
        let Some(outcome) = run_with(&world, Fault::Kill, syscall, n) else {
            assert!(n > fewest, "only {} calls of {syscall}", n - 1);
            println!("{syscall}: {} kills, {repeats} repeats", n - 1);
            assert_told(&world, &probes, 0);
            return;
        };
        assert_eq!(outcome.code, None, "{syscall} {n}: {}", outcome.stderr);
        world.run().exits(0);
        repeats += assert_told(&world, &probes, 1);
    }
}

#[test]
fn a_run_killed_at_any_write_loses_nothing() {
    needs!("strace");
    kill_at_each("write", 9);
}

#[test]
fn a_run_killed_at_any_fsync_loses_nothing() {
    needs!("strace");
    kill_at_each("fsync", 13);
}

#[test]
fn a_run_killed_at_any_rename_loses_nothing() {
    needs!("strace");
    kill_at_each("rename", 7);
}

#[test]
fn a_run_killed_at_any_opening_loses_nothing() {
    needs!("strace");
    kill_at_each("openat", 20);
}

#[test]
fn a_run_killed_at_any_sending_loses_nothing() {
    needs!("strace");
    kill_at_each("sendto", 8);
}

#[test]
fn a_run_killed_at_any_receiving_loses_nothing() {
    needs!("strace");
    kill_at_each("recvfrom", 4);
}

#[test]
fn a_run_killed_at_any_connecting_loses_nothing() {
    needs!("strace");
    kill_at_each("connect", 2);
}

#[test]
fn a_run_killed_at_any_closing_loses_nothing() {
    needs!("strace");
    kill_at_each("close", 20);
}

#[test]
fn a_run_killed_at_any_reading_loses_nothing() {
    needs!("strace");
    kill_at_each("read", 4);
    kill_at_each("statx", 10);
}

#[test]
fn two_runs_killed_one_after_the_other_lose_nothing() {
    needs!("strace");
    let probes = ["fly", "sentry"].map(str::to_owned);
    let mut kills = 0;
    for (first, second) in (1..10).flat_map(|first| (1..10).map(move |second| (first, second))) {
        let world = World::stamped();
        world.append(["fly", "sentry"].map(wake));
        let outcomes = [first, second].map(|n| run_with(&world, Fault::Kill, "write", n));
        let killed = outcomes.iter().flatten().count();
        world.run().exits(0);
        assert_told(&world, &probes, killed);
        kills += killed;
    }
    println!("pairs of kills at a write: {kills} kills");
}
