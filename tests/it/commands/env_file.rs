//! Section 9 of the contract: the env file, in systemd's syntax, and who may have written it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use crate::support::{ENGINE_TOKEN, Outcome, Request, SLACK_TOKEN, Sandbox, World, wake};

#[test]
fn a_line_that_sets_nothing_is_warned_about_without_its_text() {
    let sandbox = Sandbox::new();
    let text = format!("export KORA_SLACK_BOT_TOKEN={SLACK_TOKEN}\n{SLACK_TOKEN}\n");
    sandbox.give("given/env", &text);
    sandbox
        .command("status --env-file given/env")
        .exits(0)
        .warns("given/env")
        .hides(SLACK_TOKEN);
}

/// A status with an env file of this mode.
#[track_caller]
fn with_mode(mode: u32) -> Outcome {
    let sandbox = Sandbox::new();
    let file = sandbox.give(
        "home/.config/probe-wake/env",
        "KORA_PROBE_WAKE_POLL_SEC=60\n",
    );
    fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    sandbox.command("status")
}

#[test]
fn a_file_of_ours_alone_is_read_in_silence() {
    for mode in [0o600, 0o400] {
        let told = with_mode(mode).exits(0);
        assert_eq!(told.stderr, "");
    }
}

#[test]
fn a_file_that_others_can_read_is_warned_about_with_the_cure() {
    for mode in [0o644, 0o640, 0o604] {
        with_mode(mode)
            .exits(0)
            .warns("warning: ")
            .warns("chmod 600");
    }
}

#[test]
fn a_file_that_others_can_write_is_refused_with_the_cure() {
    for mode in [0o666, 0o660, 0o602] {
        with_mode(mode).exits(2).warns("error: ").warns("chmod 600");
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let file = sandbox.give("given/env", "");
    chown(file, Some(65_534), None).unwrap();
    sandbox
        .command("status --env-file given/env")
        .exits(2)
        .warns("another user");
}

#[test]
fn a_file_that_is_none_is_refused_and_not_waited_for() {
    let sandbox = Sandbox::new();
    sandbox.shell("mkfifo given/pipe").finish().exits(0);
    for name in ["given/pipe", "given"] {
        sandbox
            .command(&format!("status --env-file {name}"))
            .exits(2)
            .warns("not a regular file");
    }
}

#[test]
fn the_environment_wins_in_whichever_way_it_gives_a_secret() {
    let world = World::stamped();
    world.give(
        "given/env",
        "KORA_SLACK_BOT_TOKEN=from-the-env-file\nKORA_PROBE_ENGINE_TOKEN_FILE=/nowhere\n",
    );
    let file = world.give("given/token", SLACK_TOKEN);
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.set("KORA_SLACK_BOT_TOKEN_FILE", file);
    world.append([wake("fly")]);
    world.command("run --env-file given/env").exits(0).silent();
    let sent = |request: &Request| request.header("authorization").map(str::to_owned);
    assert_eq!(
        sent(&world.slack.requests()[0]),
        Some(format!("Bearer {SLACK_TOKEN}"))
    );
    assert_eq!(
        sent(&world.engine.requests()[0]),
        Some(format!("Bearer {ENGINE_TOKEN}"))
    );
}

#[test]
fn the_first_of_systemds_state_folders_is_ours() {
    let sandbox = Sandbox::bare();
    sandbox.set("STATE_DIRECTORY", "/var/lib/first:/var/lib/second");
    let told = sandbox.command("status --format json").exits(0).json();
    assert_eq!(told["state_dir"], "/var/lib/first");
}
