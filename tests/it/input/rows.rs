//! Section 2 of the contract: what counts as a wake, and what is read where a field is odd or missing.

use serde_json::{Value, json};

use crate::support::{Row, World, fallback, other_row, wake};

/// The metadata of the engine's requests after one run over these lines, which must exit so.
#[track_caller]
fn metadata_of(lines: &[Vec<u8>], code: i32) -> Vec<Value> {
    let world = World::stamped().without_debounce();
    for line in lines {
        world.append_raw([line.as_slice(), b"\n"].concat());
    }
    world.run().exits(code);
    world.engine.metadata()
}

#[track_caller]
fn metadata(row: &Row) -> Value {
    metadata_of(&[row.line().into()], 0).remove(0)
}

/// The probes told by one run over these lines, which must exit so.
#[track_caller]
fn probes(lines: &[&[u8]], code: i32) -> Vec<String> {
    let lines: Vec<_> = lines.iter().map(|line| line.to_vec()).collect();
    let name = |data: &Value| data["probe_name"].as_str().unwrap().to_owned();
    metadata_of(&lines, code).iter().map(name).collect()
}

#[test]
fn a_whole_row_is_read_as_it_is() {
    let row = wake("fly").set("envelope_enabled", true);
    let expected = json!({
        "probe_name": "fly", "issue_category": "service_unhealthy", "severity": "critical",
        "envelope_enabled": true, "envelope_fix_name": "restart_unhealthy_machine",
    });
    assert_eq!(metadata(&row), expected);
}

#[test]
fn empty_details_are_all_defaults() {
    let expected = json!({
        "probe_name": "unknown", "issue_category": "unknown", "severity": "warning",
        "envelope_enabled": false, "envelope_fix_name": "(none)",
    });
    assert_eq!(metadata(&wake("fly").details(json!({}))), expected);
}

#[test]
fn a_probe_that_is_no_name_is_read_by_its_type() {
    let odd = [
        ("7", "7"),
        ("-1.50", "-1.50"),
        ("1e999", "1e999"),
        ("true", "true"),
        ("false", "unknown"),
        ("null", "unknown"),
        (r#""""#, "unknown"),
        ("[1]", "unknown"),
        (r#"{"a":1}"#, "unknown"),
    ];
    let line = |value: &str| {
        wake("THIS")
            .line()
            .replacen(r#""THIS""#, value, 1)
            .into_bytes()
    };
    let lines: Vec<_> = odd.iter().map(|(value, _)| line(value)).collect();
    let read = metadata_of(&lines, 0);
    for ((written, expected), data) in odd.iter().zip(&read) {
        assert_eq!(data["probe_name"], *expected, "probe written as {written}");
    }
    assert_eq!(read.len(), odd.len());
}

#[test]
fn a_category_and_a_severity_that_are_no_names_are_read_by_their_type() {
    let data = metadata(&wake("fly").set("category", 12).set("severity", 3));
    assert_eq!(
        (&data["issue_category"], &data["severity"]),
        (&json!("12"), &json!("3"))
    );
    let data = metadata(
        &wake("fly")
            .set("category", json!([]))
            .set("severity", json!({})),
    );
    assert_eq!(
        (&data["issue_category"], &data["severity"]),
        (&json!("unknown"), &json!("warning"))
    );
}

#[test]
fn an_envelope_is_enabled_by_nothing_but_true() {
    for odd in [json!("true"), json!(1), json!(null), json!({"a": true})] {
        let data = metadata(&wake("fly").set("envelope_enabled", odd.clone()));
        assert_eq!(data["envelope_enabled"], false, "{odd}");
    }
}

#[test]
fn control_characters_become_spaces_and_long_names_are_cut() {
    let data = metadata(
        &wake("a\nb\u{7}c")
            .set("category", "é".repeat(300))
            .set("severity", "x\ty"),
    );
    assert_eq!(data["probe_name"], "a b c");
    assert_eq!(data["issue_category"], "é".repeat(200));
    assert_eq!(data["severity"], "x y");
}

#[test]
fn a_missing_title_and_a_missing_detail_are_said_to_be_missing() {
    let expected = "🚨 Probe alert · fly\nfly (critical): (no title)\n\n(no detail)\n\n\
                    I was unable to investigate — engine returned: engine_unavailable";
    assert_eq!(
        fallback(wake("fly").without("title").without("detail")),
        expected
    );
    assert_eq!(
        fallback(wake("fly").set("title", "").set("detail", json!(null))),
        expected
    );
}

#[test]
fn details_that_are_no_object_become_the_detail() {
    let expected = "⚠️ Probe alert · unknown\nunknown (warning): (no title)\n\n[1,\"two\"]\n\n\
                    I was unable to investigate — engine returned: engine_unavailable";
    assert_eq!(fallback(wake("fly").details(json!([1, "two"]))), expected);
}

#[test]
fn an_unreadable_time_changes_nothing_else() {
    for odd in [json!(null), json!("yesterday"), json!(17), json!("")] {
        assert_eq!(
            fallback(wake("fly").at(odd)),
            wake("fly").fallback("engine_unavailable")
        );
    }
}

#[test]
fn what_json_dumps_writes_is_read() {
    let line = wake("fly").line();
    let spaced = line.replace("\":", "\": ").replace(",\"", ", \"");
    let numbers = line.replace(
        r#"{"apps_running":0}"#,
        r#"{"a":NaN,"b":-Infinity,"c":123456789012345678901234567890}"#,
    );
    let surrogate = line.replace("unreachable", r"un\ud800reachable");
    let read = probes(
        &[spaced.as_bytes(), numbers.as_bytes(), surrogate.as_bytes()],
        0,
    );
    assert_eq!(read, ["fly", "fly", "fly"]);
}

#[test]
fn nan_is_null_in_the_prompt_and_a_lone_surrogate_a_replacement_character() {
    let world = World::stamped();
    let line = wake("fly")
        .line()
        .replace(r#"{"apps_running":0}"#, r#"{"a": NaN, "b": [1.50]}"#);
    world.append_raw(line.replace("unreachable", r"un\ud800reachable") + "\n");
    world.run().exits(0).silent();
    let prompt = world.engine.prompts().remove(0);
    assert!(prompt.contains(r#"{"a":null,"b":[1.50]}"#), "{prompt}");
    assert!(prompt.contains("un\u{fffd}reachable"), "{prompt}");
}

#[test]
fn any_depth_of_nesting_is_read() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let line = wake("fly").line().replace(r#"{"apps_running":0}"#, &deep);
    assert_eq!(probes(&[line.as_bytes()], 0), ["fly"]);
}

#[test]
fn invalid_utf8_is_read_with_a_replacement_character() {
    let line = wake("fly").line();
    let (start, end) = line.split_at(line.find("unreachable").unwrap());
    let world = World::stamped().without_engine();
    world.append_raw([start.as_bytes(), b"\xff", end.as_bytes(), b"\n"].concat());
    world.run().exits(0).silent();
    assert!(world.slack.texts()[0].contains("fly \u{fffd}unreachable"));
}

#[test]
fn nul_bytes_crlf_and_blank_lines_are_passed_over() {
    let holed = [&[0; 5_000], wake("fly").line().as_bytes()].concat();
    let crlf = wake("vercel").line() + "\r";
    assert_eq!(
        probes(&[b"", &holed, b"\r", b"  ", crlf.as_bytes()], 0),
        ["fly", "vercel"]
    );
}

#[test]
fn rows_of_other_seams_are_passed_over_even_where_they_quote_the_seam() {
    let quoting = other_row("saw a probe.wake_requested row");
    let escaped = other_row(r#"{"seam":"probe.wake_requested"}"#);
    let nested = r#"{"details":{"seam":"probe.wake_requested"},"seam":"webhook.dead_letter"}"#;
    let inside = r#"{"rows":[{"seam":"probe.wake_requested"}]}"#;
    let lines = [
        quoting.as_bytes(),
        escaped.as_bytes(),
        nested.as_bytes(),
        inside.as_bytes(),
    ];
    let row = wake("fly").line();
    assert_eq!(
        probes(&[&lines[..], &[row.as_bytes()]].concat(), 0),
        ["fly"]
    );
}

#[test]
fn lines_without_the_seam_are_not_judged() {
    assert_eq!(
        probes(
            &[b"not JSON", b"{\"torn\":", wake("fly").line().as_bytes()],
            0
        ),
        ["fly"]
    );
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
fn two_whole_rows_in_one_line_both_count() {
    let world = World::stamped();
    world.append_raw(format!("{}{}\n", wake("fly").line(), wake("vercel").line()));
    world.run();
    assert_eq!(world.slack.texts().len(), 2);
}

#[test]
fn a_malformed_row_stops_no_other() {
    let torn = &wake("sentry").line()[..150];
    let (fly, vercel) = (wake("fly").line(), wake("vercel").line());
    assert_eq!(
        probes(&[fly.as_bytes(), torn.as_bytes(), vercel.as_bytes()], 3),
        ["fly", "vercel"]
    );
}

#[test]
fn a_line_over_four_mebibytes_is_passed_over_and_missed_where_it_holds_the_seam() {
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
