//! What the operator has read, held against what happened: no alert is missing, at most one repeat for each
//! interruption, and each repeat marked as one.

use super::engine::DIAGNOSIS;
use super::row::{Row, wake};
use super::slack::Post;
use super::world::World;

const MAY_BE_REPEAT: &str =
    "This may be a repeat: whether an earlier attempt reached Slack is not known.";

/// The message about a wake of this probe where everything is well.
pub fn plain(probe: &str) -> String {
    wake(probe).diagnosed(DIAGNOSIS)
}

/// The reply with the diagnosis in the thread of the facts.
pub fn reply(probe: &str) -> String {
    format!("🔎 Diagnosis · {probe}\n{DIAGNOSIS}")
}

/// The same where there is none, for this reason.
pub fn unable(probe: &str, reason: &str) -> String {
    format!("🔎 Diagnosis · {probe}\nI was unable to investigate — engine returned: {reason}")
}

/// Whether it ends with the line that says that it may be a repeat.
pub fn is_marked(text: &str) -> bool {
    text.lines().last() == Some(MAY_BE_REPEAT)
}

/// The text without that line.
pub fn unmarked(text: &str) -> &str {
    let text = text.strip_suffix(MAY_BE_REPEAT).unwrap_or(text);
    text.trim_end_matches('\n')
}

/// The posts of this text, marked or not.
fn posts_of<'a>(posts: &'a [Post], text: &str) -> Vec<&'a Post> {
    let posts = posts.iter();
    posts.filter(|post| unmarked(&post.text) == text).collect()
}

/// Asserts that these were sent, each but one with the mark. Returns how many repeats there were.
#[track_caller]
pub fn assert_sent(sent: &[&Post], what: &str, all: &[Post]) -> usize {
    assert!(!sent.is_empty(), "{what} was not sent: {all:?}");
    let marked = sent.iter().filter(|post| is_marked(&post.text)).count();
    assert!(
        sent.len() - marked <= 1,
        "sent twice without a mark: {sent:?}"
    );
    sent.len() - 1
}

/// After a healthy run that followed the interrupted ones: each probe's one wake was sent with its result, with or
/// without its facts first, and nothing is left to do. Returns how many repeats there were.
#[track_caller]
pub fn assert_all_sent(world: &World, probes: &[String], interruptions: usize) -> usize {
    let posts = world.slack.posts();
    let mut repeats = 0;
    for probe in probes {
        let alert = format!("🚨 Probe alert · {probe}\n");
        let result = format!("🔎 Diagnosis · {probe}\n");
        let is_facts = |text: &str| text.contains("\n\nThe investigation follows in this thread.");
        let about = |begin: &str, facts: bool| {
            let is_it =
                |post: &&Post| post.text.starts_with(begin) && is_facts(&post.text) == facts;
            posts.iter().filter(is_it).collect::<Vec<_>>()
        };
        let (facts, replies) = (about(&alert, true), about(&result, false));
        match facts.is_empty() {
            true => repeats += assert_sent(&about(&alert, false), probe, &posts),
            false => {
                repeats += assert_sent(&facts, probe, &posts);
                repeats += assert_sent(&replies, probe, &posts);
            }
        }
    }
    assert!(
        repeats <= interruptions,
        "{repeats} repeats of {interruptions} interruptions: {posts:?}"
    );
    assert_nothing_is_left(world);
    repeats
}

/// The same where every alert's facts went first: each row's diagnosis is in the thread of its facts.
#[track_caller]
pub fn assert_sent_in_threads(world: &World, rows: &[Row], interruptions: usize) {
    let posts = world.slack.posts();
    let mut repeats = 0;
    for row in rows {
        let facts = posts_of(&posts, &row.facts());
        let results = posts_of(&posts, &reply(row.probe()));
        repeats += assert_sent(&facts, row.probe(), &posts);
        repeats += assert_sent(&results, row.probe(), &posts);
        for result in results {
            let is_its = |facts: &&&Post| facts.ts == result.thread_ts && facts.at < result.at;
            assert!(facts.iter().any(|facts| is_its(&facts)), "{posts:?}");
        }
    }
    assert!(repeats <= interruptions, "{repeats} repeats: {posts:?}");
    assert_nothing_is_left(world);
}

/// A run with nothing to do sends nothing, and nothing was given up.
#[track_caller]
pub fn assert_nothing_is_left(world: &World) {
    let before = world.slack.requests().len();
    let report = world.report(0);
    assert_eq!(report["wakes"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["outbox"]["pending"], 0);
    assert_eq!(report["investigations"]["owed"], 0);
    let sent = world.slack.requests().len() - before;
    assert_eq!(sent, 0, "a run with nothing to do sent something");
    assert_eq!(world.undelivered().len(), 0, "a message was given up");
}
