//! Rotation: compressed generations that are not whole: on the way to be written, cut, broken.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use crate::support::{Rotating, other_row};

fn gzipped(path: &Path) -> Vec<u8> {
    let done = Command::new("gzip").arg("-c").arg(path).output().unwrap();
    assert!(done.status.success());
    done.stdout
}

/// A log with one unread row, rotated, and a row behind that.
fn rotated() -> Rotating {
    let log = Rotating::begun();
    log.write(&["unread"]);
    log.logrotate("create");
    log.write(&["after"]);
    log
}

/// Takes the last rotated file away; what its compressed form would hold.
fn compressed(log: &Rotating) -> Vec<u8> {
    let whole = gzipped(&log.rotated(".1"));
    fs::remove_file(log.rotated(".1")).unwrap();
    whole
}

/// Gives the first block, behind the header and the file's name, a kind that does not exist.
fn break_stream(whole: &mut [u8]) {
    let name = whole[10..].iter().position(|byte| *byte == 0).unwrap();
    whole[10 + name + 1] = 0xff;
}

fn set_age(path: &Path, minutes: u64) {
    let time = SystemTime::now() - Duration::from_secs(60 * minutes);
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// logrotate compresses an empty log, too.
#[test]
fn a_compressed_file_without_a_row_whose_time_changes_holds_nothing_up() {
    let log = Rotating::begun();
    fs::rename(log.log(), log.rotated(".2")).unwrap();
    File::create(log.log()).unwrap();
    log.look(0);
    fs::rename(log.log(), log.rotated(".1")).unwrap();
    File::create(log.log()).unwrap();
    fs::write(log.rotated(".1.gz"), gzipped(&log.rotated(".1"))).unwrap();
    fs::remove_file(log.rotated(".1")).unwrap();
    log.look(0);
    // So long that the folder's time says that nothing in it was renamed since.
    sleep(Duration::from_millis(100));
    log.write(&["before"]);
    log.tells(&["before"]);
    set_age(&log.rotated(".1.gz"), 1);
    log.write(&["after"]);
    log.tells(&["after"]);
}

#[test]
fn the_plain_file_counts_beside_a_half_written_compressed_one() {
    needs!("logrotate");
    for length in [0, 5, 40] {
        let log = rotated();
        let whole = gzipped(&log.rotated(".1"));
        fs::write(log.rotated(".1.gz"), &whole[..length]).unwrap();
        log.follows(&["unread", "after"]);
        fs::write(log.rotated(".1.gz"), &whole).unwrap();
        fs::remove_file(log.rotated(".1")).unwrap();
        let (report, outcome) = log.look(0);
        assert_eq!(
            (&report["wakes"], outcome.stderr.as_str()),
            (&serde_json::json!([]), "")
        );
        log.is_idle();
    }
}

#[test]
fn a_half_written_compressed_file_holds_up_no_rows_but_its_own() {
    needs!("logrotate");
    let log = rotated();
    let whole = compressed(&log);
    let metrics = log.path("metrics.prom");
    log.set("KORA_PROBE_WAKE_METRICS_FILE", &metrics);
    fs::write(log.rotated(".1.gz"), "").unwrap();
    log.tells(&["after"]);
    for length in [0, 5, 40, whole.len() - 9, whole.len() - 1] {
        fs::write(log.rotated(".1.gz"), &whole[..length]).unwrap();
        log.tells(&[]);
        let lag = log.command("status --format json").exits(0).json()["lag"].take();
        let path = log.rotated(".1.gz").display().to_string();
        assert_eq!(
            (&lag["waiting"], &lag["bytes"]),
            (&path.into(), &length.into())
        );
        let metrics = fs::read_to_string(&metrics).unwrap();
        assert!(metrics.contains(&format!("probe_wake_lag_bytes {length}\n")));
    }
    log.write(&["current"]);
    log.tells(&["current"]);
    fs::write(log.rotated(".1.gz"), &whole).unwrap();
    log.tells(&["unread"]);
}

#[test]
fn a_half_written_file_after_the_one_read_last_holds_up_no_rows_but_its_own() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.rotate_behind(&["a", "b"], "create");
    log.write(&["c"]);
    let whole = compressed(&log);
    fs::write(log.rotated(".1.gz"), &whole[..30]).unwrap();
    log.tells(&["a", "c"]);
    fs::write(log.rotated(".1.gz"), &whole).unwrap();
    log.tells(&["b"]);
}

#[test]
fn a_compressed_file_that_ends_early_for_ten_minutes_is_read_as_far_as_it_goes() {
    needs!("logrotate");
    let log = Rotating::begun();
    let rows: String = (0..40)
        .map(|number| Rotating::line(&format!("u{number}")))
        .collect();
    log.append_raw(rows);
    log.logrotate("create");
    log.write(&["after"]);
    let whole = compressed(&log);
    let path = log.rotated(".1.gz");
    fs::write(&path, &whole[..whole.len() - 6]).unwrap();
    log.tells(&["after"]);
    set_age(&path, 11);
    let probes: Vec<_> = (0..40).map(|number| format!("u{number}")).collect();
    let probes: Vec<_> = probes.iter().map(String::as_str).collect();
    log.tells_with_a_warning(&probes, "is damaged");
}

#[test]
fn a_compressed_file_that_ends_before_the_position_is_warned_of_and_repeats_nothing() {
    needs!("logrotate");
    for cut in [12, 2] {
        let log = rotated();
        let whole = compressed(&log);
        let path = log.rotated(".1.gz");
        fs::write(&path, &whole[..whole.len() / cut]).unwrap();
        log.tells(&["after"]);
        set_age(&path, 11);
        log.tells_with_a_warning(&[], "may have been missed");
    }
}

#[test]
fn a_compressed_file_from_the_future_is_not_waited_for() {
    needs!("logrotate");
    let log = rotated();
    let whole = compressed(&log);
    let path = log.rotated(".1.gz");
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let time = SystemTime::now() + Duration::from_secs(86_400);
    File::open(&path).unwrap().set_modified(time).unwrap();
    log.tells_with_a_warning(&["unread", "after"], "is damaged");
}

#[test]
fn a_broken_compressed_file_is_warned_of_once() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.rotate_behind(&["a", "b"], "create");
    log.write(&["c"]);
    let mut whole = compressed(&log);
    break_stream(&mut whole);
    fs::write(log.rotated(".1.gz"), &whole).unwrap();
    log.tells_with_a_warning(&["a", "c"], "is damaged");
}

#[test]
fn a_broken_holder_is_a_gap() {
    needs!("logrotate");
    let log = rotated();
    let mut whole = compressed(&log);
    break_stream(&mut whole);
    fs::write(log.rotated(".1.gz"), &whole).unwrap();
    let report = log.tells_with_a_warning(&["after"], "is in no file any more");
    assert_eq!(report["position"]["gap"], true);
}

#[test]
fn a_generation_that_was_read_is_not_read_again_once_it_is_compressed() {
    needs!("logrotate");
    let log = rotated();
    log.follows(&["unread", "after"]);
    for _ in 0..3 {
        log.logrotate("create\ncompress");
        log.write(&["next"]);
        log.follows(&["next"]);
    }
}

#[test]
fn what_was_read_compressed_is_not_decompressed_again() {
    needs!("strace");
    needs!("logrotate");
    let log = Rotating::begun();
    // More than one read of the compressed file.
    let row = |number: u64| other_row(&format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let rows: String = (0..20_000).map(|number| row(number) + "\n").collect();
    log.append_raw(rows);
    log.logrotate("create\ncompress");
    log.write(&["after"]);
    log.follows(&["after"]);
    let gzip = log.rotated(".1.gz").display().to_string();
    log.write(&["next"]);
    let flags = ["-e", "trace=read,pread64", "-P", &gzip];
    let (outcome, trace) = log.traced(&flags, "run --to stdout");
    outcome.exits(0);
    let reads = trace.lines().filter(|line| line.contains("read")).count();
    assert!(reads < 10, "{reads} reads");
}
