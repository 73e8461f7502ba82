//! `undelivered` lists what was given up, `--retry` puts it back into the outbox, `--clear` removes it.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{
    Calls, Fault, Reply, Slack, World, at_each_call, at_each_call_of, column, is_marked, plain,
    wake, with_fault, without_times,
};

/// A world whose messages about these probes were given up.
fn given_up(probes: &[&str]) -> World {
    let world = World::stamped();
    world.queue(probes.iter().map(|probe| wake(probe)));
    world.command("state reset --outbox --yes").exits(0);
    world
}

fn list(world: &World) -> Value {
    world.command("undelivered --format json").exits(0).json()
}

/// How many messages are undelivered.
fn count(world: &World) -> usize {
    list(world)["undelivered"].as_array().unwrap().len()
}

fn file(world: &World, name: &str) -> PathBuf {
    world.state_dir().join("undelivered").join(name)
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
fn each_is_listed_with_when_pair_title_and_why() {
    let world = given_up(&["fly", "sentry"]);
    world.slack.never();
    let before = world.snapshot(&[]);
    let outcome = world.command("undelivered").exits(0);
    let [fly, fly_why, sentry, sentry_why] = outcome.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{}", outcome.stdout)
    };
    for (line, probe) in [(fly, "fly"), (sentry, "sentry")] {
        let about = format!(
            " UTC  probe:{probe}:service_unhealthy (critical): {probe} unreachable: HTTP 401"
        );
        assert!(line.ends_with(&about), "{line}");
    }
    for line in [fly_why, sentry_why] {
        assert_eq!(line.trim(), "given up: state reset");
    }
    let row = &list(&world)["undelivered"][0];
    assert_eq!(row["caller_session_id"], "probe:fly:service_unhealthy");
    assert_eq!(row["title"], "fly unreachable: HTTP 401");
    assert_eq!(row["reason"], "state reset");
    assert_eq!(without_times(row["text"].as_str().unwrap()), plain("fly"));
    assert!(row["given_up_at"].is_string() && row["id"].is_string());
    assert!(before == world.snapshot(&[]), "it wrote something");
}

#[test]
fn a_retry_is_sent_by_the_next_run_once_and_in_order() {
    let world = given_up(&["fly", "sentry", "vercel"]);
    world
        .command("undelivered --retry")
        .exits(0)
        .prints("3 messages are queued again");
    assert_eq!((count(&world), world.slack.texts().len()), (0, 0));
    assert_eq!(world.undelivered().len(), 0);
    world
        .command("undelivered --retry")
        .exits(0)
        .prints("Nothing is undelivered.");
    world.run().exits(0).silent();
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts(), ["fly", "sentry", "vercel"].map(plain));
}

#[test]
fn its_time_in_the_outbox_begins_anew_and_the_mark_of_a_repeat_stays() {
    let world = World::stamped();
    world.slack.script([Reply::Cut, Reply::Cut]);
    world.raise([wake("fly")]).exits(3);
    world.shift_state(-25);
    world.run().exits(3).warns("went to undelivered/: expired");
    world.command("undelivered --retry").exits(0);
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    assert!(is_marked(&posts[2].text), "{posts:?}");
    assert_eq!(posts.len(), 3);
}

#[test]
fn the_rest_of_a_message_goes_to_the_top_level() {
    let world = World::stamped_with(Slack::refusing("second", "no_text"));
    let detail = "first ".repeat(700) + &"second ".repeat(100);
    world.engine.script([Reply::text(503, "")]);
    world.raise([wake("fly").set("detail", detail)]).exits(3);
    let ts = world.slack.posts()[0].ts.clone();
    assert_eq!(world.slack.posts()[1].thread_ts, ts);
    let slack = Slack::start();
    world.reach_slack_at(slack.base());
    world.command("undelivered --retry").exits(0);
    world.run().exits(0).silent();
    let post = &slack.posts()[0];
    assert_eq!(post.thread_ts, None);
    let begin = "fly (continued)\n";
    assert!(post.text.starts_with(begin), "{}", post.text);
    assert!(!post.text.contains("Probe alert"), "{}", post.text);
}

#[test]
fn a_refusal_is_no_doubt_and_a_later_delivery_has_its_row() {
    let world = World::stamped();
    world.slack.script([Slack::refusal("no_text")]);
    world.raise([wake("fly")]).exits(3);
    assert_eq!(count(&world), 1);
    world.command("undelivered --retry").exits(0);
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts()[1], plain("fly"));
    let rows = world.state_rows("outcomes.jsonl");
    let seams = [
        "probe.investigation_completed",
        "probe.dm_undelivered",
        "probe.dm_delivered",
    ];
    assert_eq!(column(rows.clone(), "/seam"), seams);
    let ids = column(rows, "/details/id");
    assert!(
        ids[0].is_string() && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
}

#[test]
fn what_cannot_be_read_is_kept_and_named() {
    let world = given_up(&["fly"]);
    let id = world.undelivered()[0]["id"].as_str().unwrap().to_owned();
    let whole = fs::read(file(&world, &format!("{id}.json"))).unwrap();
    fs::write(file(&world, "torn.json"), &whole[..60]).unwrap();
    fs::write(file(&world, "renamed.json"), &whole).unwrap();
    let listed = list(&world);
    assert_eq!(listed["undelivered"].as_array().unwrap().len(), 1);
    let files = column(listed["unreadable"].clone(), "/file");
    assert_eq!(files, ["renamed.json", "torn.json"]);
    world.command("undelivered").exits(0).prints("torn.json");
    world
        .command("undelivered --retry")
        .exits(0)
        .prints("1 message is queued again")
        .warns("renamed.json stays in undelivered/")
        .warns("torn.json stays in undelivered/");
    assert_eq!(fs::read(file(&world, "torn.json")).unwrap(), whole[..60]);
    assert_eq!(fs::read(file(&world, "renamed.json")).unwrap(), whole);
    world.command("status --check").exits(3);
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts(), [plain("fly")]);
}

#[test]
fn no_more_than_fit_go_back_into_the_outbox() {
    let world = given_up(&["fly"]);
    world.slack.never();
    let one = world.undelivered().remove(0);
    let name = format!("{}.json", one["id"].as_str().unwrap());
    fs::remove_file(file(&world, &name)).unwrap();
    for number in 0..2_100 {
        let mut one = one.clone();
        one["id"] = json!(format!("id-{number}"));
        fs::write(file(&world, &format!("id-{number}.json")), one.to_string()).unwrap();
    }
    let outcome = world.command("undelivered --retry").exits(0);
    outcome.warns("the outbox is full: 100 messages stay in undelivered/");
    assert_eq!(count(&world), 100);
    assert_eq!(world.outbox().len(), 2_000);
}

#[test]
fn a_retry_does_not_wait_for_a_run() {
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
        .warns("2 messages are undelivered")
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
        seen.contains("2 messages were removed.") && seen.contains("[exit 0]"),
        "{seen}"
    );
    assert_eq!(world.undelivered().len(), 0);
    world.command("undelivered --retry --clear").exits(2);
}

/// Each message is undelivered or queued, and only one of these.
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
            let files = world.undelivered().len();
            half.fetch_add(usize::from(queued + files > 2), Ordering::Relaxed);
            whole.fetch_add(usize::from(queued + files == 2), Ordering::Relaxed);
            world.run().exits(0).silent();
            assert_eq!(world.slack.texts().len(), queued, "{call}");
            world.command(retry).exits(0);
            world.run().exits(0).silent();
            assert_eq!(
                world.slack.texts(),
                [plain("fly"), plain("sentry")],
                "{call}"
            );
            assert_eq!(world.undelivered().len(), 0, "{call}");
        },
    );
    let (half, whole) = (half.into_inner(), whole.into_inner());
    assert!(half > 1 && whole > 3, "{half} {whole}");
}

#[test]
fn what_is_given_up_again_after_a_killed_retry_is_listed_once() {
    needs!("strace");
    let world = World::stamped_with(Slack::refusing("fly", "no_text"));
    world.raise([wake("fly")]).exits(3);
    // Queued, and its file not yet removed.
    with_fault(&world, "undelivered --retry", Fault::Kill, "unlink", 1);
    let queued = world.outbox().len();
    assert_eq!((count(&world), queued), (0, 1));
    assert_eq!(world.undelivered().len(), 1);
    world.run().exits(3).warns("went to undelivered/: no_text");
    assert_eq!((count(&world), world.outbox().len()), (1, 0));
}

/// A run gives a message up and is killed between its file and the state. The next run finishes it.
#[test]
fn a_giving_up_that_is_killed_neither_loses_nor_doubles() {
    needs!("strace");
    let half = AtomicUsize::new(0);
    let prepare = || {
        let world = World::stamped();
        world.queue([wake("fly")]);
        world.shift_state(-25);
        world
    };
    let is_sent_once = |world: &World, what: &dyn Display| {
        world.set("KORA_PROBE_OUTBOX_TTL_SECONDS", "0");
        let listed = count(world);
        let is_half = listed > 0 && !world.outbox().is_empty();
        half.fetch_add(usize::from(is_half), Ordering::Relaxed);
        world.run().exits(if is_half { 3 } else { 0 });
        assert!(world.outbox().is_empty(), "{what}");
        assert_eq!(listed + world.slack.texts().len(), 1, "{what}");
        world.command("undelivered --retry").exits(0);
        world.run().exits(0).silent();
        assert_eq!(world.slack.texts().len(), 1, "{what}");
    };
    at_each_call(Fault::Kill, Calls::Visible, prepare, |world, call, _| {
        is_sent_once(world, call);
    });
    assert!(
        half.into_inner() > 3,
        "hardly ever killed between the two files"
    );
}
