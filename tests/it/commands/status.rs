//! `status` shows what is open and what is stuck, and changes nothing; `--check` says what is wrong and no more.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{
    DEAD_URL, Engine, Reply, Sandbox, Slack, World, column, other_row, recovery, wake,
};

fn status(world: &Sandbox) -> Value {
    world.command("status --format json").exits(0).json()
}

fn pass(world: &World, minutes: i64) {
    world.pass(SignedDuration::from_mins(minutes));
}

#[test]
fn before_the_first_run_it_says_so() {
    let sandbox = Sandbox::new();
    sandbox
        .command("status")
        .exits(0)
        .prints("open         nothing\n")
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
    assert_eq!((&shown["open"], &shown["over"]), (&json!([]), &json!([])));
    world
        .command("status")
        .exits(0)
        .prints("s ago\n")
        .prints("outbox       empty")
        .hides("silences")
        .hides("problems");
    assert!(before == world.snapshot(&[]), "status wrote something");
}

#[test]
fn what_is_open_comes_first_the_most_severe_first() {
    let world = World::stamped();
    let of = |probe: &str, severity: &str| wake(probe).set("severity", severity);
    world.append([
        of("info", "info"),
        of("crit", "critical"),
        of("warn", "warning"),
    ]);
    world.append([wake("crit"), wake("crit")]);
    world.run().exits(0).silent();
    let open = status(&world)["open"].clone();
    assert_eq!(column(open.clone(), "/probe"), ["crit", "warn", "info"]);
    let crit = &open[0];
    assert_eq!(
        [&crit["wakes"], &crit["messages"], &crit["held_back"]],
        [&json!(3), &json!(1), &json!(0)]
    );
    assert_eq!(
        (&crit["severity"], &crit["quiet_by"]),
        (&json!("critical"), &json!("window"))
    );
    let until: Timestamp = crit["quiet_until"].as_str().unwrap().parse().unwrap();
    let left = until.duration_since(Timestamp::now());
    assert!(left > SignedDuration::from_mins(8) && left <= SignedDuration::from_mins(10));
    let text = world.command("status").exits(0).stdout;
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("open         crit:service_unhealthy (critical) since "),
        "{first}"
    );
    let told = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("3 wakes, 1 message, last seen "), "{text}");
    assert!(told.contains(" UTC, quiet until "), "{text}");
}

#[test]
fn all_that_is_open_is_listed() {
    let world = World::stamped();
    world.append((0..40).map(|number| wake(&format!("probe-{number}"))));
    world.run().exits(0).silent();
    let shown = world.command("status").exits(0).stdout;
    assert_eq!(shown.matches(":service_unhealthy (critical)").count(), 40);
}

#[test]
fn what_is_over_without_a_recovery_is_listed_below_for_a_day() {
    let world = World::stamped();
    world.raise([wake("fly"), wake("neon")]).exits(0).silent();
    world.append_raw(recovery("neon", &json!({})));
    world.run().exits(0).silent();
    pass(&world, 25);
    world.raise([wake("sentry")]).exits(0).silent();
    let shown = status(&world);
    assert_eq!(column(shown["open"].clone(), "/probe"), ["sentry"]);
    assert_eq!(column(shown["over"].clone(), "/probe"), ["fly"]);
    let text = world.command("status").exits(0).stdout;
    let place = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("no {what} in {text}"))
    };
    let over = place("over         fly:service_unhealthy (critical): last seen ");
    assert!(place("open         sentry:") < over && over < place("last run "));
    assert!(text.contains(" UTC, no recovery seen\n"), "{text}");
    // Also where no run has pruned the state since.
    pass(&world, 24 * 60);
    assert_eq!(
        status(&world)["over"].as_array().unwrap().len(),
        1,
        "sentry's"
    );
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
fn a_pending_diagnosis_is_told_apart_from_a_wake_with_nothing_sent() {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    world.engine.script([Reply::Hang]);
    world.append([wake("fly")]);
    let running = world.start("run");
    world.slack.wait_for(1);
    world.engine.wait_for(1);
    running.kill();
    assert_eq!(status(&world)["investigations"][0]["stage"], "announced");
    world
        .command("status")
        .exits(0)
        .prints("1 with the diagnosis pending");
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
    let left = world.log_length() - u64::try_from(other_row("read").len() + 1).unwrap();
    fs::rename(world.log(), world.path("kora_audit_log.jsonl.1")).unwrap();
    world.append_raw((other_row("new") + "\n").repeat(3));
    let lag = &status(&world)["lag"];
    assert_eq!(lag["rows"], 5);
    assert_eq!(lag["bytes"], left + world.log_length());
    world.command("status").exits(0).prints("and 5 rows unread");
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
        .prints("see probe-wake undelivered");
}

/// What `status --check` says. It must agree with the field `problems` and with the exit code.
#[track_caller]
fn problems(world: &Sandbox) -> Vec<String> {
    let outcome = world.command("status --check");
    let shown = world.command("status --check --format json");
    let code = if outcome.stdout.is_empty() { 0 } else { 3 };
    assert_eq!((outcome.code, shown.code), (Some(code), Some(code)));
    assert_eq!(outcome.stderr, "");
    let shown = shown.json();
    let problems = shown["problems"].as_array().unwrap();
    let problems = problems.iter().map(|one| one.as_str().unwrap().to_owned());
    let problems: Vec<_> = problems.collect();
    assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), problems);
    for problem in &problems {
        // It is shown without --check, too.
        world.command("status").exits(0).prints(problem);
    }
    problems
}

/// The one problem there is, which holds this.
#[track_caller]
fn assert_problem(world: &Sandbox, part: &str) {
    let found = problems(world);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(part), "no {part:?} in {found:?}");
}

/// Several problems, one of which holds this.
#[track_caller]
fn assert_among_problems(world: &Sandbox, part: &str) {
    let found = problems(world);
    assert!(
        found.iter().any(|one| one.contains(part)),
        "no {part:?} in {found:?}"
    );
}

#[test]
fn check_is_silent_where_nothing_is_wrong() {
    let world = World::stamped();
    world.append([wake("fly"), wake("fly")]);
    assert!(problems(&world).is_empty(), "unread rows are no problem");
    world.run().exits(0).silent();
    assert!(problems(&world).is_empty());
    let running = world.start_held([wake("sentry")]);
    assert!(problems(&world).is_empty(), "a run is under way");
    world.engine.release();
    running.finish().exits(0);
}

#[test]
fn check_reports_a_log_that_is_not_there() {
    let sandbox = Sandbox::new();
    let found = problems(&sandbox);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("kora_audit_log.jsonl does not exist"),
        "{found:?}"
    );
    assert!(found[1].contains("there has been no run yet"), "{found:?}");
    sandbox.run().exits(0);
    assert_problem(&sandbox, "does not exist");
    let shown = status(&sandbox);
    assert_eq!(
        (&shown["position"], &shown["lag"]),
        (&0.into(), &Value::Null)
    );

    let world = World::stamped().quiet();
    fs::remove_file(world.log()).unwrap();
    assert_problem(&world, "does not exist");
    fs::create_dir(world.log()).unwrap();
    assert_problem(&world, "cannot read the audit log");
    world
        .command("status")
        .exits(0)
        .prints("which cannot be read");
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
fn check_reports_a_schedule_that_has_stopped() {
    let world = World::stamped();
    for (cadence, minutes, is_overdue) in [
        ("30", 14, false),
        ("30", 16, true),
        ("600", 49, false),
        ("600", 51, true),
    ] {
        world.set("KORA_PROBE_WAKE_POLL_SEC", cadence);
        world.age_lock(minutes);
        assert_eq!(status(&world)["overdue"], is_overdue, "{cadence} {minutes}");
    }
    assert_problem(&world, "overdue: the last run was 51 min ago");
    let running = world.start_held([wake("fly")]);
    assert!(problems(&world).is_empty(), "a run has begun");
    world.engine.release();
    running.finish().exits(0);
}

#[test]
fn check_says_that_the_clock_was_set_back() {
    let world = World::stamped().quiet();
    let ahead = Timestamp::now() + SignedDuration::from_mins(5);
    world.edit_lock(|note| note["began"] = ahead.to_string().into());
    assert_problem(&world, "in the future; was the clock set back? See: date");
}

#[test]
fn check_reports_the_last_runs_failure_at_once_with_what_it_said() {
    let world = World::stamped();
    // No commit can put its new file there.
    let obstacle = world.state_dir().join("state.json.new");
    fs::create_dir(&obstacle).unwrap();
    world.raise([wake("fly")]).exits(1);
    assert_problem(&world, "the last run ended with exit 1: cannot commit ");
    fs::remove_dir(&obstacle).unwrap();
    world.run().exits(0).silent();
    assert!(problems(&world).is_empty());
    world.append_raw("{\"seam\":\"probe.wake_requested\",\n");
    world.run().exits(3);
    assert_problem(&world, "the last run ended with exit 3: ");
    assert_problem(&world, "malformed");
}

#[test]
fn check_reports_a_killed_run_until_one_ends_well() {
    let world = World::stamped();
    world.append([wake("fly")]);
    world.kill_while_asking();
    assert_problem(&world, ") was killed, or the machine stopped");
    world.run().exits(0);
    assert!(problems(&world).is_empty());
}

#[test]
fn a_run_that_found_the_lock_held_is_no_problem() {
    let world = World::stamped();
    let running = world.start_held([wake("fly")]);
    world.run().exits(75);
    assert!(problems(&world).is_empty());
    world.engine.release();
    running.finish().exits(0);
    assert!(problems(&world).is_empty());
}

/// Makes all entries of this list of the state look as if they were queued so long ago, and the last run as
/// if it had ended well.
fn age(world: &World, list: &str, minutes: i64) {
    let mut state = world.state();
    let queued_at = Timestamp::now() - SignedDuration::from_mins(minutes);
    for one in state[list].as_array_mut().unwrap() {
        one["queued_at"] = json!(queued_at);
    }
    world.give("state/state.json", &state.to_string());
    let now = Timestamp::now().to_string();
    world.edit_lock(|note| {
        note["ended"] = json!(now);
        note["exit"] = json!(0);
    });
}

#[test]
fn check_reports_a_message_that_waits_for_15_minutes() {
    let world = World::stamped();
    world.slack.never();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3);
    for (minutes, is_problem) in [(14, false), (15, true)] {
        age(&world, "outbox", minutes);
        let found = problems(&world);
        assert_eq!(found.len(), usize::from(is_problem), "{minutes}: {found:?}");
    }
    let cause = status(&world)["outbox"][0]["cause"].clone();
    assert_problem(&world, "1 message is queued, the oldest for 15 min");
    assert_problem(&world, cause.as_str().unwrap());
}

#[test]
fn check_reports_at_once_what_does_not_pass_by_itself() {
    let world = World::stamped();
    world.slack.usually(|_, _| Slack::refusal("token_revoked"));
    world.raise([wake("fly")]).exits(3);
    age(&world, "outbox", 0);
    assert_problem(&world, "no message can be sent: token_revoked");
    world.unset("KORA_SLACK_BOT_TOKEN");
    assert_problem(
        &world,
        "no message can be sent: KORA_SLACK_BOT_TOKEN is not set",
    );
}

#[test]
fn check_reports_a_wake_with_nothing_sent_for_15_minutes() {
    let world = World::stamped();
    world.slack.never();
    world.append([wake("fly")]);
    world.kill_while_asking();
    for (minutes, is_problem) in [(14, false), (15, true)] {
        age(&world, "queue", minutes);
        let found = problems(&world);
        assert_eq!(found.len(), usize::from(is_problem), "{minutes}: {found:?}");
    }
    assert_problem(&world, "1 wake is unsent, the oldest for 15 min");
}

#[test]
fn check_reports_what_was_given_up_at_once() {
    let world = World::stamped();
    world.queue([wake("fly")]);
    world.command("state reset --outbox --yes").exits(0);
    assert_among_problems(&world, "1 message was given up");
    world.command("undelivered --retry").exits(0);
    world.run().exits(0);
    assert!(problems(&world).is_empty());
}

#[test]
fn check_reports_an_engine_that_fails_three_questions_in_a_row() {
    let world = World::stamped().without_debounce();
    world
        .engine
        .script((0..3).map(|_| Engine::error("sdk_auth")));
    for number in 1..=3 {
        world.raise([wake("fly")]).exits(0);
        let found = problems(&world);
        assert_eq!(found.len(), usize::from(number == 3), "{number}: {found:?}");
    }
    assert_problem(&world, "the engine has failed 3 times in a row: sdk_auth");
    world.raise([wake("fly")]).exits(0);
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
fn a_hostile_name_does_not_steer_the_terminal() {
    let world = World::stamped();
    world.append([wake("fly\u{202e}\u{9b}2J").set("category", "a\u{1b}]0;x\u{7}")]);
    world.run().exits(0).silent();
    world.command("ack fly\u{202e}\u{9b}2J").exits(1);
    world.command("silence x\u{202e}\u{9b}2J").exits(0);
    for line in [
        "status",
        "status --format json",
        "state show",
        "history",
        "silence",
        "silence x\u{202e}\u{9b}2J --end",
    ] {
        let shown = world.command(line).exits(0);
        let steering = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(
            !shown.stdout.contains(steering),
            "{line}: {:?}",
            shown.stdout
        );
    }
}
