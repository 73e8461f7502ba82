//! A DM's life over many runs, as section 7 of the contract has it to its last sentence: queued, then (committed
//! before the request leaves) being sent, then delivered and gone.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{DEAD_URL, Reply, SLACK_TOKEN, Slack, World, column, is_marked, plain, wake};

/// A world in which fly's DM waits since a run that could not reach Slack.
fn waiting() -> World {
    let world = World::stamped();
    world.queue([wake("fly")]);
    world
}

#[test]
fn that_a_dm_is_being_sent_is_committed_before_its_request_leaves() {
    let state: Arc<OnceLock<PathBuf>> = Arc::default();
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (path, states) = (Arc::clone(&state), Arc::clone(&seen));
    let world = World::stamped_with(Slack::judging(move |_| {
        let text = fs::read_to_string(path.get().unwrap()).unwrap();
        states
            .lock()
            .unwrap()
            .push(serde_json::from_str(&text).unwrap());
        Ok(())
    }));
    state.set(world.state_dir().join("state.json")).unwrap();
    world.raise(["fly", "sentry"].map(wake)).exits(0);
    let texts = world.slack.texts();
    for (state, text) in seen.lock().unwrap().iter().zip(&texts) {
        let sent = &state["outbox"][0];
        assert_eq!(sent["delivery"], "being_sent");
        assert_eq!(sent["text"], Value::from(text.as_str()));
        assert_eq!(
            state["mark"],
            Value::Null,
            "the wake is done: it is in the outbox"
        );
    }
    assert_eq!((seen.lock().unwrap().len(), world.outbox().len()), (2, 0));
}

#[test]
fn a_dm_in_doubt_stays_so_over_runs_that_surely_sent_nothing() {
    let world = World::stamped();
    world.slack.script([Reply::Cut, Reply::Cut]);
    world.raise([wake("fly")]).exits(3);
    world.reach_slack_at(DEAD_URL);
    world.run().exits(3);
    world.reach_slack_at(world.slack.base());
    world.slack.script((0..5).map(|_| Slack::rate_limit("0")));
    world.run().exits(3);
    world.slack.script([Slack::refusal("invalid_auth")]);
    world.run().exits(3);
    world.run().exits(0);
    let texts = world.slack.texts();
    assert_eq!(texts.len(), 9);
    assert!(!is_marked(&texts[0]) && texts[1..].iter().all(|text| is_marked(text)));
}

#[test]
fn a_rate_limit_is_waited_for_as_long_as_slack_says() {
    let world = World::stamped();
    world.slack.script([Slack::rate_limit("2")]);
    world.raise([wake("fly")]).exits(0);
    let posts = world.slack.posts();
    let took = posts[1].at - posts[0].at;
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(8),
        "{took:?}"
    );
}

#[test]
fn order_is_kept_over_many_runs() {
    let world = waiting();
    let probes = ["fly", "sentry", "vercel", "doppler", "supabase"];
    for probe in &probes[1..3] {
        world.slack.script([Slack::refusal("token_expired")]);
        world.raise([wake(probe)]).exits(3);
    }
    assert_eq!(
        column(world.outbox(), "/probe"),
        ["fly", "sentry", "vercel"]
    );
    world.append(probes[3..].iter().map(|probe| wake(probe)));
    world.run().exits(0);
    let texts = world.slack.texts();
    let told: Vec<_> = texts[2..].iter().map(String::as_str).collect();
    assert_eq!(told, probes.map(plain));
}

#[test]
fn a_wrong_token_keeps_the_queue_and_tries_the_next_one_from_the_fourth_run_on() {
    let world = World::stamped_with(Slack::always(|| Slack::refusal("invalid_auth")));
    world.append(["fly", "sentry"].map(wake));
    for _ in 0..5 {
        world.run().exits(3).warns("invalid_auth");
    }
    let tried = ["fly", "fly", "fly", "sentry", "sentry"].map(plain);
    assert_eq!(world.slack.texts(), tried, "one request for each run");
    assert_eq!(world.outbox().len(), 2);
    assert_eq!(world.state_file("undelivered.jsonl"), "");
}

#[test]
fn a_dm_alone_in_the_queue_is_refused_for_ever_and_stays() {
    let world = World::stamped_with(Slack::refusing("alert · fly", "channel_not_found"));
    world.append([wake("fly")]);
    for _ in 0..5 {
        world.run().exits(3);
    }
    assert_eq!((world.outbox().len(), world.slack.requests().len()), (1, 5));
    world.append([wake("sentry")]);
    world.run().exits(3).warns("undelivered.jsonl");
    assert_eq!(world.outbox().len(), 0);
    let texts = world.slack.texts();
    let last = &texts[texts.len() - 2..];
    assert_eq!(last, ["sentry", "fly"].map(plain), "one more try tells");
    assert!(
        world
            .state_file("undelivered.jsonl")
            .contains("alert · fly")
    );
}

#[test]
fn a_token_mended_after_three_refused_runs_costs_no_dm() {
    let world = World::stamped();
    world.append(["fly", "sentry", "vercel"].map(wake));
    let refusals = (0..4).map(|_| Slack::refusal("invalid_auth"));
    world.slack.script(refusals.collect::<Vec<_>>());
    for _ in 0..4 {
        world.run().exits(3).warns("invalid_auth");
    }
    world.run().exits(0).silent();
    let texts = world.slack.texts();
    assert_eq!(texts[4..], ["vercel", "sentry", "fly"].map(plain));
    assert_eq!(world.state_file("undelivered.jsonl"), "");
}

#[test]
fn a_poison_message_in_the_queue_steps_aside_in_the_run_that_finds_it() {
    let world = waiting();
    world.slack.script([Slack::refusal("msg_too_long")]);
    world.raise([wake("sentry")]).exits(3).warns("msg_too_long");
    assert_eq!(world.slack.texts(), ["fly", "sentry"].map(plain));
    assert_eq!(world.given_up(), ["msg_too_long"]);
    assert_eq!(
        world.state_rows("undelivered.jsonl")[0]["text"],
        plain("fly")
    );
    world.run().exits(0).silent();
}

#[test]
fn a_dead_slack_costs_a_run_of_many_wakes_one_try_and_one_retry() {
    let world = World::stamped_with(Slack::always(|| Reply::Cut));
    world.append((0..12).map(|n| wake(&format!("probe-{n}"))));
    let begun = Instant::now();
    let report = world.report(3);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(report["outbox"]["pending"], 12);
    assert_eq!(
        (world.slack.requests().len(), world.engine.requests().len()),
        (2, 12)
    );
    world.report(3);
    assert_eq!(
        (world.slack.requests().len(), world.engine.requests().len()),
        (4, 12)
    );
}

#[test]
fn a_token_that_comes_later_delivers_without_another_question_and_leaves_a_row() {
    let world = World::stamped();
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.append([wake("fly")]);
    world.run().exits(3).warns("KORA_SLACK_BOT_TOKEN");
    world
        .run()
        .exits(3)
        .warns("KORA_SLACK_BOT_TOKEN")
        .warns("1 DM");
    world.set("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN);
    let report = world.report(0);
    assert_eq!(report["outbox"]["delivered"], 1);
    assert_eq!(
        (world.engine.requests().len(), world.slack.texts()),
        (1, vec![plain("fly")])
    );
    let seams = column(world.state_rows("outcomes.jsonl"), "/seam");
    assert_eq!(
        seams,
        ["probe.investigation_completed", "probe.dm_delivered"]
    );
}

#[test]
fn a_run_to_stdout_leaves_the_queue_alone_and_says_that_it_is_there() {
    let world = waiting();
    let before = world.outbox();
    world.append([wake("sentry")]);
    for line in ["run --to stdout", "run --to stdout --format json"] {
        world.command(line).exits(3).hides("alert · fly");
        assert_eq!(world.outbox(), before, "{line}");
        world.append([wake(&line.replace(' ', ""))]);
    }
    assert_eq!(world.slack.requests().len(), 0);
    world.run().exits(0);
    assert_eq!(world.slack.texts()[0], plain("fly"));
}

#[test]
fn only_the_dms_that_are_too_old_are_given_up() {
    let world = waiting();
    world.set("KORA_PROBE_OUTBOX_TTL_SECONDS", "7200");
    world.shift_state(-1);
    world.queue([wake("sentry")]);
    world.shift_state(-1);
    let report = world.report(3);
    assert_eq!(
        report["outbox"],
        serde_json::json!({"delivered": 1, "pending": 0, "expired": 1})
    );
    assert!(world.slack.texts()[0].starts_with(&plain("sentry")));
    assert_eq!(world.given_up(), ["expired"]);
}

#[test]
fn a_clock_set_back_gives_up_nothing_that_waits() {
    let world = waiting();
    world.shift_state(48);
    world.run().exits(0);
    assert_eq!(world.slack.texts(), [plain("fly")]);
}
