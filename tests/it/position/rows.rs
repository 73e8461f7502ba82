//! Rotation: rows at the seams of generations: written late, cut, without their end, behind a hole.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Rotating, other_row};

fn gzip(path: &Path) {
    let done = Command::new("gzip").arg(path).status().unwrap();
    assert!(done.success());
}

#[test]
fn rows_written_late_through_an_old_descriptor_are_told() {
    needs!("logrotate");
    let (log, old) = Rotating::with_late_writer();
    for probe in ["late1", "late2"] {
        Rotating::write_late(&old, probe);
        let report = log.tells(&[probe]);
        assert_eq!(report["position"]["rotated"], false);
    }
    Rotating::write_late(&old, "late3");
    log.write(&["current"]);
    log.tells(&["late3", "current"]);
    log.logrotate("create");
    Rotating::write_late(&old, "late4");
    log.write(&["new"]);
    log.follows(&["late4", "new"]);
}

#[test]
fn rows_written_late_into_the_generation_before_the_last_are_told() {
    needs!("logrotate");
    let (log, old) = Rotating::with_late_writer();
    log.logrotate("create");
    log.write(&["b"]);
    log.follows(&["b"]);
    Rotating::write_late(&old, "late");
    log.tells(&["late"]);
}

#[test]
fn rows_written_late_into_a_generation_that_was_left_empty_are_told() {
    needs!("logrotate");
    for compressed in [false, true] {
        let log = Rotating::stamped();
        let old = log.writer();
        log.logrotate("create");
        log.write(&["after"]);
        log.tells(&["after"]);
        Rotating::write_late(&old, "late");
        if compressed {
            gzip(&log.rotated(".1"));
        }
        log.tells(&["late"]);
        log.logrotate("create");
        log.write(&["new"]);
        log.follows(&["new"]);
    }
}

#[test]
fn rows_written_late_and_compressed_before_the_run_are_told() {
    needs!("logrotate");
    let (log, old) = Rotating::with_late_writer();
    Rotating::write_late(&old, "late");
    drop(old);
    log.write(&["more"]);
    log.logrotate("create\ncompress\ndelaycompress");
    log.write(&["new"]);
    log.follows(&["late", "more", "new"]);
}

#[test]
fn late_rows_in_the_generation_before_the_current_one_are_told_at_any_time() {
    needs!("logrotate");
    for compressed in [false, true] {
        let (log, old) = Rotating::with_late_writer();
        log.age_left();
        log.is_idle();
        Rotating::write_late(&old, "late");
        if compressed {
            gzip(&log.rotated(".1"));
        }
        log.tells(&["late"]);
    }
}

#[test]
fn late_rows_in_an_older_generation_are_told_after_ten_minutes_with_the_next_rotation() {
    needs!("logrotate");
    let (log, old) = Rotating::with_late_writer();
    log.logrotate("create");
    log.write(&["b"]);
    log.follows(&["b"]);
    Rotating::write_late(&old, "late1");
    log.tells(&["late1"]);
    log.age_left();
    Rotating::write_late(&old, "late2");
    log.is_idle();
    log.logrotate("create");
    log.write(&["c"]);
    log.follows(&["late2", "c"]);
}

/// Of a file under 1 KiB all is known: what follows is new, and nothing before it is.
#[test]
fn a_short_generation_that_grew_is_not_told_again() {
    needs!("logrotate");
    for rows in [1, 2] {
        let (log, old) = Rotating::with_late_writer();
        log.shift_state(-24);
        log.write(&["forgets"]);
        log.tells(&["forgets"]);
        let late: Vec<_> = (0..rows).map(|row| format!("late{row}")).collect();
        for probe in &late {
            Rotating::write_late(&old, probe);
        }
        log.logrotate("create\ncompress\ndelaycompress");
        log.write(&["new"]);
        let late = late.iter().map(String::as_str);
        log.follows(&late.chain(["new"]).collect::<Vec<_>>());
    }
}

#[test]
fn a_whole_last_row_without_its_end_is_told() {
    needs!("logrotate");
    let log = Rotating::begun();
    let line = Rotating::line("unended");
    log.append_raw(line.trim_end());
    log.tells(&[]);
    let mut old = log.writer();
    log.logrotate("create");
    log.write(&["after"]);
    log.follows(&["unended", "after"]);
    old.write_all(b"\n").unwrap();
    Rotating::write_late(&old, "late");
    log.tells(&["late"]);
}

/// A log that was rotated while its last row was begun, with that row's rest and a writer of the rotated file.
fn torn() -> (Rotating, String, File) {
    let log = Rotating::begun();
    let line = Rotating::line("torn");
    log.append_raw(&line[..150]);
    let old = log.writer();
    log.logrotate("create");
    log.write(&["after"]);
    log.follows(&["after"]);
    (log, line[150..].to_owned(), old)
}

#[test]
fn a_torn_last_row_is_no_malformed_row_while_its_writer_may_complete_it() {
    needs!("logrotate");
    let (log, rest, mut old) = torn();
    log.write(&["more"]);
    log.tells(&["more"]);
    old.write_all(rest.as_bytes()).unwrap();
    log.tells(&["torn"]);
}

#[test]
fn a_torn_last_row_is_reported_once_after_ten_minutes_and_told_when_it_is_completed() {
    needs!("logrotate");
    let (log, rest, mut old) = torn();
    log.age_left();
    let report = log.tells_with_a_warning(&[], "malformed row at byte");
    assert_eq!(report["rows"]["malformed"], 1);
    old.write_all(rest.as_bytes()).unwrap();
    log.tells(&["torn"]);
}

#[test]
fn a_torn_row_of_another_seam_is_not_reported() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.append_raw(&other_row("x")[..60]);
    log.logrotate("create");
    log.write(&["after"]);
    log.follows(&["after"]);
}

#[test]
fn a_torn_row_is_left_alone_while_no_new_log_is_there() {
    needs!("logrotate");
    let log = Rotating::begun();
    let line = Rotating::line("torn");
    log.append_raw(&line[..150]);
    let mut old = log.writer();
    log.logrotate("nocreate");
    log.follows(&[]);
    old.write_all(&line.as_bytes()[150..]).unwrap();
    log.follows(&["torn"]);
    log.write(&["after"]);
    log.follows(&["after"]);
}

#[test]
fn a_row_begun_in_the_new_log_hides_no_generation() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.rotate_behind(&["a", "b"], "create");
    let line = Rotating::line("c");
    log.append_raw(&line[..12]);
    log.follows(&["a", "b"]);
    log.append_raw(&line[12..]);
    log.tells(&["c"]);
}

#[test]
fn holes_left_by_a_writer_that_does_not_append_are_passed_over() {
    needs!("logrotate");
    let log = Rotating::begun();
    let writer = fs::OpenOptions::new().write(true).open(log.log()).unwrap();
    let mut at = log.log_length();
    let mut write = |probe: &str| {
        let line = Rotating::line(probe);
        writer.write_all_at(line.as_bytes(), at).unwrap();
        at += line.len() as u64;
    };
    for round in 0..3 {
        write(&format!("p{round}"));
        log.logrotate("copytruncate");
    }
    write("after");
    log.follows(&["p0", "p1", "p2", "after"]);
    log.logrotate("copytruncate");
    write("later");
    log.follows(&["later"]);
}

#[test]
fn a_large_hole_is_passed_over() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.logrotate("copytruncate");
    let writer = fs::OpenOptions::new().write(true).open(log.log()).unwrap();
    let line = Rotating::line("far");
    writer.write_all_at(line.as_bytes(), 64 << 20).unwrap();
    log.follows(&["far"]);
}
