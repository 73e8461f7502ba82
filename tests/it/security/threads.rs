//! A machine that has no thread to give: every request fails like a lost connection or is made without one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{DEAD_URL, Outcome, Reply, Server, World, wake};

/// Runs where no thread can be started.
#[track_caller]
fn run_without_threads(world: &World) -> Outcome {
    let inject = "inject=clone,clone3:error=EAGAIN";
    let (outcome, trace) = world.traced(&["-e", "trace=clone,clone3", "-e", inject], "run");
    assert!(trace.contains("EAGAIN"), "no thread was asked for: {trace}");
    outcome.hides("panicked")
}

/// A world with metrics and a heartbeat. Its peers are reached by a name, which has to be resolved.
fn world() -> (World, Server) {
    let world = World::stamped();
    let heartbeat = Server::start("the heartbeat", |_, _| Reply::text(200, ""));
    let port = |address: std::net::SocketAddr| format!("http://localhost:{}", address.port());
    world.engine.maybe();
    world.set("KORA_PROBE_ENGINE_URL", port(world.engine.address()));
    world.reach_slack_at(port(world.slack.address()) + "/api");
    world.set(
        "KORA_PROBE_WAKE_HEARTBEAT_URL",
        port(heartbeat.address()) + "/beat",
    );
    world.set("KORA_PROBE_WAKE_METRICS_FILE", world.path("metrics"));
    world.append([wake("fly")]);
    (world, heartbeat)
}

#[test]
fn without_a_thread_the_alert_still_leaves_and_so_does_the_heartbeat() {
    needs!("strace");
    let (world, heartbeat) = world();
    run_without_threads(&world).exits(0);
    // The question is lost like one whose connection failed.
    let reason = "engine_exception:ConnectionError";
    let texts = world.slack.texts();
    assert!(texts[0].contains(reason), "{texts:?}");
    assert_eq!((texts.len(), world.engine.questions().len()), (1, 0));
    assert_eq!(heartbeat.requests()[0].path, "/beat");
    let metrics = fs::read_to_string(world.path("metrics")).unwrap();
    assert!(
        metrics.contains("probe_wake_last_run_exit_code 0"),
        "{metrics}"
    );
}

#[test]
fn without_a_thread_and_without_slack_the_run_says_so_and_its_failure_is_reported() {
    needs!("strace");
    let (world, heartbeat) = world();
    world.slack.never();
    world.reach_slack_at(DEAD_URL.replace("127.0.0.1", "localhost"));
    run_without_threads(&world).exits(3).warns("stays queued");
    assert_eq!(heartbeat.requests()[0].path, "/beat/fail");
    let metrics = fs::read_to_string(world.path("metrics")).unwrap();
    assert!(
        metrics.contains("probe_wake_last_run_exit_code 3"),
        "{metrics}"
    );
    world.reach_slack_at(world.slack.base());
    world.slack.maybe();
    world.run().exits(0);
    assert_eq!(world.slack.texts().len(), 1);
}

#[test]
fn without_a_thread_the_fallback_command_fails_and_a_later_run_hands_over() {
    needs!("strace");
    let (world, heartbeat) = world();
    world.slack.maybe();
    world.reach_slack_at(DEAD_URL.replace("127.0.0.1", "localhost"));
    let command = world.give("given/page", "#!/bin/sh\ncat > \"$HOME/page\"\n");
    fs::set_permissions(&command, fs::Permissions::from_mode(0o700)).unwrap();
    world.set("KORA_PROBE_FALLBACK_COMMAND", command);
    world.set("KORA_PROBE_FALLBACK_AFTER_SECONDS", "0");
    let outcome = run_without_threads(&world).exits(3);
    let failed = outcome
        .stderr
        .matches("the fallback command failed: no thread can be started");
    assert_eq!(failed.count(), 1, "{}", outcome.stderr);
    assert_eq!(heartbeat.requests()[0].path, "/beat/fail");
    let metrics = fs::read_to_string(world.path("metrics")).unwrap();
    assert!(
        metrics.contains("probe_wake_last_run_exit_code 3"),
        "{metrics}"
    );
    assert!(!world.path("home/page").exists());
    world.shift_state_by(-jiff::SignedDuration::from_secs(61));
    world.run().exits(3);
    let page = fs::read_to_string(world.path("home/page")).unwrap();
    assert!(page.starts_with("🚨 Probe alert · fly\n"), "{page}");
}
