//! After two wakes in a row whose question did not reach the engine, a run asks no more.

use serde_json::{Value, json};

use crate::support::{Engine, Reply, World, column, wake};

/// The reasons of these many wakes in one run, and how often the engine was asked.
#[track_caller]
fn reasons(replies: impl IntoIterator<Item = Reply>, wakes: usize) -> (Vec<Value>, usize) {
    let world = World::stamped();
    world.engine.script(replies);
    world.append((0..wakes).map(|number| wake(&format!("probe{number}"))));
    let reasons = column(world.report(0)["wakes"].take(), "/error");
    assert_eq!(world.slack.texts().len(), wakes);
    (reasons, world.engine.requests().len())
}

#[test]
fn after_two_questions_in_a_row_that_did_not_reach_it_the_engine_is_asked_no_more() {
    let cut = json!("engine_exception:ConnectionError");
    assert_eq!(reasons([Reply::Cut, Reply::Cut], 4), (vec![cut; 4], 2));
}

#[test]
fn an_answer_between_them_keeps_it_asking() {
    let (reasons, asked) = reasons(
        [
            Reply::Cut,
            Engine::answer("well"),
            Reply::Cut,
            Engine::answer("well"),
        ],
        4,
    );
    assert_eq!(asked, 4);
    assert_eq!(reasons[3], json!(null));
}

#[test]
fn a_bad_status_keeps_it_asking() {
    let (_, asked) = reasons(
        [
            Reply::text(503, ""),
            Reply::text(503, ""),
            Reply::text(503, ""),
        ],
        4,
    );
    assert_eq!(asked, 4);
}

#[test]
fn the_next_run_asks_again() {
    let world = World::stamped();
    world.engine.script([Reply::Cut, Reply::Cut]);
    world.raise(["a", "b", "c"].map(wake)).exits(0);
    world.append([wake("d")]);
    assert_eq!(world.report(0)["wakes"][0]["error"], json!(null));
}

#[test]
fn a_time_out_counts_like_a_cut_connection_and_the_last_one_is_the_reason() {
    let world = World::stamped();
    world.set("KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "1");
    world.engine.script([Reply::Cut, Reply::Hang]);
    world.append(["a", "b", "c"].map(wake));
    let reasons = column(world.report(0)["wakes"].take(), "/error");
    let timeout = "engine_exception:Timeout";
    let expected = ["engine_exception:ConnectionError", timeout, timeout];
    assert_eq!(reasons, expected);
    assert_eq!(world.engine.requests().len(), 2);
}
