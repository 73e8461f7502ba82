//! A run that is killed at one of its system calls, or whose command is: the alert is handed over all the same, and
//! Slack gets it.

use super::{PAGE, paged, pass, set_command};
use crate::support::{
    Calls, Fault, SLACK_TOKEN, World, assert_nothing_is_left, at_each_call, wake,
};

/// Slack has no token, so that nothing is waited for.
fn one_wake() -> World {
    let world = World::stamped().without_engine();
    world.unset("KORA_SLACK_BOT_TOKEN");
    set_command(&world, PAGE);
    world.append([wake("fly")]);
    world
}

#[track_caller]
fn kill_at_each(calls: Calls, fewest: usize) {
    let kills = at_each_call(Fault::Kill, calls, one_wake, |world, call, _| {
        world.run().exits(3);
        // Where it was the command that was killed.
        pass(world, 61);
        world.run().exits(3);
        let count = paged(world).len();
        assert!((1..=2).contains(&count), "{call}: {count} times");
        world.run().exits(3);
        assert_eq!(paged(world).len(), count, "{call}");
        world.set("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN);
        world.run().exits(0);
        assert_eq!(world.slack.texts().len(), 1, "{call}");
        assert_nothing_is_left(world);
        assert_eq!(paged(world).len(), count, "{call}");
    });
    assert!(kills > fewest, "only {kills} calls");
}

#[test]
#[ignore = "some dozen runs under strace"]
fn a_run_killed_at_any_call_that_changes_something_loses_nothing() {
    needs!("strace");
    kill_at_each(Calls::Visible, 40);
}

#[test]
#[ignore = "some hundred runs under strace: half a minute"]
fn a_run_killed_at_any_call_loses_nothing() {
    needs!("strace");
    kill_at_each(Calls::All, 200);
}

#[test]
fn a_run_killed_while_the_command_runs_hands_over_once_more_and_then_no_more() {
    let world = one_wake();
    set_command(&world, &format!("{PAGE}sleep 5\n"));
    for number in 1..=2 {
        let run = world.start("run");
        while paged(&world).len() < number {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        run.kill();
    }
    world.run().exits(3);
    assert_eq!(paged(&world), ["fly", "fly"]);
    world.set("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN);
    world.run().exits(0);
}
