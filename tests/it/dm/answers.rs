//! The table of section 7 of the contract: what becomes of a DM after each of Slack's answers.

use serde_json::{Value, json};

use crate::support::{Reply, SLACK_TOKEN, Slack, World, at_once, is_marked, plain, wake};

/// Two wakes in one run, which must exit so; the report.
#[track_caller]
fn two_wakes(world: &World, code: i32) -> Value {
    world.append([wake("fly"), wake("sentry")]);
    world.report(code)
}

#[track_caller]
fn pending(world: &World, code: i32) -> Value {
    world.report(code)["outbox"]["pending"].take()
}

/// Slack gives this reply to the first request: the DM is sent once more, marked, and the run is content.
#[track_caller]
fn assert_unknown(reply: Reply) {
    let world = World::stamped();
    world.slack.script([reply]);
    world.append([wake("fly")]);
    let report = world.report(0);
    assert_eq!(report["wakes"][0]["dm_sent"], true);
    let texts = world.slack.texts();
    assert_eq!((texts.len(), texts[0].as_str()), (2, plain("fly").as_str()));
    assert!(texts[1].starts_with(&plain("fly")) && is_marked(&texts[1]));
}

#[test]
fn what_may_or_may_not_have_been_sent_is_sent_once_more_and_marked() {
    let errors = ["internal_error", "fatal_error", "service_unavailable"];
    let replies = [
        Reply::text(500, ""),
        Reply::text(503, "down"),
        Reply::Cut,
        Reply::CutInBody,
        Reply::text(200, "ok"),
    ];
    at_once(
        replies.into_iter().chain(errors.map(Slack::refusal)),
        assert_unknown,
    );
}

#[test]
#[ignore = "Slack is given 10 s"]
fn a_slack_that_hangs_may_have_sent_it() {
    assert_unknown(Reply::Hang);
}

#[test]
fn what_was_limited_and_then_cut_is_sent_once_more() {
    let world = World::stamped();
    world.slack.script([Slack::rate_limit("0"), Reply::Cut]);
    world.raise([wake("fly")]).exits(0).silent();
    assert_eq!(world.slack.requests().len(), 3);
}

#[test]
fn a_slack_that_stays_down_keeps_the_dm_and_the_next_run_delivers_it_without_the_engine() {
    let world = World::stamped();
    world
        .slack
        .script([Reply::text(500, ""), Reply::text(500, "")]);
    world.append([wake("fly")]);
    let report = world.report(3);
    assert_eq!(report["wakes"][0]["dm_sent"], false);
    assert_eq!(report["outbox"]["pending"], 1);
    let report = world.report(0);
    assert_eq!(
        report["outbox"],
        json!({"delivered": 1, "pending": 0, "expired": 0})
    );
    assert_eq!(report["wakes"], json!([]));
    assert!(is_marked(&world.slack.texts()[2]));
    assert_eq!(world.engine.requests().len(), 1);
}

#[test]
fn a_slack_that_is_down_is_tried_once_with_its_retry_for_a_whole_run() {
    let world = World::stamped_with(Slack::always(|| Reply::text(503, "")));
    assert_eq!(two_wakes(&world, 3)["outbox"]["pending"], 2);
    assert_eq!(world.slack.requests().len(), 2);
    assert_eq!(world.engine.requests().len(), 2);
}

#[test]
fn a_slack_that_cannot_be_reached_keeps_the_queue_and_its_order() {
    let world = World::stamped();
    world.slack.die();
    assert_eq!(two_wakes(&world, 3)["outbox"]["pending"], 2);
    world.append([wake("doppler")]);
    assert_eq!(pending(&world, 3), 3);
    world.slack.revive();
    world.append([wake("vercel")]);
    let report = world.report(0);
    assert_eq!(report["outbox"]["delivered"], 3);
    let expected = ["fly", "sentry", "doppler", "vercel"].map(plain);
    assert_eq!(
        world.slack.texts(),
        expected,
        "as they were: they were surely not sent"
    );
}

#[test]
fn a_rate_limit_is_waited_for_once_and_surely_nothing_was_sent() {
    let limits = [
        Reply::text(429, ""),
        Reply::json(429, &json!({"ok": false, "error": "ratelimited"})),
        Slack::refusal("ratelimited"),
        Slack::refusal("rate_limited"),
    ];
    at_once(limits, |limit| {
        let world = World::stamped();
        world.slack.script([limit.with("Retry-After", "1")]);
        world.raise([wake("fly")]).exits(0);
        assert_eq!(world.slack.texts(), [plain("fly"), plain("fly")]);
    });
}

#[test]
fn a_rate_limit_that_stays_keeps_the_queue() {
    let world = World::stamped_with(Slack::always(|| Slack::rate_limit("0")));
    assert_eq!(two_wakes(&world, 3)["outbox"]["pending"], 2);
    assert_eq!(world.slack.texts(), vec![plain("fly"); 5]);
}

#[test]
fn a_message_at_fault_steps_aside_for_the_next() {
    for error in ["msg_too_long", "no_text", "invalid_blocks"] {
        let world = World::stamped();
        world.slack.script([Slack::refusal(error)]);
        let report = two_wakes(&world, 3);
        assert_eq!(report["outbox"]["pending"], 0);
        assert_eq!(report["wakes"][0]["dm_sent"], false);
        assert_eq!(report["wakes"][1]["dm_sent"], true);
        assert_eq!(world.slack.texts(), ["fly", "sentry"].map(plain));
        let undelivered = world.state_rows("undelivered.jsonl");
        assert_eq!(undelivered.len(), 1);
        assert!(
            undelivered[0].to_string().contains("Probe alert · fly"),
            "{undelivered:?}"
        );
        world.run().exits(0).silent();
    }
}

#[test]
fn a_refusal_keeps_the_queue_and_the_run_sends_no_more() {
    for error in [
        "invalid_auth",
        "channel_not_found",
        "missing_scope",
        "never_heard_of",
    ] {
        let world = World::stamped();
        world.slack.script([Slack::refusal(error)]);
        world
            .raise([wake("fly"), wake("sentry")])
            .exits(3)
            .warns("probe-wake: warning: ")
            .warns(error);
        assert_eq!(world.slack.texts(), [plain("fly")]);
        world.run().exits(0);
        assert_eq!(world.slack.texts()[1..], ["fly", "sentry"].map(plain));
        assert_eq!(world.state_file("undelivered.jsonl"), "");
    }
}

#[test]
fn without_a_token_or_an_operator_the_dm_waits_and_the_variable_is_named() {
    for variable in ["KORA_SLACK_BOT_TOKEN", "KORA_SLACK_JOSHUA_USER_ID"] {
        let world = World::stamped();
        world.set(variable, "");
        world
            .raise([wake("fly")])
            .exits(3)
            .warns("probe-wake: warning: ")
            .warns(variable);
        assert_eq!(
            (world.engine.requests().len(), world.slack.requests().len()),
            (1, 0)
        );
        let value = if variable.ends_with("TOKEN") {
            SLACK_TOKEN
        } else {
            "U0JOSHUA"
        };
        world.set(variable, value);
        world.run().exits(0);
        assert_eq!(world.slack.texts(), [plain("fly")]);
    }
}

#[test]
fn a_dm_that_waited_long_says_how_late_it_is() {
    let world = World::stamped();
    world.queue([wake("fly")]);
    world.shift_state(-1);
    world.run().exits(0);
    let text = world.slack.texts().remove(0);
    let note = text
        .strip_prefix(&(plain("fly") + "\n\n"))
        .unwrap_or_else(|| panic!("no note in {text:?}"));
    assert!(!note.is_empty() && !note.contains('\n'), "{note:?}");
}
