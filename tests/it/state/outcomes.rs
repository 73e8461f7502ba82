//! Section 8 of the contract: `outcomes.jsonl`.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{DEAD_URL, DIAGNOSIS, Engine, Reply, World, at_once, column, other_row, wake};

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
            "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "total_cost_usd": null,
            "investigation_duration_ms": null,
            "investigation_summary_text": DIAGNOSIS, "dm_status": "sent", "autofix_attempted": false,
        },
    });
    assert_eq!(rows[0], expected);
}

/// The sample log has rows that Kora wrote; its panels also ask for `total_cost_usd`.
#[test]
fn a_row_has_every_field_of_koras() {
    let world = World::stamped();
    let answers = [Engine::answer("Down."), Engine::error("cost_ladder_halted")];
    world.engine.script(answers);
    world.raise([wake("fly"), wake("sentry")]).exits(0);
    let ours = outcomes(&world);
    let sample = fs::read_to_string("tests/data/kora_audit_log.jsonl").unwrap();
    let rows = sample.lines();
    let rows = rows.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_kora: Vec<_> = rows.filter(|row| row["seam"] == ours[0]["seam"]).collect();
    assert!(!of_kora.is_empty());
    let kind = std::mem::discriminant::<Value>;
    for kora in &of_kora {
        let failed = kora["details"].get("reasoning_error").is_some();
        let ours = &ours[usize::from(failed)];
        assert!(ours["details"].get("total_cost_usd").is_some());
        for (kora, ours) in [(kora, ours), (&kora["details"], &ours["details"])] {
            for (field, value) in kora.as_object().unwrap() {
                let same =
                    value.is_null() || ours[field].is_null() || kind(value) == kind(&ours[field]);
                assert!(same && ours.get(field).is_some(), "{field}: {value}");
            }
        }
    }
}

#[test]
fn the_engines_cost_stands_in_the_row() {
    let world = World::stamped();
    let priced = json!({"text": "Down.", "total_cost_usd": 0.0125});
    world.engine.script([Reply::json(200, &priced)]);
    world.raise([wake("fly")]).exits(0).silent();
    assert_eq!(outcomes(&world)[0]["details"]["total_cost_usd"], 0.0125);
}

#[test]
fn a_fallback_that_was_sent_says_why_and_has_its_text() {
    let world = World::stamped();
    world.engine.script([Engine::error("cost_ladder_halted")]);
    world.append([wake("fly")]);
    world.run().exits(0).warns("cost_ladder_halted");
    let details = &outcomes(&world)[0]["details"];
    assert_eq!(details["dm_status"], "engine_unavailable_fallback");
    assert_eq!(details["reasoning_error"], "cost_ladder_halted");
    let text = wake("fly").fallback("cost_ladder_halted");
    assert_eq!(details["investigation_summary_text"], text);
}

#[test]
fn consecutive_wakes_are_counted_where_several_are_required() {
    let world = World::stamped();
    world.set("KORA_PROBE_DEBOUNCE_CONSECUTIVE_REQUIRED", "3");
    world.append([wake("fly"), wake("fly"), wake("fly")]);
    world.run().exits(0).silent();
    let details = &outcomes(&world)[0]["details"];
    assert_eq!(details["buffered_consecutive_count"], 3);
}

/// A row that Kora's engine writes when its tool acts in a session.
fn autofix(session: &str, after: SignedDuration) -> String {
    let row = json!({
        "emitted_at": (Timestamp::now() + after).to_string(), "seam": "tool.probe_autofix_attempted",
        "details": {"probe": "fly", "action": "restart_machine", "target_id": "m1", "status": "attempted"},
        "caller_session_id": session, "source": "reasoning",
    });
    format!("{row}\n")
}

/// Whether the outcome row notes a fix, where this happens while the engine is asked.
fn noted_fix(happens: impl Fn(&World)) -> Value {
    let world = World::stamped();
    let run = world.start_held([wake("fly")]);
    happens(&world);
    world.engine.release();
    run.finish().exits(0).silent();
    outcomes(&world)[0]["details"]["autofix_attempted"].clone()
}

#[test]
fn a_fix_is_noted_that_the_engine_tried_in_this_session_while_it_was_asked() {
    let (now, hour) = (SignedDuration::ZERO, SignedDuration::from_hours(1));
    at_once(
        [
            ("probe:fly:service_unhealthy", now, true),
            ("probe:fly:service_unhealthy", -hour, false),
            ("probe:fly:service_unhealthy", hour, false),
            ("probe:vercel:service_unhealthy", now, false),
        ],
        |(session, after, expected)| {
            let noted = noted_fix(|world| world.append_raw(autofix(session, after)));
            assert_eq!(noted, expected, "{session} {after}");
        },
    );
}

#[test]
fn a_fix_is_noted_also_where_the_log_is_rotated_meanwhile() {
    let noted = noted_fix(|world| {
        world.append_raw(autofix("probe:fly:service_unhealthy", SignedDuration::ZERO));
        fs::rename(world.log(), world.path("kora_audit_log.jsonl.1")).unwrap();
        world.append_raw(other_row("new") + "\n");
    });
    assert_eq!(noted, true);
}

#[test]
fn a_dm_that_was_not_sent_says_so_and_its_later_delivery_adds_a_row() {
    let world = World::stamped();
    world.reach_slack_at(DEAD_URL);
    world
        .engine
        .script([Engine::answer("Found."), Engine::error("sdk_auth")]);
    world.raise([wake("fly"), wake("sentry")]).exits(3);
    let statuses = column(outcomes(&world), "/details/dm_status");
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
    world.raise([wake("fly")]).exits(0).silent();
    let text = fs::read_to_string(world.path("told-elsewhere")).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!(world.state_file("outcomes.jsonl"), "");
}

#[test]
fn a_named_file_gets_no_seam_that_kora_does_not_know() {
    let world = World::stamped();
    world.set("KORA_PROBE_OUTCOME_LOG", world.path("told-elsewhere"));
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3);
    world.reach_slack_at(world.slack.base());
    world.run().exits(0);
    let named = fs::read_to_string(world.path("told-elsewhere")).unwrap();
    assert_eq!(named.lines().count(), 1, "{named}");
    let seams = column(outcomes(&world), "/seam");
    assert_eq!(seams, ["probe.dm_delivered"]);
}

#[test]
fn the_audit_log_itself_can_be_named() {
    let world = World::stamped();
    world.set("KORA_PROBE_OUTCOME_LOG", world.log());
    world.raise([wake("fly")]).exits(0).silent();
    world.raise([wake("sentry")]).exits(0).silent();
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
    world
        .raise([wake("fly")])
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
        world.raise([wake(probe)]).exits(0).silent();
    }
    assert!(world.state_file("outcomes.jsonl.1").starts_with(&full));
    let rows = outcomes(&world);
    assert!(matches!(rows.len(), 1 | 2), "{} rows", rows.len());
}
