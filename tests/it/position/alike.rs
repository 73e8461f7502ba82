//! Generations that content alone does not tell apart, names that are not the usual ones, and other spellings of
//! the log's path.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use crate::support::rotating::told;
use crate::support::{Rotating, other_row};

/// The rows that a writer begins each of its files with: one with a time, one without, and a long one.
fn first_rows() -> [String; 3] {
    [
        other_row("started") + "\n",
        "{\"seam\":\"daemon.started\"}\n".to_owned(),
        other_row(&"started ".repeat(200)) + "\n",
    ]
}

#[test]
fn a_position_right_after_the_first_row_of_all_generations_loses_nothing() {
    needs!("logrotate");
    for first_row in first_rows() {
        for directives in [
            "create",
            "copytruncate",
            "create\ncompress",
            "copytruncate\ncompress",
        ] {
            for rotations in [1, 2] {
                println!("{directives} {rotations} {first_row}");
                let log = Rotating::without_log();
                log.append_raw(&first_row);
                log.look(0);
                let probes = ["a", "b", "c"];
                for (number, probe) in probes[..rotations].iter().enumerate() {
                    if number > 0 {
                        log.append_raw(&first_row);
                    }
                    log.write(&[probe]);
                    log.logrotate(directives);
                }
                log.append_raw(&first_row);
                log.write(&[probes[rotations]]);
                log.tells(&probes[..=rotations]);
            }
        }
    }
}

#[test]
fn the_generation_in_the_middle_is_no_copy_because_it_begins_alike() {
    needs!("logrotate");
    for first_row in first_rows() {
        let log = Rotating::without_log();
        log.append_raw(&first_row);
        log.write(&["history"]);
        log.look(0);
        for probe in ["a", "b"] {
            log.write(&[probe]);
            log.logrotate("create");
            log.append_raw(&first_row);
        }
        log.write(&["c"]);
        log.follows(&["a", "b", "c"]);
    }
}

/// While it holds nothing but the first row of all generations it looks like a copy of the log.
#[test]
fn late_rows_in_a_generation_that_looked_like_a_copy_are_read() {
    for first_row in first_rows() {
        let log = Rotating::without_log();
        log.append_raw(&first_row);
        log.look(0);
        log.write(&["a"]);
        fs::rename(log.log(), log.rotated(".2")).unwrap();
        log.append_raw(&first_row);
        let old = log.writer();
        fs::rename(log.log(), log.rotated(".1")).unwrap();
        log.append_raw(&first_row);
        log.write(&["b"]);
        log.tells(&["a", "b"]);
        // The folder's time must say that nothing was renamed.
        thread::sleep(Duration::from_millis(50));
        log.write(&["c"]);
        log.tells(&["c"]);
        log.age_left();
        Rotating::write_late(&old, "late1");
        log.tells(&["late1"]);
        Rotating::write_late(&old, "late2");
        log.write(&["d"]);
        log.tells(&["late2", "d"]);
    }
}

#[test]
fn a_link_that_was_switched_twice_between_two_runs_skips_no_file() {
    let log = Rotating::without_log();
    let file = |day: u8| format!("kora-2026-05-{day}.jsonl");
    fs::write(log.path(&file(23)), Rotating::line("history")).unwrap();
    File::create(log.path(&file(24))).unwrap();
    symlink(file(24), log.log()).unwrap();
    log.look(0);
    for (day, probe) in [(24, "a"), (25, "b"), (26, "c")] {
        fs::remove_file(log.log()).unwrap();
        symlink(file(day), log.log()).unwrap();
        log.write(&[probe]);
    }
    log.follows(&["a", "b", "c"]);
}

#[test]
#[ignore = "logrotate, with seconds between"]
fn a_number_or_date_before_the_extension_is_followed() {
    needs!("logrotate");
    for directives in [
        "create\nextension .jsonl",
        "create\nextension .jsonl\ncompress\ndelaycompress",
        "create\nextension .jsonl\ndateext\ndateformat -%Y%m%d-%s",
    ] {
        let log = Rotating::begun().paced();
        for probes in [["a", "b"], ["c", "d"]] {
            log.write(&probes[..1]);
            log.logrotate(directives);
            log.write(&probes[1..]);
            log.follows(&probes);
        }
    }
    let log = Rotating::begun();
    log.write(&["unread"]);
    let name = "kora_audit_log-2026-05-24T14-00-00.000.jsonl";
    fs::rename(log.log(), log.path(name)).unwrap();
    log.write(&["after"]);
    log.follows(&["unread", "after"]);
}

#[test]
fn files_with_other_names_beside_the_log_are_not_read() {
    let log = Rotating::begun();
    for name in [
        "kora_audit_log.jsonl.bak",
        "kora_audit_log.jsonl.1x",
        "kora_audit_log2.jsonl",
    ] {
        fs::write(log.path(name), Rotating::line("stranger")).unwrap();
    }
    log.write(&["unread"]);
    fs::rename(log.log(), log.rotated(".old")).unwrap();
    log.write(&["after"]);
    log.follows(&["unread", "after"]);
}

#[test]
fn another_spelling_of_the_path_is_the_same_log() {
    let log = Rotating::begun();
    let state = log.state_dir();
    symlink(log.path(""), log.path("given/linked")).unwrap();
    let spellings = [
        "given/../kora_audit_log.jsonl",
        "given/linked/kora_audit_log.jsonl",
    ];
    for (number, spelling) in spellings.iter().enumerate() {
        log.set("KORA_AUDIT_LOG_PATH", log.path(spelling));
        let probe = format!("p{number}");
        log.write(&[&probe]);
        log.tells(&[&probe]);
        let logs = log.state()["logs"].as_object().unwrap().len();
        assert_eq!(logs, 1, "{}", state.display());
    }
}

#[test]
fn paths_that_are_not_utf8_are_kept_apart() {
    let log = Rotating::without_log();
    let paths =
        [b"\xff.jsonl", b"\xfe.jsonl"].map(|name| log.path("").join(OsStr::from_bytes(name)));
    for path in &paths {
        fs::write(path, "").unwrap();
        log.set("KORA_AUDIT_LOG_PATH", path);
        log.look(0);
    }
    for (path, probe) in paths.iter().zip(["a", "b"]) {
        fs::write(path, Rotating::line(probe)).unwrap();
        log.set("KORA_AUDIT_LOG_PATH", path);
        assert_eq!(told(&log.look(0).0), [probe]);
    }
    assert_eq!(log.state()["logs"].as_object().unwrap().len(), 2);
}

#[test]
fn an_unread_rotated_file_is_read_while_the_log_is_missing() {
    let log = Rotating::begun();
    for probes in [["a", "b"], ["c", "d"]] {
        log.write(&probes[..1]);
        fs::rename(log.log(), log.rotated(".2")).unwrap();
        log.write(&probes[1..]);
        fs::rename(log.log(), log.rotated(".1")).unwrap();
        log.tells(&probes);
        fs::rename(log.rotated(".2"), log.rotated(".4")).unwrap();
        fs::rename(log.rotated(".1"), log.rotated(".3")).unwrap();
    }
    log.write(&["after"]);
    log.follows(&["after"]);
}

#[test]
fn a_folder_is_listed_only_where_something_changed() {
    needs!("strace");
    let log = Rotating::begun();
    log.write(&["unread"]);
    fs::rename(log.log(), log.rotated(".1")).unwrap();
    log.write(&["after"]);
    log.follows(&["unread", "after"]);
    let lists = || {
        let (outcome, trace) = log.traced(&["-e", "trace=getdents64"], "run --to stdout");
        outcome.exits(0);
        trace.contains("getdents64")
    };
    assert!(!lists(), "an idle run");
    // A folder that changed just before it was listed proves nothing: it is listed once more.
    thread::sleep(Duration::from_millis(50));
    log.write(&["first"]);
    log.tells(&["first"]);
    log.write(&["second"]);
    assert!(!lists(), "a run with a new row");
    fs::rename(log.rotated(".1"), log.rotated(".2")).unwrap();
    log.write(&["third"]);
    assert!(lists(), "a run after a rename");
}
