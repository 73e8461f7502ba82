//! Rotation: files that are not what they seem: inodes used again, copies, strangers, links.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::rotating::told;
use crate::support::{Rotating, other_row, wake};

fn set_modified(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn an_inode_that_is_used_again_proves_nothing() {
    let log = Rotating::begun();
    log.write(&["unread"]);
    let inode = fs::metadata(log.log()).unwrap().ino();
    fs::copy(log.log(), log.rotated(".1")).unwrap();
    // Most file systems give it to the next file; where not, this is a plain rotation.
    fs::remove_file(log.log()).unwrap();
    File::create(log.log()).unwrap();
    let again = fs::metadata(log.log()).unwrap().ino();
    println!("inode {inode}, then {again}");
    log.write(&["a", "b", "c", "d"]);
    log.follows(&["unread", "a", "b", "c", "d"]);
}

#[test]
fn the_same_bytes_under_a_new_inode_are_the_same_log() {
    let log = Rotating::begun();
    log.write(&["unread"]);
    fs::copy(log.log(), log.path("restored")).unwrap();
    fs::rename(log.path("restored"), log.log()).unwrap();
    let report = log.tells(&["unread"]);
    assert_eq!(report["position"]["rotated"], false);
}

#[test]
fn a_run_between_copy_and_truncate_repeats_nothing() {
    for rows in [0, 1, 2, 40] {
        let log = Rotating::stamped();
        let probes: Vec<_> = (0..rows).map(|number| format!("p{number}")).collect();
        let probes: Vec<_> = probes.iter().map(String::as_str).collect();
        log.write(&probes);
        log.tells(&probes);
        fs::copy(log.log(), log.rotated(".1")).unwrap();
        log.write(&["between"]);
        log.tells(&["between"]);
        log.empty();
        log.write(&["after"]);
        if rows == 0 {
            // An empty copy says nothing.
            let report = log.tells_with_a_warning(&["after"], "is in no file any more");
            assert_eq!(report["position"]["gap"], true);
        } else {
            log.follows(&["after"]);
        }
    }
}

#[test]
fn copies_of_generations_are_not_read_again() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.write(&["a"]);
    fs::copy(log.log(), log.rotated(".bak")).unwrap();
    log.write(&["b"]);
    log.logrotate("create");
    log.write(&["c"]);
    fs::copy(log.rotated(".1"), log.rotated(".copy")).unwrap();
    log.logrotate("create");
    fs::copy(log.rotated(".1"), log.rotated(".early")).unwrap();
    log.write(&["d"]);
    fs::copy(log.log(), log.rotated(".now")).unwrap();
    log.follows(&["a", "b", "c", "d"]);
}

#[test]
fn an_old_generation_restored_beside_the_log_is_not_read_again() {
    needs!("logrotate");
    let log = Rotating::begun();
    for probe in ["a", "b", "c"] {
        log.logrotate("create\ncompress");
        log.write(&[probe]);
        log.follows(&[probe]);
    }
    let unpack = Command::new("gzip")
        .arg("-dc")
        .arg(log.rotated(".2.gz"))
        .output()
        .unwrap();
    fs::write(log.rotated(".look"), unpack.stdout).unwrap();
    log.is_idle();
    log.logrotate("create\ncompress");
    log.write(&["d"]);
    log.follows(&["d"]);
}

#[test]
fn history_beside_an_empty_log_is_not_read() {
    needs!("logrotate");
    let log = Rotating::without_log();
    log.write(&["history"]);
    log.logrotate("create");
    log.look(0);
    fs::copy(log.rotated(".1"), log.rotated(".copy")).unwrap();
    log.logrotate("create\ncompress\ndelaycompress");
    log.tells(&[]);
    log.write(&["first"]);
    log.tells(&["first"]);
}

#[test]
fn rows_of_a_log_that_was_missing_at_the_stamp_are_told_after_its_rotation() {
    needs!("logrotate");
    let log = Rotating::without_log();
    let (_, outcome) = log.look(0);
    outcome.warns("does not exist yet");
    log.write(&["a"]);
    log.logrotate("create");
    log.write(&["b"]);
    log.tells(&["a", "b"]);
}

#[test]
fn a_log_deleted_and_created_again_is_a_gap_with_the_old_offset_and_time() {
    let log = Rotating::begun();
    let offset = log.log_length();
    log.write(&["lost"]);
    fs::remove_file(log.log()).unwrap();
    log.write(&["after"]);
    let year = jiff::Timestamp::now().strftime("%Y-").to_string();
    let warning = format!("(up to byte {offset}, {year}");
    let report = log.tells_with_a_warning(&["after"], &warning);
    assert_eq!(
        (&report["position"]["gap"], &report["position"]["before"]),
        (&true.into(), &offset.into())
    );
}

#[test]
fn what_was_missing_is_read_once_it_is_back_though_the_log_is_idle() {
    let log = Rotating::begun();
    log.write(&["back"]);
    fs::rename(log.log(), log.path("away")).unwrap();
    log.write(&["after"]);
    log.tells_with_a_warning(&["after"], "is in no file any more");
    fs::rename(log.path("away"), log.rotated(".1")).unwrap();
    log.tells(&["back"]);
}

#[test]
fn a_log_deleted_and_created_again_with_nothing_to_lose_is_no_gap() {
    let log = Rotating::stamped();
    fs::remove_file(log.log()).unwrap();
    log.write(&["after"]);
    log.tells(&["after"]);
}

#[test]
fn behind_a_gap_changed_files_come_before_the_log() {
    needs!("logrotate");
    let log = Rotating::begun();
    fs::remove_file(log.log()).unwrap();
    log.write(&["a"]);
    log.logrotate("create");
    log.write(&["b"]);
    log.tells_with_a_warning(&["a", "b"], "is in no file any more");
}

#[test]
fn a_missing_log_keeps_its_position_and_is_judged_again() {
    let log = Rotating::begun();
    log.write(&["unread"]);
    fs::rename(log.log(), log.path("elsewhere")).unwrap();
    let (_, outcome) = log.look(3);
    outcome.warns("does not exist");
    assert_eq!(log.look(3).1.stderr, "");
    fs::rename(log.path("elsewhere"), log.log()).unwrap();
    log.tells(&["unread"]);
}

#[test]
fn generations_with_their_times_set_back_are_read_after_the_holder() {
    let log = Rotating::begun();
    log.write(&["a"]);
    fs::rename(log.log(), log.rotated(".3")).unwrap();
    log.write(&["b"]);
    fs::rename(log.log(), log.rotated(".2")).unwrap();
    log.write(&["c"]);
    fs::rename(log.log(), log.rotated(".1")).unwrap();
    log.write(&["d"]);
    for (end, hours) in [(".3", 3), (".2", 2), (".1", 1)] {
        let time = SystemTime::now() - Duration::from_secs(hours * 3_600);
        set_modified(&log.rotated(end), time);
    }
    log.follows(&["a", "b", "c", "d"]);
}

#[test]
fn a_clock_set_back_hides_no_generation() {
    needs!("logrotate");
    for log in [Rotating::begun(), Rotating::stamped()] {
        log.rotate_behind(&["a", "b"], "create");
        log.write(&["c"]);
        // As if it was a day later when the log was read last.
        log.shift_state(24);
        log.follows(&["a", "b", "c"]);
    }
}

#[test]
fn a_clock_set_back_behind_the_holder_hides_no_generation() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.rotate_behind(&["a", "b"], "create");
    log.write(&["c"]);
    set_modified(&log.rotated(".1"), SystemTime::UNIX_EPOCH);
    log.follows(&["a", "b", "c"]);
}

#[test]
fn a_clock_set_back_hides_no_generation_behind_a_gap() {
    needs!("logrotate");
    let log = Rotating::begun();
    fs::remove_file(log.log()).unwrap();
    log.write(&["a"]);
    log.logrotate("create");
    log.write(&["b"]);
    set_modified(&log.rotated(".1"), SystemTime::UNIX_EPOCH);
    log.tells_with_a_warning(&["a", "b"], "is in no file any more");
}

/// What was told stays told, whenever it is put back.
#[test]
fn a_generation_that_was_removed_and_is_restored_is_not_read_again() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.logrotate("create");
    log.write(&["a"]);
    log.follows(&["a"]);
    let old = fs::read(log.rotated(".1")).unwrap();
    fs::remove_file(log.rotated(".1")).unwrap();
    log.logrotate("create");
    log.write(&["b"]);
    log.follows(&["b"]);
    fs::write(log.rotated(".restored"), old).unwrap();
    log.logrotate("create");
    log.write(&["c"]);
    log.follows(&["c"]);
}

#[test]
fn a_stray_plain_file_hides_no_compressed_one() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.rotate_behind(&["a", "b"], "create\ncompress");
    fs::write(log.rotated(".1"), other_row("stray") + "\n").unwrap();
    log.write(&["c"]);
    log.follows(&["a", "b", "c"]);
}

#[test]
fn strangers_beside_the_log_are_passed_over() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.write(&["unread"]);
    log.logrotate("create");
    fs::write(log.rotated(".lock"), "4711\n").unwrap();
    fs::write(log.rotated(".swp"), [0, 1, 2, 255, 254, b'\n', 0]).unwrap();
    fs::write(log.rotated(".empty"), "").unwrap();
    fs::write(
        log.rotated(".other"),
        other_row("probe.wake_requested") + "\n",
    )
    .unwrap();
    fs::create_dir(log.rotated(".folder")).unwrap();
    symlink("nowhere", log.rotated(".dangling")).unwrap();
    symlink(log.rotated(".7"), log.rotated(".7")).unwrap();
    symlink(log.log(), log.rotated(".link")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(log.rotated(".fifo"))
            .status()
            .unwrap()
            .success()
    );
    log.write(&["after"]);
    log.follows(&["unread", "after"]);
}

#[test]
fn late_rows_are_found_also_where_strangers_changed_last() {
    needs!("logrotate");
    let log = Rotating::begun();
    let old = log.writer();
    log.logrotate("create");
    fs::write(log.rotated(".lock"), "4711\n").unwrap();
    log.write(&["after"]);
    log.follows(&["after"]);
    Rotating::write_late(&old, "late");
    log.tells(&["late"]);
}

#[test]
fn generations_that_begin_with_the_same_row_are_told_apart() {
    needs!("logrotate");
    for length in [1, 80] {
        let banner = other_row(&"the same for every file ".repeat(length)) + "\n";
        let log = Rotating::stamped();
        log.append_raw(&banner);
        log.write(&["told"]);
        log.tells(&["told"]);
        for probe in ["a", "b"] {
            log.write(&[probe]);
            log.logrotate("create");
            log.append_raw(&banner);
        }
        log.write(&["c"]);
        log.follows(&["a", "b", "c"]);
    }
}

#[test]
fn a_rotated_file_that_cannot_be_read_is_warned_of_and_read_once_it_can_be() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.rotate_behind(&["unread", "missed"], "create");
    log.write(&["after"]);
    fs::set_permissions(log.rotated(".1"), fs::Permissions::from_mode(0o0)).unwrap();
    let run = "run --to stdout --format json";
    for probes in [&["unread", "after"][..], &[]] {
        let outcome = log.without_privileges(run).exits(3);
        assert_eq!(told(&outcome.json()), probes);
        let warning = "kora_audit_log.jsonl.1: Permission denied";
        assert_eq!(outcome.stderr.contains(warning), !probes.is_empty());
    }
    fs::set_permissions(log.rotated(".1"), fs::Permissions::from_mode(0o644)).unwrap();
    log.tells(&["missed"]);
}

#[test]
fn more_generations_than_can_be_open_are_read_in_order() {
    let log = Rotating::begun();
    // All but the first are held back, so that the run is over soon.
    log.unset("KORA_PROBE_DEBOUNCE_SECONDS");
    let severities: Vec<_> = (0..=1_000).map(|number| format!("s{number:04}")).collect();
    for (number, severity) in severities.iter().enumerate() {
        log.append([wake("fly").set("severity", severity.as_str())]);
        if number < 1_000 {
            let generation = log.rotated(&format!("-2020{number:04}"));
            fs::rename(log.log(), &generation).unwrap();
            let seconds = 60 * (number as u64 + 1);
            set_modified(
                &generation,
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            );
        }
    }
    let shell = ["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""];
    let run = "run --to stdout --format json";
    let report = log.through(&shell, run).exits(0).json();
    let read = report["wakes"].as_array().unwrap().iter();
    let read: Vec<_> = read
        .map(|wake| wake["severity"].as_str().unwrap())
        .collect();
    assert_eq!(read, severities);
    log.is_idle();
}

#[test]
fn a_thousand_files_beside_the_log_are_looked_at() {
    let log = Rotating::begun();
    for number in 0..1_000 {
        let name = log.rotated(&format!("-2020{number:04}"));
        fs::write(&name, format!("{{\"old\":{number}}}\n")).unwrap();
        set_modified(&name, SystemTime::UNIX_EPOCH);
    }
    log.write(&["unread"]);
    fs::rename(log.log(), log.rotated(".1")).unwrap();
    log.write(&["after"]);
    log.follows(&["unread", "after"]);
}

#[test]
fn generations_that_share_their_whole_head_are_told_once() {
    let first_row = format!(
        "{{\"seam\":\"daemon.started\",\"x\":\"{}\"}}\n",
        "x".repeat(1_500)
    );
    for rows_before_the_run in [false, true] {
        let log = Rotating::without_log();
        log.append_raw(&first_row);
        if rows_before_the_run {
            log.write(&["history"]);
        }
        log.run().exits(0);
        log.write(&["a", "b"]);
        fs::rename(log.log(), log.rotated(".1")).unwrap();
        log.append_raw(&first_row);
        log.tells(&["a", "b"]);
        log.write(&["c"]);
        log.tells(&["c"]);
        log.is_idle();
    }
}

#[test]
fn copies_of_a_part_of_the_log_are_not_told_again() {
    for rows in [0, 1, 3] {
        let log = Rotating::stamped();
        let read: Vec<_> = (0..rows).map(|number| format!("read{number}")).collect();
        let read: Vec<_> = read.iter().map(String::as_str).collect();
        log.write(&read);
        log.tells(&read);
        log.write(&["a"]);
        fs::copy(log.log(), log.path("kora_audit_log.jsonl.bak")).unwrap();
        log.write(&["b", "c", "d"]);
        fs::rename(log.log(), log.rotated(".1")).unwrap();
        log.write(&["e"]);
        log.tells(&["a", "b", "c", "d", "e"]);
        log.write(&["f"]);
        log.tells(&["f"]);
    }
}
