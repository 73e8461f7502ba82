//! Section 4 of the contract with real logrotate: every way it rotates, with all steps within a second and with each
//! rotation in a second of its own. No row is missed or repeated, nothing is said, and a further run is idle.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Rotating, at_both_paces};

/// Rows on both sides of a rotation with these directives, then one with nothing unread.
fn rotates_with(directives: &str) {
    at_both_paces(|log| {
        log.write(&["unread1", "unread2"]);
        log.logrotate(directives);
        log.write(&["after1", "after2"]);
        log.follows(&["unread1", "unread2", "after1", "after2"]);
        log.logrotate(directives);
        log.write(&["later"]);
        log.follows(&["later"]);
    });
}

/// So many rotations between two runs, each behind a row.
fn rotates_often_with(directives: &str, times: usize) {
    at_both_paces(|log| {
        let probes: Vec<_> = (0..=times).map(|number| format!("p{number}")).collect();
        let probes: Vec<_> = probes.iter().map(String::as_str).collect();
        for probe in &probes[..times] {
            log.write(&[probe]);
            log.logrotate(directives);
        }
        log.write(&probes[times..]);
        log.follows(&probes);
    });
}

#[test]
fn create() {
    needs!("logrotate");
    rotates_with("create");
}

#[test]
fn copytruncate() {
    needs!("logrotate");
    rotates_with("copytruncate");
}

#[test]
fn compress() {
    needs!("logrotate");
    rotates_with("create\ncompress");
}

#[test]
fn copytruncate_and_compress() {
    needs!("logrotate");
    rotates_with("copytruncate\ncompress");
}

#[test]
fn compress_with_delaycompress() {
    needs!("logrotate");
    rotates_with("create\ncompress\ndelaycompress");
}

#[test]
fn dateext_by_the_day() {
    needs!("logrotate");
    at_both_paces(|log| {
        log.write(&["unread"]);
        log.logrotate("create\ndateext");
        log.write(&["after"]);
        log.follows(&["unread", "after"]);
    });
}

#[test]
fn dateext_by_the_second() {
    needs!("logrotate");
    // Two rotations within a second would get one name, so this one has to pause.
    let log = Rotating::begun();
    for probe in ["a", "b", "c"] {
        log.write(&[probe]);
        log.logrotate("create\ncompress\ndelaycompress\ndateext\ndateformat -%Y%m%d-%s");
        std::thread::sleep(std::time::Duration::from_millis(1_050));
    }
    log.write(&["d"]);
    log.follows(&["a", "b", "c", "d"]);
}

#[test]
fn olddir_in_a_folder_below() {
    needs!("logrotate");
    at_both_paces(|log| {
        fs::create_dir(log.path("old")).unwrap();
        for probes in [["a", "b"], ["c", "d"]] {
            log.write(&probes[..1]);
            log.logrotate("create\ncompress\ndelaycompress\nolddir old");
            log.write(&probes[1..]);
            log.follows(&probes);
        }
    });
}

#[test]
fn nocreate_with_the_log_missing_at_the_run() {
    needs!("logrotate");
    at_both_paces(|log| {
        log.write(&["unread"]);
        log.logrotate("nocreate");
        log.follows(&["unread"]);
        log.write(&["after"]);
        log.follows(&["after"]);
    });
}

#[test]
fn nocreate_and_compressed_with_the_log_missing_at_the_run() {
    needs!("logrotate");
    at_both_paces(|log| {
        log.write(&["unread"]);
        log.logrotate("nocreate\ncompress");
        log.follows(&["unread"]);
        log.write(&["after1"]);
        log.logrotate("nocreate\ncompress");
        log.follows(&["after1"]);
        log.write(&["after2"]);
        log.follows(&["after2"]);
    });
}

#[test]
fn a_copytruncated_log_regrown_past_the_offset() {
    needs!("logrotate");
    at_both_paces(|log| {
        log.write(&["unread"]);
        log.logrotate("copytruncate");
        log.write(&["a", "b", "c", "d"]);
        log.follows(&["unread", "a", "b", "c", "d"]);
    });
}

#[test]
fn a_copytruncated_log_regrown_to_exactly_the_same_size() {
    needs!("logrotate");
    at_both_paces(|log| {
        log.logrotate("copytruncate");
        log.write(&["tale"]);
        log.follows(&["tale"]);
        log.write(&["unread"]);
        log.logrotate("copytruncate");
        log.write(&["late", "unsaid"]);
        log.follows(&["unread", "late", "unsaid"]);
    });
}

#[test]
fn copytruncate_twice_with_the_same_sizes() {
    needs!("logrotate");
    at_both_paces(|log| {
        for probe in ["aaaa", "bbbb"] {
            log.logrotate("copytruncate");
            log.write(&[probe]);
        }
        log.follows(&["aaaa", "bbbb"]);
    });
}

#[test]
fn two_and_three_rotations_between_two_runs() {
    needs!("logrotate");
    for times in [2, 3] {
        rotates_often_with("create", times);
        rotates_often_with("create\ncompress", times);
    }
}

#[test]
fn two_and_three_rotations_between_two_runs_with_delaycompress_or_copytruncate() {
    needs!("logrotate");
    for times in [2, 3] {
        rotates_often_with("create\ncompress\ndelaycompress", times);
        rotates_often_with("copytruncate", times);
    }
}

#[test]
fn rotations_of_an_empty_log() {
    needs!("logrotate");
    at_both_paces(|log| {
        log.logrotate("create");
        log.logrotate("create");
        log.follows(&[]);
        log.logrotate("create\ncompress");
        log.write(&["after"]);
        log.follows(&["after"]);
    });
}

#[test]
fn a_symbolic_link_that_is_switched_to_another_file() {
    at_both_paces(|log| {
        let link = log.log();
        fs::rename(&link, log.path("first.jsonl")).unwrap();
        symlink("first.jsonl", &link).unwrap();
        log.write(&["linked"]);
        log.tells(&["linked"]);
        log.write(&["unread"]);
        fs::remove_file(&link).unwrap();
        symlink("second.jsonl", &link).unwrap();
        log.write(&["after"]);
        log.follows(&["unread", "after"]);
    });
}

#[test]
fn a_rotated_target_of_a_symbolic_link() {
    at_both_paces(|log| {
        let link = log.log();
        fs::rename(&link, log.path("target.jsonl")).unwrap();
        symlink("target.jsonl", &link).unwrap();
        log.write(&["linked"]);
        log.tells(&["linked"]);
        log.write(&["unread"]);
        fs::rename(log.path("target.jsonl"), log.path("target.jsonl.1")).unwrap();
        log.write(&["after"]);
        log.follows(&["unread", "after"]);
    });
}
