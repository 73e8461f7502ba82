//! Section 9 of the contract: `status` shows the state on one screen, and changes nothing.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{DEAD_URL, Engine, Reply, Sandbox, World, other_row, wake};

fn status(world: &Sandbox) -> Value {
    world.command("status --format json").exits(0).json()
}

#[test]
fn before_the_first_run_it_says_so() {
    let sandbox = Sandbox::new();
    sandbox
        .command("status")
        .exits(0)
        .prints("last run     never")
        .prints("the next run is a first run")
        .prints("which does not exist");
    let told = status(&sandbox);
    assert_eq!(
        (&told["last_run"], &told["position"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!sandbox.state_dir().exists(), "status made a folder");
}

#[test]
fn after_a_run_it_tells_when_and_that_nothing_waits() {
    let world = World::stamped().quiet();
    let before = world.snapshot(&[]);
    let told = status(&world);
    let last: Timestamp = told["last_run"].as_str().unwrap().parse().unwrap();
    assert!(Timestamp::now().duration_since(last) < SignedDuration::from_secs(60));
    assert_eq!(told["lag"], json!({"bytes": 0, "rows": 0, "gap": false}));
    assert_eq!(
        (&told["overdue"], &told["running"], &told["undelivered"]),
        (&json!(false), &json!(false), &json!(0))
    );
    world
        .command("status")
        .exits(0)
        .prints("s ago\n")
        .prints("outbox       empty")
        .prints("pairs        none is quiet")
        .hides("problems");
    assert!(before == world.snapshot(&[]), "status wrote something");
}

#[test]
fn a_run_that_waits_for_the_engine_is_running_now() {
    let world = World::stamped();
    let running = world.start_held([wake("fly")]);
    let told = status(&world);
    assert_eq!(told["running"], true);
    let owed = &told["investigations"][0];
    assert_eq!(owed["caller_session_id"], "probe:fly:service_unhealthy");
    assert_eq!(
        (&owed["told"], &owed["attempts"]),
        (&false.into(), &1.into())
    );
    world
        .command("status")
        .exits(0)
        .prints("running now")
        .prints("owed         1 investigation: 1 told nothing yet");
    world.engine.release();
    running.finish().exits(0);
    let told = status(&world);
    assert_eq!(
        (&told["running"], &told["investigations"]),
        (&false.into(), &json!([]))
    );
}

#[test]
fn a_result_that_is_owed_is_told_apart_from_an_untold_wake() {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    world.engine.script([Reply::Hang]);
    world.append([wake("fly")]);
    let running = world.start("run");
    world.slack.wait_for(1);
    world.engine.wait_for(1);
    running.kill();
    assert_eq!(status(&world)["investigations"][0]["told"], true);
    world.command("status").exits(0).prints("1 owed a result");
}

#[test]
fn the_last_failure_of_the_engine_is_told_until_it_answers() {
    let world = World::stamped();
    let refused = json!({"error": {"code": "invalid_api_key", "message": "Incorrect API key"}});
    world.engine.script([Reply::json(401, &refused)]);
    world.raise([wake("fly")]).exits(0);
    assert_eq!(status(&world)["last_failure"]["reason"], "invalid_api_key");
    world
        .command("status")
        .exits(0)
        .prints("engine       failed at ")
        .prints("invalid_api_key: Incorrect API key");
    world.raise([wake("sentry")]).exits(0);
    assert_eq!(status(&world)["last_failure"], Value::Null);
}

#[test]
fn the_lag_is_told_in_bytes_and_rows_across_a_rotation() {
    let world = World::stamped().quiet();
    world.append_raw(other_row("read") + "\n");
    world.run().exits(0).silent();
    world.append_raw((other_row("old") + "\n").repeat(2));
    let behind = world.log_length() - u64::try_from(other_row("read").len() + 1).unwrap();
    fs::rename(world.log(), world.path("kora_audit_log.jsonl.1")).unwrap();
    world.append_raw((other_row("new") + "\n").repeat(3));
    let lag = &status(&world)["lag"];
    assert_eq!(lag["rows"], 5);
    assert_eq!(lag["bytes"], behind + world.log_length());
    world.command("status").exits(0).prints("5 rows behind");
}

#[test]
fn a_gap_is_told_before_the_run_that_meets_it() {
    let world = World::stamped().quiet();
    world.append_raw(other_row("a") + "\n");
    world.run().exits(0).silent();
    fs::write(world.log(), other_row("another file altogether") + "\n").unwrap();
    assert_eq!(status(&world)["lag"]["gap"], true);
}

#[test]
fn quiet_pairs_are_told_with_their_end_and_what_was_held_back() {
    let world = World::stamped();
    world.append([wake("fly"), wake("fly"), wake("fly"), wake("sentry")]);
    world.run().exits(0).silent();
    let told = world.command("status").exits(0).stdout;
    let line = |probe: &str| told.lines().find(|line| line.contains(probe)).unwrap();
    let fly = line("fly:service_unhealthy: quiet until ");
    assert!(fly.ends_with(" UTC (2 repeats held back)"), "{fly}");
    let sentry = line("sentry:service_unhealthy: quiet until ");
    assert!(sentry.ends_with(" UTC"), "{sentry}");
    let held = status(&world)["held_back"].clone();
    assert_eq!(
        (&held[0]["probe"], &held[0]["count"]),
        (&json!("fly"), &json!(2))
    );
    let until: Timestamp = held[0]["until"].as_str().unwrap().parse().unwrap();
    let left = until.duration_since(Timestamp::now());
    assert!(left > SignedDuration::from_mins(8) && left <= SignedDuration::from_mins(10));
}

#[test]
fn a_queued_dm_is_told_with_its_cause() {
    let world = World::stamped();
    world.slack.never();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3);
    let outbox = status(&world)["outbox"].clone();
    assert_eq!(
        outbox[0]["caller_session_id"],
        "probe:fly:service_unhealthy"
    );
    let cause = outbox[0]["cause"].as_str().unwrap();
    assert!(!cause.is_empty());
    world
        .command("status")
        .exits(0)
        .prints("outbox       probe:fly:service_unhealthy has waited for ")
        .prints(cause);
}

#[test]
fn a_dm_that_waits_for_a_token_names_the_variable() {
    let world = World::stamped();
    world.slack.never();
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.raise([wake("fly")]).exits(3);
    world
        .command("status")
        .exits(0)
        .prints("KORA_SLACK_BOT_TOKEN is not set");
}

#[test]
fn what_was_given_up_is_counted_and_its_file_is_named() {
    let world = World::stamped();
    world.slack.never();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly"), wake("sentry")]).exits(3);
    world.command("state reset --outbox --yes").exits(0);
    assert_eq!(status(&world)["undelivered"], 2);
    world
        .command("status")
        .exits(0)
        .prints("undelivered  2, in ")
        .prints("undelivered.jsonl");
}

#[test]
fn a_schedule_that_has_stopped_is_overdue() {
    let world = World::stamped().quiet();
    for (minutes, overdue) in [(14, false), (16, true)] {
        world.age_lock(minutes);
        assert_eq!(status(&world)["overdue"], overdue, "{minutes}");
    }
    world.command("status").exits(0).prints("overdue");
    world.set("KORA_PROBE_WAKE_POLL_SEC", "600");
    for (minutes, overdue) in [(49, false), (51, true)] {
        world.age_lock(minutes);
        assert_eq!(status(&world)["overdue"], overdue, "{minutes}");
    }
}

/// What `status --check` says. It must agree with the field `problems` and with the exit code.
#[track_caller]
fn problems(world: &Sandbox) -> Vec<String> {
    let outcome = world.command("status --check");
    let told = world.command("status --check --format json");
    let code = if outcome.stdout.is_empty() { 0 } else { 3 };
    assert_eq!((outcome.code, told.code), (Some(code), Some(code)));
    assert_eq!(outcome.stderr, "");
    let told = told.json();
    let problems = told["problems"].as_array().unwrap();
    let problems = problems.iter().map(|one| one.as_str().unwrap().to_owned());
    let problems: Vec<_> = problems.collect();
    assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), problems);
    for problem in &problems {
        // It is shown without --check, too.
        world.command("status").exits(0).prints(problem);
    }
    problems
}

/// The one problem there is.
#[track_caller]
fn problem(world: &Sandbox) -> String {
    let found = problems(world);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn check_is_silent_where_nothing_is_wrong() {
    let world = World::stamped();
    world.append([wake("fly"), wake("fly")]);
    assert!(problems(&world).is_empty(), "unread rows are no problem");
    world.run().exits(0).silent();
    assert!(problems(&world).is_empty());
}

#[test]
fn a_log_that_is_not_there_is_a_problem_and_has_no_lag() {
    let sandbox = Sandbox::new();
    let found = problems(&sandbox);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("kora_audit_log.jsonl does not exist"),
        "{found:?}"
    );
    assert!(found[1].contains("there has been no run yet"), "{found:?}");
    // After a first run without a log, the log is still reported as missing.
    sandbox.run().exits(0);
    assert!(problem(&sandbox).contains("does not exist"));
    let told = status(&sandbox);
    assert_eq!((&told["position"], &told["lag"]), (&0.into(), &Value::Null));
    sandbox.command("status").exits(0).hides(" behind\n");

    let world = World::stamped().quiet();
    fs::remove_file(world.log()).unwrap();
    assert!(problem(&world).contains("does not exist"));
    fs::create_dir(world.log()).unwrap();
    assert!(problem(&world).contains("cannot read the audit log"));
    world
        .command("status")
        .exits(0)
        .prints("which cannot be read")
        .hides(" behind\n");
}

#[test]
fn a_log_between_rotation_and_its_next_row_is_no_problem() {
    let world = World::stamped().quiet();
    world.append_raw(other_row("read") + "\n");
    world.run().exits(0).silent();
    world.append_raw(other_row("unread") + "\n");
    fs::rename(world.log(), world.path("kora_audit_log.jsonl.1")).unwrap();
    assert!(problems(&world).is_empty());
    assert_eq!(status(&world)["lag"]["rows"], 1);
}

#[test]
fn a_run_that_is_overdue_is_a_problem_until_the_next_one_begins() {
    let world = World::stamped();
    world.age_lock(16);
    assert!(problem(&world).contains("overdue: the last run was 16 min ago"));
    let running = world.start_held([wake("fly")]);
    assert!(problems(&world).is_empty(), "a run has begun");
    world.engine.release();
    running.finish().exits(0);
    world
        .shell("touch -d '+2 days' state/state.lock")
        .finish()
        .exits(0);
    assert!(
        problem(&world).contains("overdue"),
        "no run since the clock was set back"
    );
}

/// As if the runs that were not done had begun 16 minutes ago.
fn age_failure(world: &World) {
    let mut note: Value = serde_json::from_str(&world.state_file("state.lock")).unwrap();
    assert!(note["failing_since"].is_string(), "{note}");
    let since = Timestamp::now() - SignedDuration::from_mins(16);
    note["failing_since"] = since.to_string().into();
    fs::write(
        world.state_dir().join("state.lock"),
        note.to_string() + "\n",
    )
    .unwrap();
}

#[test]
fn runs_that_fail_for_15_minutes_are_a_problem_until_one_is_done() {
    let world = World::stamped();
    // No commit can put its new file there.
    let obstacle = world.state_dir().join("state.json.new");
    fs::create_dir(&obstacle).unwrap();
    world.raise([wake("fly")]).exits(1);
    assert!(problems(&world).is_empty(), "for a moment only");
    age_failure(&world);
    world.run().exits(1);
    assert!(problem(&world).contains("no run has completed for 16 min"));
    fs::remove_dir(&obstacle).unwrap();
    world.run().exits(0).silent();
    assert!(problems(&world).is_empty());
}

#[test]
fn runs_that_are_killed_for_15_minutes_are_a_problem() {
    let world = World::stamped();
    let hold = || Engine::answer("Found.").held();
    world.engine.script([hold(), hold()]);
    world.append([wake("fly")]);
    for run in 1..=2 {
        let running = world.start("run");
        world.engine.wait_for(run);
        assert!(problems(&world).is_empty(), "it may still be done");
        running.kill();
        age_failure(&world);
    }
    assert!(problem(&world).contains("no run has completed for 16 min"));
    world.run().exits(0);
    assert!(problems(&world).is_empty());
}

#[test]
fn a_dm_that_waits_for_15_minutes_is_a_problem() {
    let world = World::stamped();
    world.slack.never();
    world.queue([wake("fly")]);
    for (minutes, is_problem) in [(14, false), (15, true)] {
        age(&world, "outbox", minutes);
        let found = problems(&world);
        assert_eq!(found.len(), usize::from(is_problem), "{minutes}: {found:?}");
    }
    let cause = status(&world)["outbox"][0]["cause"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(problem(&world).starts_with("1 message is queued, the oldest for 15 min"));
    assert!(problem(&world).contains(&cause));
}

#[test]
fn a_wake_that_is_untold_for_15_minutes_is_a_problem() {
    let world = World::stamped();
    world.slack.never();
    world.append([wake("fly")]);
    world.kill_while_asking();
    for (minutes, is_problem) in [(14, false), (15, true)] {
        age(&world, "queue", minutes);
        let found = problems(&world);
        assert_eq!(found.len(), usize::from(is_problem), "{minutes}: {found:?}");
    }
    assert!(problem(&world).starts_with("1 wake is unsent, the oldest for 15 min"));
}

/// Makes all entries of this list of the state look as if they were queued so long ago.
fn age(world: &World, list: &str, minutes: i64) {
    let mut state = world.state();
    let queued_at = Timestamp::now() - SignedDuration::from_mins(minutes);
    for one in state[list].as_array_mut().unwrap() {
        one["queued_at"] = json!(queued_at);
    }
    fs::write(world.state_dir().join("state.json"), state.to_string()).unwrap();
}

#[test]
fn what_was_given_up_is_a_problem_at_once() {
    let world = World::stamped();
    world.queue([wake("fly")]);
    world.command("state reset --outbox --yes").exits(0);
    assert!(problem(&world).starts_with("1 message was given up"));
    world.command("undelivered --retry").exits(0);
    assert!(problems(&world).is_empty());
    world.run().exits(0);
    assert!(problems(&world).is_empty());
}

#[test]
fn a_state_that_cannot_be_read_is_no_healthy_one() {
    let world = World::stamped().quiet();
    fs::write(world.state_dir().join("state.json"), "{").unwrap();
    world
        .command("status --check")
        .exits(1)
        .warns("state reset");
}

#[test]
fn many_pairs_still_fit_on_a_screen() {
    let world = World::stamped();
    world.append((0..40).map(|number| wake(&format!("probe-{number}"))));
    world.run().exits(0).silent();
    let told = world.command("status").exits(0).prints("and 32 more");
    assert!(told.stdout.lines().count() < 24, "{}", told.stdout);
}

#[test]
fn a_hostile_name_does_not_steer_the_terminal() {
    let world = World::stamped();
    world.append([wake("fly\u{202e}\u{9b}2J").set("category", "a\u{1b}]0;x\u{7}")]);
    world.run().exits(0).silent();
    for line in ["status", "status --format json", "state show", "history"] {
        let told = world.command(line).exits(0);
        let steering = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!told.stdout.contains(steering), "{line}: {:?}", told.stdout);
    }
}
