//! A message's life over many runs: queued, then (committed before the request leaves) being sent, then
//! delivered and gone.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::{DEAD_URL, Reply, Row, Slack, World, at_once, column, is_marked, plain, wake};

/// A world in which fly's message waits since a run that could not reach Slack.
fn waiting() -> World {
    let world = World::stamped();
    world.queue([wake("fly")]);
    world
}

fn pass(world: &World, seconds: i64) {
    world.shift_state_by(-SignedDuration::from_secs(seconds));
}

/// The probes of these texts.
fn probes(texts: &[String]) -> Vec<&str> {
    let first_lines = texts.iter().filter_map(|text| text.lines().next());
    first_lines
        .filter_map(|line| line.rsplit(" · ").next())
        .collect()
}

#[test]
fn that_a_message_is_being_sent_is_committed_before_its_request_leaves() {
    let state: Arc<OnceLock<PathBuf>> = Arc::default();
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (path, states) = (Arc::clone(&state), Arc::clone(&seen));
    let world = World::stamped_with(Slack::judging(move |_| {
        let text = fs::read_to_string(path.get().unwrap()).unwrap();
        states
            .lock()
            .unwrap()
            .push(serde_json::from_str(&text).unwrap());
        Ok(())
    }));
    state.set(world.state_dir().join("state.json")).unwrap();
    world.raise(["fly", "sentry"].map(wake)).exits(0);
    let posts = world.slack.posts();
    for (state, post) in seen.lock().unwrap().iter().zip(&posts) {
        let fixed = &state["outbox"][0]["fixed"];
        assert_eq!(fixed["text"], post.body["text"]);
        assert!(fixed["reach"].as_u64() > fixed["sent"].as_u64(), "{fixed}");
    }
    assert_eq!((seen.lock().unwrap().len(), world.outbox().len()), (2, 0));
}

#[test]
fn a_message_in_doubt_stays_so_over_runs_that_surely_sent_nothing() {
    let world = World::stamped();
    world.slack.script([Reply::Cut, Reply::Cut]);
    world.raise([wake("fly")]).exits(3);
    pass(&world, 61);
    world.reach_slack_at(DEAD_URL);
    world.run().exits(3);
    world.reach_slack_at(world.slack.base());
    world.wait_for_pause();
    world.slack.script((0..5).map(|_| Slack::rate_limit("0")));
    world.run().exits(3);
    world.slack.script([Slack::refusal("invalid_auth")]);
    world.run().exits(3);
    world.wait_for_pause();
    world.run().exits(0);
    let texts = world.slack.texts();
    assert_eq!(texts.len(), 9);
    assert!(!is_marked(&texts[0]) && texts[1..].iter().all(|text| is_marked(text)));
}

#[test]
fn a_wrong_token_costs_one_request_a_run_and_no_message() {
    let world = World::stamped_with(Slack::always(|| Slack::refusal("invalid_auth")));
    world.append(["fly", "sentry"].map(wake));
    for _ in 0..7 {
        world.command("run -v").exits(3).warns("invalid_auth");
        world.wait_for_pause();
    }
    assert_eq!(world.slack.texts(), vec![plain("fly"); 7]);
    assert_eq!((world.outbox().len(), world.undelivered().len()), (2, 0));
    world.slack.usually(|_, before| Slack::took(before));
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts()[7..], ["fly", "sentry"].map(plain));
}

#[test]
fn within_a_cadence_of_such_a_run_only_what_was_never_tried_is_tried() {
    let world = World::stamped();
    world.set("KORA_PROBE_WAKE_POLL_SEC", "600");
    world.slack.script([Slack::refusal("invalid_auth")]);
    world.raise([wake("fly")]).exits(3);
    world
        .command("run -v")
        .exits(3)
        .warns("1 message stays queued: invalid_auth; the next try is in ");
    assert_eq!(world.slack.requests().len(), 1);
    // Slack takes another one, and then all are due again.
    world
        .raise([wake("sentry").set("severity", "info")])
        .exits(0);
    assert_eq!(probes(&world.slack.texts()), ["fly", "sentry", "fly"]);
    world.slack.script([Slack::refusal("invalid_auth")]);
    world.raise([wake("vercel")]).exits(3);
    pass(&world, 601);
    world.run().exits(0);
}

#[test]
fn a_message_alone_in_the_queue_is_refused_for_ever_and_stays() {
    let world = World::stamped_with(Slack::refusing("alert · fly", "restricted_action"));
    world.append([wake("fly")]);
    for _ in 0..5 {
        world.command("run -v").exits(3).warns("restricted_action");
        pass(&world, 60);
    }
    assert_eq!((world.outbox().len(), world.slack.requests().len()), (1, 5));
    assert_eq!(world.outbox()[0]["faults"], Value::Null);
}

#[test]
fn a_message_at_fault_is_counted_once_a_minute_and_given_up_at_the_fifth_time() {
    let world = World::stamped_with(Slack::refusing("alert · bad", "restricted_action"));
    world.append([wake("bad")]);
    for (number, faults) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        world.raise([wake(&format!("good{number}"))]).exits(3);
        world.raise([wake(&format!("more{number}"))]).exits(3);
        assert_eq!(world.outbox()[0]["faults"], faults);
        pass(&world, 61);
    }
    world
        .raise([wake("last")])
        .exits(3)
        .warns("the message about bad went to undelivered/: restricted_action");
    assert_eq!(world.given_up(), ["restricted_action"]);
    let texts = world.slack.texts();
    let sent = probes(&texts);
    assert_eq!(sent[..2], ["bad", "good0"], "in the run that found it");
    assert_eq!(
        sent[sent.len() - 3..],
        ["last", "bad", "last"],
        "it goes last of what is queued"
    );
    world.run().exits(0).silent();
}

#[test]
fn two_messages_that_slack_refuses_delay_none_that_is_new() {
    let world = World::stamped_with(Slack::refusing("alert · bad", "restricted_action"));
    world.raise(["bad1", "bad2"].map(wake)).exits(3);
    for number in 0..6 {
        let probe = format!("good{number}");
        world.raise([wake(&probe)]);
        let mut taken = world.slack.posts();
        taken.retain(|post| post.ts.is_some());
        assert!(
            taken.iter().any(|post| post.text.contains(&probe)),
            "{probe}"
        );
        pass(&world, 61);
    }
    assert_eq!(world.undelivered().len(), 2);
    world.run().exits(0).silent();
}

#[test]
fn a_new_critical_alert_is_the_first_that_is_sent_whatever_waits() {
    let world = World::stamped();
    world.set("KORA_PROBE_DIGEST_WAKES", "0");
    let old = (0..40).map(|number| wake(&format!("old{number}.")).set("severity", "warning"));
    world.queue([wake("bad")].into_iter().chain(old));
    let pause = Duration::from_millis(30);
    world.slack.usually(move |request, before| {
        match request.json()["text"].as_str().unwrap().contains("· bad") {
            true => Slack::refusal("restricted_action"),
            false => Slack::took(before).after(pause),
        }
    });
    // The one that is refused for ever is found out, and goes last from then on.
    world.slack.script([
        Slack::refusal("restricted_action"),
        Slack::refusal("invalid_auth"),
    ]);
    world.run().exits(3);
    for probe in ["new1", "new2"] {
        let before = world.slack.requests().len();
        world.raise([wake(probe)]).exits(3);
        let texts = world.slack.texts().split_off(before);
        let sent = probes(&texts);
        let place = sent.iter().position(|one| *one == probe);
        assert!(place <= Some(1) && place.is_some(), "{sent:?}");
    }
}

#[test]
fn questions_are_asked_critical_first_then_by_dispatch() {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "never");
    let rows = [("a", "info"), ("b", "critical"), ("c", "warning")];
    let rows = rows.map(|(probe, severity)| wake(probe).set("severity", severity));
    world.raise(rows).exits(0);
    let questions = world.engine.questions();
    let asked = questions
        .iter()
        .map(|one| one.json()["caller_session_id"].clone());
    let expected = ["b", "a", "c"].map(|probe| format!("probe:{probe}:service_unhealthy"));
    assert_eq!(asked.collect::<Vec<_>>(), expected);
}

#[test]
#[ignore = "two hours of runs"]
fn after_an_outage_of_two_hours_messages_go_out_critical_first_then_by_dispatch() {
    let world = World::stamped_with(Slack::always(|| Reply::text(503, "")));
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "never");
    let row = |probe: &str, severity: &str| wake(probe).set("severity", severity);
    for (number, severity) in ["warning", "critical", "info", "warning", "critical"]
        .into_iter()
        .enumerate()
    {
        world
            .raise([row(&format!("{severity}{number}"), severity)])
            .exits(3);
        for _ in 0..4 {
            pass(&world, 360);
            world.run().exits(3);
        }
    }
    let during = world.slack.requests().len();
    world.slack.usually(|_, before| Slack::took(before));
    pass(&world, 900);
    world.run().exits(0).silent();
    let texts = world.slack.texts().split_off(during);
    let expected = ["critical1", "critical4", "warning0", "info2", "warning3"];
    assert_eq!(probes(&texts), expected);
}

#[test]
fn a_dead_slack_costs_a_run_of_many_wakes_little() {
    let world = World::stamped_with(Slack::always(|| Reply::Cut));
    world.append((0..12).map(|n| wake(&format!("probe-{n}"))));
    let begun = Instant::now();
    let report = world.report(3);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(report["outbox"]["pending"], 12);
    assert_eq!(
        (world.slack.requests().len(), world.engine.requests().len()),
        (4, 12)
    );
}

#[test]
fn a_run_to_stdout_leaves_the_outbox_alone_and_says_that_it_is_there() {
    let world = waiting();
    let before = world.outbox();
    world.append([wake("sentry")]);
    for line in ["run --to stdout", "run --to stdout --format json"] {
        world.command(line).exits(3).hides("alert · fly");
        assert_eq!(world.outbox(), before, "{line}");
        world.append([wake(&line.replace(' ', ""))]);
    }
    assert_eq!(world.slack.requests().len(), 0);
    world.run().exits(0);
    assert_eq!(world.slack.texts()[0], plain("fly"));
}

#[test]
fn only_the_messages_that_are_too_old_are_given_up() {
    let world = waiting();
    world.set("KORA_PROBE_OUTBOX_TTL_SECONDS", "7200");
    world.shift_state(-1);
    world.queue([wake("sentry")]);
    world.shift_state(-1);
    let report = world.report(3);
    assert_eq!(
        report["outbox"],
        json!({"delivered": 1, "pending": 0, "expired": 1})
    );
    assert_eq!(probes(&world.slack.texts()), ["sentry"]);
    assert_eq!(world.given_up(), ["expired"]);
}

#[test]
fn a_clock_set_back_gives_up_nothing_that_waits() {
    let world = waiting();
    world.shift_state(48);
    world.run().exits(0);
    assert_eq!(world.slack.texts(), [plain("fly")]);
}

/// More runs than failures are allowed, in each of which this happens to fly's message.
#[track_caller]
fn is_no_failure(each_run: impl Fn(&World)) {
    let world = waiting();
    for _ in 0..6 {
        each_run(&world);
        pass(&world, 61);
    }
    world
        .raise([wake("sentry").set("severity", "info")])
        .exits(0);
    assert_eq!(world.undelivered().len(), 0);
    let texts = world.slack.texts();
    let fly = texts.iter().rposition(|text| text.contains("alert · fly"));
    let sentry = texts
        .iter()
        .position(|text| text.contains("alert · sentry"));
    assert!(fly < sentry, "{texts:?}");
}

#[test]
#[ignore = "some dozen runs"]
fn no_connection_no_token_a_rate_limit_and_a_kill_are_no_failures() {
    type EachRun = fn(&World);
    let cases: [EachRun; 4] = [
        |world| {
            world.reach_slack_at(DEAD_URL);
            world.run().exits(3);
            world.reach_slack_at(world.slack.base());
        },
        |world| {
            world.set("KORA_SLACK_JOSHUA_USER_ID", "");
            world.run().exits(3);
            world.set("KORA_SLACK_JOSHUA_USER_ID", "U0JOSHUA");
        },
        |world| {
            world.slack.script((0..5).map(|_| Slack::rate_limit("0")));
            world.run().exits(3);
        },
        |world| {
            let asked = world.slack.requests().len();
            world.slack.script([Reply::Hang]);
            let run = world.start("run");
            world.slack.wait_for(asked + 1);
            run.kill();
        },
    ];
    at_once(cases, is_no_failure);
}

#[test]
fn a_long_detail_is_written_to_the_disk_a_bounded_number_of_times() {
    needs!("strace");
    let detail = |row: Row| row.set("detail", "word and word. ".repeat(27_000));
    let world = World::stamped().without_engine();
    world.append([detail(wake("huge")), wake("small")]);
    let (outcome, trace) = world.traced(&["-s", "0", "-e", "trace=write"], "run");
    outcome.exits(0);
    assert!(world.slack.posts().len() > 100);
    let written = |line: &str| line.rsplit_once("= ")?.1.trim().parse::<u64>().ok();
    let bytes: u64 = trace
        .lines()
        .filter(|line| !line.contains("write(2,"))
        .filter_map(written)
        .sum();
    // Its texts are written once each; 200 commits are small.
    assert!(bytes < 4_000_000, "{bytes} bytes");
    assert_eq!(column(world.outbox(), "/id").len(), 0);
    let texts = fs::read_dir(world.state_dir().join("texts"));
    assert_eq!(texts.into_iter().flatten().count(), 0);
}
