//! A run of two wakes whose n-th system call fails, for every n of every call that a full or a failing disk can
//! refuse: the run ends with a word and a code of its own, and a healthy run makes up for it.

use crate::support::{Fault, Outcome, World, assert_told, run_with, wake};

/// The dynamic loader's, before the program's first instruction.
const COULD_NOT_BE_LOADED: i32 = 127;

/// Fails each of a run's calls of this name; `judge` says what is right for the run itself.
#[track_caller]
fn fail_each(syscall: &str, fewest: usize, judge: impl Fn(&World, Outcome)) {
    for error in ["ENOSPC", "EIO"] {
        let mut repeats = 0;
        for n in 1.. {
            let world = World::stamped();
            world.append(["fly", "sentry"].map(wake));
            let Some(outcome) = run_with(&world, Fault::Error(error), syscall, n) else {
                assert!(n > fewest, "only {} calls of {syscall}", n - 1);
                println!("{syscall}: {} times {error}, {repeats} repeats", n - 1);
                break;
            };
            judge(&world, outcome);
            world.run().exits(0);
            repeats += assert_told(&world, &["fly", "sentry"].map(str::to_owned), 1);
        }
    }
}

/// Whatever could not be done is told, and what could not be remembered ended the run.
#[track_caller]
fn ends_with_a_word(_: &World, outcome: Outcome) {
    match outcome.code {
        Some(0) if outcome.stderr.is_empty() => {}
        Some(0 | 1 | COULD_NOT_BE_LOADED) => assert_ne!(outcome.stderr, ""),
        code => panic!("{code:?}: {}", outcome.stderr),
    }
}

#[test]
fn a_write_that_fails_loses_nothing() {
    needs!("strace");
    fail_each("write", 9, ends_with_a_word);
}

#[test]
fn an_fsync_that_fails_loses_nothing() {
    needs!("strace");
    fail_each("fsync", 13, ends_with_a_word);
}

#[test]
fn a_rename_that_fails_ends_the_run() {
    needs!("strace");
    fail_each("rename", 7, |_, outcome| {
        outcome.exits(1).warns("cannot commit").warns("state.json");
    });
}

#[test]
fn an_opening_that_fails_loses_nothing() {
    needs!("strace");
    fail_each("openat", 20, ends_with_a_word);
}

#[test]
fn a_reading_that_fails_loses_nothing() {
    needs!("strace");
    fail_each("read", 4, ends_with_a_word);
}

/// A socket that cannot be written is a peer that cannot be reached: no reason to end the run.
#[test]
fn a_sending_that_fails_ends_no_run() {
    needs!("strace");
    fail_each("sendto", 8, |world, outcome| {
        outcome.exits(0);
        assert!(world.slack.texts().len() >= 2, "the run itself told both");
    });
}

#[test]
fn a_receiving_that_fails_ends_no_run() {
    needs!("strace");
    fail_each("recvfrom", 4, |world, outcome| {
        outcome.exits(0);
        assert!(world.slack.texts().len() >= 2, "the run itself told both");
    });
}
