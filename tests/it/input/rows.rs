//! What counts as a wake, and what is read where a field is odd or missing.

use serde_json::{Value, json};

use crate::support::{World, other_row, wake};

/// The probes that the engine is asked about in one run over these lines, which must exit so.
#[track_caller]
fn probes(lines: &[&[u8]], code: i32) -> Vec<String> {
    let world = World::stamped().without_debounce();
    for line in lines {
        world.append_raw([line, &b"\n"[..]].concat());
    }
    world.run().exits(code);
    let metadata = world.engine.metadata();
    let probe = |data: &Value| data["probe_name"].as_str().unwrap().to_owned();
    metadata.iter().map(probe).collect()
}

/// The tables of all rows are beside the code, in `src/audit`.
#[test]
fn an_odd_row_is_a_wake_all_the_same_and_other_lines_are_passed_over() {
    let fly = wake("fly").line();
    let hole = [&[0; 5_000], fly.as_bytes()].concat();
    let two = wake("a").line() + &wake("b").line() + "\r";
    let python = fly.replace(r#"{"apps_running":0}"#, r#"{"a": NaN, "b": "\ud800"}"#);
    let odd = wake("odd").details(json!([1, "two"])).at(17).line();
    let quoting = other_row(r#"{"seam":"probe.wake_requested"}"#);
    let lines = [
        &*two,
        &python,
        &odd,
        &quoting,
        "",
        "  ",
        "not JSON",
        "{\"torn\":",
    ];
    let lines = [&hole]
        .into_iter()
        .map(Vec::as_slice)
        .chain(lines.map(str::as_bytes));
    let expected = ["fly", "a", "b", "fly", "unknown"];
    assert_eq!(probes(&lines.collect::<Vec<_>>(), 0), expected);
}

#[test]
fn a_whole_row_glued_to_a_torn_one_counts_and_the_rest_is_malformed() {
    let world = World::stamped();
    world.append_raw(other_row("before") + "\n");
    let offset = world.log_length();
    let torn = wake("sentry").line();
    world.append_raw(format!("{}{}\n", &torn[..100], wake("fly").line()));
    let outcome = world.command("run --format json").exits(3);
    let report = outcome.json();
    outcome
        .warns("probe-wake: warning: ")
        .warns(&offset.to_string());
    assert_eq!(report["rows"], json!({"read": 2, "malformed": 1}));
    assert_eq!(world.engine.metadata()[0]["probe_name"], "fly");
    world.run().exits(0).silent();
}

#[test]
fn a_line_over_four_mebibytes_is_passed_over_and_reported_where_it_holds_the_seam() {
    let filler = "x".repeat(5 << 20);
    let row = wake("fly").line();
    let plain = other_row(&filler);
    assert_eq!(probes(&[plain.as_bytes(), row.as_bytes()], 0), ["fly"]);
    let holding = wake("sentry").set("detail", filler).line();
    assert_eq!(probes(&[holding.as_bytes(), row.as_bytes()], 3), ["fly"]);
}

#[test]
fn an_unfinished_last_line_is_left_for_the_run_that_finds_it_whole() {
    let world = World::stamped();
    let line = wake("fly").line();
    world.append_raw(&line[..line.len() - 9]);
    world.run().exits(0).silent();
    world.append_raw(&line[line.len() - 9..]);
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts().len(), 0);
    world.append_raw("\n");
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts().len(), 1);
}
