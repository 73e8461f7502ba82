//! Section 9 of the contract: `undelivered` lists what was given up, `--retry` queues it again, `--clear`
//! removes it.

use std::fmt::Display;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{
    Calls, Fault, Slack, World, at_each_call, at_each_call_of, is_marked, plain, wake, with_fault,
};

/// A world whose DMs about these probes were given up.
fn given_up(probes: &[&str]) -> World {
    let world = World::stamped();
    world.queue(probes.iter().map(|probe| wake(probe)));
    world.command("state reset --outbox --yes").exits(0);
    world
}

fn list(world: &World) -> Value {
    world.command("undelivered --format json").exits(0).json()
}

/// How many DMs are undelivered.
fn count(world: &World) -> usize {
    list(world)["undelivered"].as_array().unwrap().len()
}

/// Changes the fields of the one row.
fn change_row(world: &World, change: impl FnOnce(&mut Value)) {
    let mut row = world.state_rows("undelivered.jsonl").remove(0);
    change(&mut row);
    write_rows(world, &format!("{row}\n"));
}

fn write_rows(world: &World, rows: &str) {
    fs::write(world.state_dir().join("undelivered.jsonl"), rows).unwrap();
}

#[test]
fn where_nothing_is_undelivered_it_says_so_and_makes_nothing() {
    let world = World::new().quiet();
    for line in [
        "undelivered",
        "undelivered --retry",
        "undelivered --clear --yes",
    ] {
        world
            .command(line)
            .exits(0)
            .prints("Nothing is undelivered.");
    }
    assert_eq!(list(&world)["undelivered"], json!([]));
    assert!(!world.state_dir().exists());
}

#[test]
fn each_is_listed_with_when_about_what_why_and_its_first_line() {
    let world = given_up(&["fly", "sentry"]);
    world.slack.never();
    let before = world.snapshot(&[]);
    let told = world.command("undelivered").exits(0).stdout;
    for part in [
        " UTC  probe:fly:service_unhealthy (critical)",
        "given up: state reset",
        "🚨 Probe alert · fly",
        "🚨 Probe alert · sentry",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    let row = &list(&world)["undelivered"][0];
    assert_eq!(row["caller_session_id"], "probe:fly:service_unhealthy");
    assert_eq!(row["text"], plain("fly"));
    assert!(row["given_up_at"].is_string() && row["id"].is_string());
    assert!(before == world.snapshot(&[]), "it wrote something");
}

#[test]
fn a_retry_is_sent_by_the_next_run_once() {
    let world = given_up(&["fly", "sentry"]);
    world
        .command("undelivered --retry")
        .exits(0)
        .prints("2 DMs are queued again");
    assert_eq!((count(&world), world.slack.texts().len()), (0, 0));
    world.command("undelivered --retry").exits(0);
    world.run().exits(0).silent();
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts(), [plain("fly"), plain("sentry")]);
}

#[test]
fn age_and_failures_begin_anew_and_a_reply_goes_to_the_top_level() {
    let world = given_up(&["fly"]);
    change_row(&world, |row| {
        row["queued_at"] = json!("2020-01-01T00:00:00Z");
        row["failures"] = json!(7);
        row["cause"] = json!("invalid_auth");
        row["paused"] = json!({"until": "2030-01-01T00:00:00Z", "count": 6});
        row["follows"] = json!({"thread": {"channel": "D1", "ts": "1.1"}});
    });
    world.command("undelivered --retry").exits(0);
    world.run().exits(0).silent();
    let post = world.slack.posts().remove(0);
    assert_eq!(post.text, plain("fly"), "it is not late");
    assert_eq!((post.thread_ts, post.channel.as_str()), (None, "U0JOSHUA"));
}

#[test]
fn the_rest_of_a_message_goes_to_the_top_level() {
    let world = given_up(&["fly"]);
    change_row(&world, |row| {
        row["begun"] = json!({"parts": 2, "thread": {"channel": "D1", "ts": "1.1"}});
    });
    world.command("undelivered --retry").exits(0);
    world.run().exits(0).silent();
    let post = &world.slack.posts()[0];
    assert_eq!(post.thread_ts, None);
    let rest = plain("fly");
    assert_eq!(
        post.text,
        format!("🚨 Probe alert · fly (continued)\n{rest}")
    );
}

#[test]
fn the_mark_of_a_repeat_stays() {
    for delivery in ["unknown", "being_sent"] {
        let world = given_up(&["fly"]);
        change_row(&world, |row| row["delivery"] = json!(delivery));
        world.command("undelivered --retry").exits(0);
        world.run().exits(0).silent();
        assert!(is_marked(&world.slack.texts()[0]), "{delivery}");
    }
}

#[test]
fn a_refusal_is_no_doubt() {
    let world = World::stamped();
    world.slack.script([Slack::refusal("no_text")]);
    world.raise([wake("fly")]).exits(3);
    assert_eq!(count(&world), 1);
    world.command("undelivered --retry").exits(0);
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts()[1], plain("fly"));
}

#[test]
fn a_row_of_an_older_version_has_no_id_and_is_sent_once() {
    let world = World::stamped();
    world.engine.never();
    let row = r#"{"given_up_at":"2026-05-24T15:00:00Z","reason":"expired","caller_session_id":"probe:fly:x","queued_at":"2026-05-23T14:00:00Z","probe":"fly","category":"x","severity":"critical","text":"An old DM.","delivery":"queued","refused_runs":3}"#;
    write_rows(&world, &format!("{row}\n"));
    let id = list(&world)["undelivered"][0]["id"].clone();
    assert_eq!(id, list(&world)["undelivered"][0]["id"]);
    world.command("undelivered --retry").exits(0);
    assert_eq!((count(&world), &world.outbox()[0]["id"]), (0, &id));
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts(), ["An old DM."]);
}

#[test]
fn what_cannot_be_read_is_kept_and_named() {
    let world = given_up(&["fly"]);
    let whole = world.state_file("undelivered.jsonl");
    let torn = &whole.trim_end()[..60];
    let row = world.state_rows("undelivered.jsonl").remove(0);
    let mut lost = row.clone();
    lost["text"] = json!("");
    let mut other = row;
    other.as_object_mut().unwrap().remove("text");
    write_rows(&world, &format!("{torn}\n\n{lost}\n{whole}{other}"));
    let told = list(&world);
    assert_eq!(told["undelivered"].as_array().unwrap().len(), 1);
    let lines = told["unreadable"].as_array().unwrap().iter();
    let lines: Vec<_> = lines.map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [1, 3, 5]);
    world
        .command("undelivered")
        .exits(0)
        .prints("line 3")
        .prints("its text is lost");
    let outcome = world.command("undelivered --retry").exits(0);
    outcome
        .warns("line 1 of undelivered.jsonl stays")
        .warns("line 5");
    let left = world.state_file("undelivered.jsonl");
    assert_eq!(left, format!("{torn}\n{lost}\n{other}"));
    world
        .command("status --check")
        .exits(3)
        .prints("3 messages were given up");
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts(), [plain("fly")]);
}

#[test]
fn no_more_than_fit_go_back_into_the_outbox() {
    let world = given_up(&["fly"]);
    world.slack.never();
    let row = world.state_rows("undelivered.jsonl").remove(0);
    let rows = (0..2_100).map(|number| {
        let mut row = row.clone();
        row["id"] = json!(format!("id-{number}"));
        format!("{row}\n")
    });
    write_rows(&world, &rows.collect::<String>());
    let outcome = world.command("undelivered --retry").exits(0);
    outcome.warns("the outbox is full: 100 DMs stay");
    assert_eq!(count(&world), 100);
    assert_eq!(world.outbox().len(), 2_000);
}

#[test]
fn what_a_retry_brought_is_delivered_in_the_history() {
    let world = World::stamped();
    world.slack.script([Slack::refusal("no_text")]);
    world.raise([wake("fly")]).exits(3);
    world.command("undelivered --retry").exits(0);
    world.run().exits(0);
    let report = world.command("history --format json").exits(0).json();
    let told = &report["investigations"][0];
    assert_eq!(told["failed"], false, "{told}");
    assert!(told["delivered_at"].is_string(), "{told}");
}

#[test]
fn a_retry_waits_for_no_run() {
    let world = given_up(&["fly"]);
    world.slack.never();
    let held = world.shell("flock state/state.lock sleep 1");
    while world.shell("flock -n state/state.lock true").finish().code == Some(0) {}
    for line in ["undelivered --retry", "undelivered --clear --yes"] {
        world.command(line).exits(75);
    }
    assert_eq!(count(&world), 1);
    held.kill();
}

#[test]
fn clearing_takes_a_yes() {
    let world = given_up(&["fly", "sentry"]);
    world.slack.never();
    let before = world.snapshot(&["state.lock"]);
    world
        .command("undelivered --clear")
        .exits(2)
        .warns("2 DMs are undelivered")
        .warns("--yes");
    let seen = world.answering_at_terminal("n", "undelivered --clear");
    assert!(
        seen.contains("Remove for good? [y/N]") && seen.contains("[exit 1]"),
        "{seen}"
    );
    assert!(
        before == world.snapshot(&["state.lock"]),
        "something was touched"
    );
    let seen = world.answering_at_terminal("y", "undelivered --clear");
    assert!(
        seen.contains("2 DMs were removed.") && seen.contains("[exit 0]"),
        "{seen}"
    );
    assert!(!world.state_dir().join("undelivered.jsonl").exists());
    world.command("undelivered --retry --clear").exits(2);
}

/// The DM is undelivered or queued, exactly once.
#[test]
fn a_retry_that_is_killed_neither_loses_nor_doubles() {
    needs!("strace");
    let (half, whole) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let prepare = || given_up(&["fly", "sentry"]);
    let retry = "undelivered --retry";
    at_each_call_of(
        retry,
        Fault::Kill,
        Calls::Visible,
        prepare,
        |world, call, _| {
            let queued = world.outbox().len();
            assert_eq!(count(world) + queued, 2, "{call}");
            let rows = world.state_rows("undelivered.jsonl").len();
            half.fetch_add(usize::from(queued + rows > 2), Ordering::Relaxed);
            whole.fetch_add(usize::from(queued + rows == 2), Ordering::Relaxed);
            world.run().exits(0).silent();
            assert_eq!(world.slack.texts().len(), queued, "{call}");
            world.command(retry).exits(0);
            world.run().exits(0).silent();
            assert_eq!(
                world.slack.texts(),
                [plain("fly"), plain("sentry")],
                "{call}"
            );
            assert_eq!(count(world), 0, "{call}");
        },
    );
    assert!(half.into_inner() > 3 && whole.into_inner() > 3);
}

#[test]
fn what_is_given_up_again_after_a_killed_retry_is_listed_once() {
    needs!("strace");
    let world = World::stamped_with(Slack::refusing("fly", "no_text"));
    world.raise([wake("fly")]).exits(3);
    // The first rename is the state's, the second one the list's.
    with_fault(&world, "undelivered --retry", Fault::Kill, "rename", 2);
    let queued = world.outbox().len();
    assert_eq!((count(&world), queued), (0, 1));
    assert_eq!(world.state_rows("undelivered.jsonl").len(), 1);
    world
        .run()
        .exits(3)
        .warns("went to undelivered.jsonl: no_text");
    assert_eq!((count(&world), world.outbox().len()), (1, 0));
}

/// A run gives a DM up and is killed between the two files. The next run finishes it.
#[test]
fn a_giving_up_that_is_killed_neither_loses_nor_doubles() {
    needs!("strace");
    let half = AtomicUsize::new(0);
    let prepare = || {
        let world = World::stamped();
        world.queue([wake("fly")]);
        world.shift_state_by(jiff::SignedDuration::from_secs(-60));
        world.set("KORA_PROBE_OUTBOX_TTL_SECONDS", "30");
        world
    };
    let tells_it_once = |world: &World, what: &dyn Display| {
        world.unset("KORA_PROBE_OUTBOX_TTL_SECONDS");
        let listed = count(world);
        let is_half = listed > 0 && !world.outbox().is_empty();
        half.fetch_add(usize::from(is_half), Ordering::Relaxed);
        world.run().exits(if is_half { 3 } else { 0 });
        assert!(world.outbox().is_empty(), "{what}");
        assert_eq!(listed + world.slack.texts().len(), 1, "{what}");
        world.command("undelivered --retry").exits(0);
        world.run().exits(0).silent();
        assert_eq!(world.slack.texts(), [plain("fly")], "{what}");
    };
    at_each_call(Fault::Kill, Calls::Visible, prepare, |world, call, _| {
        tells_it_once(world, call);
    });
    assert!(
        half.into_inner() > 3,
        "hardly ever killed between the two files"
    );
}
