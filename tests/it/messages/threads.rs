//! A result goes into the thread of its facts, waits for their first part, and stands alone where there is none.

use serde_json::json;

use jiff::SignedDuration;

use crate::support::{
    DIAGNOSIS, Engine, Post, Reply, Row, Slack, World, at_once, is_marked, plain, reply, unable,
    wake,
};

/// A reply that has to stand at the top level.
fn standing_alone(reply: &str, row: &Row) -> String {
    format!("{reply}\n\n{}\n{}", row.fact_line(), row.status_line())
}

/// Facts go first, at once.
fn facts_first(slack: Slack) -> World {
    let world = World::stamped_with(slack);
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    world
}

fn thread_of(post: &Post) -> Option<&str> {
    post.thread_ts.as_deref()
}

fn texts_and_threads(posts: &[Post]) -> Vec<(&str, Option<&str>)> {
    let both = |post| (Post::text(post), thread_of(post));
    posts.iter().map(both).collect()
}

#[test]
fn what_queued_up_while_slack_was_dead_goes_out_in_order_and_into_its_threads() {
    let world = facts_first(Slack::start());
    let rows = ["fly", "sentry"].map(wake);
    world.slack.die();
    world.raise(rows.clone()).exits(3);
    world.raise([wake("vercel")]).exits(3);
    world.slack.revive();
    world.wait_for_pause();
    world.run().exits(0).silent();
    let [fly, sentry] = rows.each_ref().map(Row::facts);
    let [about_fly, about_sentry, about_vercel] = ["fly", "sentry", "vercel"].map(reply);
    let expected = [
        (fly.as_str(), None),
        (&sentry, None),
        (&wake("vercel").facts(), None),
        (&about_fly, Some("1.1")),
        (&about_sentry, Some("1.2")),
        (&about_vercel, Some("1.3")),
    ];
    assert_eq!(texts_and_threads(&world.slack.posts()), expected);
    assert_eq!(world.engine.questions().len(), 3);
}

#[test]
fn a_result_whose_thread_takes_no_reply_goes_to_the_top_level_at_once() {
    for gone in [
        "thread_not_found",
        "cannot_reply_to_message",
        "restricted_action_thread_locked",
        "restricted_action_non_threadable_channel",
        "channel_not_found",
    ] {
        let world = facts_first(Slack::start());
        world.slack.nth(2, Slack::refusal(gone));
        world.raise([wake("fly")]).exits(0).silent();
        let posts = world.slack.posts();
        let reply = reply("fly");
        let alone = standing_alone(&reply, &wake("fly"));
        assert_eq!(
            texts_and_threads(&posts[1..]),
            [(reply.as_str(), Some("1.1")), (&alone, None)],
            "{gone}"
        );
        assert_eq!((&*posts[1].channel, &*posts[2].channel), ("D1", "U0JOSHUA"));
    }
}

#[test]
fn where_facts_were_delivered_without_a_ts_their_result_goes_to_the_top_level() {
    let world = facts_first(Slack::start());
    world.slack.script([Reply::json(200, &json!({"ok": true}))]);
    world.raise([wake("fly")]).exits(0).silent();
    let posts = world.slack.posts();
    let alone = standing_alone(&reply("fly"), &wake("fly"));
    let expected = [(wake("fly").facts(), None), (alone, None)];
    let expected = expected
        .each_ref()
        .map(|(text, thread)| (text.as_str(), *thread));
    assert_eq!(texts_and_threads(&posts), expected);
}

/// Slack takes no facts.
fn without_facts() -> World {
    facts_first(Slack::refusing("follows in this thread", "msg_too_long"))
}

#[test]
fn a_result_whose_facts_were_given_up_is_an_ordinary_message() {
    at_once([false, true], |is_queued| {
        let world = without_facts();
        world
            .engine
            .script([Engine::answer(DIAGNOSIS), Reply::text(503, "")]);
        let rows = ["fly", "sentry"].map(wake);
        if is_queued {
            // Facts and results are both in the outbox when the facts are refused.
            world.queue(rows.clone());
            world.run().exits(3);
        } else {
            world.raise(rows.clone()).exits(3);
        }
        let posts = world.slack.posts();
        let reason = "engine_exception:HTTP503";
        let expected = [plain("fly"), rows[1].fallback(reason)];
        let expected = expected.each_ref().map(|text| (text.as_str(), None));
        assert_eq!(texts_and_threads(&posts[2..]), expected);
        assert_eq!(world.undelivered().len(), 2);
        world.run().exits(0).silent();
    });
}

#[test]
fn a_result_stands_in_the_thread_of_facts_that_were_given_up_half_way() {
    let world = facts_first(Slack::refusing("the very end", "msg_too_long"));
    let detail = format!("{}the very end", "word ".repeat(1_000));
    world.append([wake("fly").set("detail", detail)]);
    world.run().exits(3);
    let posts = world.slack.posts();
    let result = posts.iter().find(|post| post.text == reply("fly"));
    assert_eq!(result.and_then(thread_of), Some("1.1"), "{posts:?}");
    assert_eq!(world.given_up(), ["msg_too_long"]);
}

#[test]
fn what_the_given_up_facts_said_of_repeats_is_said_with_the_result() {
    let world = without_facts();
    world.queue([wake("fly"), wake("fly")]);
    world.shift_state_by(-SignedDuration::from_mins(11));
    world.queue([wake("fly")]);
    world.run().exits(3);
    let texts = world.slack.texts();
    let with_note = texts
        .iter()
        .filter(|text| text.contains("1 repeat held back"));
    let with_note: Vec<_> = with_note.filter(|text| text.contains(DIAGNOSIS)).collect();
    assert_eq!(with_note.len(), 1, "{texts:?}");
    assert!(with_note[0].starts_with("🚨 Probe alert · fly\n"));
}

#[test]
fn a_result_for_another_operator_goes_to_the_top_level() {
    let world = facts_first(Slack::start());
    world.append([wake("fly")]);
    world.kill_while_asking();
    world.set("KORA_SLACK_JOSHUA_USER_ID", "U0OTHER");
    world.run().exits(0).silent();
    let result = &world.slack.posts()[1];
    assert_eq!((thread_of(result), &*result.channel), (None, "U0OTHER"));
}

#[test]
fn facts_that_slack_answered_unclearly_are_sent_again_and_the_result_follows_the_second() {
    let world = facts_first(Slack::start());
    world.slack.script([Reply::text(503, "")]);
    world.raise([wake("fly")]).exits(0).silent();
    let posts = world.slack.posts();
    assert!(!is_marked(&posts[0].text) && is_marked(&posts[1].text));
    assert_eq!(
        (posts[2].text.as_str(), thread_of(&posts[2])),
        (&*reply("fly"), Some("1.2"))
    );
}

#[test]
fn a_result_waits_over_runs_for_facts_that_are_not_delivered() {
    let world = facts_first(Slack::start());
    world.slack.script([Reply::Cut, Reply::Cut]);
    world.engine.script([Reply::text(503, "")]);
    world.raise([wake("fly")]).exits(3);
    assert_eq!(world.slack.posts().len(), 2);
    world.shift_state_by(-SignedDuration::from_secs(61));
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    assert!(is_marked(&posts[2].text), "{}", posts[2].text);
    assert_eq!(posts[3].text, unable("fly", "engine_exception:HTTP503"));
    assert_eq!(thread_of(&posts[3]), posts[2].ts.as_deref());
}

#[test]
fn a_result_waits_for_the_first_part_of_its_facts_alone() {
    let world = facts_first(Slack::start());
    let detail: String = (0..9_000).map(|number| format!("w{number} ")).collect();
    world.append([wake("fly").set("detail", detail.trim_end())]);
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    assert!(posts.len() > 12, "{} parts", posts.len() - 1);
    assert!(posts[1..].iter().all(|post| thread_of(post) == Some("1.1")));
    let result = posts.iter().position(|post| post.text == reply("fly"));
    // The question is asked before the parts beyond the tenth, some of which may go out meanwhile.
    let is_before_the_last = |at: usize| at >= 10 && at + 1 < posts.len();
    assert!(result.is_some_and(is_before_the_last), "{result:?}");
}
