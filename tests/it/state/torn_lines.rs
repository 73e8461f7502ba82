//! Lines that were cut short, and streams that take none: what follows a torn line stays whole, a shared
//! outcome log gets one plain append, and a stderr or stdout that is full stops no alert.

use std::fs;

use serde_json::{Value, json};

use crate::support::{DEAD_URL, Outcome, Slack, World, plain, wake};

/// Runs with these limits or redirections in a shell's words.
#[track_caller]
fn run_in_shell(world: &World, script: &str, line: &str) -> Outcome {
    let wrapper = ["sh", "-c", script];
    world.through(&wrapper, line)
}

fn rows_of(text: &str) -> Vec<Option<Value>> {
    let row = |line: &str| serde_json::from_str(line).ok();
    text.lines().map(row).collect()
}

#[test]
fn an_outcome_row_that_is_cut_short_is_taken_back() {
    let world = World::stamped();
    let row = format!("{{\"padding\":\"{}\"}}\n", "x".repeat(9_900));
    let file = world.state_dir().join("outcomes.jsonl");
    fs::write(&file, &row).unwrap();
    world.append([wake("fly")]);
    let limit = "exec prlimit --fsize=10000 \"$0\" \"$@\"";
    run_in_shell(&world, limit, "run")
        .exits(0)
        .warns("outcomes.jsonl");
    assert_eq!(world.slack.texts(), [plain("fly")]);
    assert_eq!(fs::read_to_string(&file).unwrap(), row);
}

#[test]
fn a_row_after_a_torn_one_begins_on_a_line_of_its_own() {
    let world = World::stamped();
    let file = world.state_dir().join("outcomes.jsonl");
    fs::write(file, "{\"whole\":1}\n{\"torn\":").unwrap();
    world.raise(["fly", "sentry"].map(wake)).exits(0);
    let lines = rows_of(&world.state_file("outcomes.jsonl"));
    assert_eq!(lines[0], Some(json!({"whole": 1})));
    assert_eq!(lines[1], None, "what was torn stays as it is");
    assert_eq!(lines[2..].len(), 2);
    assert!(lines[2..].iter().all(Option::is_some));
}

#[test]
fn a_shared_outcome_log_gets_one_append_and_nothing_else() {
    needs!("strace");
    let world = World::stamped();
    let shared = world.path("shared.jsonl");
    fs::write(&shared, "{\"somebody\":1}\n").unwrap();
    world.set("KORA_PROBE_OUTCOME_LOG", &shared);
    world.append([wake("fly")]);
    let trace = "exec strace -f -s 0 -o trace -e trace=?open,openat,write,ftruncate,lseek -P shared.jsonl -P \
                 \"$PWD/shared.jsonl\" \"$0\" \"$@\"";
    run_in_shell(&world, trace, "run").exits(0);
    let text = fs::read_to_string(&shared).unwrap();
    assert!(
        text.starts_with("{\"somebody\":1}\n{\"emitted_at\":"),
        "{text}"
    );
    let trace = fs::read_to_string(world.path("trace")).unwrap();
    let calls: Vec<_> = trace.lines().filter(|line| !line.contains("+++")).collect();
    assert_eq!(calls.len(), 2, "{trace}");
    assert!(
        calls[0].contains("O_APPEND") && calls[1].contains("write("),
        "{trace}"
    );
}

#[test]
fn an_outcome_log_that_takes_nothing_is_a_warning() {
    let world = World::stamped();
    world.set("KORA_PROBE_OUTCOME_LOG", "/dev/full");
    world
        .raise([wake("fly")])
        .exits(0)
        .warns("probe-wake: warning: ")
        .warns("/dev/full");
    assert_eq!(world.slack.texts(), [plain("fly")]);
}

#[test]
fn an_undelivered_folder_that_takes_nothing_keeps_the_message() {
    let world = World::stamped_with(Slack::refusing("alert · fly", "no_text"));
    let folder = world.state_dir().join("undelivered");
    fs::write(&folder, "").unwrap();
    world.append(["fly", "sentry"].map(wake));
    world.run().exits(3).warns("undelivered");
    assert_eq!(world.slack.texts(), ["fly", "sentry"].map(plain));
    world.run().exits(3);
    assert_eq!(world.slack.texts().len(), 2, "it was tried again");
    fs::remove_file(&folder).unwrap();
    world.run().exits(3).warns("went to undelivered/: no_text");
    assert_eq!(world.given_up(), ["no_text"]);
    world.run().exits(0).silent();
}

#[test]
fn a_stderr_that_takes_nothing_stops_nothing() {
    for stderr in ["2>/dev/full", "2>&-"] {
        let world = World::stamped();
        world.append_raw("{\"seam\":\"probe.wake_requested\"\n");
        world.append([wake("fly")]);
        let script = format!("exec \"$0\" \"$@\" {stderr}");
        let outcome = run_in_shell(&world, &script, "run");
        assert_eq!(outcome.code, Some(3));
        assert_eq!(world.slack.texts(), [plain("fly")]);
    }
}

#[test]
fn a_stdout_that_takes_nothing_keeps_the_messages_of_a_run_to_stdout() {
    for (line, code) in [("run --to stdout", 3), ("run --to stdout --format json", 1)] {
        let world = World::stamped();
        world.append(["fly", "sentry"].map(wake));
        run_in_shell(&world, "exec \"$0\" \"$@\" >/dev/full", line).exits(code);
        world.run().exits(0);
        assert_eq!(world.slack.texts(), ["fly", "sentry"].map(plain), "{line}");
    }
}

#[test]
fn a_stdout_that_takes_no_report_is_an_error_and_the_messages_are_sent() {
    let world = World::stamped();
    world.append([wake("fly")]);
    run_in_shell(&world, "exec \"$0\" \"$@\" >/dev/full", "run --format json")
        .exits(1)
        .warns("cannot print the report");
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts(), [plain("fly")]);
}

#[test]
fn a_state_of_a_later_version_is_left_alone() {
    let world = World::stamped();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3);
    let state = world.state_file("state.json");
    let later = state.replace("\"version\":3", "\"version\":4");
    assert_ne!(state, later);
    fs::write(world.state_dir().join("state.json"), &later).unwrap();
    world.reach_slack_at(world.slack.base());
    world
        .run()
        .exits(1)
        .warns("state.json")
        .warns("version 4")
        .warns("install that version")
        .hides("state reset");
    assert_eq!(world.state_file("state.json"), later);
    fs::write(world.state_dir().join("state.json"), &state).unwrap();
    world.wait_for_pause();
    world.run().exits(0);
    assert_eq!(world.slack.texts(), [plain("fly")]);
}
