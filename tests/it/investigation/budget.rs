//! At most so many questions an hour, across runs.

use serde_json::Value;

use crate::support::{Reply, World, column, wake};

const SPENT: &str = "investigation_budget_spent";

fn world(most: &str) -> World {
    let world = World::stamped().without_debounce();
    world.set("KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR", most);
    world
}

/// The reasons of a run with so many new wakes.
#[track_caller]
fn reasons(world: &World, wakes: usize) -> Vec<Value> {
    world.append((0..wakes).map(|number| wake(&format!("probe{number}"))));
    column(world.report(0)["wakes"].take(), "/error")
}

#[test]
fn it_holds_within_a_run_and_across_runs() {
    let world = world("2");
    assert_eq!(reasons(&world, 3), [Value::Null, Value::Null, SPENT.into()]);
    assert_eq!(reasons(&world, 1), [SPENT]);
    assert_eq!(world.engine.requests().len(), 2);
    let again = wake("probe0").fallback(SPENT) + " · alert 2 since HH:MM UTC";
    assert_eq!(world.slack.texts()[3], again);
    world.shift_state(-1);
    assert_eq!(reasons(&world, 3), [Value::Null, Value::Null, SPENT.into()]);
}

#[test]
fn a_question_without_a_diagnosis_counts_and_one_that_was_not_asked_does_not() {
    let world = world("1");
    world.engine.script([Reply::text(503, "")]);
    assert_eq!(reasons(&world, 2), ["engine_exception:HTTP503", SPENT]);
    let state = world.state();
    assert_eq!(state["questions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_question_of_a_run_that_was_killed_counts() {
    let world = world("1");
    world.append([wake("fly")]);
    world.kill_while_asking();
    world.run().exits(0).warns(SPENT);
    assert_eq!(world.slack.texts(), [wake("fly").fallback(SPENT)]);
}

#[test]
fn a_clock_set_back_does_not_hold_it() {
    let world = world("1");
    assert_eq!(reasons(&world, 1), [Value::Null]);
    world.shift_state(5);
    assert_eq!(reasons(&world, 2), [Value::Null, SPENT.into()]);
}

#[test]
fn zero_is_no_limit_and_remembers_nothing() {
    let world = world("0");
    assert_eq!(reasons(&world, 3), [Value::Null, Value::Null, Value::Null]);
    assert!(!world.state_file("state.json").contains("questions"));
}
