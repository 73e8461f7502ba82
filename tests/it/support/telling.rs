//! Compares what the operator got with what happened: a message for every wake, at most one repeat for each
//! interruption, and each repeat marked as one.

use super::engine::DIAGNOSIS;
use super::row::Row;
use super::slack::Post;
use super::world::World;

/// Returns the message about this probe if all goes well.
pub fn plain(probe: &str) -> String {
    format!("🚨 Probe alert · {probe}\n{DIAGNOSIS}")
}

/// Returns the reply with this reason, in the thread of the facts.
pub fn unable(probe: &str, reason: &str) -> String {
    format!("🚨 Probe alert · {probe}\nI was unable to investigate — engine returned: {reason}")
}

/// Returns the messages that begin with this probe's name: facts that a diagnosis is to follow, and all others.
fn of_probe<'a>(texts: &'a [String], probe: &str) -> (Vec<&'a String>, Vec<&'a String>) {
    let headline = format!("🚨 Probe alert · {probe}\n");
    let about = texts.iter().filter(|text| text.starts_with(&headline));
    about.partition(|text| text.contains("\n\nThe investigation follows in this thread."))
}

/// Returns whether a line after the last blank one says that this may be a repeat.
pub fn is_marked(text: &str) -> bool {
    let (_, notes) = text.rsplit_once("\n\n").unwrap_or_default();
    notes.lines().any(|note| note.contains("may be a repeat"))
}

/// Asserts that after interrupted runs and a healthy one each probe's wake was sent, with or without its facts
/// first, and nothing is left to do. Returns the number of repeats.
#[track_caller]
pub fn assert_told(world: &World, probes: &[String], interruptions: usize) -> usize {
    let texts = world.slack.texts();
    let mut repeats = 0;
    for probe in probes {
        let (facts, results) = of_probe(&texts, probe);
        assert!(!results.is_empty(), "nothing was sent about {probe}");
        for sent in [facts, results] {
            let unmarked = sent.iter().filter(|text| !is_marked(text)).count();
            assert!(unmarked <= 1, "sent twice without a mark: {sent:?}");
            repeats += sent.len().saturating_sub(1);
        }
    }
    assert!(
        repeats <= interruptions,
        "{repeats} repeats of {interruptions} interruptions: {texts:?}"
    );
    assert_nothing_is_left(world);
    repeats
}

/// The same if every alert's facts went first: each diagnosis is in the thread of its facts, and nothing was
/// sent twice without a mark.
#[track_caller]
pub fn assert_told_in_threads(world: &World, rows: &[Row], interruptions: usize) {
    let posts = world.slack.posts();
    let mut repeats = 0;
    for row in rows {
        let facts = tellings(&posts, &row.facts());
        let results = tellings(&posts, &plain(row.probe()));
        for sent in [&facts, &results] {
            assert!(
                !sent.is_empty(),
                "nothing was sent about {}: {posts:?}",
                row.probe()
            );
            let unmarked = sent.iter().filter(|post| !is_marked(&post.text)).count();
            assert!(unmarked <= 1, "sent twice without a mark: {sent:?}");
            repeats += sent.len() - 1;
        }
        for result in results {
            let of_its_facts =
                |facts: &&&Post| facts.ts == result.thread_ts && facts.at < result.at;
            assert!(facts.iter().any(|facts| of_its_facts(&facts)), "{posts:?}");
        }
    }
    assert!(repeats <= interruptions, "{repeats} repeats: {posts:?}");
    assert_nothing_is_left(world);
}

/// Returns the posts with this text, with or without notes.
fn tellings<'a>(posts: &'a [Post], text: &str) -> Vec<&'a Post> {
    let is_it = |post: &&Post| {
        let rest = post.text.strip_prefix(text);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("\n\n"))
    };
    posts.iter().filter(is_it).collect()
}

/// Asserts that another run has nothing to send, and that nothing was given up.
#[track_caller]
pub fn assert_nothing_is_left(world: &World) {
    let before = world.slack.requests().len();
    let report = world.report(0);
    assert_eq!(report["wakes"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["outbox"]["pending"], 0);
    assert_eq!(report["investigations"]["owed"], 0);
    let sent = world.slack.requests().len() - before;
    assert_eq!(sent, 0, "a run with nothing to do sent something");
    let undelivered = world.state_file("undelivered.jsonl");
    assert_eq!(undelivered, "", "a message was given up");
}
