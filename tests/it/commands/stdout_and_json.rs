//! `--to stdout`, the report's schema, and what the program never says.

use serde_json::{Value, json};

use crate::support::{DEAD_URL, Engine, World, column, plain, wake, without_times};

#[track_caller]
fn assert_keys(object: &Value, keys: &[&str]) {
    let mut keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
    keys.sort();
    let mut found: Vec<_> = object
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    found.sort();
    assert_eq!(found, keys);
}

#[test]
fn the_report_has_these_fields_and_no_others() {
    let world = World::stamped();
    world.append([wake("fly")]);
    let before = world.report(0)["position"]["after"].take();
    world.append_raw("\n");
    world.append([wake("sentry").at("2020-01-02T03:04:05.678901Z")]);
    let mut report = world.report(0);
    let wake = report["wakes"][0].take();
    let expected = json!({
        "version": 1, "audit_log": world.log(), "first_run": false, "dry_run": false,
        "position": {"before": before, "after": world.log_length(), "rotated": false, "gap": false},
        "rows": {"read": 2, "malformed": 0}, "left_for_next_run": 0, "wakes": [null],
        "outbox": {"delivered": 0, "pending": 0, "expired": 0}, "investigations": {"owed": 0},
    });
    assert_eq!(report, expected);
    assert_keys(
        &wake,
        &[
            "probe",
            "category",
            "severity",
            "emitted_at",
            "dispatched",
            "debounce_skipped",
            "buffered_skipped",
            "silenced",
            "reasoning_invoked",
            "dm_sent",
            "facts_first",
            "error",
            "caller_session_id",
            "dm_text",
        ],
    );
}

#[test]
fn a_wake_that_was_sent_is_reported_whole() {
    let world = World::stamped();
    world.append([wake("fly")]);
    let mut reported = world.report(0)["wakes"][0].take();
    assert!(reported["emitted_at"].take().is_string());
    let text = reported["dm_text"].take();
    assert_eq!(without_times(text.as_str().unwrap()), plain("fly"));
    let expected = json!({
        "probe": "fly", "category": "service_unhealthy", "severity": "critical", "emitted_at": null,
        "dispatched": true, "debounce_skipped": false, "buffered_skipped": false, "silenced": false,
        "reasoning_invoked": true,
        "dm_sent": true, "facts_first": false, "error": null, "caller_session_id": "probe:fly:service_unhealthy",
        "dm_text": null,
    });
    assert_eq!(reported, expected);
}

#[test]
fn a_wake_without_a_time_has_none_in_the_report() {
    let world = World::stamped();
    world.append([wake("fly").at(json!(null))]);
    assert_eq!(world.report(0)["wakes"][0]["emitted_at"], json!(null));
}

#[test]
fn a_message_that_waits_is_reported_as_pending() {
    let world = World::stamped();
    world.slack.never();
    world.reach_slack_at(DEAD_URL);
    world.append([wake("fly")]);
    let report = world.report(3);
    assert_eq!(
        report["outbox"],
        json!({"delivered": 0, "pending": 1, "expired": 0})
    );
    assert_eq!(report["wakes"][0]["dispatched"], true);
    assert_eq!(report["wakes"][0]["reasoning_invoked"], true);
    assert_eq!(report["wakes"][0]["dm_sent"], false);
}

#[test]
fn to_stdout_prints_the_messages_unescaped_and_separated_by_a_blank_line() {
    let world = World::stamped();
    world.slack.never();
    world.engine.script([
        Engine::answer("a < b & c"),
        Engine::answer("Second.\nLine."),
    ]);
    world.append([wake("fly"), wake("sentry"), wake("fly")]);
    let outcome = world.command("run --to stdout").exits(0);
    let [fly, sentry] = [("fly", "a < b & c"), ("sentry", "Second.\nLine.")]
        .map(|(probe, text)| wake(probe).diagnosed(text));
    let expected = format!("{fly} · 1 repeat held back\n\n{sentry}\n");
    assert_eq!(
        (without_times(&outcome.stdout), outcome.stderr.as_str()),
        (expected, "")
    );
    world.command("run --to stdout").exits(0).silent();
}

#[test]
fn to_stdout_as_json_the_report_has_the_messages_and_nothing_is_left() {
    let world = World::stamped();
    world.slack.never();
    world.append(["fly", "sentry"].map(wake));
    let report = world
        .command("run --to stdout --format json")
        .exits(0)
        .json();
    assert_eq!(column(report["wakes"].clone(), "/dm_sent"), [true, true]);
    let texts = column(report["wakes"].clone(), "/dm_text");
    let texts = texts
        .iter()
        .map(|text| without_times(text.as_str().unwrap()));
    assert_eq!(texts.collect::<Vec<_>>(), ["fly", "sentry"].map(plain));
    assert_eq!(report["outbox"]["pending"], 0);
    assert_eq!(world.outbox().len(), 0);
    let statuses = column(world.state_rows("outcomes.jsonl"), "/details/dm_status");
    assert_eq!(statuses, ["sent", "sent"]);
}

#[test]
fn to_stdout_opens_the_window_too() {
    let world = World::stamped();
    world.slack.never();
    world.append([wake("fly")]);
    world.command("run --to stdout").exits(0).prints("fly");
    world.raise([wake("fly")]).exits(0).silent();
}

#[test]
fn at_its_most_verbose_it_prints_no_secret() {
    let world = World::stamped();
    world.append([wake("fly")]);
    world.command("run -vv").exits(0);
    world.set("RUST_LOG", "trace");
    world.append([wake("sentry")]);
    world.reach_slack_at(DEAD_URL);
    world.command("run -vv").exits(3);
}

#[test]
fn problems_are_one_line_each_on_stderr() {
    let world = World::stamped().quiet();
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "soon\nor later");
    let outcome = world.run().exits(0);
    assert_eq!(outcome.stdout, "");
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("probe-wake: warning: "), "{lines:?}");
}
