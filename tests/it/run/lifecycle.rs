//! The lock, the state, silence, the order of things, and the ways in which a run ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::support::{Engine, World, other_row, wake};

#[test]
fn a_second_run_ends_at_once_with_75() {
    let world = World::stamped();
    let first = world.start_held([wake("fly")]);
    let begun = Instant::now();
    let second = world.run().exits(75);
    assert!(begun.elapsed() < Duration::from_secs(5));
    second.silent();
    world.engine.release();
    first.finish().exits(0).silent();
}

#[test]
fn wait_waits_for_the_first_run_to_end() {
    let world = World::stamped();
    let first = world.start_held([wake("fly")]);
    let second = world.start("run --wait 50");
    world.engine.release();
    first.finish().exits(0).silent();
    second.finish().exits(0).silent();
    assert_eq!(world.slack.texts().len(), 1);
}

#[test]
fn wait_waits_no_longer_than_it_should() {
    let world = World::stamped();
    let first = world.start_held([wake("fly")]);
    let begun = Instant::now();
    world.command("run --wait 1").exits(75);
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    world.engine.release();
    first.finish().exits(0);
}

#[test]
fn a_state_that_cannot_be_read_stops_the_run_and_is_left_as_it_is() {
    for state in [
        "",
        "{",
        "not JSON",
        "[]",
        r#"{"version":999}"#,
        r#"{"version":"one"}"#,
        r#"{"a":1}"#,
    ] {
        let world = World::stamped().quiet();
        fs::write(world.state_dir().join("state.json"), state).unwrap();
        world
            .raise([wake("fly")])
            .exits(1)
            .warns("state.json")
            .warns("probe-wake state reset");
        assert_eq!(world.state_file("state.json"), state);
    }
}

#[test]
fn an_idle_run_writes_nothing_but_the_locks_time() {
    let world = World::stamped();
    world.raise([wake("fly"), wake("fly")]).exits(0).silent();
    world.age_state();
    let before = world.snapshot(&["state.lock"]);
    world.run().exits(0).silent();
    world.run().exits(0).silent();
    assert!(
        before == world.snapshot(&["state.lock"]),
        "an idle run wrote something"
    );
}

#[test]
fn an_idle_run_moves_the_locks_time() {
    let world = World::stamped().quiet();
    let time = || {
        fs::metadata(world.state_dir().join("state.lock"))
            .unwrap()
            .modified()
            .unwrap()
    };
    world.age_state();
    let before = time();
    world.run().exits(0).silent();
    assert!(time() > before);
}

#[test]
fn rows_that_need_no_dispatch_only_move_the_position() {
    let world = World::stamped().quiet();
    world.append_raw(other_row("nothing to see") + "\n");
    let report = world.report(0);
    assert_eq!(report["position"]["after"], world.log_length());
    assert_eq!(report["rows"], json!({"read": 1, "malformed": 0}));
    assert_eq!(world.report(0)["position"]["before"], world.log_length());
}

#[test]
fn many_messages_take_one_connection_to_each_server() {
    let world = World::stamped();
    world.append((0..20).map(|number| wake(&format!("probe{number}"))));
    world.run().exits(0).silent();
    assert_eq!(
        (world.engine.requests().len(), world.slack.requests().len()),
        (20, 20)
    );
    assert_eq!(
        (world.engine.connections(), world.slack.connections()),
        (1, 1)
    );
}

#[test]
fn a_server_that_closes_after_each_answer_is_connected_to_again() {
    let world = World::stamped();
    world.engine.script([
        Engine::answer("One.").closing(),
        Engine::answer("Two.").closing(),
    ]);
    world.raise(["a", "b", "c"].map(wake)).exits(0).silent();
    assert_eq!(world.slack.texts().len(), 3);
}

#[test]
fn messages_come_in_the_rows_order() {
    let world = World::stamped();
    world.raise(["a", "b", "c"].map(wake)).exits(0).silent();
    let signs = ["a", "b", "c"].map(|probe| format!("🚨 Probe alert · {probe}\n"));
    for (text, sign) in world.slack.texts().iter().zip(&signs) {
        assert!(text.starts_with(sign), "{text:?}");
    }
}

#[test]
fn past_max_runtime_no_wake_is_begun_and_the_next_run_goes_on() {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "never");
    world.engine.takes(Duration::from_millis(1_100));
    world.append(["a", "b", "c"].map(wake));
    let report = world
        .command("run --max-runtime 1 --format json")
        .exits(0)
        .json();
    assert_eq!(report["left_for_next_run"], 2);
    assert_eq!(world.slack.texts().len(), 1);
    world.set("KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", "1");
    assert_eq!(world.report(0)["left_for_next_run"], 1);
    world.engine.takes(Duration::ZERO);
    world.unset("KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS");
    assert_eq!(world.report(0)["left_for_next_run"], 0);
    assert_eq!(world.slack.texts().len(), 3);
}

#[test]
fn a_log_that_is_missing_for_a_while_moves_nothing() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    let away = world.path("away");
    fs::rename(world.log(), &away).unwrap();
    world
        .run()
        .exits(3)
        .warns("probe-wake: warning: ")
        .warns("kora_audit_log.jsonl");
    fs::rename(&away, world.log()).unwrap();
    world.raise([wake("sentry")]).exits(0).silent();
    assert_eq!(world.slack.texts().len(), 2);
}

#[test]
fn a_folder_at_the_path_is_an_error() {
    let world = World::new().quiet();
    fs::create_dir(world.log()).unwrap();
    world.run().exits(1).warns("kora_audit_log.jsonl");
}

#[test]
fn a_fifo_at_the_path_is_an_error_and_hangs_nothing() {
    let world = World::new().quiet();
    mknodat(CWD, world.log(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    world.run().exits(1).warns("kora_audit_log.jsonl");
}

#[test]
fn a_log_that_may_not_be_read_is_an_error_and_the_outbox_is_delivered_all_the_same() {
    let world = World::stamped();
    world.queue([wake("fly")]);
    fs::set_permissions(world.log(), fs::Permissions::from_mode(0o000)).unwrap();
    world
        .run_without_privileges()
        .exits(1)
        .warns("kora_audit_log.jsonl");
    assert_eq!(world.slack.texts().len(), 1);
}

#[test]
fn a_link_that_leads_to_itself_is_an_error() {
    let world = World::new().quiet();
    symlink(world.log(), world.log()).unwrap();
    world.run().exits(1).warns("kora_audit_log.jsonl");
}

#[test]
fn a_state_folder_that_cannot_be_made_is_an_error_before_anything_is_sent() {
    let world = World::stamped().quiet();
    world.give("given/file", "");
    world.set("KORA_PROBE_WAKE_STATE_DIR", world.path("given/file/state"));
    world.raise([wake("fly")]).exits(1).warns("given/file");
}

#[test]
fn the_state_is_its_owners_alone() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.state_dir()), 0o700);
    for entry in fs::read_dir(world.state_dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}
