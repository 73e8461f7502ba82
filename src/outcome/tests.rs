#![allow(clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::engine::Usage;
use crate::incident::{Counted, Dispatch, HeldBack};
use crate::state::outbox::Place;
use crate::state::queue::Alert;

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-05-24T14:33:00Z")
}

fn alert() -> Alert {
    Alert {
        wake: Wake::sample(),
        dispatch: Dispatch {
            number: 2,
            since: at("2026-05-24T13:00:00Z"),
            counted: None,
        },
        read_at: at("2026-05-24T14:32:01Z"),
        dispatched_at: at("2026-05-24T14:32:02Z"),
        held_back: HeldBack::default(),
        recovered: None,
    }
}

fn of_vercel() -> Alert {
    let mut alert = alert();
    alert.wake.probe = "vercel".to_owned();
    alert.wake.severity = "warning".to_owned();
    alert
}

fn diagnosis() -> Outcome {
    Outcome::Diagnosis {
        text: "The token was revoked.".to_owned().into(),
        cut_short: None,
    }
}

fn message(alerts: Vec<Alert>, outcome: Outcome) -> Message {
    let content = Content::Alert { alerts, outcome };
    let queued_at = at("2026-05-24T14:32:40Z");
    let mut message = Message::new("/log", content, Place::TopLevel, queued_at);
    message.investigation = Some("i1".to_owned());
    message
}

fn incident() -> Incident {
    let mut incident: Incident = serde_json::from_value(json!({
        "pair": {"probe": "fly", "category": "service_unhealthy"}, "first_wake": "2026-05-24T13:00:00Z",
        "last_wake": "2026-05-24T14:32:59Z", "last_raised": "2026-05-24T14:32:58Z", "wakes": 7,
        "worst": "critical", "investigation": "i0",
    }))
    .unwrap();
    incident.unrecorded = HeldCounts {
        repeat: 1,
        buffered: 2,
        silenced: 3,
        acknowledged: 4,
    };
    incident
}

fn record() -> Record {
    Record {
        ended_at: at("2026-05-24T14:32:40Z"),
        prompt: Some(Default::default()),
        usage: Usage {
            model_used: Some("m1".to_owned()),
            input_tokens: Some(812),
            output_tokens: Some(96),
            cache_creation_input_tokens: Some(3),
            cache_read_input_tokens: Some(5),
            total_cost_usd: Some(0.0125),
        },
        duration_ms: 4_200,
        ..Record::default()
    }
}

fn value(row: &Row) -> Value {
    serde_json::to_value(row).unwrap()
}

/// The row of the message's wake of this index.
fn completed_row(message: &Message, index: usize, record: &Record, is_sent: bool) -> Value {
    let incident = Some(&incident());
    value(&completed(message, index, record, is_sent, incident, now()))
}

/// The row of one wake with a diagnosis, with these further fields in its record.
fn row_with(record: Record) -> Value {
    completed_row(&message(vec![alert()], diagnosis()), 0, &record, true)
}

fn has(row: &Value, field: &str) -> bool {
    row["details"].as_object().unwrap().contains_key(field)
}

#[test]
fn a_completed_investigation_has_all_fields_of_its_row() {
    let expected = json!({
        "emitted_at": "2026-05-24T14:32:40.000000Z",
        "seam": "probe.investigation_completed",
        "source": "reasoning",
        "caller_session_id": "probe:fly:service_unhealthy",
        "details": {
            "id": "i1", "probe": "fly", "issue_category": "service_unhealthy", "severity": "critical",
            "title": "Fly app(s) unreachable: HTTP 401",
            "raised_at": "2026-05-24T14:32:00.123456Z", "dispatched_at": "2026-05-24T14:32:02.000000Z",
            "first_wake_at": "2026-05-24T13:00:00.000000Z", "last_wake_at": "2026-05-24T14:32:58.000000Z",
            "held_back": {"repeat": 1, "buffered": 2, "silenced": 3, "acknowledged": 4},
            "model_used": "m1", "input_tokens": 812, "output_tokens": 96,
            "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "context": {"context": 0, "runbook": 0}, "total_cost_usd": 0.0125,
            "investigation_duration_ms": 4_200, "investigation_summary_text": "The token was revoked.",
            "dm_status": "sent", "autofix_attempted": false,
        },
    });
    assert_eq!(row_with(record()), expected);
}

#[test]
fn what_is_not_known_is_null_and_what_does_not_apply_is_missing() {
    let mut untimed = alert();
    untimed.wake.emitted_at = None;
    let row = completed_row(
        &message(vec![untimed], diagnosis()),
        0,
        &Record::default(),
        true,
    );
    for field in [
        "raised_at",
        "model_used",
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "total_cost_usd",
    ] {
        assert!(
            has(&row, field) && row["details"][field].is_null(),
            "{field}"
        );
    }
    for field in [
        "buffered_consecutive_count",
        "reasoning_error",
        "reasoning_error_message",
        "facts_first",
        "late_diagnosis",
        "digest_size",
        "digest_session",
    ] {
        assert!(!has(&row, field), "{field}");
    }
}

#[test]
fn the_row_says_how_the_investigation_went() {
    let row = row_with(Record {
        autofix_attempted: true,
        facts_first: true,
        ..record()
    });
    assert_eq!(row["details"]["autofix_attempted"], true);
    assert_eq!(row["details"]["facts_first"], true);
    let row = row_with(Record {
        late_diagnosis: true,
        ..record()
    });
    assert_eq!(row["details"]["late_diagnosis"], true);
    let mut counted = alert();
    counted.dispatch.counted = Some(Counted {
        count: 3,
        since: now(),
        raised: now(),
    });
    let row = completed_row(&message(vec![counted], diagnosis()), 0, &record(), true);
    assert_eq!(row["details"]["buffered_consecutive_count"], 3);
}

#[test]
fn a_title_is_cut_at_200_characters() {
    let mut long = alert();
    long.wake.title = "ä".repeat(201);
    let row = completed_row(&message(vec![long], diagnosis()), 0, &record(), true);
    assert_eq!(row["details"]["title"], "ä".repeat(200));
}

#[test]
fn the_status_of_the_message_says_whether_there_was_a_diagnosis_and_whether_it_was_sent() {
    let failed = || Record {
        error: Some("engine_exception:HTTP503".to_owned()),
        error_message: Some("busy".to_owned()),
        ..Record::default()
    };
    let reason = || Outcome::NoDiagnosis("engine_exception:HTTP503".to_owned());
    for (outcome, record, is_sent, expected) in [
        (diagnosis(), record(), true, "sent"),
        (diagnosis(), record(), false, "failed_send"),
        (reason(), failed(), true, "engine_unavailable_fallback"),
        (reason(), failed(), false, "engine_unavailable_failed_send"),
    ] {
        let row = completed_row(&message(vec![alert()], outcome), 0, &record, is_sent);
        assert_eq!(row["details"]["dm_status"], expected);
    }
    let row = completed_row(&message(vec![alert()], reason()), 0, &failed(), true);
    let details = &row["details"];
    assert_eq!(details["reasoning_error"], "engine_exception:HTTP503");
    assert_eq!(details["reasoning_error_message"], "busy");
    let fallback = "🚨 Probe alert · fly\nfly (critical): Fly app(s) unreachable: HTTP 401\n\n\
        status=unhealthy\n\n\
        I was unable to investigate — engine returned: engine_exception:HTTP503\n\n\
        service_unhealthy · raised 14:32 UTC · alert 2 since 13:00 UTC";
    assert_eq!(details["investigation_summary_text"], fallback);
}

#[test]
fn each_wake_of_a_digest_has_its_row_and_the_first_one_what_the_engine_used() {
    let digest = message(vec![alert(), of_vercel()], diagnosis());
    let rows = [0, 1].map(|index| completed_row(&digest, index, &record(), true));
    for (row, (probe, severity, tokens)) in rows.iter().zip([
        ("fly", "critical", json!(812)),
        ("vercel", "warning", Value::Null),
    ]) {
        let details = &row["details"];
        assert_eq!(
            row["caller_session_id"],
            format!("probe:{probe}:service_unhealthy")
        );
        assert_eq!(details["id"], "i1");
        assert_eq!(
            (&details["probe"], &details["severity"]),
            (&json!(probe), &json!(severity))
        );
        assert_eq!(details["input_tokens"], tokens);
        assert_eq!(
            details["investigation_summary_text"],
            "The token was revoked."
        );
        assert_eq!(details["digest_size"], 2);
        assert_eq!(details["digest_session"], "probe:digest:2");
    }
    let reason = Outcome::NoDiagnosis("refusal".to_owned());
    let failed = Record {
        error: Some("refusal".to_owned()),
        ..record()
    };
    let row = completed_row(
        &message(vec![alert(), of_vercel()], reason),
        1,
        &failed,
        true,
    );
    let summary = row["details"]["investigation_summary_text"]
        .as_str()
        .unwrap();
    assert!(
        summary.starts_with("⚠️ Probe alert · vercel\n"),
        "{summary}"
    );
}

#[test]
fn later_rows_name_the_investigation_and_the_pair() {
    let digest = message(vec![alert(), of_vercel()], diagnosis());
    let later: [(Vec<Row>, Value); 2] = [
        (
            delivered(&digest, now()),
            json!({"seam": "probe.dm_delivered", "dm_status": "sent", "reason": null}),
        ),
        (
            undelivered(&digest, "no_text", now()),
            json!({"seam": "probe.dm_undelivered", "dm_status": null, "reason": "no_text"}),
        ),
    ];
    for (rows, expected) in later {
        assert_eq!(rows.len(), 2);
        for (row, probe) in rows.iter().zip(["fly", "vercel"]) {
            let row = value(row);
            assert_eq!(row["seam"], expected["seam"]);
            assert_eq!(row["emitted_at"], "2026-05-24T14:33:00.000000Z");
            assert_eq!(row["source"], "reasoning");
            assert_eq!(
                row["caller_session_id"],
                format!("probe:{probe}:service_unhealthy")
            );
            let details = &row["details"];
            assert_eq!(details["id"], "i1");
            assert_eq!(details["probe"], probe);
            assert_eq!(details["issue_category"], "service_unhealthy");
            assert_eq!(details["dm_status"], expected["dm_status"]);
            assert_eq!(details["reason"], expected["reason"]);
        }
    }
}

#[test]
fn a_recovery_has_the_id_of_the_incidents_first_investigation() {
    let id = "i0".to_owned();
    let held_back = HeldCounts {
        acknowledged: 2,
        ..HeldCounts::default()
    };
    let healthy_at = at("2026-05-24T14:32:59Z");
    let row = recovered(&alert(), Some(&id), healthy_at, held_back, now());
    let row = value(&row);
    assert_eq!(row["seam"], "probe.recovery_told");
    assert_eq!(row["caller_session_id"], "probe:fly:service_unhealthy");
    let details = &row["details"];
    assert_eq!(details["id"], "i0");
    assert_eq!(details["probe"], "fly");
    assert_eq!(details["issue_category"], "service_unhealthy");
    assert_eq!(details["held_back"]["acknowledged"], 2);
}

/// An empty folder for one test.
fn folder(test: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("probe-wake-{}-{test}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).unwrap();
    path
}

fn a_row() -> Row {
    let message = message(vec![alert()], diagnosis());
    let record = record();
    completed(&message, 0, &record, true, None, now())
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn a_named_file_gets_the_rows_as_well_that_others_know() {
    let dir = folder("outcomes-named");
    let (own, named) = (dir.join(FILE), dir.join("named"));
    let missing = append(Some(&named), &dir, &a_row()).unwrap_err();
    assert!(format!("{missing:#}").contains("named"), "{missing:#}");
    assert!(!named.exists(), "it is never created");
    assert_eq!(lines(&own), 1, "its own row is written all the same");
    fs::write(&named, "").unwrap();
    append(Some(&named), &dir, &a_row()).unwrap();
    for row in undelivered(&message(vec![alert()], diagnosis()), "no_text", now()) {
        append(Some(&named), &dir, &row).unwrap();
    }
    assert_eq!((lines(&own), lines(&named)), (3, 1));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn nothing_is_appended_after_a_line_that_stays_unfinished() {
    let dir = folder("outcomes-unfinished");
    let named = dir.join("named");
    fs::write(&named, "{\"somebody\":").unwrap();
    append(Some(&named), &dir, &a_row()).unwrap_err();
    assert_eq!(fs::read_to_string(&named).unwrap(), "{\"somebody\":");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            let mut file = OpenOptions::new().append(true).open(&named).unwrap();
            file.write_all(b"1}\n").unwrap();
        });
        append(Some(&named), &dir, &a_row()).unwrap();
    });
    let text = fs::read_to_string(&named).unwrap();
    assert!(
        text.starts_with("{\"somebody\":1}\n{\"emitted_at\":"),
        "{text}"
    );
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_name_for_the_default_file_changes_nothing() {
    let dir = folder("outcomes-same");
    let (own, link) = (dir.join(FILE), dir.join("link"));
    symlink(&own, &link).unwrap();
    for named in [&own, &link] {
        append(Some(named), &dir, &a_row()).unwrap();
    }
    assert_eq!(lines(&own), 2);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_file_over_eight_mebibytes_moves_aside() {
    let dir = folder("outcomes-turned");
    let own = dir.join(FILE);
    fs::write(&own, vec![b' '; 8 * 1024 * 1024]).unwrap();
    append(None, &dir, &a_row()).unwrap();
    assert!(!dir.join(TURNED_FILE).exists());
    append(None, &dir, &a_row()).unwrap();
    assert_eq!(lines(&own), 1);
    assert!(fs::metadata(dir.join(TURNED_FILE)).unwrap().len() > 8 * 1024 * 1024);
    fs::remove_dir_all(dir).unwrap();
}
