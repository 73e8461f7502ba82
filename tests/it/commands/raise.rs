//! `raise`: rows for those who have no Kora.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Outcome, Sandbox, World};

/// The log's rows, each with nothing at the top level but its five keys.
#[track_caller]
fn rows(sandbox: &Sandbox) -> Vec<Value> {
    let log = fs::read_to_string(sandbox.log()).unwrap_or_default();
    let parse = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("a JSON row");
        let keys: Vec<_> = row.as_object().unwrap().keys().collect();
        let expected = [
            "caller_session_id",
            "details",
            "emitted_at",
            "seam",
            "source",
        ];
        assert_eq!(keys, expected);
        assert_eq!(
            [&row["caller_session_id"], &row["source"]],
            [&Value::Null; 2]
        );
        let emitted_at = row["emitted_at"].as_str().unwrap();
        let at: jiff::Timestamp = emitted_at.parse().unwrap();
        assert_eq!(emitted_at, format!("{at:.6}"));
        assert!(jiff::Timestamp::now().duration_since(at).as_secs() < 60);
        row
    };
    log.lines().map(parse).collect()
}

/// What is raised by these arguments, none of which has a space, and the log's last row.
#[track_caller]
fn raised(arguments: &str) -> Value {
    let sandbox = Sandbox::new();
    sandbox
        .command(&format!("raise {arguments}"))
        .exits(0)
        .silent();
    let mut rows = rows(&sandbox);
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

const WAKE: &str = "--probe nginx --severity critical --title T";

#[test]
fn a_wake_is_what_its_flags_say() {
    let row = raised(WAKE);
    assert_eq!(row["seam"], "probe.wake_requested");
    let expected = json!({"probe": "nginx", "severity": "critical", "title": "T",
        "category": "service_unhealthy", "snapshot_details": {}});
    assert_eq!(row["details"], expected);
    let facts = "--set a=1 --set b=x=y --set c={\"d\":[true]} --set e= --set f=NaN --set g=\"1\"";
    let row = raised(&format!("{WAKE} --category down --detail -5 {facts}"));
    let expected = json!({"probe": "nginx", "severity": "critical", "title": "T", "category": "down",
        "detail": "-5", "snapshot_details": {"a": 1, "b": "x=y", "c": {"d": [true]}, "e": "", "f": "NaN", "g": "1"}});
    assert_eq!(row["details"], expected);
}

#[test]
fn a_severity_that_no_run_knows_is_warned_of() {
    let sandbox = Sandbox::new();
    let raise = |severity| {
        sandbox.command(&format!(
            "raise --probe fly --title T --severity {severity}"
        ))
    };
    for severity in ["critical", "warning", "info"] {
        raise(severity).exits(0).silent();
    }
    raise("fatal")
        .exits(0)
        .warns("severity \"fatal\" counts as a warning; give critical, warning or info");
    assert_eq!(rows(&sandbox).len(), 4);
}

#[test]
fn a_recovery_is_of_a_category_or_of_the_whole_probe() {
    let row = raised("--probe nginx --recovered");
    assert_eq!(row["seam"], "probe.recovered");
    let whole = json!({"probe": "nginx", "ends": "probe.wake_requested"});
    assert_eq!(row["details"], whole);
    // The flags of a wake do no harm, so that one command serves both.
    let row = raised(&format!("{WAKE} --category down --recovered"));
    let one = json!({"probe": "nginx", "category": "down", "ends": "probe.wake_requested"});
    assert_eq!(row["details"], one);
}

#[test]
fn characters_that_are_in_no_plain_name_become_underscores() {
    for (name, plain) in [
        ("nginx@1.service", "nginx_1.service"),
        ("a/b:c\\d", "a_b_c_d"),
        ("é\u{1f600}\u{7f}", "___"),
        ("-", "-"),
    ] {
        let row = raised(&format!(
            "--probe {name} --category {name} --severity info --title T"
        ));
        let names = [&row["details"]["probe"], &row["details"]["category"]];
        assert_eq!(names, [plain; 2], "{name}");
    }
}

/// Runs a shell's line with `$B`, and this on stdin.
#[track_caller]
fn piped(sandbox: &Sandbox, stdin: impl AsRef<[u8]>, line: &str) -> Outcome {
    fs::write(sandbox.path("stdin"), stdin).unwrap();
    sandbox.shell(&format!("{line} < stdin")).finish()
}

#[test]
fn a_detail_is_read_from_stdin_however_long_it_is() {
    let sandbox = Sandbox::new();
    let line = format!("$B raise {WAKE} --detail -");
    for (stdin, detail) in [
        (b"one\ntwo\n\n".to_vec(), "one\ntwo".to_owned()),
        (b"\xff \x01".to_vec(), "\u{fffd} \u{1}".to_owned()),
        (vec![1; 512 * 1024], "\u{1}".repeat(512 * 1024)),
    ] {
        piped(&sandbox, stdin, &line).exits(0).silent();
        assert_eq!(rows(&sandbox).pop().unwrap()["details"]["detail"], detail);
    }
    // Of a longer one the newest lines are taken.
    let end = format!("{}\nend\n", "x".repeat(512 * 1024 - 100));
    for (stdin, detail) in [
        (vec![1; 5 << 20], "\u{1}".repeat(512 * 1024)),
        (
            format!("{}{end}", "start\n".repeat(50)).into_bytes(),
            format!("{}{}", "start\n".repeat(15), end.trim_end()),
        ),
    ] {
        piped(&sandbox, stdin, &line)
            .exits(0)
            .warns("only the last 512 KiB");
        assert_eq!(rows(&sandbox).pop().unwrap()["details"]["detail"], detail);
    }
    sandbox.shell(&format!("yes | {line}")).finish().exits(0);
}

#[test]
fn rows_of_stdin_are_appended_together() {
    let sandbox = Sandbox::new();
    let stdin = "{\"probe\":\"a@1\",\"title\":\"T\",\"severity\":\"info\",\"snapshot_details\":{\"x\":NaN},\"recovered\":false}\n\
        \r\n{\"probe\":\"b\",\"recovered\":true,\"title\":\"T\"}\n \n{\"probe\":7,\"category\":\"c d\",\"title\":\"T\"}";
    piped(&sandbox, stdin, "$B raise --rows -")
        .exits(0)
        .silent();
    let rows = rows(&sandbox);
    let details: Vec<_> = rows.iter().map(|row| row["details"].clone()).collect();
    let expected = [
        json!({"probe": "a_1", "title": "T", "severity": "info", "snapshot_details": {"x": null},
            "category": "service_unhealthy"}),
        json!({"probe": "b", "ends": "probe.wake_requested"}),
        json!({"probe": "7", "category": "c_d", "title": "T"}),
    ];
    assert_eq!(details, expected);
    assert_eq!(rows[1]["seam"], "probe.recovered");
    piped(&sandbox, "\n", "$B raise --rows -").exits(0).silent();
}

#[test]
fn a_bad_line_is_named_and_nothing_is_appended() {
    let long = format!("{{\"probe\":\"b\",\"title\":\"{}\"}}", "x".repeat(4 << 20));
    for (line, says) in [
        ("[1]", "not a JSON object"),
        ("{\"probe\":\"b\",\"title\":\"T\"", "not a JSON object"),
        ("{\"probe\":\"\",\"title\":\"T\"}", "the probe is missing"),
        ("{\"title\":\"T\"}", "the probe is missing"),
        ("{\"probe\":{},\"title\":\"T\"}", "the probe is not a text"),
        (
            "{\"probe\":\"b\",\"recovered\":\"true\"}",
            "recovered is neither true nor false",
        ),
        ("{\"probe\":\"b\"}", "the title is missing"),
        (&long, "over 4 MiB"),
    ] {
        let sandbox = Sandbox::new();
        let stdin = format!("{{\"probe\":\"a\",\"title\":\"T\"}}\n{line}\n");
        let refused = piped(&sandbox, stdin, "$B raise --rows -").exits(2);
        refused
            .warns("line 2")
            .warns(says)
            .warns("nothing was raised");
        assert!(!sandbox.log().exists());
    }
    let sandbox = Sandbox::new();
    piped(&sandbox, vec![b' '; 17 << 20], "$B raise --rows -")
        .exits(2)
        .warns("over 16 MiB");
    for (arguments, says) in [
        ("--probe a --title T", "--severity"),
        ("--probe a --severity info", "--title"),
        (&format!("{WAKE} --set x"), "KEY=VALUE"),
        (&format!("{WAKE} --set =x"), "KEY=VALUE"),
        ("--rows - --probe a", "--rows"),
        ("--rows file", "--rows"),
    ] {
        sandbox
            .command(&format!("raise {arguments}"))
            .exits(2)
            .warns(says);
    }
    sandbox
        .shell("$B raise --probe '' --severity info --title T")
        .finish()
        .exits(2)
        .warns("the probe is");
    assert!(!sandbox.log().exists());
}

#[test]
fn an_argument_that_is_not_utf8_loses_no_alert() {
    let sandbox = Sandbox::new();
    let line = "$B raise --probe a --severity info --title \"$(printf 'T\\377')\"";
    sandbox.shell(line).finish().exits(0).silent();
    assert_eq!(rows(&sandbox)[0]["details"]["title"], "T\u{fffd}");
}

#[test]
fn an_unfinished_last_line_is_awaited_and_then_ended() {
    let sandbox = Sandbox::new();
    sandbox.append_raw("{\"torn\":");
    let begun = Instant::now();
    sandbox.command(&format!("raise {WAKE}")).exits(0);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let log = fs::read_to_string(sandbox.log()).unwrap();
    assert!(log.starts_with("{\"torn\":\n{\"emitted_at\""), "{log}");

    // A writer that goes on within that second.
    let sandbox = Sandbox::new();
    sandbox.append_raw("{\"torn\":");
    let raising = sandbox.start(&format!("raise {WAKE}"));
    thread::sleep(Duration::from_millis(200));
    sandbox.append_raw("1}\n");
    raising.finish().exits(0);
    let log = fs::read_to_string(sandbox.log()).unwrap();
    assert!(log.starts_with("{\"torn\":1}\n{\"emitted_at\""), "{log}");
}

#[test]
fn all_rows_are_one_write() {
    needs!("strace");
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.path("stdin"),
        "{\"probe\":\"a\",\"title\":\"T\"}\n".repeat(5_000),
    )
    .unwrap();
    let strace = "strace -f -e trace=write -o trace $B raise --rows - < stdin";
    sandbox.shell(strace).finish().exits(0);
    let trace = fs::read_to_string(sandbox.path("trace")).unwrap();
    assert_eq!(trace.matches("emitted_at").count(), 1, "{trace}");
    assert_eq!(rows(&sandbox).len(), 5_000);
}

#[test]
fn many_at_once_lose_nothing() {
    let sandbox = Sandbox::new();
    sandbox.set("KORA_AUDIT_LOG_PATH", sandbox.path("new/folder/log"));
    let all: Vec<_> = (0..20)
        .map(|_| sandbox.start(&format!("raise {WAKE}")))
        .collect();
    for one in all {
        one.finish().exits(0);
    }
    let log = fs::read_to_string(sandbox.path("new/folder/log")).unwrap();
    assert_eq!(log.lines().count(), 20);
}

#[test]
fn what_is_made_belongs_to_the_owner_of_the_folder_above() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::bare();
    let owner = |path: &str| {
        let meta = fs::symlink_metadata(sandbox.path(path)).unwrap();
        (meta.uid(), meta.gid(), meta.permissions().mode() & 0o7777)
    };
    std::os::unix::fs::chown(sandbox.path("home"), Some(4_242), Some(4_343)).unwrap();
    sandbox.command(&format!("raise {WAKE}")).exits(0);
    assert_eq!(owner("home/.kora"), (4_242, 4_343, 0o750));
    assert_eq!(
        owner("home/.kora/kora_audit_log.jsonl"),
        (4_242, 4_343, 0o640)
    );

    // What a link leads to belongs to whoever has the folder there, and a link to nowhere gives nothing away.
    symlink(sandbox.path("given/log"), sandbox.path("home/link")).unwrap();
    sandbox
        .command(&format!("raise {WAKE} --audit-log home/link"))
        .exits(0);
    assert_eq!(owner("given/log"), (0, 0, 0o640));
    symlink(sandbox.path("nowhere"), sandbox.path("home/folder")).unwrap();
    let line = format!("raise {WAKE} --audit-log home/folder/log");
    sandbox.command(&line).exits(1).warns("cannot append");
}

#[test]
fn a_log_that_is_no_file_is_refused_at_once() {
    let sandbox = Sandbox::new();
    Command::new("mkfifo").arg(sandbox.log()).status().unwrap();
    sandbox
        .command(&format!("raise {WAKE}"))
        .exits(1)
        .warns("not a regular file");
    fs::remove_file(sandbox.log()).unwrap();
    fs::create_dir(sandbox.log()).unwrap();
    sandbox
        .command(&format!("raise {WAKE}"))
        .exits(1)
        .warns("cannot append");
    let sandbox = Sandbox::new();
    sandbox.set("KORA_AUDIT_LOG_PATH", "/dev/full");
    sandbox
        .command(&format!("raise {WAKE}"))
        .exits(1)
        .warns("not a regular file");
}

#[test]
fn neither_a_home_nor_a_readable_env_file_is_needed_where_the_log_is_named() {
    let sandbox = Sandbox::bare();
    let file = sandbox.give("home/.config/probe-wake/env", "x");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    sandbox
        .command(&format!("raise {WAKE}"))
        .exits(2)
        .warns("can be written by others");
    let line = format!("raise {WAKE} --audit-log kora_audit_log.jsonl");
    sandbox.command(&line).exits(0).silent();
    sandbox.unset("HOME");
    sandbox.command(&line).exits(0).silent();
    assert_eq!(rows(&sandbox).len(), 2);
}

#[test]
fn a_wake_becomes_a_message() {
    let world = World::new();
    world.run().exits(0);
    world.command(&format!("raise {WAKE}")).exits(0).silent();
    world.run().exits(0).silent();
    assert!(world.slack.texts()[0].starts_with("🚨 Probe alert · nginx\n"));
}

#[test]
fn a_paced_run_begins_no_sooner_than_that_after_the_one_before() {
    let world = World::stamped().without_engine();
    world.slack.maybe();
    let begun = Instant::now();
    for _ in 0..3 {
        world.command("run --pace 1").exits(0).silent();
    }
    let elapsed = begun.elapsed();
    assert!((2..5).contains(&elapsed.as_secs()), "{elapsed:?}");
    // A last run in the future, before the clock was set back.
    let mut lock = fs::OpenOptions::new()
        .write(true)
        .open(world.state_dir().join("state.lock"))
        .unwrap();
    lock.write_all(b"{\"last_run\":\"2099-01-01T00:00:00Z\",\"begun\":\"2099-01-01T00:00:00Z\"}\n")
        .unwrap();
    let begun = Instant::now();
    world.command("run --pace 9").exits(0);
    world.command("run --dry-run --pace 9").exits(0);
    assert!(begun.elapsed() < Duration::from_secs(5));
}
