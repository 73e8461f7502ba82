//! Section 7 of the contract: what a failure of a DM is, who goes first, what is tried after a pause, what gives way
//! to all else, and what holds up nobody.

use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use crate::support::{DEAD_URL, Post, Reply, SLACK_TOKEN, Slack, World, is_marked, plain, wake};

fn told(world: &World, probe: &str) -> usize {
    let texts = world.slack.texts();
    texts
        .iter()
        .filter(|text| text.starts_with(&plain(probe)))
        .count()
}

#[test]
fn two_dms_that_slack_refuses_hold_up_none_behind_them() {
    let world = World::stamped_with(Slack::refusing("alert · bad", "restricted_action"));
    world.append(["bad1", "bad2", "good"].map(wake));
    let mut runs = 0;
    while told(&world, "good") == 0 {
        world.run().exits(3);
        runs += 1;
        assert!(runs <= 5, "{:?}", world.slack.texts());
    }
    // In the run in which the good one went through.
    assert_eq!(world.given_up().len(), 2);
    world.raise([wake("next")]).exits(0).silent();
    assert_eq!((told(&world, "good"), told(&world, "next")), (1, 1));
}

/// A world in which Slack answers unclearly to each of bad's DMs: three runs failed, and the next one pauses it.
fn paused() -> World {
    let world = World::stamped();
    world.slack.usually(
        |request, before| match Post::of(request).text.contains("alert · bad") {
            true => Reply::text(500, ""),
            false => Slack::took(before),
        },
    );
    world.append([wake("bad")]);
    for _ in 0..3 {
        world.run().exits(3);
    }
    assert_eq!(world.slack.requests().len(), 6, "two in each run");
    world.raise([wake("good")]).exits(3);
    world
}

fn pass(world: &World, seconds: i64) {
    world.shift_state_by(-SignedDuration::from_secs(seconds));
}

#[test]
fn a_dm_whose_answer_stays_unknown_is_tried_after_pauses_and_then_given_up() {
    let world = paused();
    assert_eq!((told(&world, "good"), told(&world, "bad")), (1, 8));
    for (number, minutes) in [1, 2, 4, 8, 16, 30].into_iter().enumerate() {
        pass(&world, minutes * 60 - 20);
        world.raise([wake(&format!("good{number}."))]).exits(3);
        assert_eq!(
            told(&world, "bad"),
            8 + 2 * number,
            "{minutes} min are not over"
        );
        assert_eq!(
            told(&world, &format!("good{number}.")),
            1,
            "it holds up nobody"
        );
        assert_eq!(world.state_file("undelivered.jsonl"), "");
        pass(&world, 20);
        world.run().exits(3);
        assert_eq!(told(&world, "bad"), 10 + 2 * number);
    }
    assert_eq!(world.given_up(), ["HTTP 500"]);
    world.run().exits(0).silent();
    let texts = world.slack.texts();
    let bad = texts.iter().filter(|text| text.contains("alert · bad"));
    assert_eq!(
        bad.filter(|text| !is_marked(text)).count(),
        1,
        "the first of all"
    );
}

#[test]
fn a_paused_dm_that_goes_through_is_delivered_once() {
    let world = paused();
    world.slack.usually(|_, before| Slack::took(before));
    world.run().exits(3);
    pass(&world, 61);
    world.run().exits(0).silent();
    assert_eq!(told(&world, "bad"), 9);
    assert!(is_marked(world.slack.texts().last().unwrap()));
}

#[test]
fn a_clock_set_back_does_not_prolong_a_pause() {
    let world = paused();
    world.slack.usually(|_, before| Slack::took(before));
    world.shift_state(5);
    world.run().exits(0).silent();
}

/// More runs than failures are allowed, in each of which this happens to fly's DM.
#[track_caller]
fn is_no_failure(each_run: impl Fn(&World)) {
    let world = World::stamped();
    world.queue([wake("fly")]);
    for _ in 0..4 {
        each_run(&world);
    }
    world.raise([wake("sentry")]).exits(0);
    let texts = world.slack.texts();
    let last = &texts[texts.len() - 2..];
    assert!(
        last[0].starts_with(&plain("fly")),
        "the oldest goes first: {texts:?}"
    );
    assert_eq!(last[1], plain("sentry"));
}

#[test]
fn no_connection_no_token_a_rate_limit_and_a_kill_are_no_failures() {
    is_no_failure(|world| {
        world.reach_slack_at(DEAD_URL);
        world.run().exits(3);
        world.reach_slack_at(world.slack.base());
    });
    is_no_failure(|world| {
        world.unset("KORA_SLACK_BOT_TOKEN");
        world.run().exits(3);
        world.set("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN);
    });
    is_no_failure(|world| {
        world.slack.script((0..5).map(|_| Slack::rate_limit("0")));
        world.run().exits(3);
    });
    is_no_failure(|world| {
        let asked = world.slack.requests().len();
        world.slack.script([Reply::Hang]);
        let run = world.start("run");
        world.slack.wait_for(asked + 1);
        run.kill();
    });
}

/// A world in which `undelivered.jsonl` cannot be written, and fly's DM has to go there.
fn unwritable(facts_after: &str) -> World {
    let world = World::stamped_with(Slack::judging(|text| {
        let is_bad = text.contains("alert · fly") && !text.contains("unable to");
        (!is_bad).then_some(()).ok_or("msg_too_long")
    }));
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", facts_after);
    fs::create_dir(world.state_dir().join("undelivered.jsonl")).unwrap();
    world
}

fn make_writable(world: &World) {
    fs::remove_dir(world.state_dir().join("undelivered.jsonl")).unwrap();
}

#[test]
fn where_undelivered_cannot_be_written_the_dm_stays_and_the_others_go_on() {
    let world = unwritable("never");
    world.append(["fly", "sentry"].map(wake));
    world.run().exits(3).warns("undelivered.jsonl");
    assert_eq!(world.slack.texts(), ["fly", "sentry"].map(plain));
    world.append([wake("vercel")]);
    let report = world
        .command("run --format json")
        .exits(3)
        .warns("undelivered.jsonl");
    assert_eq!(report.json()["outbox"]["pending"], 1);
    assert_eq!(
        world.slack.texts()[2..],
        [plain("vercel")],
        "and fly is not sent again"
    );
    make_writable(&world);
    world.run().exits(3).warns("msg_too_long");
    assert_eq!(world.given_up(), ["msg_too_long"]);
    assert_eq!(
        world.state_rows("undelivered.jsonl")[0]["text"],
        plain("fly")
    );
    world.run().exits(0).silent();
}

#[test]
fn what_follows_such_a_dm_does_not_wait_for_the_file() {
    let world = unwritable("0");
    let row = wake("fly");
    world.engine.script([Reply::text(503, "")]);
    world.append([row.clone()]);
    world.run().exits(3).warns("undelivered.jsonl");
    let fallback = row.fallback("engine_exception:HTTP503");
    assert_eq!(world.slack.texts(), [row.facts(), fallback]);
    make_writable(&world);
    world.run().exits(3);
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts().len(), 2);
}

#[test]
fn an_expired_dm_stays_where_undelivered_cannot_be_written() {
    let world = unwritable("never");
    world.set("KORA_PROBE_OUTBOX_TTL_SECONDS", "60");
    world.queue([wake("old")]);
    world.shift_state(-1);
    world.append([wake("sentry")]);
    world.run().exits(3).warns("undelivered.jsonl");
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
    let told: String = posts
        .filter(|post| post.text.contains("w0"))
        .map(|post| post.text)
        .collect();
    assert!(
        told.contains(huge(parts).trim_end()),
        "something is missing"
    );
    assert_eq!(
        told.matches("w0").count(),
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
        (Some(0), Some(10), Some(13))
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
fn the_rest_of_a_long_dm_that_failed_is_tried_again_by_itself() {
    let world = World::stamped().without_engine();
    world.slack.usually(|_, before| match before {
        0..11 => Slack::took(before),
        _ => Reply::text(500, ""),
    });
    world.append([wake("huge").set("detail", huge(16))]);
    for _ in 0..3 {
        world.run().exits(3);
    }
    world.slack.usually(|_, before| Slack::took(before));
    world.run().exits(0).silent();
    assert_eq!(world.report(0)["outbox"]["pending"], 0);
}

#[test]
fn that_its_own_first_part_went_through_is_no_reason_to_give_a_dm_up() {
    let world = World::stamped().without_engine();
    world.slack.script([
        Slack::refusal("invalid_auth"),
        Slack::took(1),
        Slack::refusal("invalid_auth"),
    ]);
    world.append([wake("fly").set("detail", huge(2))]);
    for failures in [1, 2] {
        world.run().exits(3).warns("stays queued: invalid_auth");
        assert_eq!(world.outbox()[0]["failures"], failures);
    }
    assert_eq!(world.state_file("undelivered.jsonl"), "");
    world.run().exits(0).silent();
}

#[test]
fn many_expired_dms_that_cannot_be_moved_cost_one_warning() {
    let world = World::stamped();
    world.queue((0..20).map(|number| wake(&format!("p{number}"))));
    world.shift_state(-25);
    world.slack.never();
    fs::create_dir(world.state_dir().join("undelivered.jsonl")).unwrap();
    let outcome = world
        .run()
        .exits(3)
        .warns("DMs that were given up stay queued");
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
}

#[test]
fn many_expired_dms_cost_one_commit() {
    needs!("strace");
    let world = World::stamped();
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "0");
    world.queue((0..40).map(|number| wake(&format!("p{number}"))));
    world.shift_state(-25);
    world.slack.never();
    let (outcome, commits) = world.traced(&["-e", "trace=rename"], "run");
    outcome.exits(3);
    assert_eq!(world.state_rows("undelivered.jsonl").len(), 40);
    assert!(commits.matches("state.json.new").count() <= 3, "{commits}");
}
