//! A run of two wakes of which one system call fails, for each call that a full or a failing disk or a dead peer
//! can refuse: the run ends with a message and a code of its own, and a healthy run makes up for it.

use crate::support::{Calls, Fault, Outcome, World, assert_all_sent, at_each_call, wake};

const PROBES: [&str; 2] = ["fly", "sentry"];

/// Fails each of a run's calls of these names; `judge` says what is right for the run itself.
#[track_caller]
fn fail_each(
    error: &'static str,
    names: &'static [&'static str],
    fewest: usize,
    judge: impl Fn(&World, Outcome) + Sync,
) {
    let prepare = || {
        let world = World::stamped();
        world.append(PROBES.map(wake));
        world
    };
    let failed = at_each_call(
        Fault::Error(error),
        Calls::Named(names),
        prepare,
        |world, _, outcome| {
            judge(world, outcome);
            world.run().exits(0);
            assert_all_sent(world, &PROBES.map(str::to_owned), 1);
        },
    );
    assert!(failed > fewest, "only {failed} calls of {names:?}");
}

/// What could not be done is warned of, and what could not be committed ended the run.
#[track_caller]
fn ends_with_a_message(_: &World, outcome: Outcome) {
    match outcome.code {
        Some(0) if outcome.stderr.is_empty() => {}
        Some(0 | 1) => assert_ne!(outcome.stderr, ""),
        code => panic!("{code:?}: {}", outcome.stderr),
    }
}

/// A socket that cannot be used is a peer that cannot be reached: no reason to end the run.
#[track_caller]
fn sends_both_itself(world: &World, outcome: Outcome) {
    outcome.exits(0);
    assert!(world.slack.texts().len() >= 2, "the run itself sent both");
}

#[track_caller]
fn ends_without_a_commit(_: &World, outcome: Outcome) {
    outcome.exits(1).warns("cannot commit").warns("state.json");
}

#[test]
fn a_full_disk_loses_nothing() {
    needs!("strace");
    fail_each("ENOSPC", &["write", "fsync"], 15, ends_with_a_message);
    fail_each("ENOSPC", &["rename"], 3, ends_without_a_commit);
}

#[test]
#[ignore = "some hundred runs under strace: ten seconds"]
fn a_failing_disk_loses_nothing() {
    needs!("strace");
    let names = &["write", "fsync", "openat", "read"];
    fail_each("EIO", names, 40, ends_with_a_message);
    fail_each("EIO", &["rename"], 3, ends_without_a_commit);
    fail_each("ENOSPC", &["openat"], 15, ends_with_a_message);
}

#[test]
fn a_socket_that_fails_ends_no_run() {
    needs!("strace");
    fail_each("EIO", &["sendto", "recvfrom"], 6, sends_both_itself);
}
