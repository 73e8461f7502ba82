//! What every run finds again is printed when it begins, when its cause changes, and once an hour.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::{DEAD_URL, Reply, Slack, World, wake};

/// Moves the times at which problems were printed by an hour.
fn an_hour_later(world: &World) {
    let mut note: Value = serde_json::from_str(world.state_file("state.lock").trim()).unwrap();
    let kinds = note["printed"].as_object_mut().expect("problems");
    for at in kinds
        .values_mut()
        .flat_map(|causes| causes.as_object_mut().unwrap().values_mut())
    {
        let before: Timestamp = at.as_str().unwrap().parse().unwrap();
        *at = (before - SignedDuration::from_hours(1)).to_string().into();
    }
    fs::write(world.state_dir().join("state.lock"), format!("{note}\n")).unwrap();
}

#[test]
#[ignore = "two hours of runs"]
fn while_slack_is_down_one_line_an_hour_is_printed_and_exit_codes_stay() {
    let world = World::stamped();
    world.slack.maybe();
    world.reach_slack_at(DEAD_URL);
    let first = world.raise(["fly", "sentry"].map(wake)).exits(3);
    assert_eq!(first.stderr.lines().count(), 1, "{}", first.stderr);
    for _ in 0..2 {
        world.wait_for_pause();
        world.run().exits(3).silent();
    }
    // Runs that try nothing, and a new alert.
    world.set("KORA_PROBE_WAKE_POLL_SEC", "600");
    world.run().exits(3).silent();
    world.run().exits(3).silent();
    world.raise([wake("vercel")]).exits(3).silent();
    world.set("KORA_PROBE_WAKE_POLL_SEC", "0.1");
    world.run().exits(3).silent();
    world
        .command("run -v")
        .exits(3)
        .warns("queued: Connection refused");
    assert!(world.at_terminal(100, "run").contains("queued: Connection"));
    world.wait_for_pause();
    world.run().exits(3).silent();
    an_hour_later(&world);
    let again = world.run().exits(3);
    assert_eq!(again.stderr.lines().count(), 1, "{}", again.stderr);
    world.run().exits(3).silent();
    assert!(
        world.command("status").stdout.contains("3 messages"),
        "status says it always"
    );
}

#[test]
fn another_cause_is_printed_and_so_is_what_begins_again() {
    let world = World::stamped_with(Slack::always(|| Slack::refusal("invalid_auth")));
    world.raise([wake("fly")]).exits(3).warns("invalid_auth");
    world.wait_for_pause();
    world.run().exits(3).silent();
    world.slack.usually(|_, _| Slack::refusal("token_revoked"));
    world.wait_for_pause();
    world.run().exits(3).warns("token_revoked");
    world.wait_for_pause();
    world.run().exits(3).silent();
    world.slack.usually(|_, before| Slack::took(before));
    world.wait_for_pause();
    world.run().exits(0).silent();
    world.slack.usually(|_, _| Slack::refusal("token_revoked"));
    world
        .raise([wake("sentry")])
        .exits(3)
        .warns("token_revoked");
}

#[test]
fn events_are_always_printed_and_no_lasting_problem_hides_another_one() {
    let world = World::stamped();
    world.slack.maybe();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3).warns("stays queued");
    for _ in 0..2 {
        world.append_raw("{\"seam\":\"probe.wake_requested\",\n");
        world.run().exits(3).warns("malformed row");
        world.engine.script([Reply::text(503, "")]);
        let probe = format!("p{}", world.log_length());
        world.raise([wake(&probe)]).exits(3).warns("no diagnosis");
    }
    // Another lasting problem.
    world.give("state/undelivered", "a file");
    world.shift_state(-25);
    world
        .run()
        .exits(3)
        .warns("messages that were given up stay queued");
    world.run().exits(3).hides("given up");
}

#[test]
fn an_unusable_setting_and_a_runbook_are_lasting_too() {
    let world = World::stamped();
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "soon");
    world.run().exits(0).warns("'soon' is not usable");
    world.run().exits(0).silent();
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "later");
    world.run().exits(0).warns("'later' is not usable");
    world
        .command("run --dry-run")
        .exits(0)
        .warns("'later' is not usable");
    world.unset("KORA_PROBE_DEBOUNCE_SECONDS");
    for name in ["fly.md", "sentry.md"] {
        fs::create_dir_all(world.path("home/.config/probe-wake/runbooks").join(name)).unwrap();
    }
    world
        .raise(["fly", "sentry"].map(wake))
        .exits(0)
        .warns("fly.md")
        .warns("sentry.md");
    // A run that reads no runbook in between.
    world.run().exits(0).silent();
    let again = ["fly", "sentry"].map(|probe| wake(probe).set("category", "other"));
    world.raise(again).exits(0).silent();
}

#[test]
fn a_held_lock_is_said_with_v_and_at_a_terminal_only() {
    let world = World::stamped();
    let running = world.start_held([wake("fly")]);
    world.run().exits(75).silent();
    world
        .command("run -v")
        .exits(75)
        .warns("another run holds the lock");
    assert!(
        world
            .at_terminal(100, "run")
            .contains("another run holds the lock")
    );
    world.engine.release();
    running.finish().exits(0);
}
