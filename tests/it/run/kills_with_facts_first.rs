//! A run of two wakes whose facts go first, killed at one of its system calls, for each of them: the run after it
//! loses nothing, repeats nothing unmarked, and tells no result before its facts.

use crate::support::{
    Calls, Fault, Post, Row, World, assert_nothing_is_left, assert_sent_in_threads, at_each_call,
    is_marked, wake,
};

const PROBES: [&str; 2] = ["fly", "sentry"];

fn two_wakes(settings: &[(&str, &str)]) -> World {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    for (variable, value) in settings {
        world.set(variable, value.to_string());
    }
    world.append(rows());
    world
}

/// The same texts each time, whenever they are made.
fn rows() -> [Row; 2] {
    PROBES.map(wake)
}

/// Kills one run at each of these calls; `judge` looks at what the next one made of it.
#[track_caller]
fn kill_at_each(
    calls: Calls,
    settings: &[(&str, &str)],
    questions: usize,
    judge: impl Fn(&World) + Sync,
) -> usize {
    let prepare = || two_wakes(settings);
    at_each_call(Fault::Kill, calls, prepare, |world, call, outcome| {
        assert!(matches!(outcome.code, None | Some(0)), "{call}");
        world.run().exits(0);
        judge(world);
        let asked = world.engine.questions().len();
        assert!(
            (questions..=questions + 1).contains(&asked),
            "{asked} questions"
        );
    })
}

#[track_caller]
fn told_in_threads(world: &World) {
    assert_sent_in_threads(world, &rows(), 1);
}

#[test]
fn a_run_killed_at_any_call_that_changes_something_loses_nothing() {
    needs!("strace");
    let kills = kill_at_each(Calls::Visible, &[], 2, told_in_threads);
    assert!(kills > 60, "only {kills} calls");
}

#[test]
#[ignore = "some hundred runs under strace: half a minute"]
fn a_run_killed_at_any_call_loses_nothing() {
    needs!("strace");
    let kills = kill_at_each(Calls::All, &[], 2, told_in_threads);
    assert!(kills > 300, "only {kills} calls");
}

/// The list comes before the result, both facts and the result lie in the thread of a list, and what was sent
/// twice is marked.
#[track_caller]
fn told_as_a_digest(world: &World) {
    let posts = world.slack.posts();
    let of_kind = |is_kind: &dyn Fn(&Post) -> bool| -> Vec<&Post> {
        posts.iter().filter(|post| is_kind(post)).collect()
    };
    let follows = "The investigation follows in this thread.";
    let headline = "🚨 Probe alerts · 2 at once (2 critical)\n";
    let is_list = |post: &Post| post.text.starts_with(headline) && post.text.contains(follows);
    let is_result = |post: &Post| post.text.starts_with(headline) && !post.text.contains(follows);
    let is_facts = |post: &Post| post.text.contains(&rows()[0].in_full());
    let lists = of_kind(&is_list);
    let mut repeats = 0;
    for told in [&lists, &of_kind(&is_result), &of_kind(&is_facts)] {
        assert!(!told.is_empty(), "{posts:?}");
        let unmarked = told.iter().filter(|post| !is_marked(&post.text)).count();
        assert!(unmarked <= 1, "sent twice without a mark: {posts:?}");
        repeats += told.len() - 1;
        for post in told.iter().filter(|post| post.thread_ts.is_some()) {
            let is_its_list = |list: &&Post| list.ts == post.thread_ts && list.at < post.at;
            assert!(lists.iter().any(is_its_list), "{posts:?}");
        }
    }
    assert!(repeats <= 1, "{repeats} repeats: {posts:?}");
    assert_nothing_is_left(world);
}

#[test]
fn a_digest_killed_at_any_call_that_changes_something_loses_nothing() {
    needs!("strace");
    let settings = [("KORA_PROBE_DIGEST_WAKES", "2")];
    let kills = kill_at_each(Calls::Visible, &settings, 1, told_as_a_digest);
    assert!(kills > 40, "only {kills} calls");
}
