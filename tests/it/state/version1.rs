//! Section 3 of the contract: a state of version 1 is read and carried on, its mark included.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Reply, World, plain, wake};

fn state(world: &World) -> Value {
    world.state()
}

/// Replaces the state by one of version 1 with this position, stamps and outbox, and what else it holds.
fn as_version_1(world: &World, position: &Value, more: Value) {
    let now = state(world);
    let name = world.log().display().to_string();
    let stamps = &now["logs"][&name]["stamps"];
    let mut old = json!({
        "program": "probe-wake", "version": 1,
        "logs": {name: {"tail": {"position": position}, "stamps": stamps}},
        "outbox": [], "counters": now["counters"],
    });
    for (field, value) in more.as_object().unwrap() {
        old[field] = value.clone();
    }
    fs::write(world.state_dir().join("state.json"), old.to_string()).unwrap();
}

fn position(world: &World) -> Value {
    let name = world.log().display().to_string();
    state(world)["logs"][name]["checkpoint"]["position"].take()
}

#[test]
fn its_mark_is_investigated_first_and_its_position_is_behind_that_row() {
    for attempts in [1, 2] {
        let world = World::stamped();
        let before = position(&world);
        world.engine.script([Reply::Hang]);
        let row = wake("fly");
        world.append([row.clone()]);
        let run = world.start("run");
        world.engine.wait_for(1);
        run.kill();
        let owed = state(&world)["queue"][0].take();
        let mark = json!({
            "wake": owed["alert"]["wake"], "dispatched_at": owed["queued_at"],
            "attempts": attempts, "key": owed["id"], "log": owed["log"],
            "held_back": {"count": 2, "since": "2026-05-24T14:02:00Z"},
            "after": {"position": position(&world)},
        });
        as_version_1(&world, &before, json!({"mark": mark}));
        world.raise(["fly", "sentry"].map(wake)).exits(0);
        let texts = world.slack.texts();
        let told = match attempts {
            1 => plain("fly"),
            _ => row.fallback("interrupted"),
        };
        let note = "\n\n2 repeats were held back since 2026-05-24 14:02 UTC.";
        assert_eq!(texts, [told + note, plain("sentry")]);
        assert_eq!(state(&world)["version"], 2);
        assert_eq!(world.report(0)["rows"]["read"], 0);
    }
}

#[test]
fn the_wakes_of_a_line_that_it_was_done_with_are_not_told_again() {
    let world = World::stamped();
    let mut before = position(&world);
    before["wakes_done"] = 1.into();
    world.append_raw(format!("{}{}\n", wake("a").line(), wake("b").line()));
    as_version_1(&world, &before, json!({}));
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts(), [plain("b")]);
    world.run().exits(0).silent();
}

#[test]
fn its_outbox_and_its_budget_are_carried_on() {
    let world = World::stamped();
    world.set("KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR", "1");
    let now = jiff::Timestamp::now().to_string();
    let dm = json!({
        "queued_at": now, "probe": "fly", "category": "service_unhealthy", "severity": "critical",
        "text": plain("fly"), "delivery": "queued", "refused_runs": 2, "cause": "invalid_auth",
    });
    let more = json!({"outbox": [dm], "investigations": [now]});
    as_version_1(&world, &position(&world), more);
    world.raise([wake("sentry")]).exits(0);
    let spent = wake("sentry").fallback("investigation_budget_spent");
    assert_eq!(world.slack.texts(), [plain("fly"), spent]);
    world.engine.maybe();
}
