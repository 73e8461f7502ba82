//! Rotation: rotated files in a compression that is not gzip: what they may hold is missed with a
//! word, once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::{Rotating, other_row};

const COMPRESSIONS: [(&str, &[u8]); 4] = [
    ("xz", b"\xfd7zXZ\0\0\x04"),
    ("zst", b"\x28\xb5\x2f\xfd\x04\x58"),
    ("bz2", b"BZh91AY&SY"),
    ("lz4", b"\x04\x22\x4d\x18\x64\x40"),
];

/// Puts a file that begins so in place of this one, with its time, as the compression's own tool does.
fn compress(plain: &Path, (end, start): (&str, &[u8])) {
    let modified = fs::metadata(plain).unwrap().modified().unwrap();
    let path = PathBuf::from(format!("{}.{end}", plain.display()));
    fs::write(&path, [start, &fs::read(plain).unwrap()].concat()).unwrap();
    let file = File::options().append(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    fs::remove_file(plain).unwrap();
}

/// One run that warns of this file, once, and tells these probes.
#[track_caller]
fn warns_of(log: &Rotating, name: &str, probes: &[&str]) {
    let warning = format!("kora_audit_log.jsonl{name}: it is compressed with ");
    let report = log.tells_with_a_warning(probes, &warning);
    assert_eq!(report["position"]["gap"], true);
    assert_eq!(report["rows"]["malformed"], 0);
}

#[test]
fn rows_between_holder_and_log_are_missed_with_a_word() {
    needs!("logrotate");
    for (end, start) in COMPRESSIONS {
        let log = Rotating::begun();
        log.rotate_behind(&["unread", "missed"], "create");
        compress(&log.rotated(".1"), (end, start));
        log.write(&["after"]);
        warns_of(&log, &format!(".1.{end}"), &["unread", "after"]);
    }
}

#[test]
fn rows_behind_an_empty_stamped_log_are_missed_with_a_word() {
    needs!("logrotate");
    let without_log = Rotating::without_log();
    without_log.look(0);
    for (log, directives) in [
        (Rotating::stamped(), "create"),
        (without_log, "create"),
        (Rotating::stamped(), "copytruncate"),
    ] {
        log.write(&["missed"]);
        log.logrotate(directives);
        compress(&log.rotated(".1"), COMPRESSIONS[0]);
        warns_of(&log, ".1.xz", &[]);
        log.write(&["after"]);
        log.tells(&["after"]);
    }
}

#[test]
fn the_holder_in_such_a_compression_is_a_gap() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.write(&["missed"]);
    log.logrotate("create");
    compress(&log.rotated(".1"), COMPRESSIONS[0]);
    log.write(&["after"]);
    warns_of(&log, ".1.xz", &["after"]);
    log.logrotate("create");
    log.write(&["later"]);
    log.follows(&["later"]);
}

#[test]
fn a_generation_that_was_read_before_it_was_compressed_is_worth_no_word() {
    needs!("logrotate");
    for directives in ["create", "copytruncate"] {
        let log = Rotating::begun();
        log.logrotate(directives);
        for probe in ["a", "b", "c"] {
            log.write(&[probe]);
            log.follows(&[probe]);
            log.logrotate(directives);
            compress(&log.rotated(".2"), COMPRESSIONS[0]);
        }
    }
}

#[test]
fn files_that_were_there_at_the_first_run_are_worth_no_word() {
    needs!("logrotate");
    let log = Rotating::without_log();
    log.append_raw(other_row("old") + "\n");
    log.logrotate("create");
    compress(&log.rotated(".1"), COMPRESSIONS[0]);
    log.look(0);
    log.write(&["unread"]);
    log.logrotate("create");
    log.write(&["after"]);
    log.tells(&["unread", "after"]);
}

#[test]
fn the_plain_file_counts_beside_one_that_is_being_written() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.write(&["unread"]);
    log.logrotate("create");
    log.write(&["after"]);
    let made = log.rotated(".1.xz");
    fs::write(&made, COMPRESSIONS[0].1).unwrap();
    log.follows(&["unread", "after"]);
    // One that is not being written is another generation.
    let before = SystemTime::now() - Duration::from_secs(3_600);
    log.logrotate("create");
    fs::write(log.rotated(".1.xz"), COMPRESSIONS[0].1).unwrap();
    let file = File::options()
        .append(true)
        .open(log.rotated(".1.xz"))
        .unwrap();
    file.set_modified(before).unwrap();
    log.write(&["later"]);
    warns_of(&log, ".1.xz", &["later"]);
}

#[test]
fn a_replay_of_such_a_file_fails() {
    let log = Rotating::without_log();
    for (end, start) in COMPRESSIONS {
        let path = log.rotated(end);
        fs::write(&path, start).unwrap();
        let replayed = log.command(&format!("replay {}", path.display()));
        replayed.exits(1).warns("only gzip can be read");
    }
}
