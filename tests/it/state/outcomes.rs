//! Section 8 of the contract: `outcomes.jsonl`.

use std::fs;

use serde_json::{Value, json};

use crate::support::{DEAD_URL, DIAGNOSIS, Engine, World, other_row, wake};

fn outcomes(world: &World) -> Vec<Value> {
    world.state_rows("outcomes.jsonl")
}

#[test]
fn each_dispatch_leaves_a_row_in_the_logs_own_shape() {
    let world = World::stamped();
    world.append([wake("fly"), wake("fly"), wake("sentry")]);
    world.run().exits(0).silent();
    let mut rows = outcomes(&world);
    assert_eq!(rows.len(), 2);
    assert!(
        rows[0]["emitted_at"]
            .take()
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .is_ok()
    );
    assert!(
        rows[0]["details"]["investigation_duration_ms"]
            .take()
            .is_number()
    );
    let expected = json!({
        "emitted_at": null, "seam": "probe.investigation_completed", "source": "reasoning",
        "caller_session_id": "probe:fly:service_unhealthy",
        "details": {
            "probe": "fly", "issue_category": "service_unhealthy", "severity": "critical",
            "model_used": "claude-haiku-4-5", "input_tokens": 812, "output_tokens": 96,
            "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "investigation_duration_ms": null,
            "investigation_summary_text": DIAGNOSIS, "dm_status": "sent", "autofix_attempted": false,
        },
    });
    assert_eq!(rows[0], expected);
}

#[test]
fn a_fallback_that_was_sent_says_why() {
    let world = World::stamped();
    world.engine.script([Engine::error("cost_ladder_halted")]);
    world.append([wake("fly")]);
    world.run().exits(0).silent();
    let details = &outcomes(&world)[0]["details"];
    assert_eq!(details["dm_status"], "engine_unavailable_fallback");
    assert_eq!(details["reasoning_error"], "cost_ladder_halted");
}

#[test]
fn a_dm_that_was_not_sent_says_so_and_its_later_delivery_adds_a_row() {
    let world = World::stamped();
    world.reach_slack_at(DEAD_URL);
    world
        .engine
        .script([Engine::answer("Found."), Engine::error("sdk_auth")]);
    world.append([wake("fly"), wake("sentry")]);
    world.run().exits(3);
    let rows = outcomes(&world);
    let statuses: Vec<_> = rows
        .iter()
        .map(|row| row["details"]["dm_status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["failed_send", "engine_unavailable_failed_send"]);
    world.reach_slack_at(world.slack.base());
    world.run().exits(0);
    let rows = outcomes(&world).split_off(2);
    assert_eq!(rows.len(), 2);
    for (row, session) in rows.iter().zip([
        "probe:fly:service_unhealthy",
        "probe:sentry:service_unhealthy",
    ]) {
        assert_eq!(
            (&row["seam"], &row["caller_session_id"]),
            (&json!("probe.dm_delivered"), &json!(session))
        );
    }
}

#[test]
fn another_file_can_be_named() {
    let world = World::stamped();
    world.set("KORA_PROBE_OUTCOME_LOG", world.path("told-elsewhere"));
    world.append([wake("fly")]);
    world.run().exits(0).silent();
    let text = fs::read_to_string(world.path("told-elsewhere")).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!(world.state_file("outcomes.jsonl"), "");
}

#[test]
fn the_audit_log_itself_can_be_named() {
    let world = World::stamped();
    world.set("KORA_PROBE_OUTCOME_LOG", world.log());
    world.append([wake("fly")]);
    world.run().exits(0).silent();
    world.append([wake("sentry")]);
    world.run().exits(0).silent();
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts().len(), 2);
    let log = fs::read_to_string(world.log()).unwrap();
    assert_eq!(log.matches("probe.investigation_completed").count(), 2);
}

#[test]
fn a_failure_to_write_it_is_a_warning_and_no_more() {
    let world = World::stamped();
    world.give("given/file", "");
    world.set("KORA_PROBE_OUTCOME_LOG", world.path("given/file/outcomes"));
    world.append([wake("fly")]);
    world
        .run()
        .exits(0)
        .warns("probe-wake: warning: ")
        .warns("given/file");
    assert_eq!(world.slack.texts().len(), 1);
}

#[test]
fn over_eight_mebibytes_it_moves_aside() {
    let world = World::stamped();
    let full = (other_row(&"x".repeat(1_000)) + "\n").repeat(9_000);
    fs::write(world.state_dir().join("outcomes.jsonl"), &full).unwrap();
    for probe in ["fly", "sentry"] {
        world.append([wake(probe)]);
        world.run().exits(0).silent();
    }
    assert!(world.state_file("outcomes.jsonl.1").starts_with(&full));
    let rows = outcomes(&world);
    assert!(matches!(rows.len(), 1 | 2), "{} rows", rows.len());
}
