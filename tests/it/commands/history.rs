//! `history`: what was dispatched, by incident, as JSON and by session.

use std::fs;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{Engine, SLACK_TOKEN, Sandbox, World, column, outcome_row, wake};

const FLY: &str = "probe:fly:service_unhealthy";

/// An outcome row of so many minutes ago.
fn outcome(probe: &str, minutes: i64, summary: &str) -> Value {
    outcome_row(
        probe,
        minutes,
        &json!({"investigation_summary_text": summary}),
    )
}

fn minutes_ago(minutes: i64) -> String {
    (Timestamp::now() - SignedDuration::from_mins(minutes)).to_string()
}

/// A row that an engine writes for a tool that it called, so many seconds before now.
fn tool_called(session: &str, seconds: i64, details: &Value) -> String {
    let at = Timestamp::now() - SignedDuration::from_secs(seconds);
    let row = json!({
        "emitted_at": at.to_string(), "seam": "reasoning.tool_called", "source": "reasoning",
        "caller_session_id": session, "details": details,
    });
    format!("{row}\n")
}

fn failed_tool() -> Value {
    json!({"tool_name": "fly_logs", "tool_status": "execution_error", "exc_type": "HTTPError"})
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// A sandbox whose outcome rows are these.
fn with_rows(rows: &[Value]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.give("state/outcomes.jsonl", &lines(rows));
    sandbox
}

#[track_caller]
fn json_of(sandbox: &Sandbox, flags: &str) -> Value {
    let command = format!("history --format json {flags}");
    sandbox.command(&command).exits(0).json()
}

#[track_caller]
fn probes(sandbox: &Sandbox, flags: &str) -> Vec<Value> {
    column(json_of(sandbox, flags)["investigations"].clone(), "/probe")
}

#[test]
fn without_a_dispatch_there_is_none() {
    let sandbox = Sandbox::new();
    let text = sandbox.command("history").exits(0).stdout;
    assert_eq!(text, "Nothing to show.\n");
    assert_eq!(probes(&sandbox, ""), Vec::<Value>::new());
}

#[test]
fn each_incident_is_a_block_the_newest_last() {
    let two_lines = "The token was revoked.\n\nIssue a new one.";
    let began = minutes_ago(61);
    let again = json!({
        "investigation_summary_text": two_lines, "held_back": {"repeat": 3}, "total_cost_usd": 0.25,
        "first_wake_at": began,
    });
    let failed = json!({
        "reasoning_error": "sdk_timeout", "reasoning_error_message": "no answer", "title": "Down",
        "dm_status": "engine_unavailable_failed_send", "severity": "warning",
    });
    let recovery = json!({
        "emitted_at": minutes_ago(30), "seam": "probe.recovery_told", "caller_session_id": FLY,
        "details": {
            "id": "fly-60", "probe": "fly", "issue_category": "service_unhealthy",
            "healthy_at": minutes_ago(31), "first_wake_at": began,
        },
    });
    let first = json!({"first_wake_at": began});
    let sandbox = with_rows(&[
        outcome_row("fly", 60, &first),
        outcome_row("fly", 40, &again),
        recovery,
        outcome_row("vercel", 20, &failed),
    ]);
    sandbox.append_raw(tool_called(
        "probe:vercel:service_unhealthy",
        20 * 60 + 2,
        &failed_tool(),
    ));
    let text = sandbox.command("history").exits(0).stdout;
    let blocks: Vec<Vec<&str>> = text
        .split("\n\n")
        .map(|block| block.lines().collect())
        .collect();
    assert!(
        blocks[0][0].starts_with("fly:service_unhealthy (critical), "),
        "{text}"
    );
    assert!(blocks[0][0].ends_with(" UTC (30 min), recovered"), "{text}");
    assert_eq!(
        blocks[0][1..],
        [
            "  fly unreachable: HTTP 401",
            "  5 wakes (3 repeats held back), 2 messages",
            "  The token was revoked.",
            "  Issue a new one.",
        ]
    );
    assert!(
        blocks[1][0].starts_with("vercel:service_unhealthy (warning), "),
        "{text}"
    );
    assert_eq!(
        blocks[1][1..],
        [
            "  Down",
            "  1 wake, 0 messages",
            "  No diagnosis: sdk_timeout: no answer",
            "  1 message not delivered",
            "  Tools that failed: fly_logs execution_error (HTTPError)",
        ]
    );
    let totals =
        "Total: 6 wakes, 3 dispatched, 3 held back (3 repeats), 1 failed, 2670 tokens, $0.2500";
    assert_eq!(blocks[2], [totals]);
    assert_eq!(blocks.len(), 3);
}

#[test]
fn as_json_there_are_investigations_incidents_and_totals() {
    let held = json!({"held_back": {"repeat": 2, "silenced": 1}});
    let sandbox = with_rows(&[outcome_row("fly", 9, &held)]);
    let found = json_of(&sandbox, "");
    let one = &found["investigations"][0];
    assert_eq!(
        (&one["id"], &one["title"]),
        (&json!("fly-9"), &json!("fly unreachable: HTTP 401"))
    );
    assert!(
        one["raised_at"].is_string() && one["resolution"] == "unknown",
        "{one}"
    );
    let incident = &found["incidents"][0];
    for (field, expected) in [
        ("probe", json!("fly")),
        ("category", json!("service_unhealthy")),
        ("title", json!("fly unreachable: HTTP 401")),
        ("wakes", json!(4)),
        ("messages", json!(1)),
        ("diagnosis", json!("The token was revoked.")),
        ("resolution", json!("unknown")),
        (
            "held_back",
            json!({"repeat": 2, "buffered": 0, "silenced": 1, "acknowledged": 0}),
        ),
    ] {
        assert_eq!(incident[field], expected, "{field}");
    }
    let totals = json!({"wakes": 4, "dispatched": 1, "held_back": 3, "failed": 0, "tokens": 890, "cost": null});
    assert_eq!(found["totals"], totals);
}

#[test]
fn what_a_run_did_is_listed() {
    let world = World::stamped();
    world.engine.script([
        Engine::answer("First."),
        Engine::error("cost_ladder_halted"),
    ]);
    world.append([wake("fly"), wake("sentry")]);
    world.run().exits(0).warns("cost_ladder_halted");
    let text = world.command("history").exits(0).prints("First.");
    text.prints("No diagnosis: cost_ladder_halted")
        .prints("Total: 2 wakes, 2 dispatched");
    let errors = column(json_of(&world, "")["investigations"].clone(), "/error");
    assert_eq!(errors, [Value::Null, json!("cost_ladder_halted")]);
}

#[test]
fn flags_pick_what_is_listed() {
    let failed =
        json!({"reasoning_error": "sdk_timeout", "dm_status": "engine_unavailable_fallback"});
    let sandbox = with_rows(&[
        outcome("old", 3 * 24 * 60, ""),
        outcome_row("failed", 90, &failed),
        outcome("new", 5, ""),
    ]);
    for (flags, expected) in [
        ("--since 7days", &["old", "failed", "new"][..]),
        ("--since 1h30m", &["new"]),
        ("--since yesterday", &["failed", "new"]),
        ("--since=2020-01-31T14:00", &["old", "failed", "new"]),
        ("--probe new", &["new"]),
        ("--probe ne", &[]),
        ("--failed", &["failed"]),
        ("--limit 2", &["failed", "new"]),
    ] {
        assert_eq!(probes(&sandbox, flags), expected, "{flags}");
    }
    assert_eq!(
        json_of(&sandbox, "--failed --limit 1")["totals"]["dispatched"],
        3
    );
    for wrong in ["24", "-1h", "1y", "soon"] {
        let refused = sandbox
            .command(&format!("history --since={wrong}"))
            .exits(2);
        refused.warns("--since").warns("1h30m").warns("yesterday");
    }
    for wrong in ["0", "-1", "many"] {
        sandbox
            .command(&format!("history --limit={wrong}"))
            .exits(2);
    }
}

#[test]
fn rows_of_all_outcome_logs_are_read_and_none_twice() {
    let old = outcome("old", 9, "");
    let mut without_id = outcome("without_id", 5, "");
    without_id["details"].as_object_mut().unwrap().remove("id");
    let sandbox = with_rows(&[old.clone(), without_id, outcome("new", 1, "")]);
    sandbox.give(
        "state/outcomes.jsonl.1",
        &lines(&[outcome("older", 20, ""), old]),
    );
    assert_eq!(probes(&sandbox, ""), ["older", "old", "without_id", "new"]);
    sandbox.set(
        "KORA_PROBE_OUTCOME_LOG",
        sandbox.state_dir().join("../state/outcomes.jsonl"),
    );
    assert_eq!(probes(&sandbox, ""), ["older", "old", "without_id", "new"]);
    let named = sandbox.give("given/named.jsonl", &lines(&[outcome("named", 7, "")]));
    sandbox.set("KORA_PROBE_OUTCOME_LOG", named);
    assert_eq!(
        probes(&sandbox, ""),
        ["older", "old", "named", "without_id", "new"]
    );
    // The audit log itself.
    sandbox.append([wake("fly")]);
    sandbox.append_raw(format!("{}\n", outcome("audit", 3, "")));
    sandbox.set("KORA_PROBE_OUTCOME_LOG", sandbox.log());
    assert_eq!(
        probes(&sandbox, ""),
        ["older", "old", "without_id", "audit", "new"]
    );
}

#[test]
fn torn_and_foreign_lines_are_passed_over() {
    let sandbox = with_rows(&[outcome("fly", 3, "")]);
    let file = sandbox.state_dir().join("outcomes.jsonl");
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend(
        b"{\"seam\":\"probe.investigation_compl\n\xff\xfe\n[]\n\n{\"seam\":\"probe.else\"}\n",
    );
    bytes.extend(outcome("last", 1, "").to_string().into_bytes());
    fs::write(&file, bytes).unwrap();
    assert_eq!(probes(&sandbox, ""), ["fly", "last"]);
}

#[test]
fn tools_are_read_from_the_audit_log_and_what_it_was_rotated_into() {
    let sandbox = with_rows(&[outcome("fly", 0, "Now.")]);
    sandbox.append_raw(tool_called(FLY, 3, &json!({"tool": "rotated", "ok": true})));
    let rotated = sandbox.path("kora_audit_log.jsonl.1");
    fs::rename(sandbox.log(), &rotated).unwrap();
    fs::copy(&rotated, sandbox.path("kora_audit_log.jsonl.copy")).unwrap();
    // As only Python writes it.
    let odd = tool_called(FLY, 2, &json!({"tool": "odd", "limit": 5}));
    sandbox.append_raw(odd.replace("\"limit\":5", "\"limit\":NaN,\"text\":\"\\ud83d\""));
    sandbox.append_raw("{\"torn\": \"reasoning.tool_called\n");
    let names = |sandbox: &Sandbox| {
        let tools = json_of(sandbox, "")["investigations"][0]["tools"].clone();
        column(tools, "/tool")
    };
    assert_eq!(names(&sandbox), ["rotated", "odd"]);
    // The log is missing for now.
    fs::remove_file(sandbox.log()).unwrap();
    assert_eq!(names(&sandbox), ["rotated"]);
}

#[test]
fn the_snapshot_says_what_is_well_now() {
    let sandbox = with_rows(&["fly", "vercel", "sentry"].map(|probe| outcome(probe, 5, "")));
    let health = json!({"fly": "healthy", "vercel": "unhealthy"});
    let snapshot = json!({"computed_at": minutes_ago(0), "service_health": health});
    sandbox.give("cache/daemon_snapshot.json", &snapshot.to_string());
    let found = json_of(&sandbox, "");
    for list in ["investigations", "incidents"] {
        let mut states = column(found[list].clone(), "/resolution");
        states.sort_by_key(Value::to_string);
        assert_eq!(states, ["active", "resolved", "unknown"], "{list}");
    }
    sandbox
        .command("history")
        .exits(0)
        .prints(", still bad\n")
        .prints(", healthy now\n");
}

/// What a terminal of this width shows, without colours.
fn seen(sandbox: &Sandbox, columns: u16, command: &str) -> Vec<String> {
    let seen = sandbox.at_terminal(columns, command);
    let plain = ["\u{1b}[1m", "\u{1b}[31m", "\u{1b}[0m"];
    let seen = plain
        .iter()
        .fold(seen, |seen, escape| seen.replace(escape, ""));
    seen.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[test]
fn blocks_wrap_at_the_terminal_and_nothing_is_dropped() {
    let name = "a-probe-with-a-name-far-too-long-for-any-terminal-of-sixty-columns";
    let long = json!({
        "issue_category": "a_category_that_is_as_long_as_the_probe_is", "severity": "fatal",
        "investigation_summary_text": "word ".repeat(200), "input_tokens": 123_456_789,
    });
    let sandbox = with_rows(&[outcome("fly", 3, "The token."), outcome_row(name, 1, &long)]);
    for columns in [60, 80, 200] {
        let seen = seen(&sandbox, columns, "history");
        let fits = |line: &String| line.chars().count() <= usize::from(columns);
        assert!(seen.iter().all(fits), "{columns}: {seen:#?}");
        let letters: String = seen
            .concat()
            .chars()
            .filter(|c| c.is_alphanumeric())
            .collect();
        assert_eq!(letters.matches("word").count(), 200, "{columns}");
        for text in ["fatal", "Thetoken", "123457769tokens"] {
            assert!(letters.contains(text), "{text} at {columns}: {seen:#?}");
        }
    }
    let piped = sandbox.command("history").exits(0).hides("\u{1b}");
    assert_eq!(piped.stdout.lines().count(), 11, "{}", piped.stdout);
}

#[test]
fn a_hostile_text_steers_no_terminal_and_begins_no_block() {
    let hostile = "one\ntwo\u{1b}[2J\u{202e}\tthree\r\u{9b}";
    let title = json!({"title": hostile, "investigation_summary_text": hostile});
    let sandbox = with_rows(&[outcome_row("fly", 1, &title)]);
    for command in ["history".to_owned(), format!("history --session {FLY}")] {
        let found = sandbox.command(&command).exits(0).prints("three");
        let steers = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}';
        assert!(!found.stdout.contains(steers), "{:?}", found.stdout);
        let flush = found
            .stdout
            .lines()
            .filter(|line| line.starts_with(['o', 't', '\t']));
        assert_eq!(flush.count(), 0, "{:?}", found.stdout);
    }
}

#[test]
fn a_session_is_shown_in_the_order_of_time_and_in_full() {
    let diagnosis = "Line one of the diagnosis.\nLine two: ".to_owned() + &"long ".repeat(60);
    let row = outcome_row(
        "fly",
        10,
        &json!({"investigation_summary_text": diagnosis, "dm_status": "failed_send"}),
    );
    let raised_at = row["details"]["raised_at"].clone();
    let delivered = json!({
        "emitted_at": minutes_ago(5), "seam": "probe.dm_delivered", "caller_session_id": FLY,
        "details": {"id": "fly-10", "probe": "fly", "issue_category": "service_unhealthy"},
    });
    let sandbox = with_rows(&[row, outcome("sentry", 8, ""), delivered]);
    sandbox.append([
        wake("fly")
            .at(raised_at)
            .set("detail", "All of the detail."),
        wake("sentry").minutes_ago(8),
        wake("fly").minutes_ago(3).set("title", "Again."),
    ]);
    sandbox.append_raw(tool_called(FLY, 10 * 60 + 2, &failed_tool()));
    let session = format!("--session {FLY}");
    let events = json_of(&sandbox, &session)["events"].clone();
    let found = events.as_array().unwrap().iter().map(|event| {
        let text = |field: &str| event[field].as_str().unwrap();
        format!("{}: {}", text("kind"), text("what"))
    });
    let expected = [
        "wake: critical",
        "question: about this wake",
        "tool: fly_logs execution_error (HTTPError)",
        "answer: m, 4.2 s",
        "dm: not sent",
        "dm: delivered",
        "wake: critical",
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let mut text = sandbox
        .command(&format!("history {session}"))
        .exits(0)
        .hides("sentry");
    let indented = format!("    {}", diagnosis.trim().replace('\n', "\n    "));
    for part in [
        "All of the detail.",
        "Again.",
        &indented,
        "exc_type: HTTPError",
        "Total: 1 wake, ",
    ] {
        text = text.prints(part);
    }
}

#[test]
fn a_session_that_is_not_known_names_those_that_are_close() {
    let sandbox = with_rows(&[outcome("fly", 3, ""), outcome("sentry", 3, "")]);
    for close in ["fly", "probe:fly", "probe:fly:service_unhealty"] {
        let found = sandbox
            .command(&format!("history --session {close}"))
            .exits(1);
        found
            .warns(&format!("no session '{close}'"))
            .warns(&format!("did you mean {FLY}"));
    }
    let far = sandbox
        .command("history --session nobody --format json")
        .exits(1);
    far.warns("no session 'nobody'").hides("did you mean");
}

#[test]
fn it_does_not_wait_for_a_pipe() {
    let sandbox = with_rows(&[outcome("fly", 1, "")]);
    let fifo = |path: &std::path::Path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    fifo(&sandbox.log());
    let refused = sandbox.command("history").exits(1);
    refused.warns("kora_audit_log.jsonl").warns("regular file");
    fs::remove_file(sandbox.log()).unwrap();
    fifo(&sandbox.path("outcomes"));
    sandbox.set("KORA_PROBE_OUTCOME_LOG", sandbox.path("outcomes"));
    sandbox
        .command("history")
        .exits(1)
        .warns("outcomes")
        .warns("regular file");
    sandbox.unset("KORA_PROBE_OUTCOME_LOG");
    fifo(&sandbox.path("snapshot"));
    sandbox.set("KORA_SNAPSHOT_PATH", sandbox.path("snapshot"));
    sandbox.command("history").exits(0);
}

#[test]
fn a_token_that_a_row_quotes_is_masked() {
    let sandbox = Sandbox::new();
    sandbox.set("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN);
    // The sandbox searches its files for tokens, except in this folder.
    let row = wake("fly").set("detail", format!("bearer {SLACK_TOKEN}"));
    sandbox.set(
        "KORA_AUDIT_LOG_PATH",
        sandbox.give("given/log.jsonl", &(row.line() + "\n")),
    );
    let quoted = lines(&[outcome(
        "fly",
        0,
        &format!("The token {SLACK_TOKEN} is wrong."),
    )]);
    sandbox.set(
        "KORA_PROBE_OUTCOME_LOG",
        sandbox.give("given/outcomes.jsonl", &quoted),
    );
    for flags in [
        "",
        "--format json",
        "--format html",
        &format!("--session {FLY}"),
    ] {
        sandbox
            .command(&format!("history {flags}"))
            .exits(0)
            .prints("[masked]");
    }
}
