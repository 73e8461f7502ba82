//! A log that was rotated since the last run, and a system call that fails while the run looks for its rows: an
//! error of the disk passes over no row in silence.

use std::fs;

use crate::support::{Fault, World, assert_told, run_with, wake};

/// A row that was read; one behind it in the file rotated twice, one in the file rotated once, and one in the
/// new file are not.
fn rotated() -> World {
    let world = World::stamped().without_debounce();
    world.append([wake("fly")]);
    world.run().exits(0).silent();
    world.append([wake("sentry")]);
    let [first, second] = [1, 2].map(|n| world.path(&format!("kora_audit_log.jsonl.{n}")));
    fs::rename(world.log(), &first).unwrap();
    world.append([wake("doppler")]);
    fs::rename(&first, second).unwrap();
    fs::rename(world.log(), &first).unwrap();
    world.append([wake("vercel")]);
    world
}

#[track_caller]
fn nothing_is_passed_over(fault: Fault, syscall: &str) {
    let probes = ["fly", "sentry", "doppler", "vercel"].map(str::to_owned);
    for n in 1.. {
        let world = rotated();
        let Some(outcome) = run_with(&world, fault, syscall, n) else {
            assert!(n > 3, "only {} calls of {syscall}", n - 1);
            return;
        };
        world.run().exits(0);
        if outcome.code == Some(3) {
            // A file that could not be read was passed over, and that was told.
            outcome.warns("rows may have been missed");
            assert_told(&world, &probes[3..], 1);
        } else {
            assert_told(&world, &probes, 1);
        }
    }
}

#[test]
fn an_opening_that_fails_is_no_gap() {
    needs!("strace");
    nothing_is_passed_over(Fault::Error("EMFILE"), "openat");
}

#[test]
fn a_reading_that_fails_is_no_gap() {
    needs!("strace");
    nothing_is_passed_over(Fault::Error("EIO"), "pread64");
}

#[test]
fn a_listing_that_fails_is_no_gap() {
    needs!("strace");
    nothing_is_passed_over(Fault::Error("EIO"), "getdents64");
}

#[test]
fn a_look_at_a_file_that_fails_is_no_gap() {
    needs!("strace");
    nothing_is_passed_over(Fault::Error("EIO"), "statx");
}

#[test]
fn a_run_killed_while_it_follows_a_rotation_loses_nothing() {
    needs!("strace");
    for syscall in ["write", "getdents64"] {
        nothing_is_passed_over(Fault::Kill, syscall);
    }
}
