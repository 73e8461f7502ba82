//! A run whose time is over leaves the rest to the next, which goes on where it
//! stopped. Logs that share a state folder share its queue, and no position.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::support::{Engine, World, plain, wake};

/// The engine takes longer over each wake than a run with `--max-runtime 1` may, and no facts go first.
fn slow(world: &World, wakes: usize) {
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "never");
    let late = || Engine::answer("Late.").after(Duration::from_millis(1_100));
    world.engine.script((0..wakes).map(|_| late()));
}

fn late(probe: &str) -> String {
    wake(probe).diagnosed("Late.")
}

#[test]
#[ignore = "the engine takes seconds"]
fn each_run_goes_on_where_the_one_before_stopped() {
    let world = World::stamped();
    slow(&world, 3);
    let probes = ["a", "b", "c"];
    world.append(probes.map(wake));
    for left in [2, 1, 0] {
        let report = world
            .command("run --max-runtime 1 --format json")
            .exits(0)
            .json();
        assert_eq!(report["left_for_next_run"], left);
    }
    assert_eq!(world.slack.texts(), probes.map(late));
}

#[test]
fn a_line_of_two_wakes_can_be_left_between_them() {
    let world = World::stamped();
    slow(&world, 2);
    world.append_raw(format!("{}{}\n", wake("a").line(), wake("b").line()));
    let run = || world.command("run --max-runtime 1 --format json");
    let first = run().json();
    assert_eq!(
        (
            &first["left_for_next_run"],
            first["wakes"].as_array().unwrap().len()
        ),
        (&json!(1), 2)
    );
    let second = run().json();
    assert_eq!(
        (&second["left_for_next_run"], &second["wakes"][0]["probe"]),
        (&json!(0), &json!("b"))
    );
    assert_eq!(world.slack.texts(), ["a", "b"].map(late));
}

#[test]
#[ignore = "600 messages are sent"]
fn a_line_of_very_many_wakes_fills_the_queue_no_further_than_others() {
    let world = World::stamped();
    slow(&world, 1);
    let probes: Vec<_> = (0..600).map(|number| format!("p{number}.")).collect();
    let line: String = probes.iter().map(|probe| wake(probe).line()).collect();
    world.append_raw(line + "\n");
    let first = world.command("run --max-runtime 1 --format json");
    assert_eq!(first.exits(0).json()["left_for_next_run"], 255);
    // Facts only: each of the others costs one message.
    world.set("KORA_PROBE_ENGINE_URL", "");
    world.run().exits(0).silent();
    let texts = world.slack.texts();
    let sent = |probe: &String| {
        let headline = format!("🚨 Probe alert · {probe}\n");
        texts
            .iter()
            .filter(|text| text.starts_with(&headline))
            .count()
    };
    assert!(probes.iter().all(|probe| sent(probe) == 1));
    assert_eq!(texts.len(), 600);
}

#[test]
#[ignore = "hundreds of wakes"]
fn a_first_line_of_very_many_wakes_goes_on_where_it_was_rotated() {
    let world = World::stamped();
    slow(&world, 1);
    let line: String = (0..300)
        .map(|number| wake(&format!("p{number}.")).line())
        .collect();
    world.append_raw(line + "\n");
    world.command("run --max-runtime 1").exits(0);
    fs::rename(world.log(), world.path("kora_audit_log.jsonl.1")).unwrap();
    world.append([wake("new.")]);
    world.set("KORA_PROBE_ENGINE_URL", "");
    world.run().exits(0).silent();
    let mut texts = world.slack.texts();
    texts.sort();
    texts.dedup();
    assert_eq!((texts.len(), world.slack.texts().len()), (301, 301));
}

#[test]
fn all_that_was_read_is_decided_also_past_the_time() {
    let world = World::stamped();
    slow(&world, 1);
    world.append(["a", "a", "a", "b", "a"].map(wake));
    let report = world
        .command("run --max-runtime 1 --format json")
        .exits(0)
        .json();
    assert_eq!(
        (
            &report["left_for_next_run"],
            report["wakes"].as_array().unwrap().len()
        ),
        (&json!(1), 5)
    );
    let report = world.report(0);
    assert_eq!(report["wakes"].as_array().unwrap().len(), 1);
    let a = late("a") + " · 3 repeats held back";
    assert_eq!(world.slack.texts(), [a, plain("b")]);
}

#[test]
fn a_time_limit_of_zero_is_none() {
    let world = World::stamped();
    world.set("KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", "0");
    world.raise(["a", "b"].map(wake)).exits(0).silent();
    world.append(["c", "d"].map(wake));
    world.set("KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", "1");
    world.command("run --max-runtime 0").exits(0).silent();
    assert_eq!(world.slack.texts(), ["a", "b", "c", "d"].map(plain));
}

#[test]
fn what_is_left_half_way_survives_a_kill() {
    let world = World::stamped();
    slow(&world, 1);
    world.append(["a", "b", "c"].map(wake));
    world.command("run --max-runtime 1").exits(0);
    world.kill_while_asking();
    world.run().exits(0);
    assert_eq!(world.slack.texts(), [late("a"), plain("b"), plain("c")]);
}

/// A run over this log of the same state folder.
#[track_caller]
fn run_over(world: &World, log: &str) {
    world.command(&format!("run --audit-log {log}")).exits(0);
}

#[test]
fn a_wake_interrupted_in_one_log_is_finished_by_a_run_over_another() {
    let world = World::stamped();
    fs::write(world.path("other.jsonl"), "").unwrap();
    run_over(&world, "other.jsonl");
    world.append(["fly", "sentry"].map(wake));
    world.kill_while_asking();
    fs::write(world.path("other.jsonl"), wake("vercel").line() + "\n").unwrap();
    run_over(&world, "other.jsonl");
    let all = ["fly", "sentry", "vercel"].map(plain);
    assert_eq!(world.slack.texts(), all);
    assert_eq!(world.report(0)["rows"]["read"], 0);
    assert_eq!(world.slack.texts(), all);
}

#[test]
fn a_reset_of_the_position_leaves_an_interrupted_investigation_alone() {
    let world = World::stamped().without_debounce();
    world.append(["fly", "sentry"].map(wake));
    world.kill_while_asking();
    world.command("state reset --position end").exits(0);
    world.run().exits(0);
    assert_eq!(world.slack.texts(), ["fly", "sentry"].map(plain));
    world.command("state reset --position start").exits(0);
    world.run().exits(0);
    let second = |probe: &str| plain(probe) + " · alert 2 since HH:MM UTC";
    assert_eq!(world.slack.texts()[2..], ["fly", "sentry"].map(second));
}
