//! Section 9 of the contract: `history`, the table an operator reads on Monday morning.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{DEAD_URL, Engine, Sandbox, World, wake};

/// An outcome row of so many minutes ago.
fn outcome(probe: &str, minutes: i64, summary: &str) -> Value {
    let at = Timestamp::now() - SignedDuration::from_mins(minutes);
    json!({
        "emitted_at": at.to_string(), "seam": "probe.investigation_completed", "source": "reasoning",
        "caller_session_id": format!("probe:{probe}:service_unhealthy"),
        "details": {
            "probe": probe, "issue_category": "service_unhealthy", "severity": "critical",
            "model_used": "m", "input_tokens": 800, "output_tokens": 90, "investigation_duration_ms": 4_200,
            "investigation_summary_text": summary, "dm_status": "sent", "autofix_attempted": false,
        },
    })
}

/// A row that the engine writes for a tool it called, so many seconds before now.
fn tool_called(session: &str, tool: &str, seconds: i64) -> String {
    let at = Timestamp::now() - SignedDuration::from_secs(seconds);
    let row = json!({
        "emitted_at": at.to_string(), "seam": "reasoning.tool_called", "source": "reasoning",
        "caller_session_id": session,
        "details": {"tool": tool, "name": "also named", "arguments": {"limit": 5}, "ok": true, "input_tokens": 1.5},
    });
    format!("{row}\n")
}

/// A sandbox whose outcome rows are these.
fn told(rows: &[Value]) -> Sandbox {
    let sandbox = Sandbox::new();
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    sandbox.give("state/outcomes.jsonl", &text);
    sandbox
}

#[track_caller]
fn history(sandbox: &Sandbox, flags: &str) -> Vec<Value> {
    let told = sandbox
        .command(&format!("history --format json {flags}"))
        .exits(0);
    told.json()["investigations"].as_array().unwrap().clone()
}

#[track_caller]
fn probes(sandbox: &Sandbox, flags: &str) -> Vec<String> {
    let probe = |one: &Value| one["probe"].as_str().unwrap().to_owned();
    history(sandbox, flags).iter().map(probe).collect()
}

#[test]
fn without_a_dispatch_there_is_none() {
    let sandbox = Sandbox::new();
    sandbox
        .command("history")
        .exits(0)
        .prints("No investigations.\n");
    assert_eq!(history(&sandbox, ""), Vec::<Value>::new());
}

#[test]
fn each_dispatch_is_a_line_the_newest_last() {
    let world = World::stamped();
    world.engine.script([
        Engine::answer("First."),
        Engine::error("cost_ladder_halted"),
    ]);
    world.append([wake("fly"), wake("sentry")]);
    world.run().exits(0).warns("cost_ladder_halted");
    let told = world.command("history").exits(0);
    let lines: Vec<_> = told.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", told.stdout);
    assert!(lines[0].starts_with("WHEN (UTC)") && lines[0].ends_with("DIAGNOSIS"));
    assert!(
        lines[1].contains("fly") && lines[1].ends_with("First."),
        "{}",
        lines[1]
    );
    assert!(lines[2].ends_with("(cost_ladder_halted)"), "{}", lines[2]);
    let investigations = history(&world, "");
    assert_eq!(investigations[0]["input_tokens"], 812);
    assert_eq!(investigations[1]["error"], "cost_ladder_halted");
}

#[test]
fn since_takes_lengths_days_and_times() {
    let sandbox = told(&[outcome("old", 3 * 24 * 60, ""), outcome("new", 90, "")]);
    let day = (Timestamp::now() - SignedDuration::from_hours(48)).to_string();
    for (since, expected) in [
        ("7d", vec!["old", "new"]),
        ("1w", vec!["old", "new"]),
        ("24h", vec!["new"]),
        ("100m", vec!["new"]),
        ("10m", vec![]),
        ("2020-01-31", vec!["old", "new"]),
        (day.as_str(), vec!["new"]),
        (&day[..10], vec!["new"]),
    ] {
        assert_eq!(
            probes(&sandbox, &format!("--since {since}")),
            expected,
            "{since}"
        );
    }
    for wrong in ["yesterday", "24", "-1h", "1y", "h"] {
        sandbox
            .command(&format!("history --since={wrong}"))
            .exits(2)
            .warns("--since")
            .warns("24h");
    }
}

#[test]
fn one_probe_can_be_picked() {
    let sandbox = told(&[
        outcome("fly", 3, ""),
        outcome("sentry", 2, ""),
        outcome("fly", 1, ""),
    ]);
    assert_eq!(probes(&sandbox, "--probe fly"), ["fly", "fly"]);
    assert_eq!(probes(&sandbox, "--probe fl"), Vec::<String>::new());
}

#[test]
fn a_tool_is_joined_by_the_caller_session_to_the_investigation_nearest_in_time() {
    let sandbox = told(&[outcome("fly", 60, "Before."), outcome("fly", 0, "Now.")]);
    let session = "probe:fly:service_unhealthy";
    sandbox.append_raw(tool_called(session, "hours_before", 7_000));
    sandbox.append_raw(tool_called(session, "fly_status", 3));
    sandbox.append_raw("{\"torn\": \"reasoning.tool_called\n");
    sandbox.append_raw(tool_called(session, "fly_logs", 2));
    sandbox.append_raw(tool_called(
        "probe:sentry:service_unhealthy",
        "sentry_issues",
        2,
    ));
    let investigations = history(&sandbox, "");
    assert_eq!(investigations[0]["tools"], json!(["hours_before"]));
    assert_eq!(
        investigations[1]["tools"],
        json!(["fly_status", "fly_logs"])
    );
}

#[test]
fn a_tool_row_that_only_python_can_write_is_joined() {
    let sandbox = told(&[outcome("fly", 0, "Now.")]);
    let session = "probe:fly:service_unhealthy";
    for (tool, limit) in [
        ("nan", "NaN"),
        ("surrogate", "\"\\ud83d\""),
        ("huge", "1e999"),
    ] {
        let row =
            tool_called(session, tool, 1).replace("\"limit\":5", &format!("\"limit\":{limit}"));
        sandbox.append_raw(row);
    }
    let tools = &history(&sandbox, "")[0]["tools"];
    assert_eq!(tools, &json!(["nan", "surrogate", "huge"]));
}

#[test]
fn a_dm_that_a_later_run_delivered_says_so() {
    let world = World::stamped();
    world.reach_slack_at(DEAD_URL);
    world.append([wake("fly"), wake("sentry")]);
    world.run().exits(3);
    world.command("history").exits(0).prints("not sent");
    assert_eq!(history(&world, "")[0]["delivered_at"], Value::Null);
    world.reach_slack_at(world.slack.base());
    world.run().exits(0);
    world
        .command("history")
        .exits(0)
        .hides("not sent")
        .prints("  sent ");
    for one in history(&world, "") {
        assert!(one["delivered_at"].is_string(), "{one}");
    }
}

#[test]
fn what_was_turned_over_is_still_told() {
    let sandbox = told(&[outcome("new", 1, "")]);
    sandbox.give(
        "state/outcomes.jsonl.1",
        &format!("{}\n", outcome("old", 9, "")),
    );
    assert_eq!(probes(&sandbox, ""), ["old", "new"]);
}

#[test]
fn the_outcome_log_may_be_the_audit_log() {
    let world = World::stamped();
    world.set("KORA_PROBE_OUTCOME_LOG", world.log());
    world.append([wake("fly"), wake("sentry")]);
    world.run().exits(0).silent();
    assert_eq!(probes(&world, ""), ["fly", "sentry"]);
}

#[test]
fn torn_and_foreign_lines_are_passed_over() {
    let sandbox = told(&[outcome("fly", 3, "")]);
    let file = sandbox.state_dir().join("outcomes.jsonl");
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend(
        b"{\"seam\":\"probe.investigation_compl\n\xff\xfe\n[]\n\n{\"seam\":\"probe.else\"}\n",
    );
    let mut odd = outcome("odd", 2, "");
    odd["details"]["input_tokens"] = json!("many");
    odd["details"]["severity"] = json!(3);
    bytes.extend(format!("{odd}\n{}", outcome("last", 1, "")).into_bytes());
    fs::write(&file, bytes).unwrap();
    assert_eq!(probes(&sandbox, ""), ["fly", "odd", "last"]);
}

#[test]
fn the_table_fits_the_terminal_and_keeps_the_diagnosis() {
    let mut long = outcome(
        "a-probe-with-a-name-far-too-long-for-any-table",
        1,
        &"word ".repeat(200),
    );
    long["details"]["issue_category"] = json!("a_category_that_is_as_long_as_the_probe_is");
    let sandbox = told(&[outcome("fly", 2, "The token was revoked."), long]);
    for columns in [60, 80, 100, 132, 200] {
        let seen = sandbox.at_terminal(columns, "history");
        for line in seen.lines() {
            let plain = line.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
            let length = plain.trim_end_matches('\r').chars().count();
            assert!(
                length <= usize::from(columns),
                "{length} of {columns}: {plain}"
            );
        }
        assert_eq!(
            seen.contains("The token"),
            columns >= 100,
            "{columns}:\n{seen}"
        );
        assert_eq!(
            seen.contains("TOKENS"),
            columns >= 200,
            "{columns}:\n{seen}"
        );
    }
    let ordinary = told(&[outcome("fly", 2, "The token was revoked.")]);
    let seen = ordinary.at_terminal(80, "history");
    assert!(seen.contains("The token was revoked."), "{seen}");
    let piped = ordinary.command("history").exits(0);
    assert!(piped.stdout.contains("TOKENS") && !piped.stdout.contains('\u{1b}'));
}

#[test]
fn a_hostile_diagnosis_stays_on_its_line() {
    let sandbox = told(&[outcome(
        "fly",
        1,
        "one\ntwo\u{1b}[2J\u{202e}\tthree\r\u{9b}",
    )]);
    let told = sandbox.command("history").exits(0);
    assert_eq!(told.stdout.lines().count(), 2, "{:?}", told.stdout);
    let steering = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!told.stdout.contains(steering), "{:?}", told.stdout);
}
