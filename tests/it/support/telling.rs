//! What the operator was told, held against what happened: no wake untold, at most one repeat for each
//! interruption, and each repeat marked as one.

use super::engine::DIAGNOSIS;
use super::row::Row;
use super::world::World;

/// The DM about this probe where everything is well.
pub fn plain(probe: &str) -> String {
    format!("🚨 Probe alert · {probe}\n{DIAGNOSIS}")
}

/// The messages that open with this probe's name: the facts that a diagnosis is to follow, and all others.
fn of_probe<'a>(texts: &'a [String], probe: &str) -> (Vec<&'a String>, Vec<&'a String>) {
    let headline = format!("🚨 Probe alert · {probe}\n");
    let about = texts.iter().filter(|text| text.starts_with(&headline));
    about.partition(|text| text.contains("\n\nThe investigation follows in this thread."))
}

/// Whether a line behind a blank one says that it may be a repeat.
pub fn is_marked(text: &str) -> bool {
    let (_, notes) = text.rsplit_once("\n\n").unwrap_or_default();
    notes.lines().any(|note| note.contains("may be a repeat"))
}

/// A healthy run is behind the interrupted ones: each probe's one wake is told, with or without its facts first, and
/// nothing is left to do. Returns how many repeats there were.
#[track_caller]
pub fn assert_told(world: &World, probes: &[String], interruptions: usize) -> usize {
    let texts = world.slack.texts();
    let mut repeats = 0;
    for probe in probes {
        let (facts, results) = of_probe(&texts, probe);
        assert!(!results.is_empty(), "{probe} is untold");
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
    let report = world.report(0);
    assert_eq!(report["wakes"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["outbox"]["pending"], 0);
    assert_eq!(
        world.slack.texts().len(),
        texts.len(),
        "a run with nothing to do sent something"
    );
    assert_eq!(
        world.state_file("undelivered.jsonl"),
        "",
        "a DM was given up"
    );
    repeats
}

/// The DM about this row where there is no engine.
#[track_caller]
pub fn fallback(row: Row) -> String {
    let world = World::stamped().without_engine();
    world.append([row]);
    world.run().exits(0).silent();
    world.slack.texts().remove(0)
}
