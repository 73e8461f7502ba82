//! Where settings come from, and what happens with bad ones.

use std::fs;
use std::path::Path;

use crate::support::{ENGINE_TOKEN, Outcome, Request, SLACK_TOKEN, Sandbox, World, wake};

/// Returns the log that a run with these settings reads, relative to the sandbox.
#[track_caller]
fn log_read(sandbox: &Sandbox, line: &str) -> String {
    let outcome = sandbox.command(&format!("{line} --format json")).exits(0);
    let path = outcome.json()["audit_log"].as_str().unwrap().to_owned();
    let relative = Path::new(&path)
        .strip_prefix(sandbox.path(""))
        .unwrap_or(Path::new(&path));
    relative.display().to_string()
}

#[test]
fn the_logs_path_is_the_first_that_is_set() {
    let sandbox = Sandbox::bare();
    assert_eq!(log_read(&sandbox, "run"), "home/.kora/kora_audit_log.jsonl");
    sandbox.set("HERMES_HOME", sandbox.path("hermes"));
    assert_eq!(log_read(&sandbox, "run"), "hermes/kora_audit_log.jsonl");
    sandbox.set("KORA_HOME", sandbox.path("kora"));
    assert_eq!(log_read(&sandbox, "run"), "kora/kora_audit_log.jsonl");
    sandbox.set("KORA_AUDIT_LOG_PATH", sandbox.path("named"));
    assert_eq!(log_read(&sandbox, "run"), "named");
    assert_eq!(log_read(&sandbox, "run --audit-log typed"), "typed");
}

#[test]
fn the_legacy_variable_is_warned_about() {
    let sandbox = Sandbox::bare();
    fs::create_dir(sandbox.path("hermes")).unwrap();
    fs::write(sandbox.path("hermes/kora_audit_log.jsonl"), "").unwrap();
    sandbox.set("HERMES_HOME", sandbox.path("hermes"));
    sandbox
        .run()
        .exits(0)
        .warns("probe-wake: warning: ")
        .warns("HERMES_HOME");
}

#[test]
fn the_legacy_folder_counts_only_without_the_new_one() {
    let sandbox = Sandbox::bare();
    fs::create_dir(sandbox.path("home/.hermes")).unwrap();
    assert_eq!(
        log_read(&sandbox, "run"),
        "home/.hermes/kora_audit_log.jsonl"
    );
    fs::create_dir(sandbox.path("home/.kora")).unwrap();
    assert_eq!(log_read(&sandbox, "run"), "home/.kora/kora_audit_log.jsonl");
}

#[test]
fn the_state_folder_is_the_first_that_is_set() {
    let sandbox = Sandbox::bare();
    fs::write(sandbox.log(), "").unwrap();
    sandbox.set("KORA_AUDIT_LOG_PATH", sandbox.log());
    let made = |line: &str, folder: &str| {
        assert!(!sandbox.path(folder).join("state.json").exists());
        sandbox.command(line).exits(0);
        assert!(sandbox.path(folder).join("state.json").exists(), "{folder}");
    };
    made("run", "home/.local/state/probe-wake");
    sandbox.set("STATE_DIRECTORY", sandbox.path("systemd"));
    made("run", "systemd");
    sandbox.set("KORA_PROBE_WAKE_STATE_DIR", sandbox.path("named"));
    made("run", "named");
    made("run --state-dir typed", "typed");
}

/// Runs with this value of one variable.
#[track_caller]
fn with(variable: &str, value: &str) -> Outcome {
    let world = World::stamped().quiet();
    world.set(variable, value);
    world.run()
}

#[test]
fn a_forbidden_url_is_refused_and_not_printed() {
    for variable in ["KORA_PROBE_ENGINE_URL", "KORA_SLACK_API_URL"] {
        for url in [
            "https://joshua:hunter2@kora.example/",
            "http://joshua:hunter2@127.0.0.1:1/",
            "https://hunter2@kora.example/",
        ] {
            with(variable, url)
                .exits(2)
                .warns(variable)
                .hides("hunter2");
        }
        // `src/http` has the table of all URLs that are refused.
        with(variable, "http://kora.example/")
            .exits(2)
            .warns(variable);
        with(variable, "https://kora.example/").exits(0).silent();
        with(variable, "http://127.0.0.1:hunter2@evil.example/")
            .exits(2)
            .hides("hunter2");
    }
}

#[test]
fn an_env_file_fills_in_and_the_real_environment_wins() {
    let sandbox = Sandbox::bare();
    let lines = format!(
        "# comment\n\nKORA_AUDIT_LOG_PATH={}\nKORA_PROBE_WAKE_STATE_DIR=\"{}\"\n",
        sandbox.path("from-file").display(),
        sandbox.path("state from file").display(),
    );
    let file = sandbox.give("given/env", &lines);
    sandbox.give("from-file", "");
    assert_eq!(log_read(&sandbox, "run --env-file given/env"), "from-file");
    assert!(sandbox.path("state from file/state.json").exists());
    sandbox.set("KORA_PROBE_WAKE_ENV_FILE", file);
    assert_eq!(log_read(&sandbox, "run"), "from-file");
    sandbox.set("KORA_AUDIT_LOG_PATH", sandbox.path("from-environment"));
    assert_eq!(log_read(&sandbox, "run"), "from-environment");
}

#[test]
fn the_env_file_in_the_home_folder_is_read() {
    let sandbox = Sandbox::bare();
    let line = format!(
        "KORA_AUDIT_LOG_PATH='{}'\n",
        sandbox.path("from-home").display()
    );
    sandbox.give("home/.config/probe-wake/env", &line);
    assert_eq!(log_read(&sandbox, "run"), "from-home");
}

#[test]
fn an_env_file_that_was_named_must_exist() {
    let world = World::stamped().quiet();
    world
        .command("run --env-file nowhere")
        .exits(2)
        .warns("nowhere");
}

#[test]
fn secrets_can_be_read_from_files() {
    let world = World::stamped();
    for (variable, token) in [
        ("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN),
        ("KORA_PROBE_ENGINE_TOKEN", ENGINE_TOKEN),
    ] {
        let file = world.give(&format!("given/{variable}"), &format!("{token}\n"));
        world.unset(variable);
        world.set(&format!("{variable}_FILE"), file);
    }
    world.raise([wake("fly")]).exits(0).silent();
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    let sent = |request: &Request| request.header("authorization").map(str::to_owned);
    assert_eq!(sent(&world.slack.requests()[0]), bearer(SLACK_TOKEN));
    assert_eq!(sent(&world.engine.requests()[0]), bearer(ENGINE_TOKEN));
}

#[test]
fn a_file_that_is_too_long_for_a_secret_is_refused() {
    let world = World::stamped();
    world.slack.never();
    world.unset("KORA_SLACK_BOT_TOKEN");
    let file = world.give("given/token", &"x".repeat(70_000));
    world.set("KORA_SLACK_BOT_TOKEN_FILE", file);
    world.append([wake("fly")]);
    world.run().exits(3).warns("KORA_SLACK_BOT_TOKEN_FILE");
}
