//! `replay` over a whole log.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    DIAGNOSIS, Outcome, Sandbox, World, column, plain, recovery, wake, without_times,
};

const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/kora_audit_log.jsonl"
);

/// A replay with these flags that writes nothing.
#[track_caller]
fn replay(world: &World, flags: &str) -> Outcome {
    let before = world.snapshot(&[]);
    let outcome = world
        .command(&format!("replay kora_audit_log.jsonl {flags}"))
        .exits(0);
    assert!(before == world.snapshot(&[]), "a replay wrote something");
    outcome
}

/// The probes of the messages on stdout, in order.
fn probes(outcome: &Outcome) -> Vec<&str> {
    outcome
        .stdout
        .lines()
        .filter_map(|line| line.split_once("Probe alert · "))
        .map(|(_, probe)| probe)
        .collect()
}

#[test]
fn the_sample_is_a_day_of_messages() {
    let world = World::new().without_engine();
    world.slack.never();
    let outcome = world.command(&format!("replay {SAMPLE}"));
    assert!(matches!(outcome.code, Some(0 | 3)), "{:?}", outcome.code);
    let sent = probes(&outcome);
    for probe in ["fly", "supabase", "vercel", "sentry", "doppler"] {
        assert!(
            sent.contains(&probe),
            "nothing about {probe}:\n{}",
            outcome.stdout
        );
    }
    for sign in ["🚨", "⚠️", "ℹ️", "🔔"] {
        assert!(
            outcome.stdout.contains(sign),
            "no {sign} in:\n{}",
            outcome.stdout
        );
    }
    let wakes = fs::read_to_string(SAMPLE)
        .unwrap()
        .matches(r#""seam":"probe.wake_requested""#)
        .count();
    assert!(
        sent.len() < wakes,
        "{} of {wakes}: nothing was held back",
        sent.len()
    );
    assert!(!world.state_dir().exists());
    outcome
        .prints(
            "\n24 wakes of 7 pairs, 20 h 3 min: 15 messages, 9 held back (window 10 min), \
             1 malformed row.\n",
        )
        .prints("\nwith KORA_PROBE_DEBOUNCE_BACKOFF_FACTOR=2: 14 messages\n");
    // Escalations that were held back are dispatched when their window ends.
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "3600");
    let outcome = world.command(&format!("replay {SAMPLE}"));
    outcome.prints(": 11 messages, 13 held back (window 1 h), ");
}

/// A recovery ends an incident, and the window of the next one is no longer than that of any.
#[test]
fn no_other_setting_is_named_where_it_would_save_nothing() {
    let world = World::new().without_engine();
    world.slack.never();
    let at = |minutes| format!("2026-05-24T10:{minutes:02}:00Z");
    for minutes in [0, 12, 25, 40] {
        world.append([wake("fly").at(at(minutes))]);
        let row = recovery("fly", &json!({"category": "service_unhealthy"}));
        let mut row: Value = serde_json::from_str(&row).unwrap();
        row["emitted_at"] = at(minutes + 5).into();
        world.append_raw(format!("{row}\n"));
    }
    let backoff = "KORA_PROBE_DEBOUNCE_BACKOFF_FACTOR";
    let printed = replay(&world, "").hides(backoff).stdout;
    world.set(backoff, "2");
    assert_eq!(replay(&world, "").stdout, printed);
}

#[test]
fn it_begins_at_the_logs_start_and_keeps_no_state() {
    let world = World::new().without_engine();
    world.slack.never();
    let row = wake("fly").at("2026-05-24T14:32:00.123456Z");
    world.append([row.clone()]);
    let (headline, facts, status) = (row.headline(), row.in_full(), row.status_line());
    let expected = format!(
        "2026-05-24 14:32 UTC\n{headline}\n{facts}\n\n{status}\n\n\
         1 wake of 1 pair, 0 s: 1 message, 0 held back (window 10 min).\n"
    );
    let expected = expected.replace("HH:MM", "14:32");
    assert_eq!(replay(&world, "").stdout, expected);
    assert_eq!(replay(&world, "").stdout, expected, "and again");
}

#[test]
fn a_whole_last_row_without_its_line_end_counts() {
    let world = World::new().without_engine();
    world.slack.never();
    let sentry = wake("sentry").line();
    world.append([wake("fly")]);
    world.append_raw(sentry.trim_end());
    assert_eq!(probes(&replay(&world, "")), ["fly", "sentry"]);
}

#[test]
fn debounce_goes_by_the_rows_own_times() {
    let world = World::new().without_engine();
    world.slack.never();
    let at = |time: &str| wake("fly").at(format!("2026-05-24T{time}Z"));
    let times = ["10:00:00", "10:09:59", "10:10:01", "10:15:00", "10:20:02"];
    world.append(times.map(at));
    assert_eq!(probes(&replay(&world, "")).len(), 3);
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "0");
    assert_eq!(probes(&replay(&world, "")).len(), 5);
}

#[test]
fn the_engine_is_asked_only_where_that_is_asked_for() {
    let world = World::new();
    world.slack.never();
    world.append([wake("fly")]);
    let printed = replay(&world, "").stdout;
    assert!(!printed.contains(DIAGNOSIS), "{printed}");
    assert_eq!(world.engine.requests().len(), 0);
    let printed = replay(&world, "--ask-engine").stdout;
    let (time, message) = printed.split_once('\n').unwrap();
    assert!(time.ends_with(" UTC"), "{time}");
    let message = without_times(message);
    assert!(message.starts_with(&(plain("fly") + "\n\n")), "{message}");
    assert_eq!(world.engine.requests().len(), 1);
}

#[test]
fn an_engine_that_is_to_be_asked_must_be_configured() {
    let world = World::new().without_engine();
    world.slack.never();
    world.append([wake("fly")]);
    let outcome = world
        .command("replay kora_audit_log.jsonl --ask-engine")
        .exits(2)
        .warns("no engine is configured")
        .warns("KORA_PROBE_ENGINE_URL")
        .warns("KORA_PROBE_ENGINE_API");
    assert_eq!(outcome.stdout, "");
}

#[test]
fn it_leaves_a_real_runs_state_alone() {
    let world = World::stamped().quiet();
    world.append([wake("fly"), wake("sentry")]);
    assert_eq!(probes(&replay(&world, "")), ["fly", "sentry"]);
}

#[test]
fn as_json_it_is_one_report() {
    let world = World::new().quiet();
    world.append([wake("fly"), wake("fly"), wake("sentry")]);
    let report = replay(&world, "--format json").json();
    assert_eq!(report["version"], 1);
    let held = column(report["wakes"].clone(), "/debounce_skipped");
    assert_eq!(held, [false, true, false]);
    assert_eq!(report["rows"]["read"], 3);
}

#[test]
fn as_a_page_it_shows_what_another_setting_would_have_done() {
    let world = World::new().quiet();
    let page = |world: &World| {
        let command = format!("replay {SAMPLE} --format html");
        world.command(&command).exits(0)
    };
    let told = page(&world)
        .prints("<!DOCTYPE html>")
        .prints("Replay of kora_audit_log.jsonl");
    let told = told.prints(">15 alerts<").prints(">5 services<");
    let told = told
        .prints("repeats are held back for 10 min")
        .hides("engine_unavailable")
        .prints("All times are UTC");
    let mut words = told.stdout.split(|c: char| !c.is_alphanumeric());
    assert!(
        words.all(|word| word != "sent"),
        "nothing was sent:\n{}",
        told.stdout
    );
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "3600");
    page(&world)
        .prints(">11 alerts<")
        .prints("repeats are held back for 1 h");
}

#[test]
fn as_a_page_it_shows_what_the_engine_says() {
    let world = World::new();
    world.slack.never();
    world.append([
        wake("fly").at("2026-05-24T14:32:00Z"),
        wake("fly").at(serde_json::Value::Null),
    ]);
    let told = replay(&world, "--ask-engine --format html").prints(DIAGNOSIS);
    told.prints(">908 tokens<").hides("Probe alert");
}

#[test]
fn a_log_that_is_not_there_is_an_error() {
    let world = World::new().quiet();
    world
        .command("replay nowhere.jsonl")
        .exits(1)
        .warns("nowhere.jsonl");
}

#[test]
#[ignore = "hundreds of wakes"]
fn a_line_of_very_many_wakes_is_replayed_whole() {
    let sandbox = Sandbox::new();
    let line = |from: usize| -> String {
        (from..from + 600)
            .map(|number| wake(&format!("p{number}.")).line())
            .collect()
    };
    let log = sandbox.give("given/log", &format!("{}\n{}\n", line(0), line(600)));
    let shown = sandbox.command(&format!("replay --format json {}", log.display()));
    let shown = shown.exits(0).json();
    assert_eq!(shown["wakes"].as_array().unwrap().len(), 1_200);
    assert_eq!(shown["rows"]["read"], 2);
}

#[test]
fn a_log_that_is_damaged_is_read_as_far_as_it_goes_with_a_warning() {
    let world = World::new().quiet();
    world.append((10..60).map(|number| wake(&format!("p{number}"))));
    let gzip = world
        .shell("gzip -kc kora_audit_log.jsonl > whole.gz")
        .finish();
    gzip.exits(0);
    let whole = fs::read(world.path("whole.gz")).unwrap();
    let mut wrong = whole.clone();
    let check = whole.len() - 8;
    wrong[check] ^= 1;
    for (bytes, fewest) in [(&whole[..whole.len() / 2], 1), (&wrong, 50)] {
        fs::write(world.path("damaged.gz"), bytes).unwrap();
        let path = world.path("damaged.gz");
        let outcome = world.command(&format!("replay {}", path.display()));
        assert!(outcome.stdout.matches("Probe alert").count() >= fewest);
        assert_eq!(
            outcome.stderr.matches("is damaged").count(),
            1,
            "{}",
            outcome.stderr
        );
        outcome.exits(0);
    }
}
