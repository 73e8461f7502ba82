//! What becomes of a message after each of Slack's answers.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::{
    Reply, SLACK_TOKEN, Slack, World, at_once, column, is_marked, plain, reply, unmarked, wake,
};

/// Two wakes in one run, which must exit so; the report.
#[track_caller]
fn two_wakes(world: &World, code: i32) -> Value {
    world.append([wake("fly"), wake("sentry")]);
    world.report(code)
}

/// Slack gives this reply to the first request: the message is sent once more, marked, and the run is
/// content.
#[track_caller]
fn assert_unknown(reply: Reply) {
    let world = World::stamped();
    world.slack.script([reply]);
    world.append([wake("fly")]);
    let report = world.report(0);
    assert_eq!(report["wakes"][0]["dm_sent"], true);
    let texts = world.slack.texts();
    assert_eq!((texts.len(), texts[0].as_str()), (2, plain("fly").as_str()));
    assert!(is_marked(&texts[1]), "{}", texts[1]);
    assert_eq!(unmarked(&texts[1]), plain("fly"));
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
fn what_slack_did_not_answer_twice_waits_a_minute_and_needs_no_engine_then() {
    let world = World::stamped();
    world
        .slack
        .script([Reply::text(500, ""), Reply::text(500, "")]);
    world.append([wake("fly")]);
    let report = world.report(3);
    assert_eq!(report["wakes"][0]["dm_sent"], false);
    assert_eq!(report["outbox"]["pending"], 1);
    world.shift_state_by(-SignedDuration::from_secs(50));
    assert_eq!(world.report(3)["outbox"]["pending"], 1);
    assert_eq!(world.slack.requests().len(), 2);
    world.shift_state_by(-SignedDuration::from_secs(11));
    let report = world.report(0);
    assert_eq!(
        report["outbox"],
        json!({"delivered": 1, "pending": 0, "expired": 0})
    );
    let wake = &report["wakes"][0];
    let is_invoked = wake["reasoning_invoked"].as_bool();
    assert_eq!((is_invoked, &wake["dm_sent"]), (Some(true), &json!(true)));
    assert!(is_marked(&world.slack.texts()[2]));
    assert_eq!(world.engine.requests().len(), 1);
}

#[test]
fn a_slack_that_is_down_is_asked_with_one_other_message_in_a_run() {
    let world = World::stamped_with(Slack::always(|| Reply::text(503, "")));
    world.append(["fly", "sentry", "vercel"].map(wake));
    assert_eq!(world.report(3)["outbox"]["pending"], 3);
    let texts = world.slack.texts();
    let texts: Vec<_> = texts.iter().map(|text| unmarked(text)).collect();
    assert_eq!(texts, ["fly", "fly", "sentry", "sentry"].map(plain));
    assert_eq!(world.engine.requests().len(), 3);
}

#[test]
fn a_slack_that_cannot_be_reached_keeps_the_queue_and_its_order() {
    let world = World::stamped();
    world.slack.die();
    assert_eq!(two_wakes(&world, 3)["outbox"]["pending"], 2);
    world.wait_for_pause();
    world.append([wake("doppler")]);
    // Its facts go out before the messages that wait, and its diagnosis follows.
    assert_eq!(world.report(3)["outbox"]["pending"], 4);
    world.slack.revive();
    world.wait_for_pause();
    assert_eq!(world.report(0)["outbox"]["delivered"], 4);
    let expected = [
        plain("fly"),
        plain("sentry"),
        wake("doppler").facts(),
        reply("doppler"),
    ];
    assert_eq!(world.slack.texts(), expected, "surely not sent: no marks");
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
#[ignore = "Slack is awaited for seconds"]
fn a_rate_limit_is_waited_for_as_long_as_slack_says_and_5_s_where_it_does_not() {
    let limits = [
        Slack::rate_limit("2"),
        Reply::text(429, ""),
        Slack::rate_limit("soon"),
    ];
    at_once(limits.into_iter().zip([2, 5, 5]), |(limit, seconds)| {
        let world = World::stamped();
        world.slack.script([limit]);
        world.raise([wake("fly")]).exits(0);
        let posts = world.slack.posts();
        let took = posts[1].at - posts[0].at;
        let expected = Duration::from_secs(seconds)..Duration::from_secs(seconds + 3);
        assert!(expected.contains(&took), "{took:?}");
    });
}

#[test]
fn a_rate_limit_that_stays_keeps_the_queue() {
    let world = World::stamped_with(Slack::always(|| Slack::rate_limit("0")));
    assert_eq!(two_wakes(&world, 3)["outbox"]["pending"], 2);
    assert_eq!(world.slack.texts(), vec![plain("fly"); 5]);
}

#[test]
fn a_long_rate_limit_holds_for_later_runs_and_is_not_waited_for() {
    let world = World::stamped();
    world.slack.script([Slack::rate_limit("3600")]);
    assert_eq!(two_wakes(&world, 3)["outbox"]["pending"], 2);
    world.shift_state_by(-SignedDuration::from_secs(1_800));
    world
        .command("run -v")
        .exits(3)
        .warns("2 messages stay queued");
    assert_eq!(world.slack.requests().len(), 1);
    // The last 30 s of it are waited for.
    world.shift_state_by(-SignedDuration::from_secs(1_798));
    world.run().exits(0);
    assert_eq!(world.slack.requests().len(), 3);
}

#[test]
#[ignore = "Slack is awaited for seconds"]
fn rows_are_read_while_slack_has_asked_to_wait() {
    let world = World::stamped();
    world.slack.script([Slack::rate_limit("8")]);
    world.append([wake("fly").set("severity", "warning")]);
    let run = world.start("run");
    world.slack.wait_for(1);
    world.append([wake("sentry")]);
    run.finish().exits(0);
    let posts = world.slack.posts();
    assert!(posts[1].at - posts[0].at >= Duration::from_secs(8));
    let about: Vec<_> = posts.iter().map(|post| post.text.lines().next()).collect();
    let fly = Some("⚠️ Probe alert · fly");
    assert_eq!(about[..3], [fly, Some("🚨 Probe alert · sentry"), fly]);
}

#[test]
fn what_is_the_messages_own_fault_is_given_up_and_the_next_goes_on() {
    for error in ["msg_too_long", "no_text", "invalid_blocks"] {
        let world = World::stamped();
        world.slack.script([Slack::refusal(error)]);
        let report = two_wakes(&world, 3);
        assert_eq!(report["outbox"]["pending"], 0);
        let sent = column(report["wakes"].clone(), "/dm_sent");
        assert_eq!(sent, [false, true]);
        assert_eq!(world.slack.texts(), ["fly", "sentry"].map(plain));
        assert_eq!(world.given_up(), [error]);
        world.run().exits(0).silent();
    }
}

#[test]
fn wrong_settings_keep_the_queue_and_the_run_sends_no_more() {
    for error in [
        "not_authed",
        "invalid_auth",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "missing_scope",
        "channel_not_found",
    ] {
        let world = World::stamped();
        world.slack.script([Slack::refusal(error)]);
        world
            .raise([wake("fly"), wake("sentry")])
            .exits(3)
            .warns("probe-wake: warning: ")
            .warns(error)
            .warns("probe-wake check");
        assert_eq!(world.slack.texts(), [plain("fly")]);
        world.wait_for_pause();
        world.run().exits(0);
        assert_eq!(world.slack.texts()[1..], ["fly", "sentry"].map(plain));
        assert_eq!(world.given_up(), [Value::Null; 0]);
    }
}

#[test]
fn any_other_refusal_is_told_from_a_bad_slack_by_the_next_message() {
    let world = World::stamped();
    world.slack.script([Slack::refusal("never_heard_of")]);
    world
        .raise([wake("fly"), wake("sentry")])
        .exits(3)
        .warns("never_heard_of");
    assert_eq!(world.slack.texts(), ["fly", "sentry"].map(plain));
    world.run().exits(0);
    assert_eq!(world.slack.texts()[2..], [plain("fly")]);
}

#[test]
fn without_a_token_or_an_operator_the_message_waits_and_the_variable_is_named() {
    for (variable, value) in [
        ("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN),
        ("KORA_SLACK_JOSHUA_USER_ID", "U0JOSHUA"),
    ] {
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
        world
            .command("run -v")
            .exits(3)
            .warns(variable)
            .warns("1 message");
        world.set(variable, value);
        assert_eq!(world.report(0)["outbox"]["delivered"], 1);
        assert_eq!(world.slack.texts(), [plain("fly")]);
        assert_eq!(world.engine.requests().len(), 1);
        let rows = world.state_rows("outcomes.jsonl");
        let seams = ["probe.investigation_completed", "probe.dm_delivered"];
        assert_eq!(column(rows.clone(), "/seam"), seams);
        let ids = column(rows, "/details/id");
        assert!(ids[0].is_string() && ids[0] == ids[1], "{ids:?}");
    }
}
