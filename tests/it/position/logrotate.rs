//! Rotation by real logrotate: every way it rotates, with all steps within a second and with each
//! rotation in a second of its own. No row is missed or repeated, nothing is said, and a further run is idle.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Rotating, at_once};

type Steps = fn(&Rotating);

/// A name and what happens to a log in which nothing is unread.
const SPECIAL: &[(&str, Steps)] = &[
    ("dateext", |log| {
        log.write(&["unread"]);
        log.logrotate("create\ndateext");
        log.write(&["after"]);
        log.follows(&["unread", "after"]);
    }),
    ("olddir", |log| {
        fs::create_dir(log.path("old")).unwrap();
        for probes in [["a", "b"], ["c", "d"]] {
            log.write(&probes[..1]);
            log.logrotate("create\ncompress\ndelaycompress\nolddir old");
            log.write(&probes[1..]);
            log.follows(&probes);
        }
    }),
    ("nocreate, the log missing at the run", |log| {
        log.write(&["unread"]);
        log.logrotate("nocreate");
        log.follows(&["unread"]);
        log.write(&["after"]);
        log.follows(&["after"]);
    }),
    ("nocreate and compress, the log missing at the run", |log| {
        log.write(&["unread"]);
        log.logrotate("nocreate\ncompress");
        log.follows(&["unread"]);
        log.write(&["after1"]);
        log.logrotate("nocreate\ncompress");
        log.follows(&["after1"]);
        log.write(&["after2"]);
        log.follows(&["after2"]);
    }),
    ("copytruncate, regrown past the offset", |log| {
        log.write(&["unread"]);
        log.logrotate("copytruncate");
        log.write(&["a", "b", "c", "d"]);
        log.follows(&["unread", "a", "b", "c", "d"]);
    }),
    ("copytruncate, regrown to exactly the same size", |log| {
        log.logrotate("copytruncate");
        log.write(&["tale"]);
        log.follows(&["tale"]);
        log.write(&["unread"]);
        log.logrotate("copytruncate");
        log.write(&["late", "unsaid"]);
        log.follows(&["unread", "late", "unsaid"]);
    }),
    ("copytruncate twice with the same sizes", |log| {
        for probe in ["aaaa", "bbbb"] {
            log.logrotate("copytruncate");
            log.write(&[probe]);
        }
        log.follows(&["aaaa", "bbbb"]);
    }),
    ("an empty log", |log| {
        log.logrotate("create");
        log.logrotate("create");
        log.follows(&[]);
        log.logrotate("create\ncompress");
        log.write(&["after"]);
        log.follows(&["after"]);
    }),
];

const DIRECTIVES: [&str; 5] = [
    "create",
    "copytruncate",
    "create\ncompress",
    "copytruncate\ncompress",
    "create\ncompress\ndelaycompress",
];

/// Rows on both sides of a rotation with these directives, then one with nothing unread.
fn rotates_with(log: &Rotating, directives: &str) {
    log.write(&["unread1", "unread2"]);
    log.logrotate(directives);
    log.write(&["after1", "after2"]);
    log.follows(&["unread1", "unread2", "after1", "after2"]);
    log.logrotate(directives);
    log.write(&["later"]);
    log.follows(&["later"]);
}

/// So many rotations between two runs, each behind a row.
fn rotates_often(log: &Rotating, directives: &str, times: usize) {
    let probes = &["p0", "p1", "p2", "p3"][..=times];
    log.rotate_behind(&probes[..times], directives);
    log.write(&probes[times..]);
    log.follows(probes);
}

/// A name, how a log is made, and what happens to it.
type Case = (String, fn() -> Rotating, Box<dyn Fn(&Rotating) + Send>);

fn cases() -> Vec<Case> {
    let special = SPECIAL
        .iter()
        .map(|&(name, case)| -> Case { (name.to_owned(), Rotating::begun, Box::new(case)) });
    let of_directives = DIRECTIVES.into_iter().flat_map(|directives| -> [Case; 4] {
        let often = |times| move |log: &Rotating| rotates_often(log, directives, times);
        let once = move |log: &Rotating| rotates_with(log, directives);
        let name = |how: &str| format!("{directives}, {how}");
        [
            (name("once"), Rotating::begun, Box::new(once)),
            (name("2 times"), Rotating::begun, Box::new(often(2))),
            (name("3 times"), Rotating::begun, Box::new(often(3))),
            (name("from empty"), Rotating::stamped, Box::new(often(2))),
        ]
    });
    special.chain(of_directives).collect()
}

#[test]
#[ignore = "logrotate in each of its modes"]
fn every_way_with_all_steps_within_a_second() {
    needs!("logrotate");
    for (name, begin, case) in cases() {
        println!("{name}");
        case(&begin());
    }
}

#[test]
#[ignore = "logrotate in each of its modes"]
fn every_way_with_each_rotation_in_a_second_of_its_own() {
    needs!("logrotate");
    at_once(cases(), |(name, begin, case)| {
        println!("{name}");
        case(&begin().paced());
    });
}

#[test]
fn dateext_by_the_second() {
    needs!("logrotate");
    // Two rotations within a second would get one name, so this one has to pause.
    let log = Rotating::begun().paced();
    let probes = ["a", "b", "c"];
    log.rotate_behind(
        &probes[..2],
        "create\ncompress\ndelaycompress\ndateext\ndateformat -%Y%m%d-%s",
    );
    log.write(&probes[2..]);
    log.follows(&probes);
}

#[test]
fn a_symbolic_link_that_is_switched_to_another_file() {
    let log = Rotating::begun();
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
}

#[test]
fn a_rotated_target_of_a_symbolic_link() {
    let log = Rotating::begun();
    let link = log.log();
    fs::rename(&link, log.path("target.jsonl")).unwrap();
    symlink("target.jsonl", &link).unwrap();
    log.write(&["linked"]);
    log.tells(&["linked"]);
    log.write(&["unread"]);
    fs::rename(log.path("target.jsonl"), log.path("target.jsonl.1")).unwrap();
    log.write(&["after"]);
    log.follows(&["unread", "after"]);
}
