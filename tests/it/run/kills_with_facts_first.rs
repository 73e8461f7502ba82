//! A run of two wakes whose facts go first, killed at one of its system calls, for each of them: the run after it
//! loses nothing, repeats nothing unmarked, and sends no result before its facts.

use crate::support::{
    Calls, Fault, Post, Row, World, assert_nothing_is_left, assert_sent, assert_sent_in_threads,
    at_each_call, wake,
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
fn sent_in_threads(world: &World) {
    assert_sent_in_threads(world, &rows(), 1);
}

#[test]
#[ignore = "some hundred runs under strace"]
fn a_run_killed_at_any_call_that_changes_something_loses_nothing() {
    needs!("strace");
    let kills = kill_at_each(Calls::Visible, &[], 2, sent_in_threads);
    assert!(kills > 60, "only {kills} calls");
}

#[test]
#[ignore = "some hundred runs under strace: half a minute"]
fn a_run_killed_at_any_call_loses_nothing() {
    needs!("strace");
    let kills = kill_at_each(Calls::All, &[], 2, sent_in_threads);
    assert!(kills > 300, "only {kills} calls");
}

/// The list comes before the result, both facts and the result lie in the thread of a list, and what was sent
/// twice is marked.
#[track_caller]
fn sent_as_a_digest(world: &World) {
    let posts = world.slack.posts();
    let list = "🚨 Probe alerts · 2 at once (2 critical)\n";
    let of_kind = |is_kind: &dyn Fn(&str) -> bool| -> Vec<&Post> {
        posts.iter().filter(|post| is_kind(&post.text)).collect()
    };
    let lists = of_kind(&|text| text.starts_with(list));
    let results = of_kind(&|text| text.starts_with("🔎 Diagnosis · 2 alerts\n"));
    let facts = of_kind(&|text| text.contains(&rows()[0].in_full()));
    let mut repeats = 0;
    for (sent, what) in [
        (&lists, "the list"),
        (&results, "the result"),
        (&facts, "the facts"),
    ] {
        repeats += assert_sent(sent, what, &posts);
        for post in sent.iter().filter(|post| post.thread_ts.is_some()) {
            let is_its_list = |list: &&Post| list.ts == post.thread_ts && list.at < post.at;
            assert!(lists.iter().any(is_its_list), "{posts:?}");
        }
    }
    assert!(repeats <= 1, "{repeats} repeats: {posts:?}");
    assert_nothing_is_left(world);
}

#[test]
#[ignore = "some hundred runs under strace"]
fn a_digest_killed_at_any_call_that_changes_something_loses_nothing() {
    needs!("strace");
    let settings = [("KORA_PROBE_DIGEST_WAKES", "2")];
    let kills = kill_at_each(Calls::Visible, &settings, 1, sent_as_a_digest);
    assert!(kills > 40, "only {kills} calls");
}
