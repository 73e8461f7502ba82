//! What is given up or cannot be, what is tried after a pause, and what gives way to everything else.

use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use crate::support::{Post, Reply, Slack, World, is_marked, plain, wake};

fn sent(world: &World, probe: &str) -> usize {
    let about = format!("alert · {probe}\n");
    let texts = world.slack.texts();
    texts.iter().filter(|text| text.contains(&about)).count()
}

fn pass(world: &World, seconds: i64) {
    world.shift_state_by(-SignedDuration::from_secs(seconds));
}

/// A world in which Slack leaves its answer to each of bad's messages unknown, and takes all others.
fn never_sure() -> World {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "never");
    world.slack.usually(
        |request, before| match Post::of(request).text.contains("alert · bad") {
            true => Reply::text(500, ""),
            false => Slack::took(before),
        },
    );
    world.raise([wake("bad"), wake("good")]).exits(3);
    assert_eq!((sent(&world, "bad"), sent(&world, "good")), (2, 1));
    world
}

#[test]
fn a_message_whose_answer_stays_unknown_is_tried_after_pauses_and_given_up_at_its_fifth_failure() {
    let world = never_sure();
    let mut tries = 2;
    for (number, minutes) in [1, 2, 4, 8].into_iter().enumerate() {
        pass(&world, minutes * 60 - 20);
        world.run().exits(3);
        assert_eq!(sent(&world, "bad"), tries, "{minutes} min are not over");
        assert_eq!(world.undelivered().len(), 0);
        pass(&world, 20);
        world.raise([wake(&format!("good{number}"))]).exits(3);
        tries += 2;
        assert_eq!(sent(&world, "bad"), tries, "{minutes} min are over");
    }
    assert_eq!(world.given_up(), ["HTTP 500"]);
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    let bad = posts
        .iter()
        .filter(|post| post.text.contains("alert · bad"));
    let marks: Vec<_> = bad.map(|post| is_marked(&post.text)).collect();
    assert_eq!(marks, [vec![false], vec![true; 9]].concat());
}

#[test]
fn a_paused_message_that_goes_through_is_delivered_once() {
    let world = never_sure();
    world.slack.usually(|_, before| Slack::took(before));
    world.run().exits(3);
    pass(&world, 61);
    world.run().exits(0).silent();
    assert_eq!(sent(&world, "bad"), 3);
    assert!(is_marked(world.slack.texts().last().unwrap()));
}

#[test]
fn a_clock_set_back_does_not_prolong_a_pause() {
    let world = never_sure();
    world.slack.usually(|_, before| Slack::took(before));
    world.shift_state(5);
    world.run().exits(0).silent();
}

/// A world in which `undelivered/` cannot be written, and fly's message has to go there.
fn unwritable(facts_after: &str) -> World {
    let world = World::stamped_with(Slack::judging(|text| {
        let is_bad = text.contains("alert · fly") && !text.contains("unable to");
        (!is_bad).then_some(()).ok_or("msg_too_long")
    }));
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", facts_after);
    world.give("state/undelivered", "a file");
    world
}

fn make_writable(world: &World) {
    fs::remove_file(world.state_dir().join("undelivered")).unwrap();
}

#[test]
fn where_undelivered_cannot_be_written_the_message_stays_and_the_others_go_on() {
    let world = unwritable("never");
    world.append(["fly", "sentry"].map(wake));
    world.run().exits(3).warns("undelivered/");
    assert_eq!(world.slack.texts(), ["fly", "sentry"].map(plain));
    world.append([wake("vercel")]);
    let report = world
        .command("run -v --format json")
        .exits(3)
        .warns("undelivered");
    assert_eq!(report.json()["outbox"]["pending"], 1);
    assert_eq!(
        world.slack.texts()[2..],
        [plain("vercel")],
        "and fly is not sent again"
    );
    make_writable(&world);
    world.run().exits(3).warns("msg_too_long");
    assert_eq!(world.given_up(), ["msg_too_long"]);
    world.run().exits(0).silent();
}

#[test]
fn what_follows_such_a_message_does_not_wait_for_the_folder() {
    let world = unwritable("0");
    let row = wake("fly");
    world.engine.script([Reply::text(503, "")]);
    world.append([row.clone()]);
    world.run().exits(3).warns("undelivered/");
    let fallback = row.fallback("engine_exception:HTTP503");
    assert_eq!(world.slack.texts(), [row.facts(), fallback]);
    make_writable(&world);
    world.run().exits(3);
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts().len(), 2);
}

#[test]
fn an_expired_message_stays_where_undelivered_cannot_be_written() {
    let world = unwritable("never");
    world.set("KORA_PROBE_OUTBOX_TTL_SECONDS", "60");
    world.queue([wake("old")]);
    world.shift_state(-1);
    world.append([wake("sentry")]);
    world.run().exits(3).warns("undelivered/");
    assert_eq!(world.slack.texts(), [plain("sentry")]);
    make_writable(&world);
    assert_eq!(world.report(3)["outbox"]["expired"], 1);
    world.run().exits(0).silent();
}

/// A row whose fallback takes this many parts.
fn huge(parts: usize) -> String {
    let words = parts * 3_900 / 8 - 60;
    (0..words).map(|number| format!("w{number:06} ")).collect()
}

/// All words of `huge`, each once and in order.
#[track_caller]
fn assert_whole(world: &World, parts: usize) {
    let posts = world.slack.posts().into_iter();
    let sent: String = posts
        .filter(|post| post.text.contains("w0"))
        .map(|post| post.text)
        .collect();
    assert!(
        sent.contains(huge(parts).trim_end()),
        "something is missing"
    );
    assert_eq!(
        sent.matches("w0").count(),
        huge(parts).matches("w0").count()
    );
}

#[test]
fn parts_beyond_the_tenth_give_way_to_all_else() {
    let world = World::stamped().without_engine();
    let log = world.log();
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    // A row is written while the rest of the huge one goes out.
    world.slack.usually(move |_, before| {
        *count.lock().unwrap() += 1;
        if before == 12 {
            let mut log = fs::File::options().append(true).open(&log).unwrap();
            log.write_all((wake("late").line() + "\n").as_bytes())
                .unwrap();
        }
        Slack::took(before)
    });
    world.append([wake("huge").set("detail", huge(16)), wake("small")]);
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    let at = |probe: &str| {
        let headline = format!("🚨 Probe alert · {probe}\n");
        posts
            .iter()
            .position(|post| post.text.starts_with(&headline))
    };
    assert_eq!(
        (at("huge"), at("small"), at("late")),
        (Some(0), Some(1), Some(13))
    );
    assert_eq!(posts.len(), 18);
    assert_whole(&world, 16);
    let rest = posts.iter().filter(|post| post.text.starts_with('w'));
    assert!(
        rest.clone()
            .all(|post| post.thread_ts.as_deref() == Some("1.1"))
    );
    assert_eq!(rest.count(), 15);
}

#[test]
#[ignore = "a message of many parts"]
fn parts_beyond_the_tenth_are_never_sent_past_the_runs_time() {
    let world = World::stamped().without_engine();
    let pause = Duration::from_millis(100);
    world
        .slack
        .usually(move |_, before| Slack::took(before).after(pause));
    world.append([wake("huge").set("detail", huge(40)), wake("small")]);
    let begun = Instant::now();
    world.command("run --max-runtime 3").exits(3);
    assert!(begun.elapsed() < Duration::from_secs(6));
    let sent = world.slack.requests().len();
    assert!((12..40).contains(&sent), "{sent}");
    world.run().exits(0).silent();
    assert_eq!(world.slack.requests().len(), 41);
    assert_whole(&world, 40);
}

#[test]
fn the_rest_of_a_long_message_that_failed_is_tried_again_by_itself() {
    let world = World::stamped().without_engine();
    world.slack.usually(|_, before| match before {
        0..11 => Slack::took(before),
        _ => Reply::text(500, ""),
    });
    world.append([wake("huge").set("detail", huge(16))]);
    for minutes in [1, 2, 4] {
        world.run().exits(3);
        pass(&world, minutes * 60 + 1);
    }
    world.slack.usually(|_, before| Slack::took(before));
    world.run().exits(0).silent();
    assert_eq!(world.report(0)["outbox"]["pending"], 0);
}

#[test]
fn that_its_own_first_part_went_through_is_no_reason_to_give_a_message_up() {
    let world = World::stamped().without_engine();
    world.append([wake("fly").set("detail", huge(2))]);
    world.slack.usually(|_, before| match before {
        0 => Slack::took(before),
        _ => Slack::refusal("restricted_action"),
    });
    for _ in 0..6 {
        world
            .command("run -v")
            .exits(3)
            .warns("stays queued: restricted_action");
        pass(&world, 61);
    }
    assert_eq!(world.undelivered().len(), 0);
    world.slack.usually(|_, before| Slack::took(before));
    world.run().exits(0).silent();
}

#[test]
fn many_expired_messages_that_cannot_be_moved_cost_one_warning() {
    let world = World::stamped();
    world.queue((0..20).map(|number| wake(&format!("p{number}"))));
    world.shift_state(-25);
    world.slack.never();
    world.give("state/undelivered", "a file");
    let outcome = world
        .run()
        .exits(3)
        .warns("messages that were given up stay queued");
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}
