//! `outcomes.jsonl`. The tables of its fields are beside the code, in `src/outcome`.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{DEAD_URL, Engine, World, at_once, column, other_row, wake};

fn outcomes(world: &World) -> Vec<Value> {
    world.state_rows("outcomes.jsonl")
}

#[test]
fn each_dispatch_leaves_a_row_that_says_what_was_held_back_since_the_row_before() {
    let world = World::stamped();
    world.append([wake("fly"), wake("fly"), wake("sentry")]);
    world.run().exits(0).silent();
    world.raise([wake("fly"), wake("fly")]).exits(0).silent();
    world.shift_state_by(-SignedDuration::from_mins(11));
    world.raise([wake("fly")]).exits(0).silent();
    let rows = outcomes(&world);
    assert_eq!(
        column(rows.clone(), "/details/probe"),
        ["fly", "sentry", "fly"]
    );
    assert_eq!(column(rows.clone(), "/details/held_back/repeat"), [1, 0, 2]);
    assert_eq!(column(rows.clone(), "/details/dm_status"), ["sent"; 3]);
    let ids = column(rows.clone(), "/details/id");
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    let first = |row: &Value| row["details"]["first_wake_at"].clone();
    let raised = |row: &Value| row["details"]["raised_at"].clone();
    assert_eq!(first(&rows[0]), raised(&rows[0]));
    assert!(first(&rows[2]).as_str() < raised(&rows[2]).as_str());
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
    assert!(ours[0]["details"]["investigation_duration_ms"].as_u64() > Some(0));
    assert!(ours[0]["details"]["context"]["context"].is_u64());
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
fn a_fallback_that_follows_its_facts_leaves_a_row_with_the_whole_text() {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    world.engine.script([Engine::error("sdk_auth")]);
    let row = wake("fly").set("detail", "The whole detail.");
    world.raise([row]).exits(0);
    let details = &outcomes(&world)[0]["details"];
    assert_eq!(details["facts_first"], true);
    let summary = details["investigation_summary_text"].as_str().unwrap();
    for said in ["The whole detail.", "engine returned: sdk_auth"] {
        assert!(summary.contains(said), "{summary}");
    }
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
        // Longer than the old one was when the engine was asked.
        world.append_raw((other_row("new") + "\n").repeat(20));
    });
    assert_eq!(noted, true);
}

#[test]
fn a_message_that_was_not_sent_says_so_and_its_later_delivery_adds_a_row() {
    let world = World::stamped();
    world.reach_slack_at(DEAD_URL);
    world
        .engine
        .script([Engine::answer("Found."), Engine::error("sdk_auth")]);
    world.raise([wake("fly"), wake("sentry")]).exits(3);
    let statuses = column(outcomes(&world), "/details/dm_status");
    assert_eq!(statuses, ["failed_send", "engine_unavailable_failed_send"]);
    let ids = column(outcomes(&world), "/details/id");
    world.reach_slack_at(world.slack.base());
    world.wait_for_pause();
    world.run().exits(0);
    let rows = outcomes(&world).split_off(2);
    assert_eq!(column(rows.clone(), "/details/id"), ids);
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
fn a_named_file_that_cannot_be_written_or_is_missing_is_a_warning_and_no_more() {
    let world = World::stamped();
    world.give("given/file", "");
    for path in ["given/file/outcomes", "given/missing"] {
        world.set("KORA_PROBE_OUTCOME_LOG", world.path(path));
        world
            .raise([wake(path)])
            .exits(0)
            .warns("probe-wake: warning: ")
            .warns(path);
        assert!(!world.path(path).exists());
    }
    assert_eq!((world.slack.texts().len(), outcomes(&world).len()), (2, 2));
}
