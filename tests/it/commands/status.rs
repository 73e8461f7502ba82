//! `status` shows what is open and what is stuck, and changes nothing.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{
    DEAD_URL, Engine, Reply, Sandbox, Slack, World, other_row, wake, without_times,
};

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
    let shown = status(&sandbox);
    assert_eq!(
        (&shown["last_run"], &shown["position"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!sandbox.state_dir().exists(), "status made a folder");
}

#[test]
fn after_a_run_it_says_when_and_that_nothing_waits() {
    let world = World::stamped().quiet();
    let before = world.snapshot(&[]);
    let shown = status(&world);
    let last: Timestamp = shown["last_run"].as_str().unwrap().parse().unwrap();
    assert!(Timestamp::now().duration_since(last) < SignedDuration::from_secs(60));
    assert_eq!(shown["lag"], json!({"bytes": 0, "rows": 0, "gap": false}));
    assert_eq!(
        (&shown["overdue"], &shown["running"], &shown["undelivered"]),
        (&json!(false), &json!(false), &json!(0))
    );
    world
        .command("status")
        .exits(0)
        .prints("s ago\n")
        .prints("outbox       empty")
        .prints("open         nothing")
        .hides("problems");
    assert!(before == world.snapshot(&[]), "status wrote something");
}

#[test]
fn a_run_that_waits_for_the_engine_is_running_now() {
    let world = World::stamped();
    let running = world.start_held([wake("fly")]);
    let shown = status(&world);
    assert_eq!(shown["running"], true);
    let pending = &shown["investigations"][0];
    assert_eq!(pending["caller_session_id"], "probe:fly:service_unhealthy");
    assert_eq!(
        (&pending["stage"], &pending["attempts"]),
        (&"new".into(), &1.into())
    );
    world
        .command("status")
        .exits(0)
        .prints("running now")
        .prints("pending      1 investigation: 1 with nothing sent yet");
    world.engine.release();
    running.finish().exits(0);
    let shown = status(&world);
    assert_eq!(
        (&shown["running"], &shown["investigations"]),
        (&false.into(), &json!([]))
    );
}

#[test]
fn an_announced_investigation_is_pending() {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    world.engine.script([Reply::Hang]);
    world.append([wake("fly")]);
    let running = world.start("run");
    world.slack.wait_for(1);
    world.engine.wait_for(1);
    running.kill();
    let pending = status(&world)["investigations"].take();
    assert_eq!(pending[0]["stage"], "announced");
    let outcome = world.command("status").exits(0);
    outcome.prints("1 with the diagnosis pending");
}

#[test]
fn the_last_failure_of_the_engine_is_shown_until_it_answers() {
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
fn the_lag_is_in_bytes_and_rows_across_a_rotation() {
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
    world.command("status").exits(0).prints("5 rows unread");
}

#[test]
fn a_gap_is_shown_before_the_run_that_meets_it() {
    let world = World::stamped().quiet();
    world.append_raw(other_row("a") + "\n");
    world.run().exits(0).silent();
    fs::write(world.log(), other_row("another file altogether") + "\n").unwrap();
    assert_eq!(status(&world)["lag"]["gap"], true);
}

#[test]
fn what_is_open_comes_first_and_the_most_severe_of_it() {
    let world = World::stamped();
    let sentry = wake("sentry").set("severity", "info");
    world.append([sentry, wake("fly"), wake("fly"), wake("fly")]);
    world.run().exits(0).silent();
    world.raise([wake("fly")]).exits(0).silent();
    let shown = world.command("status").exits(0).stdout;
    let lines: Vec<_> = shown.lines().collect();
    let [fly, sentry] = [lines[0], lines[1]].map(without_times);
    assert_eq!(
        fly,
        "open         fly:service_unhealthy (critical) since HH:MM UTC: fly unreachable: HTTP 401; \
         4 wakes, 1 message, last seen HH:MM UTC, quiet until HH:MM UTC"
    );
    assert!(
        sentry.starts_with("             sentry:service_unhealthy (info) since "),
        "{sentry}"
    );
    let open = status(&world)["open"].take();
    assert_eq!(
        (&open[0]["probe"], &open[0]["held_back"]),
        (&json!("fly"), &json!(1))
    );
    let until: Timestamp = open[0]["quiet_until"].as_str().unwrap().parse().unwrap();
    let left = until.duration_since(Timestamp::now());
    assert!(left > SignedDuration::from_mins(8) && left <= SignedDuration::from_mins(10));
    assert_eq!(open[0]["quiet_by"], "window");
}

#[test]
fn what_is_over_without_a_recovery_is_listed_below() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    world.shift_state(-1);
    let status = status(&world);
    assert_eq!(
        (&status["open"], &status["over"][0]["probe"]),
        (&json!([]), &json!("fly"))
    );
    let shown = world
        .command("status")
        .exits(0)
        .prints("open         nothing");
    shown.prints("over         fly:service_unhealthy (critical): last seen ");
}

#[test]
fn a_queued_message_is_shown_with_its_cause() {
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
fn a_message_that_waits_for_a_token_names_the_variable() {
    let world = World::stamped();
    world.slack.never();
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.raise([wake("fly")]).exits(3);
    world
        .command("status")
        .exits(0)
        .prints("has waited for 0 s: KORA_SLACK_BOT_TOKEN is not set");
}

#[test]
fn what_was_given_up_is_counted_and_its_folder_is_named() {
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
        .prints("state/undelivered: see probe-wake undelivered");
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
    let report = world.command("status --check --format json");
    let code = if outcome.stdout.is_empty() { 0 } else { 3 };
    assert_eq!((outcome.code, report.code), (Some(code), Some(code)));
    assert_eq!(outcome.stderr, "");
    let report = report.json();
    let problems = report["problems"].as_array().unwrap();
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
    let shown = status(&sandbox);
    assert_eq!(
        (&shown["position"], &shown["lag"]),
        (&0.into(), &Value::Null)
    );
    sandbox.command("status").exits(0).hides(" unread\n");

    let world = World::stamped().quiet();
    fs::remove_file(world.log()).unwrap();
    assert!(problem(&world).contains("does not exist"));
    fs::create_dir(world.log()).unwrap();
    assert!(problem(&world).contains("cannot read the audit log"));
    world
        .command("status")
        .exits(0)
        .prints("which cannot be read")
        .hides(" unread\n");
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
    world.age_lock(-2 * 24 * 60);
    let said = problem(&world);
    assert!(
        said.contains("in the future") && said.contains("was the clock set back?"),
        "{said}"
    );
}

#[test]
fn a_run_that_failed_is_a_problem_at_once_until_one_ends_well() {
    let world = World::stamped();
    // No commit can put its new file there.
    let obstacle = world.state_dir().join("state.json.new");
    fs::create_dir(&obstacle).unwrap();
    world.raise([wake("fly")]).exits(1);
    let said = problem(&world);
    assert!(
        said.starts_with("the last run ended with exit 1: "),
        "{said}"
    );
    assert!(said.contains("state.json"), "{said}");
    fs::remove_dir(&obstacle).unwrap();
    world.run().exits(0).silent();
    assert!(problems(&world).is_empty());
}

#[test]
fn a_run_that_was_killed_is_a_problem_at_once_until_one_ends_well() {
    let world = World::stamped();
    world.engine.script([Engine::answer("Found.").held()]);
    world.append([wake("fly")]);
    let running = world.start("run");
    world.engine.wait_for(1);
    assert!(problems(&world).is_empty(), "it may still end well");
    running.kill();
    let said = problem(&world);
    assert!(
        said.contains(" was killed, or the machine stopped"),
        "{said}"
    );
    world.run().exits(0);
    assert!(problems(&world).is_empty());
}

#[test]
fn a_message_that_waits_for_15_minutes_is_a_problem() {
    let world = World::stamped();
    world.slack.never();
    world.queue([wake("fly")]);
    for (minutes, is_problem) in [(14, false), (15, true)] {
        age(&world, "outbox", minutes);
        let found = problems(&world);
        // The run that left it there is one, too.
        assert!(
            found[0].starts_with("the last run ended with exit 3: "),
            "{found:?}"
        );
        let late = found.iter().find(|one| one.contains("the oldest for"));
        assert_eq!(late.is_some(), is_problem, "{minutes}: {found:?}");
        let expected =
            "1 message is queued, the oldest for 15 min: KORA_SLACK_BOT_TOKEN is not set";
        assert!(
            late.is_none_or(|late| late.starts_with(expected)),
            "{found:?}"
        );
    }
}

#[test]
fn a_new_investigation_that_waits_for_15_minutes_is_a_problem() {
    let world = World::stamped();
    world.slack.never();
    world.append([wake("fly")]);
    world.kill_while_asking();
    for (minutes, is_problem) in [(14, false), (15, true)] {
        age(&world, "queue", minutes);
        let found = problems(&world);
        let late = found
            .iter()
            .any(|one| one.starts_with("1 wake is unsent, the oldest for 15 min"));
        assert_eq!(late, is_problem, "{minutes}: {found:?}");
    }
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
fn what_was_given_up_is_a_problem_until_it_is_delivered() {
    let world = World::stamped();
    world.slack.script([Slack::refusal("no_text")]);
    world.raise([wake("fly")]).exits(3);
    world.run().exits(0);
    assert!(problem(&world).starts_with("1 message was given up"));
    world.command("undelivered --retry").exits(0);
    assert!(problems(&world).is_empty());
    world.run().exits(0);
    assert!(problems(&world).is_empty());
}

#[test]
fn a_refusal_that_does_not_pass_is_a_problem_at_once() {
    let world = World::stamped();
    world.slack.script([Slack::refusal("invalid_auth")]);
    world.raise([wake("fly")]).exits(3);
    let found = problems(&world);
    assert!(
        found.iter().any(|one| one.contains("invalid_auth")),
        "{found:?}"
    );
}

#[test]
fn an_engine_that_failed_three_times_in_a_row_is_a_problem() {
    let world = World::stamped();
    world.engine.usually(|_, _| Reply::text(503, ""));
    for (probe, is_problem) in [("a", false), ("b", false), ("c", true)] {
        world.raise([wake(probe)]).exits(0);
        assert_eq!(problems(&world).len(), usize::from(is_problem), "{probe}");
    }
}

#[test]
fn a_state_that_cannot_be_read_is_an_error() {
    let world = World::stamped().quiet();
    fs::write(world.state_dir().join("state.json"), "{").unwrap();
    world
        .command("status --check")
        .exits(1)
        .warns("state reset");
}

#[test]
fn all_that_is_open_is_listed() {
    let world = World::stamped();
    world.append((0..40).map(|number| wake(&format!("probe-{number}"))));
    world.run().exits(0).silent();
    let shown = world.command("status").exits(0).stdout;
    for number in 0..40 {
        assert!(shown.contains(&format!("probe-{number}:")), "{number}");
    }
}

#[test]
fn a_hostile_name_does_not_steer_the_terminal() {
    let world = World::stamped();
    world.append([wake("fly\u{202e}\u{9b}2J").set("category", "a\u{1b}]0;x\u{7}")]);
    world.run().exits(0).silent();
    for line in ["status", "status --format json", "state show", "history"] {
        let shown = world.command(line).exits(0);
        let steering = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(
            !shown.stdout.contains(steering),
            "{line}: {:?}",
            shown.stdout
        );
    }
}
