//! The incidents in the state: forgotten in time, few, and not counted twice.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::{Calls, Fault, World, at_each_call, column, other_row, wake};

fn incidents(world: &World) -> Vec<Value> {
    let logs = world.state()["logs"].take();
    let log = logs.as_object().unwrap().values().next().unwrap();
    log["incidents"].as_array().unwrap().clone()
}

#[test]
fn incidents_are_forgotten_a_day_after_they_are_over() {
    let world = World::stamped();
    world.append((0..50).map(|n| wake(&format!("probe-{n}"))));
    world.raise([wake("fly"), wake("fly")]).exits(0).silent();
    assert_eq!(incidents(&world).len(), 51);
    world.shift_state(-24);
    world.raise([wake("sentry")]).exits(0).silent();
    assert_eq!(incidents(&world).len(), 52);
    world.shift_state(-1);
    world.raise([wake("vercel")]).exits(0).silent();
    let left = column(incidents(&world), "/pair/probe");
    assert_eq!(left, ["sentry", "vercel"]);
}

#[test]
fn a_state_of_days_of_alerts_stays_small() {
    let world = World::stamped();
    world.set("KORA_PROBE_DIGEST_WAKES", "2");
    for day in 0..5 {
        world.append((0..40).map(|n| wake(&format!("probe-{day}-{n}"))));
        world.run().exits(0).silent();
        world.shift_state(-26);
    }
    world.raise([wake("fly")]).exits(0).silent();
    let state = world.state_file("state.json");
    assert!(state.len() < 4_000, "{} bytes: {state}", state.len());
}

#[test]
fn wakes_held_back_before_the_log_could_not_be_read_are_not_counted_twice() {
    needs!("strace");
    let prepare = || {
        let world = World::stamped();
        world.raise([wake("fly")]).exits(0).silent();
        world.append([wake("fly"), wake("fly")]);
        let padding = other_row(&"x".repeat(1_000_000)) + "\n";
        world.append_raw(padding.repeat(3));
        world
    };
    let failed = AtomicUsize::new(0);
    let calls = Calls::Named(&["pread64"]);
    at_each_call(Fault::Error("EIO"), calls, prepare, |world, _, outcome| {
        failed.fetch_add(usize::from(outcome.code == Some(1)), Ordering::Relaxed);
        world.run().exits(0);
        assert_eq!(incidents(world)[0]["held_back"]["repeat"], 2);
    });
    let failed = failed.into_inner();
    assert!(failed >= 3, "{failed} runs could not read the log");
}
