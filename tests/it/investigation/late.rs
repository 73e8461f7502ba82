//! An investigation that failed for a reason that may pass is retried in later runs, and the late diagnosis goes
//! into the thread of the fallback.

use jiff::SignedDuration;
use serde_json::json;

use crate::support::{DEAD_URL, Engine, Reply, World, at_once, key, plain, reply, unable, wake};

/// A failed investigation is retried for so many seconds.
fn retrying(seconds: &str) -> World {
    let world = World::stamped();
    world.set("KORA_PROBE_LATE_DIAGNOSIS_SECONDS", seconds);
    world
}

/// Fly's question failed, and its fallback was sent.
fn failed() -> World {
    let world = retrying("7200");
    world.engine.script([Reply::text(503, "")]);
    world.append([wake("fly")]);
    assert_eq!(world.report(0)["investigations"]["owed"], 1);
    world
}

fn pass(world: &World, minutes: i64) {
    world.shift_state_by(-SignedDuration::from_mins(minutes));
}

fn asked(world: &World) -> usize {
    world.engine.questions().len()
}

#[test]
fn it_goes_into_the_thread_of_the_fallback() {
    let world = failed();
    world.run().exits(0).silent();
    assert_eq!(asked(&world), 1, "a minute is not over");
    pass(&world, 1);
    let report = world.report(0);
    assert_eq!(report["wakes"][0]["reasoning_invoked"], true);
    assert_eq!(report["investigations"]["owed"], 0);
    let posts = world.slack.posts();
    assert_eq!(
        posts[0].text,
        wake("fly").fallback("engine_exception:HTTP503")
    );
    assert_eq!(
        (posts[1].text.as_str(), posts[1].thread_ts.as_deref()),
        (&*reply("fly"), Some("1.1"))
    );
    let questions = world.engine.questions();
    assert_eq!(key(&questions[0]), key(&questions[1]));
    let rows = world.state_rows("outcomes.jsonl");
    let [first, late] = [0, 1].map(|row: usize| rows[row]["details"].clone());
    assert_eq!(first["late_diagnosis"], json!(null));
    assert_eq!(
        (&late["late_diagnosis"], &late["dm_status"]),
        (&json!(true), &json!("sent"))
    );
    pass(&world, 60);
    world.run().exits(0).silent();
    assert_eq!((asked(&world), world.slack.posts().len()), (2, 2));
}

#[test]
fn after_facts_it_goes_into_their_thread() {
    let world = retrying("7200");
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    world.engine.script([Reply::text(503, "")]);
    world.raise([wake("fly")]).exits(0);
    pass(&world, 1);
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    let texts = [
        wake("fly").facts(),
        unable("fly", "engine_exception:HTTP503"),
        reply("fly"),
    ];
    assert_eq!(world.slack.texts(), texts);
    assert!(
        posts[1..]
            .iter()
            .all(|post| post.thread_ts.as_deref() == Some("1.1"))
    );
}

#[test]
fn it_is_tried_six_times_at_growing_pauses_and_then_nothing_is_sent() {
    let world = retrying("86400");
    world.engine.usually(|_, _| Reply::text(503, ""));
    world.raise([wake("fly")]).exits(0);
    for (tries, minutes) in [1, 2, 4, 8, 16, 32].into_iter().enumerate() {
        world.shift_state_by(-(SignedDuration::from_mins(minutes) - SignedDuration::from_secs(20)));
        world.run().exits(0).silent();
        assert_eq!(asked(&world), 1 + tries, "{minutes} min are not over");
        world.shift_state_by(-SignedDuration::from_secs(20));
        world.run().exits(0).warns("no diagnosis for fly");
        assert_eq!(asked(&world), 2 + tries);
    }
    assert_eq!(world.report(0)["investigations"]["owed"], 0);
    pass(&world, 240);
    world.run().exits(0).silent();
    assert_eq!((asked(&world), world.slack.posts().len()), (7, 1));
}

#[test]
fn only_a_reason_that_may_pass_is_retried() {
    let coded = json!({"error": {"type": "overloaded_error", "message": "busy"}});
    let replies = [
        (Reply::text(503, ""), 1),
        (Reply::json(529, &coded), 1),
        (Reply::json(429, &coded), 1),
        (Reply::text(408, ""), 1),
        (Reply::Cut, 1),
        (Reply::Hang, 1),
        (Reply::text(404, ""), 0),
        (Reply::json(400, &coded), 0),
        (Engine::error("cost_ladder_halted"), 0),
        (Engine::answer(" "), 0),
        (Reply::text(200, "<html>"), 0),
    ];
    at_once(replies, |(reply, owed)| {
        let world = retrying("7200");
        world.set("KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "1");
        world.engine.script([reply]);
        world.append([wake("fly")]);
        let report = world.report(0);
        let error = report["wakes"][0]["error"].clone();
        assert_eq!(report["investigations"]["owed"], owed, "{error}");
        pass(&world, 5);
        world.run().exits(0).silent();
        assert_eq!(asked(&world), 1 + owed, "{error}");
    });
}

#[test]
fn a_later_reason_that_does_not_pass_ends_it() {
    let world = failed();
    world.engine.script([Reply::text(401, "")]);
    pass(&world, 5);
    let report = world.report(0);
    assert_eq!(report["wakes"][0]["error"], "engine_exception:HTTP401");
    assert_eq!(report["investigations"]["owed"], 0);
    pass(&world, 60);
    world.run().exits(0).silent();
    assert_eq!((asked(&world), world.slack.posts().len()), (2, 1));
}

#[test]
fn a_budget_that_is_spent_passes_and_postpones_without_a_count() {
    let world = retrying("86400");
    world.set("KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR", "1");
    world.append(["fly", "sentry"].map(wake));
    world.run().exits(0).warns("investigation_budget_spent");
    for _ in 0..8 {
        pass(&world, 5);
        world.run().exits(0).silent();
    }
    assert_eq!(asked(&world), 1);
    pass(&world, 30);
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts()[2], reply("sentry"));
    assert_eq!(asked(&world), 2);
}

#[test]
fn an_engine_that_is_not_reached_postpones_it_without_a_count() {
    let world = failed();
    let url = world.engine.url();
    world.set("KORA_PROBE_ENGINE_URL", DEAD_URL);
    for (minutes, probes) in [(1, ["a", "b"]), (1, ["c", "d"])] {
        pass(&world, minutes);
        world.raise(probes.map(wake)).exits(0);
    }
    world.set("KORA_PROBE_ENGINE_URL", url);
    world.run().exits(0);
    let posts = world.slack.posts();
    let late = posts.iter().find(|post| post.text == reply("fly"));
    assert_eq!(
        late.unwrap().thread_ts.as_deref(),
        Some("1.1"),
        "no pause of two minutes"
    );
}

#[test]
fn interrupted_is_not_a_reason_that_may_pass() {
    let world = retrying("7200");
    world.append([wake("fly")]);
    for _ in 0..2 {
        world.kill_while_asking();
    }
    let report = world.report(0);
    assert_eq!(report["wakes"][0]["error"], "interrupted");
    assert_eq!(report["investigations"]["owed"], 0);
}

#[test]
fn its_time_runs_from_the_dispatch() {
    let world = retrying("600");
    world.engine.script([Reply::text(503, "")]);
    world.raise([wake("fly")]).exits(0);
    pass(&world, 11);
    assert_eq!(world.report(0)["investigations"]["owed"], 0);
    assert_eq!((asked(&world), world.slack.posts().len()), (1, 1));
}

#[test]
fn a_new_dispatch_of_the_pair_ends_it() {
    let world = failed().without_debounce();
    pass(&world, 2);
    world.raise([wake("fly")]).exits(0).silent();
    pass(&world, 60);
    world.run().exits(0).silent();
    assert_eq!((asked(&world), world.slack.posts().len()), (2, 2));
}

#[test]
fn what_is_newer_goes_first() {
    let world = failed();
    pass(&world, 2);
    world.raise([wake("sentry")]).exits(0).silent();
    assert_eq!(world.slack.texts()[1..], [plain("sentry"), reply("fly")]);
}

#[test]
fn a_long_run_does_not_ask_again() {
    let world = retrying("7200");
    world
        .engine
        .script([Reply::text(503, ""), Engine::answer("At last.").held()]);
    world.append(["fly", "sentry"].map(wake));
    let run = world.start("run");
    world.engine.wait_for(2);
    world.engine.release();
    run.finish().exits(0);
    assert_eq!(asked(&world), 2);
}

#[test]
fn a_run_killed_while_it_asks_has_used_up_a_try_and_sent_nothing() {
    let world = failed();
    pass(&world, 1);
    world.kill_while_asking();
    pass(&world, 1);
    world.run().exits(0).silent();
    assert_eq!(asked(&world), 2);
    pass(&world, 1);
    world.run().exits(0).silent();
    assert_eq!((asked(&world), world.slack.posts().len()), (3, 2));
}

#[test]
fn it_waits_for_a_fallback_that_slack_does_not_have_yet() {
    let world = retrying("7200");
    world.engine.script([Reply::text(503, "")]);
    world.slack.die();
    world.raise([wake("fly")]).exits(3);
    pass(&world, 1);
    world.run().exits(3);
    world.slack.revive();
    world.wait_for_pause();
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    assert_eq!(
        posts[0].text,
        wake("fly").fallback("engine_exception:HTTP503")
    );
    assert_eq!(
        (posts[1].text.as_str(), posts[1].thread_ts.as_deref()),
        (&*reply("fly"), Some("1.1"))
    );
}

#[test]
fn a_clock_set_back_does_not_put_it_off() {
    let world = failed();
    world.shift_state(5);
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts()[1], reply("fly"));
}

#[test]
#[ignore = "66 questions that fail"]
fn at_most_64_are_retried_and_the_oldest_are_dropped() {
    let world = retrying("7200");
    world.engine.usually(|_, _| Reply::text(503, ""));
    world.append((0..66).map(|number| wake(&format!("p{number}."))));
    assert_eq!(world.report(0)["investigations"]["owed"], 64);
    world.engine.usually(|_, _| Engine::answer("Found."));
    pass(&world, 1);
    world.run().exits(0).silent();
    let texts = world.slack.texts();
    assert_eq!(texts.len(), 66 + 64);
    assert_eq!(texts[66], "🔎 Diagnosis · p2.\nFound.");
}
