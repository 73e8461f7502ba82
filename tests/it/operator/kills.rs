//! Killed at every system call around what the operator does: nothing goes unheard, and nothing is sent twice
//! without a mark.

use serde_json::json;

use super::reactions::Phone;
use super::{fly, over_rows, pass, sent, silences};
use crate::support::{
    Calls, Fault, Post, World, assert_nothing_is_left, assert_sent, at_each_call, at_each_call_of,
    recovery, wake,
};

/// How often these words were sent, whole and in order of sending: once, or more with a mark.
#[track_caller]
fn assert_said(world: &World, begin: &str) {
    let posts = world.slack.posts();
    let is_it = |post: &&Post| post.text.starts_with(begin) && post.ts.is_some();
    let said: Vec<_> = posts.iter().filter(is_it).collect();
    let repeats = assert_sent(&said, begin, &posts);
    assert!(repeats <= 1, "{posts:?}");
}

#[test]
fn a_silence_that_is_made_is_there_or_not_and_harms_nothing() {
    let prepare = World::stamped;
    let judge = |world: &World, _: &_, _| {
        let is_silenced = silences(world).len() == 1;
        world.raise([wake("fly")]).exits(0).silent();
        assert_eq!(sent(world), usize::from(!is_silenced));
    };
    at_each_call_of("silence fly", Fault::Kill, Calls::Visible, prepare, judge);
}

#[test]
#[ignore = "some hundred runs under strace"]
fn what_a_silence_held_back_is_heard_when_it_ends() {
    let prepare = || {
        let world = World::stamped();
        world.command("silence fly --for 1h").exits(0);
        world.raise([fly("critical")]).exits(0).silent();
        pass(&world, 61);
        world
    };
    let judge = |world: &World, _: &_, _| {
        world.run().exits(0);
        assert_said(world, "🚨 Probe alert · fly\n");
        assert_nothing_is_left(world);
        assert!(silences(world).is_empty());
        // The folder is read again with the next wake, and what was counted is forgotten with the one after.
        world.raise([wake("sentry")]).exits(0).silent();
        world.raise([wake("neon")]).exits(0).silent();
        let mut rows = over_rows(world);
        rows.dedup_by_key(|row| row["details"].take());
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert!(!world.state_file("state.json").contains("silence-"));
    };
    at_each_call(Fault::Kill, Calls::Visible, prepare, judge);
}

#[test]
#[ignore = "some hundred runs under strace"]
fn an_escalation_is_heard_at_the_windows_end() {
    let prepare = || {
        let world = World::stamped();
        world
            .raise(["warning", "critical"].map(fly))
            .exits(0)
            .silent();
        pass(&world, 11);
        world
    };
    let judge = |world: &World, _: &_, _| {
        world.run().exits(0);
        assert_said(world, "🚨 Probe alert · fly\n");
        assert_nothing_is_left(world);
    };
    at_each_call(Fault::Kill, Calls::Visible, prepare, judge);
}

#[test]
#[ignore = "some hundred runs under strace"]
fn a_reaction_acknowledges_and_what_is_worse_is_heard() {
    let prepare = || {
        let (world, phone) = Phone::world();
        world.raise([fly("warning")]).exits(0).silent();
        phone.react("1.1", "eyes", "U0JOSHUA");
        pass(&world, 12);
        world
    };
    let judge = |world: &World, _: &_, _| {
        pass(world, 2);
        world.run().exits(0);
        assert_eq!(silences(world).len(), 1);
        world.raise([fly("warning")]).exits(0).silent();
        assert_eq!(sent(world), 1);
        world.raise([fly("critical")]).exits(0).silent();
        assert_said(world, "🚨 Probe alert · fly\n");
        assert!(silences(world).is_empty());
    };
    at_each_call(Fault::Kill, Calls::Visible, prepare, judge);
}

#[test]
#[ignore = "some hundred runs under strace"]
fn a_recovery_is_announced() {
    let prepare = || {
        let world = World::stamped();
        world.raise([wake("fly")]).exits(0).silent();
        world.append_raw(recovery("fly", &json!({})));
        world
    };
    let judge = |world: &World, _: &_, _| {
        world.run().exits(0);
        assert_said(world, "✅ Probe recovered · fly\n");
        assert_nothing_is_left(world);
        let status = world.command("status --format json").exits(0).json();
        assert_eq!(status["open"], json!([]));
    };
    at_each_call(Fault::Kill, Calls::Visible, prepare, judge);
}
