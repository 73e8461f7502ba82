//! A log that was rotated since the last run, and a system call that fails while the run looks for its rows: an
//! error of the disk passes over no row in silence.

use std::fs;

use crate::support::{Calls, Fault, World, assert_all_sent, at_each_call, wake};

/// A row that was read; one behind it in the file rotated twice, one in the file rotated once, and one in the
/// new file are not.
fn rotated() -> World {
    let world = World::stamped().without_debounce();
    world.raise([wake("fly")]).exits(0).silent();
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
fn nothing_is_passed_over(fault: Fault, names: &'static [&'static str]) {
    let probes = ["fly", "sentry", "doppler", "vercel"].map(str::to_owned);
    let calls = at_each_call(fault, Calls::Named(names), rotated, |world, _, outcome| {
        world.run().exits(0);
        if outcome.code == Some(3) {
            // A file that could not be read was passed over, and that was told.
            outcome.warns("rows may have been missed");
            assert_all_sent(world, &probes[3..], 1);
        } else {
            assert_all_sent(world, &probes, 1);
        }
    });
    assert!(calls > 3, "only {calls} calls of {names:?}");
}

#[test]
#[ignore = "some dozen runs under strace"]
fn a_listing_that_fails_is_no_gap() {
    needs!("strace");
    nothing_is_passed_over(Fault::Error("EIO"), &["getdents64"]);
}

#[test]
#[ignore = "some hundred runs under strace"]
fn a_reading_that_fails_is_no_gap() {
    needs!("strace");
    nothing_is_passed_over(Fault::Error("EIO"), &["pread64"]);
}

#[test]
#[ignore = "a hundred runs under strace: ten seconds"]
fn an_opening_or_a_look_at_a_file_that_fails_is_no_gap() {
    needs!("strace");
    nothing_is_passed_over(Fault::Error("EMFILE"), &["openat"]);
    nothing_is_passed_over(Fault::Error("EIO"), &["statx"]);
}

#[test]
#[ignore = "a hundred runs under strace: ten seconds"]
fn a_run_killed_while_it_follows_a_rotation_loses_nothing() {
    needs!("strace");
    nothing_is_passed_over(Fault::Kill, &["write", "getdents64"]);
}
