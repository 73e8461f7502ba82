//! A run that is killed loses nothing, and says where it may repeat itself.

use std::fs;

use crate::support::{Reply, World, is_marked, plain, unmarked, wake};

#[test]
fn the_next_run_does_the_wake_that_was_being_investigated() {
    let world = World::stamped();
    world.append([wake("fly"), wake("sentry")]);
    world.kill_while_asking();
    world.run().exits(0);
    assert_eq!(world.slack.texts(), ["fly", "sentry"].map(plain));
    assert_eq!(world.engine.requests().len(), 3);
    world.run().exits(0).silent();
}

#[test]
fn it_does_so_also_where_the_log_is_gone_by_then() {
    let world = World::stamped();
    world.append([wake("fly")]);
    world.kill_while_asking();
    fs::remove_file(world.log()).unwrap();
    world.run();
    assert_eq!(world.slack.texts(), [plain("fly")]);
}

#[test]
fn a_repeat_of_the_wake_is_held_back_all_the_same() {
    let world = World::stamped();
    world.append([wake("fly")]);
    world.kill_while_asking();
    world.raise([wake("fly")]).exits(0);
    assert_eq!(world.slack.texts().len(), 1);
}

#[test]
fn after_two_interrupted_attempts_the_third_run_asks_no_more() {
    let world = World::stamped();
    let row = wake("fly");
    world.append([row.clone()]);
    world.kill_while_asking();
    world.kill_while_asking();
    world.run().exits(0);
    assert_eq!(world.slack.texts(), [row.fallback("interrupted")]);
    assert_eq!(world.engine.requests().len(), 2);
}

#[test]
fn a_run_killed_while_sending_sends_once_more_and_says_so() {
    let world = World::stamped();
    world.slack.script([Reply::Hang]);
    world.append([wake("fly")]);
    let run = world.start("run");
    world.slack.wait_for(1);
    assert_eq!(run.kill().code, None);
    world.run().exits(0);
    let texts = world.slack.texts();
    assert!(
        is_marked(&texts[1]) && unmarked(&texts[1]) == plain("fly"),
        "{:?}",
        texts[1]
    );
    assert_eq!((texts.len(), world.engine.requests().len()), (2, 1));
    world.run().exits(0).silent();
}
