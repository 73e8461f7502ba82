//! `state show` and `state reset`, which loses nothing that is queued.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::{Calls, Fault, World, at_each_call_of, at_once, column, plain, wake};

/// A world with one message in the outbox.
fn queued() -> World {
    let world = World::stamped();
    world.queue([wake("fly")]);
    world
}

/// How many messages Slack has got after one more run.
#[track_caller]
fn sent(world: &World) -> usize {
    world.run().exits(0).silent();
    world.slack.texts().len()
}

#[test]
fn show_names_the_log_and_reads_as_json_too() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    let before = world.snapshot(&[]);
    world
        .command("state show")
        .exits(0)
        .prints("kora_audit_log.jsonl")
        .prints("fly");
    let shown = world
        .command("state show --format json")
        .exits(0)
        .json()
        .to_string();
    assert!(
        shown.contains("kora_audit_log.jsonl") && shown.contains("service_unhealthy"),
        "{shown}"
    );
    assert!(before == world.snapshot(&[]), "state show wrote something");
}

#[test]
fn show_names_what_is_queued() {
    let world = queued();
    world.slack.maybe();
    world.command("state show").exits(0).prints("fly");
    let shown = world.command("state show --format json").exits(0).json();
    assert_eq!(shown["outbox"], json!(world.outbox()));
}

#[test]
fn show_of_a_state_that_cannot_be_read_names_the_way_out() {
    let world = World::stamped().quiet();
    fs::write(world.state_dir().join("state.json"), "{").unwrap();
    world.command("state show").exits(1).warns("state reset");
}

#[test]
fn reset_makes_the_next_run_a_first_run() {
    let world = World::stamped().quiet();
    world.command("state reset --yes").exits(0);
    world.append([wake("fly")]);
    assert_eq!(world.report(0)["first_run"], true);
}

#[test]
fn reset_of_the_position_to_the_start_replays_the_log() {
    let world = World::new();
    world.append([wake("fly"), wake("sentry")]);
    assert_eq!(sent(&world), 0);
    world.command("state reset --position start").exits(0);
    assert_eq!(sent(&world), 2);
}

#[test]
fn reset_of_the_position_to_the_end_passes_over_what_is_there() {
    let world = World::stamped();
    world.append([wake("fly")]);
    world.command("state reset --position end --yes").exits(0);
    assert_eq!(sent(&world), 0);
    world.append([wake("sentry")]);
    assert_eq!(sent(&world), 1);
}

/// A world with a queued message, a new investigation and two unread wakes.
fn with_something_of_all() -> World {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "never");
    world.queue([wake("fly")]);
    world.reach_slack_at(crate::support::DEAD_URL);
    world.append([wake("sentry")]);
    world.kill_while_asking();
    world.reach_slack_at(world.slack.base());
    world.append([wake("vercel"), wake("doppler")]);
    world
}

#[test]
fn without_a_yes_what_would_be_dropped_is_counted_and_nothing_is_touched() {
    const ALL: &str = "2 unread wakes, 1 queued message, 1 investigation;";
    let cases = [
        ("", ALL),
        ("--position end", "2 unread wakes;"),
        ("--outbox", "1 queued message, 1 investigation;"),
        ("--outbox --debounce", "1 queued message, 1 investigation;"),
        ("--outbox --position end", ALL),
    ];
    at_once(cases, |(flags, counted)| {
        let world = with_something_of_all();
        let before = world.snapshot(&["state.lock"]);
        let outcome = world.command(&format!("state reset {flags}")).exits(2);
        outcome
            .warns(&format!("This gives up {counted}"))
            .warns("--yes");
        let after = world.snapshot(&["state.lock"]);
        assert!(before == after, "{flags:?} changed something");
        assert_eq!(sent(&world), 4, "{flags:?}");
    });
}

#[test]
fn position_and_debounce_touch_neither_messages_nor_investigations() {
    let cases = [
        ("--position end --yes", 2),
        ("--position start", 4),
        ("--debounce", 4),
    ];
    at_once(cases, |(flags, wakes)| {
        let world = with_something_of_all();
        let before = world.state();
        world.command(&format!("state reset {flags}")).exits(0);
        let after = world.state();
        assert_eq!(
            (&after["queue"], &after["outbox"]),
            (&before["queue"], &before["outbox"]),
            "{flags}"
        );
        // Read from the start, the first two wakes were read before.
        assert_eq!(sent(&world), wakes, "{flags}");
    });
    let world = World::stamped();
    world.queue([wake("fly")]);
    world.command("state reset --position end").exits(0);
    assert_eq!(sent(&world), 1, "nothing was unread");
}

#[test]
fn unread_wakes_are_counted_across_a_rotation_and_other_rows_are_not() {
    let world = World::stamped().quiet();
    world.append_raw(crate::support::other_row("a") + "\n");
    world.run().exits(0).silent();
    world.append([wake("fly")]);
    fs::rename(world.log(), world.path("kora_audit_log.jsonl.1")).unwrap();
    world.append_raw(crate::support::other_row("probe.wake_requested") + "\n");
    world
        .command("state reset")
        .exits(2)
        .warns("1 unread wake;");
    world.append([wake("sentry")]);
    world
        .command("state reset")
        .exits(2)
        .warns("2 unread wakes;");
}

#[test]
fn an_escalation_that_is_held_back_is_counted_too() {
    let world = World::stamped();
    let warning = wake("fly").set("severity", "warning");
    world.raise([warning, wake("fly")]).exits(0).silent();
    world
        .command("state reset")
        .exits(2)
        .warns("This gives up 1 held-back wake to be sent later;");
    world.command("state reset --debounce").exits(0);
    world.command("state reset").exits(0);
}

#[test]
fn rows_that_cannot_be_counted_take_a_yes_too() {
    let world = World::stamped().quiet();
    fs::remove_file(world.log()).unwrap();
    fs::create_dir(world.log()).unwrap();
    world
        .command("state reset")
        .exits(2)
        .warns("unread rows (cannot read");
    world.command("state reset --yes").exits(0);
}

#[test]
fn what_was_not_sent_goes_to_undelivered_and_can_be_sent_after_all() {
    at_once(["--yes", "--outbox --yes"], |flags| {
        let world = with_something_of_all();
        let outcome = world.command(&format!("state reset {flags}")).exits(0);
        let outcome = outcome.prints("This gives up ");
        outcome.prints("2 messages went to undelivered/.");
        let after = world.state();
        assert_eq!(
            (&after["queue"], &after["outbox"]),
            (&json!([]), &json!([]))
        );
        let rows = world.state_rows("outcomes.jsonl");
        let seams = column(rows.clone(), "/seam");
        let (completed, undelivered) = ("probe.investigation_completed", "probe.dm_undelivered");
        assert_eq!(seams, [completed, undelivered, completed, undelivered]);
        let probes = column(rows.clone(), "/details/probe");
        assert_eq!(probes, ["fly", "fly", "sentry", "sentry"]);
        assert_eq!(rows[2]["details"]["reasoning_error"], "state reset");
        let failed = world.command("history --failed").exits(0);
        failed.prints("fly:service_unhealthy").prints("sentry:");
        world.command("undelivered --retry").exits(0);
        assert_eq!(
            sent(&world),
            if flags == "--yes" { 2 } else { 4 },
            "{flags}"
        );
        let texts = world.slack.texts();
        assert_eq!(texts[0], plain("fly"));
        // The facts alone, with no word of an investigation.
        let row = wake("sentry");
        let (headline, status) = (row.headline(), row.status_line());
        let facts = format!("{headline}\n{}\n\n{status}", row.in_full());
        assert_eq!(texts[1], facts);
    });
}

#[test]
fn an_investigation_whose_facts_were_sent_leaves_a_row_and_no_message() {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    world.append([wake("fly")]);
    world.kill_while_asking();
    assert_eq!(world.slack.posts().len(), 1);
    world.command("state reset --outbox --yes").exits(0);
    let rows = world.state_rows("outcomes.jsonl");
    assert_eq!(
        column(rows.clone(), "/seam"),
        ["probe.investigation_completed"]
    );
    let details = &rows[0]["details"];
    assert_eq!(
        (&details["facts_first"], &details["reasoning_error"]),
        (&json!(true), &json!("state reset"))
    );
    assert!(world.undelivered().is_empty());
}

#[test]
fn a_retry_after_a_reset_that_was_killed_sends_an_alert_once() {
    let world = World::stamped();
    world.append([wake("fly")]);
    world.kill_while_asking();
    let before = world.state_file("state.json");
    world.command("state reset --outbox --yes").exits(0);
    // As if it had been killed between the two files.
    fs::write(world.state_dir().join("state.json"), before).unwrap();
    world.command("undelivered --retry").exits(0);
    assert_eq!(sent(&world), 1);
    assert_eq!(world.slack.texts().len(), 1);
}

#[test]
fn a_reset_that_cannot_be_committed_does_not_say_that_it_is_done() {
    let world = World::stamped().quiet();
    fs::create_dir(world.state_dir().join("state.json.new")).unwrap();
    world
        .command("state reset --debounce --yes")
        .exits(1)
        .hides("are forgotten");
}

#[test]
fn the_state_is_kept_once() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    for flags in [
        "--debounce",
        "--position end",
        "--outbox",
        "--position start",
        "",
    ] {
        let before = world.state_file("state.json");
        world
            .command(&format!("state reset --yes {flags}"))
            .exits(0);
        assert_eq!(world.state_file("state.json.old"), before, "{flags}");
        let files = fs::read_dir(world.state_dir()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let kept = names.filter(|name| name.starts_with("state.json.")).count();
        assert_eq!(kept, 1, "{flags}");
    }
}

/// Each alert is delivered, undelivered or still in the queue, and only one of these.
#[test]
#[ignore = "some dozen runs under strace"]
fn a_reset_that_is_killed_neither_loses_nor_doubles() {
    needs!("strace");
    let half = AtomicUsize::new(0);
    let prepare = || {
        let world = World::stamped();
        world.append([wake("fly"), wake("sentry")]);
        world.kill_while_asking();
        world
    };
    let reset = "state reset --outbox --yes";
    at_each_call_of(
        reset,
        Fault::Kill,
        Calls::Visible,
        prepare,
        |world, call, _| {
            let given_up = world.undelivered().len();
            let queued = world.state()["queue"].as_array().unwrap().len();
            half.fetch_add(usize::from(queued > 0 && given_up > 0), Ordering::Relaxed);
            let _ = world.run();
            assert_eq!(given_up + world.slack.texts().len(), 2, "{call}");
            world.command(reset).exits(0);
            world.command("undelivered --retry").exits(0);
            world.run().exits(0).silent();
            let texts = world.slack.texts();
            for probe in ["fly", "sentry"] {
                let about = texts
                    .iter()
                    .filter(|text| text.contains(&format!("· {probe}")));
                assert_eq!(about.count(), 1, "{call}: {texts:?}");
            }
        },
    );
    assert!(
        half.into_inner() > 3,
        "hardly ever killed between the two files"
    );
}

#[test]
fn a_log_can_be_read_from_its_start_before_the_first_run() {
    let world = World::new();
    world.append([wake("fly")]);
    world
        .command("state reset")
        .exits(0)
        .prints("There is no state");
    assert!(!world.state_dir().exists());
    world.command("state reset --position start").exits(0);
    assert_eq!(sent(&world), 1);
}

#[test]
fn reset_of_the_position_keeps_the_windows() {
    let world = World::stamped();
    world.append([wake("fly")]);
    assert_eq!(sent(&world), 1);
    world.command("state reset --position start").exits(0);
    assert_eq!(sent(&world), 1);
}

#[test]
fn reset_of_the_debounce_keeps_the_position() {
    let world = World::stamped();
    world.append([wake("fly")]);
    assert_eq!(sent(&world), 1);
    world.command("state reset --debounce").exits(0);
    assert_eq!(sent(&world), 1);
    world.append([wake("fly")]);
    assert_eq!(sent(&world), 2);
}

#[test]
fn reset_of_the_outbox_keeps_position_and_windows() {
    let world = queued();
    world.slack.never();
    world.command("state reset --outbox --yes").exits(0);
    world.append([wake("fly")]);
    let report = world.report(0);
    assert_eq!(
        (
            &report["first_run"],
            &report["wakes"][0]["debounce_skipped"]
        ),
        (&false.into(), &true.into())
    );
}

#[test]
fn a_reset_that_cannot_open_the_log_gives_nothing_up() {
    let world = queued();
    fs::rename(world.log(), world.path("kept")).unwrap();
    fs::create_dir(world.log()).unwrap();
    let before = world.snapshot(&["state.lock"]);
    world
        .command("state reset --outbox --position end --yes")
        .exits(1)
        .warns("kora_audit_log.jsonl");
    assert!(
        before == world.snapshot(&["state.lock"]),
        "something was reset"
    );
    assert_eq!(world.undelivered().len(), 0);
    fs::remove_dir(world.log()).unwrap();
    fs::rename(world.path("kept"), world.log()).unwrap();
    assert_eq!(sent(&world), 1);
}

#[test]
fn an_unreadable_state_is_set_aside_and_not_deleted() {
    let world = World::stamped().quiet();
    fs::write(world.state_dir().join("state.json"), "{ broken").unwrap();
    let outcome = world.command("state reset --yes").exits(0);
    let said = outcome.stdout + &outcome.stderr;
    assert!(said.contains("--position start"), "{said}");
    let mut kept = fs::read_dir(world.state_dir())
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap());
    assert!(kept.any(|content| content == b"{ broken"));
    assert_eq!(world.report(0)["first_run"], true);
}

#[test]
fn an_unreadable_state_stays_where_the_log_cannot_be_opened() {
    let world = World::stamped().quiet();
    fs::write(world.state_dir().join("state.json"), "{ broken").unwrap();
    fs::remove_file(world.log()).unwrap();
    fs::create_dir(world.log()).unwrap();
    world.command("state reset --position start").exits(1);
    assert_eq!(world.state_file("state.json"), "{ broken");
    world
        .command("state reset --debounce")
        .exits(1)
        .warns("state reset");
    assert_eq!(world.state_file("state.json"), "{ broken");
}

#[test]
fn after_an_unreadable_state_the_log_can_be_read_from_its_start() {
    let world = World::stamped();
    world.append([wake("fly")]);
    fs::write(world.state_dir().join("state.json"), "{ broken").unwrap();
    world.command("state reset --position start --yes").exits(0);
    assert_eq!(sent(&world), 1);
}
