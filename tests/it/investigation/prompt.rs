//! What the engine is told, and how the row's words are kept apart.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Row, World, wake};

#[track_caller]
fn prompt(row: Row) -> String {
    let world = World::stamped();
    world.raise([row]).exits(0).silent();
    world.engine.prompts().remove(0)
}

/// Words of at least eight hex digits that stand in the prompt more than once.
fn marks(prompt: &str) -> BTreeSet<String> {
    let words = prompt.split(|c: char| !c.is_ascii_alphanumeric());
    let hex = |word: &&str| word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit());
    words
        .filter(hex)
        .filter(|word| prompt.matches(word).count() > 1)
        .map(str::to_owned)
        .collect()
}

#[test]
fn it_holds_the_rows_facts() {
    let row = wake("fly").set("snapshot_details", json!({"apps": ["a b", 1], "n": null}));
    let prompt = prompt(row);
    for fact in [
        "fly",
        "service_unhealthy",
        "critical",
        "fly unreachable: HTTP 401",
        "status=unhealthy. error='HTTP 401'.",
    ] {
        assert!(prompt.contains(fact), "no {fact:?} in:\n{prompt}");
    }
    assert!(
        prompt.contains(r#"{"apps":["a b",1],"n":null}"#),
        "{prompt}"
    );
}

#[test]
fn an_envelope_is_named_only_where_it_is_enabled() {
    let enabled = wake("fly").set("envelope_enabled", true);
    assert!(prompt(enabled.clone()).contains("restart_unhealthy_machine (ENABLED)"));
    for row in [wake("fly"), enabled.without("envelope_fix_name")] {
        let prompt = prompt(row);
        assert!(
            prompt.contains("diagnose-only") && !prompt.contains("(ENABLED)"),
            "{prompt}"
        );
    }
}

#[test]
fn the_snapshot_is_cut_at_16_kibibytes() {
    let prompt =
        prompt(wake("fly").set("snapshot_details", json!({"filler": "x".repeat(100_000)})));
    let fill = prompt.matches('x').count();
    assert!((15_000..=16_384 + 200).contains(&fill), "{fill}");
}

#[test]
fn the_rows_fields_stand_between_marks_that_are_fresh_each_time() {
    let (one, other) = (prompt(wake("fly")), prompt(wake("fly")));
    let (ones, others) = (marks(&one), marks(&other));
    assert!(
        !ones.is_empty() && !others.is_empty(),
        "no marks in:\n{one}"
    );
    assert!(ones.is_disjoint(&others), "{ones:?} again");
    let mark = ones.first().unwrap();
    let (detail, title) = (
        one.find("status=unhealthy").unwrap(),
        one.find("fly unreachable").unwrap(),
    );
    let (first, last) = (one.find(mark).unwrap(), one.rfind(mark).unwrap());
    assert!(
        first < detail.min(title) && detail.max(title) < last,
        "{one}"
    );
}

#[test]
fn it_asks_for_plain_sentences() {
    let prompt = prompt(wake("fly"));
    assert!(prompt.to_lowercase().contains("plain text"), "{prompt}");
}
