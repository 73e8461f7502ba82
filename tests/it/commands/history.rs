//! Section 9 of the contract: `history`, the past investigations as a table, as JSON and by session.

use std::fs;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{
    DEAD_URL, Engine, Reply, SLACK_TOKEN, Sandbox, World, column, outcome_row, wake,
};

/// An outcome row of so many minutes ago.
fn outcome(probe: &str, minutes: i64, summary: &str) -> Value {
    outcome_row(
        probe,
        minutes,
        &json!({"investigation_summary_text": summary}),
    )
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
fn probes(sandbox: &Sandbox, flags: &str) -> Vec<Value> {
    column(history(sandbox, flags), "/probe")
}

/// Each tool of an investigation with its status and what went wrong.
fn tools(investigation: &Value) -> Vec<String> {
    let tools = investigation["tools"].as_array().unwrap().iter();
    let told = |tool: &Value| {
        let text = |field: &str| tool[field].to_string().replace('"', "");
        ["tool", "status", "exception"].map(text).join(" ")
    };
    tools.map(told).collect()
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
    assert_eq!(lines.len(), 4, "{}", told.stdout);
    assert!(lines[0].starts_with("WHEN (UTC)") && lines[0].ends_with("DIAGNOSIS"));
    let totals = "Total: 2 wakes, 2 dispatched, 0 held back, 1 failed, 908 tokens, cost not named";
    assert_eq!(lines[3], totals);
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
    assert_eq!(probes(&sandbox, "--probe fl"), Vec::<Value>::new());
}

#[test]
fn a_tool_is_joined_by_the_caller_session_to_the_investigation_nearest_in_time() {
    let sandbox = told(&[outcome("fly", 60, "Before."), outcome("fly", 0, "Now.")]);
    sandbox.append_raw(tool_called(FLY, "hours_before", 7_000));
    sandbox.append_raw(tool_called(FLY, "fly_status", 3));
    sandbox.append_raw("{\"torn\": \"reasoning.tool_called\n");
    sandbox.append_raw(tool_called(FLY, "fly_logs", 2));
    sandbox.append_raw(tool_called(
        "probe:sentry:service_unhealthy",
        "sentry_issues",
        2,
    ));
    let investigations = history(&sandbox, "");
    assert_eq!(tools(&investigations[0]), ["hours_before ok null"]);
    assert_eq!(
        tools(&investigations[1]),
        ["fly_status ok null", "fly_logs ok null"]
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
    let told = tools(&history(&sandbox, "")[0]);
    assert_eq!(told, ["nan ok null", "surrogate ok null", "huge ok null"]);
}

#[test]
fn a_dm_that_a_later_run_delivered_says_so() {
    let world = World::stamped();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly"), wake("sentry")]).exits(3);
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
    world.raise([wake("fly"), wake("sentry")]).exits(0).silent();
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

/// What a terminal of this width shows, without colours.
fn seen(sandbox: &Sandbox, columns: u16, command: &str) -> Vec<String> {
    let seen = sandbox.at_terminal(columns, command);
    let plain = seen.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
    let lines = plain.lines().map(|line| line.trim_end().to_owned());
    lines.collect()
}

/// The letters and digits alone, so that a wrapped text can be found.
fn letters(lines: &[String]) -> String {
    let text: String = lines.concat();
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Investigations with long names and texts, a failure and a tool that failed.
fn wide() -> Sandbox {
    let name = "a-probe-with-a-name-far-too-long-for-any-table";
    let long = json!({
        "issue_category": "a_category_that_is_as_long_as_the_probe_is", "severity": "fatal",
        "investigation_summary_text": "word ".repeat(200),
    });
    let failed = json!({
        "reasoning_error": "sdk_auth", "reasoning_error_message": "Incorrect API key provided",
    });
    let sandbox = told(&[
        outcome("fly", 3, "The token was revoked."),
        outcome_row("fly", 2, &failed),
        outcome_row(name, 1, &long),
    ]);
    sandbox.append_raw(kora_tool(FLY, "fly_logs", "execution_error", "HTTPError"));
    sandbox
}

#[test]
fn the_table_wraps_at_the_terminal_and_drops_nothing() {
    let sandbox = wide();
    for columns in [60, 80, 100, 132, 200] {
        let seen = seen(&sandbox, columns, "history");
        let fits = |line: &String| line.chars().count() <= usize::from(columns);
        assert!(seen.iter().all(fits), "{columns}: {seen:#?}");
        let all = letters(&seen);
        assert_eq!(all.matches("word").count(), 200, "{columns}");
        for text in [
            "critical",
            "fatal",
            "Thetokenwasrevoked",
            "sdkauthIncorrectAPIkeyprovided",
            "80090",
            "HTTPError",
        ] {
            assert!(all.contains(text), "{text} at {columns}: {seen:#?}");
        }
    }
    let piped = sandbox.command("history").exits(0);
    assert_eq!(piped.stdout.lines().count(), 5, "a line each, when piped");
    let piped = piped.prints("TOKENS").hides("\u{1b}");
    piped.prints("fly_logs execution_error (HTTPError)");
}

#[test]
fn the_totals_fit_the_terminal_and_are_whole() {
    let long = json!({"input_tokens": 123_456_789});
    let sandbox = told(&[outcome_row("fly", 1, &long)]);
    for command in ["history", "history --session probe:fly:service_unhealthy"] {
        let seen = seen(&sandbox, 80, command);
        let totals = seen.iter().position(|line| line.starts_with("Total:"));
        let totals = &seen[totals.unwrap()..];
        assert!(totals.iter().all(|line| line.chars().count() <= 80));
        let whole = "Total: 1 wake, 1 dispatched, 0 held back, 0 failed, 123456879 tokens, cost not named [exit 0]";
        assert_eq!(totals.join(" "), whole, "{command}");
    }
}

#[test]
fn a_hostile_diagnosis_stays_on_its_line() {
    let sandbox = told(&[outcome(
        "fly",
        1,
        "one\ntwo\u{1b}[2J\u{202e}\tthree\r\u{9b}",
    )]);
    let told = sandbox.command("history").exits(0);
    assert_eq!(told.stdout.lines().count(), 3, "{:?}", told.stdout);
    let steering = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!told.stdout.contains(steering), "{:?}", told.stdout);
    let session = "history --session probe:fly:service_unhealthy";
    let told = sandbox.command(session).exits(0).prints("three");
    assert!(
        !told.stdout.contains(|c| steering(c) && c != '\t'),
        "{:?}",
        told.stdout
    );
}

/// A row that Kora's engine writes for a tool that failed, now.
fn kora_tool(session: &str, tool: &str, status: &str, exception: &str) -> String {
    let row = json!({
        "emitted_at": Timestamp::now().to_string(), "seam": "reasoning.tool_called", "source": "reasoning",
        "caller_session_id": session,
        "details": {"tool_name": tool, "tool_status": status, "exc_type": exception, "tool_duration_ms": 12},
    });
    format!("{row}\n")
}

#[test]
fn failed_ones_come_first_where_that_is_asked_for() {
    let engine =
        json!({"reasoning_error": "sdk_timeout", "dm_status": "engine_unavailable_fallback"});
    let engine = outcome_row("engine", 50, &engine);
    let slack = outcome_row("slack", 40, &json!({"dm_status": "failed_send"}));
    let well = |probe, minutes| outcome(probe, minutes, "Found.");
    let sandbox = told(&[
        engine,
        slack,
        well("tool", 30),
        well("well", 20),
        well("new", 10),
    ]);
    let session = "probe:tool:service_unhealthy";
    let row = kora_tool(session, "fly_logs", "execution_error", "HTTPError");
    sandbox.append_raw(tool_called(session, "fly_status", 3));
    sandbox.append_raw(row);
    assert_eq!(
        probes(&sandbox, "--failed"),
        ["engine", "slack", "tool", "well", "new"]
    );
    assert_eq!(probes(&sandbox, "--failed --limit 1"), ["slack"]);
    assert_eq!(
        probes(&sandbox, "--failed --limit 4"),
        ["engine", "slack", "tool", "new"]
    );
    let found = history(&sandbox, "--failed");
    assert_eq!(
        tools(&found[2]),
        ["fly_logs execution_error HTTPError", "fly_status ok null"]
    );
    let failed = column(found, "/failed");
    assert_eq!(failed, [true, true, false, false, false]);
}

#[test]
fn the_newest_are_listed_where_there_is_a_limit_and_all_are_counted() {
    let sandbox = told(&[
        outcome("a", 3, ""),
        outcome("b", 2, ""),
        outcome("c", 1, ""),
    ]);
    assert_eq!(probes(&sandbox, "--limit 2"), ["b", "c"]);
    assert_eq!(probes(&sandbox, "--limit 9"), ["a", "b", "c"]);
    let told = sandbox
        .command("history --format json --limit 1")
        .exits(0)
        .json();
    assert_eq!(told["totals"]["dispatched"], 3);
    for wrong in ["0", "-1", "many"] {
        sandbox
            .command(&format!("history --limit={wrong}"))
            .exits(2);
    }
}

#[test]
fn totals_count_wakes_and_what_became_of_them() {
    let world = World::stamped();
    let priced =
        json!({"text": "Down.", "input_tokens": 100, "output_tokens": 20, "total_cost_usd": 0.25});
    world
        .engine
        .script([Reply::json(200, &priced), Engine::error("sdk_auth")]);
    world.append([wake("fly"), wake("fly"), wake("sentry"), wake("fly")]);
    world.run().exits(0);
    let told = world.command("history --format json").exits(0).json();
    let expected = json!({
        "wakes": 4, "dispatched": 2, "held_back": 2, "failed": 1, "tokens": 120, "cost": 0.25,
    });
    assert_eq!(told["totals"], expected);
    let pairs = told["pairs"].as_array().unwrap();
    let counted = pairs.iter().map(|pair| {
        let number = |field: &str| pair[field].as_u64().unwrap();
        (
            pair["probe"].as_str().unwrap(),
            number("dispatched"),
            number("held_back"),
        )
    });
    assert_eq!(
        counted.collect::<Vec<_>>(),
        [("fly", 1, 2), ("sentry", 1, 0)]
    );
    // No run has read this one yet.
    world.append([wake("vercel")]);
    let told = world.command("history --format json").exits(0).json();
    assert_eq!(
        (&told["totals"]["wakes"], &told["totals"]["dispatched"]),
        (&json!(5), &json!(2))
    );
    let told = world
        .command("history --format json --probe sentry")
        .exits(0)
        .json();
    assert_eq!(told["totals"]["wakes"], 1);
}

/// Kora's daemon has looked just now.
fn snapshot(sandbox: &Sandbox, health: &Value) {
    let at = Timestamp::now().to_string();
    let text = json!({"computed_at": at, "service_health": health}).to_string();
    sandbox.give("cache/daemon_snapshot.json", &text);
}

#[test]
fn each_pairs_state_now_is_what_the_snapshot_says() {
    let sandbox =
        told(&["fly", "vercel", "neon", "sentry", "odd"].map(|probe| outcome(probe, 5, "")));
    let resolutions = |sandbox: &Sandbox| {
        let told = sandbox.command("history --format json").exits(0).json();
        let of = |list: &str| {
            let list = told[list].as_array().unwrap().iter();
            let pairs = list.map(|one| {
                let text = |field: &str| one[field].as_str().unwrap().to_owned();
                (text("probe"), text("resolution"))
            });
            pairs.collect::<std::collections::BTreeMap<_, _>>()
        };
        assert_eq!(of("investigations"), of("pairs"));
        of("pairs").into_values().collect::<Vec<_>>().join(" ")
    };
    let health = json!({
        "fly": "healthy", "vercel": "unhealthy", "neon": "degraded", "sentry": "unknown",
    });
    snapshot(&sandbox, &health);
    // In the order of the names: fly, neon, odd, sentry, vercel.
    assert_eq!(
        resolutions(&sandbox),
        "resolved active unknown unknown active"
    );
    let told = sandbox.command("history").exits(0);
    let line = told.stdout.lines().find(|line| line.contains("vercel"));
    assert!(line.unwrap().contains("  active  "), "{}", told.stdout);
    // A wake from after the snapshot.
    sandbox.append([wake("fly"), wake("vercel")]);
    assert_eq!(
        resolutions(&sandbox),
        "unknown active unknown unknown active"
    );
    let stale = json!({"computed_at": (Timestamp::now() - SignedDuration::from_mins(11)).to_string(), "service_health": health});
    sandbox.give("cache/daemon_snapshot.json", &stale.to_string());
    assert_eq!(
        resolutions(&sandbox),
        "unknown unknown unknown unknown unknown"
    );
}

#[test]
fn notes_of_a_row_are_shown() {
    let first = json!({
        "reasoning_error": "rate_limit_error", "reasoning_error_message": "Too many requests",
        "facts_first": true,
    });
    let first = outcome_row("fly", 20, &first);
    let late = outcome_row("fly", 10, &json!({"late_diagnosis": true}));
    let digest = json!({"digest_size": 12, "digest_session": "probe:digest:12"});
    let digest = outcome_row("neon", 5, &digest);
    let sandbox = told(&[first, late, digest]);
    sandbox.append_raw(tool_called("probe:digest:12", "status_page", 299));
    sandbox
        .command("history")
        .exits(0)
        .prints("(rate_limit_error: Too many requests)")
        .prints("sent, facts first")
        .prints("sent, late diagnosis")
        .prints("sent, digest of 12");
    let found = history(&sandbox, "");
    assert_eq!(found[0]["reasoning_error_message"], "Too many requests");
    assert_eq!(found[0]["facts_first"], true);
    assert_eq!(found[1]["late_diagnosis"], true);
    assert_eq!(
        (&found[2]["digest_size"], &found[2]["digest_session"]),
        (&json!(12), &json!("probe:digest:12"))
    );
    assert_eq!(tools(&found[2]), ["status_page ok null"]);
    let told = sandbox.command("history --format json").exits(0).json();
    assert_eq!(
        told["totals"]["dispatched"], 2,
        "a late diagnosis is no dispatch"
    );
}

#[test]
fn a_fix_that_kora_noted_later_is_seen() {
    let sandbox = told(&[outcome("fly", 10, "Before."), outcome("fly", 0, "Now.")]);
    let at = Timestamp::now() - SignedDuration::from_secs(2);
    let row = json!({
        "emitted_at": at.to_string(), "seam": "tool.probe_autofix_attempted", "source": "reasoning",
        "caller_session_id": "probe:fly:service_unhealthy", "details": {"action": "restart", "status": "attempted"},
    });
    sandbox.append_raw(format!("{row}\n"));
    let found = history(&sandbox, "");
    let tried = column(found, "/autofix_attempted");
    assert_eq!(tried, [false, true]);
    let text = sandbox.command("history");
    text.exits(0).prints("sent, fix attempted");
}

const FLY: &str = "probe:fly:service_unhealthy";

/// A world in which fly's session has two wakes, two tools and this diagnosis, and sentry has one, too.
fn with_a_session(diagnosis: &str) -> World {
    let world = World::stamped();
    world.engine.script([Engine::answer(diagnosis).held()]);
    world.append([
        wake("fly").set("detail", "All of the detail."),
        wake("sentry"),
    ]);
    let run = world.start("run");
    world.engine.wait_for(1);
    world.append_raw(tool_called(FLY, "fly_status", 0));
    world.append_raw(kora_tool(FLY, "fly_logs", "execution_error", "HTTPError"));
    world.append([wake("fly").set("title", "Again.")]);
    world.engine.release();
    run.finish().exits(0);
    world.run().exits(0);
    world
}

#[test]
fn a_session_is_told_in_the_order_of_time() {
    let world = with_a_session("Found.");
    let told = world.command(&format!("history --session {FLY} --format json"));
    let told = told.exits(0).json();
    let events = told["events"].as_array().unwrap();
    let kind = |event: &Value| {
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        text("kind") + ": " + &text("what")
    };
    let kinds: Vec<_> = events.iter().map(kind).collect();
    assert_eq!(kinds[0], "wake: critical, dispatched");
    assert_eq!(kinds[1], "question: about this wake");
    for middle in [
        "tool: fly_status ok",
        "tool: fly_logs execution_error (HTTPError)",
        "wake: critical, held back",
    ] {
        assert!(kinds[2..5].contains(&middle.to_owned()), "{kinds:?}");
    }
    assert!(
        kinds[5].starts_with("answer: claude-haiku-4-5, "),
        "{kinds:?}"
    );
    assert_eq!(kinds[6..], ["dm: sent"]);
    assert_eq!(events[5]["text"], "Found.");
    assert_eq!(told["totals"]["wakes"], 2);
    assert_eq!(told["investigations"].as_array().unwrap().len(), 1);
}

#[test]
fn a_session_is_told_in_full() {
    let diagnosis = "Line one of the diagnosis.\nLine two: ".to_owned() + &"long ".repeat(60);
    let world = with_a_session(&diagnosis);
    let mut told = world.command(&format!("history --session {FLY}")).exits(0);
    for part in [
        "All of the detail.",
        "Again.",
        &("    ".to_owned() + diagnosis.trim().replace('\n', "\n    ").as_str()),
        "limit",
        "Total: 2 wakes, 1 dispatched, 1 held back, 0 failed",
    ] {
        told = told.prints(part);
    }
    told.hides("sentry");
    let nobody = world.command("history --session probe:nobody:x");
    nobody.exits(0).prints("No such session.");
}

#[test]
fn a_session_tells_of_dms_that_were_not_delivered() {
    let world = World::stamped();
    world.queue([wake("fly")]);
    let session = "history --session probe:fly:service_unhealthy";
    world
        .command(session)
        .exits(0)
        .prints("dm        not sent")
        .prints("dm        queued");
    world.shift_state(-1);
    world.set("KORA_PROBE_OUTBOX_TTL_SECONDS", "60");
    world.run().exits(3);
    world
        .command(session)
        .exits(0)
        .prints("dm        given up: expired")
        .prints("Probe alert · fly");
    world.slack.maybe();
}

#[test]
fn wakes_and_tools_of_rotated_logs_are_told() {
    let world = World::stamped();
    world.raise([wake("fly"), wake("fly")]).exits(0).silent();
    world.append_raw(tool_called("probe:fly:service_unhealthy", "fly_status", 0));
    let rotated = world.path("kora_audit_log.jsonl.1");
    fs::rename(world.log(), &rotated).unwrap();
    fs::copy(&rotated, world.path("kora_audit_log.jsonl.copy")).unwrap();
    world.raise([wake("fly")]).exits(0).silent();
    let told = world.command("history --format json").exits(0).json();
    assert_eq!(
        (&told["totals"]["wakes"], &told["totals"]["held_back"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(tools(&told["investigations"][0]), ["fly_status ok null"]);
    // The log is missing for now.
    fs::remove_file(world.log()).unwrap();
    let told = world.command("history --format json").exits(0).json();
    assert_eq!(told["totals"]["wakes"], 2);
}

#[test]
fn it_does_not_wait_for_a_pipe() {
    let sandbox = told(&[outcome("fly", 1, "")]);
    let fifo = |path: &std::path::Path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    fifo(&sandbox.log());
    sandbox
        .command("history")
        .exits(1)
        .warns("kora_audit_log.jsonl")
        .warns("regular file");
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
    let sandbox = told(&[outcome(
        "fly",
        0,
        &format!("The token {SLACK_TOKEN} is wrong."),
    )]);
    sandbox.set("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN);
    let row = wake("fly").set("detail", format!("bearer {SLACK_TOKEN}"));
    // The sandbox searches its files for tokens, except in this folder.
    let log = sandbox.give("given/log.jsonl", &(row.line() + "\n"));
    sandbox.set("KORA_AUDIT_LOG_PATH", log);
    let outcomes = sandbox.state_dir().join("outcomes.jsonl");
    let named = sandbox.path("given/outcomes.jsonl");
    fs::rename(outcomes, &named).unwrap();
    sandbox.set("KORA_PROBE_OUTCOME_LOG", named);
    for flags in [
        "",
        "--format json",
        "--format html",
        "--session probe:fly:service_unhealthy",
    ] {
        sandbox
            .command(&format!("history {flags}"))
            .exits(0)
            .prints("[masked]");
    }
}
