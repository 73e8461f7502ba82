//! The env file, and who may have written it. Its syntax has a table beside the code.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use crate::support::{ENGINE_TOKEN, Outcome, Request, SLACK_TOKEN, Sandbox, World, wake};

#[test]
fn a_line_that_sets_nothing_is_warned_of_without_its_text() {
    let sandbox = Sandbox::new();
    let text = format!("export KORA_SLACK_BOT_TOKEN={SLACK_TOKEN}\n{SLACK_TOKEN}\n");
    sandbox.give("given/env", &text);
    sandbox
        .command("status --env-file given/env")
        .exits(0)
        .warns("given/env")
        .hides(SLACK_TOKEN);
}

/// Runs `status` with an env file of this mode.
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
fn a_private_file_is_read_silently() {
    for mode in [0o600, 0o400] {
        assert_eq!(with_mode(mode).exits(0).stderr, "");
    }
}

#[test]
fn a_file_that_others_can_read_is_warned_of_once_with_the_way_out() {
    for mode in [0o644, 0o604] {
        let outcome = with_mode(mode).exits(0).warns("warning: ");
        assert_eq!(outcome.stderr.matches("chmod 600").count(), 1);
    }
}

#[test]
fn a_file_that_others_can_write_is_refused_with_the_way_out() {
    for mode in [0o666, 0o602] {
        with_mode(mode).exits(2).warns("error: ").warns("chmod 600");
    }
}

/// Runs `status` with an env file of this mode, in a folder that the group can write, both of this group.
#[track_caller]
fn with_group(mode: u32, group: u32) -> Outcome {
    let sandbox = Sandbox::new();
    let file = sandbox.give("given/env", "KORA_PROBE_WAKE_POLL_SEC=60\n");
    for (path, mode) in [(&*file, mode), (file.parent().unwrap(), 0o775)] {
        chown(path, None, Some(group)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    sandbox.command("status --env-file given/env")
}

/// With umask 002 and a group for each user, as Debian and Red Hat have it, files come into being like this.
#[test]
fn the_owners_own_group_may_write_the_file_and_its_folder() {
    let user = rustix::process::geteuid().as_raw();
    with_group(0o664, user)
        .exits(0)
        .warns("can be read by others");
    assert_eq!(with_group(0o660, user).exits(0).stderr, "");
    if rustix::process::geteuid().is_root() {
        const USERS: u32 = 100;
        with_group(0o660, USERS).exits(2).warns("chmod 600");
        with_group(0o640, USERS).exits(2).warns("chmod go-w");
    }
}

#[test]
fn bytes_that_are_not_utf_8_matter_in_a_setting_only() {
    let sandbox = Sandbox::new();
    let file = sandbox.give("given/env", "");
    let status = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        sandbox.command("status --env-file given/env").exits(0)
    };
    let latin_1 = status(b"# the caf\xe9's log\nKORA_PROBE_WAKE_POLL_SEC=60\n");
    assert_eq!(latin_1.stderr, "");
    status(b"KORA_PROBE_OUTCOME_LOG=/caf\xe9\n").warns("not UTF-8");
}

#[test]
fn an_unclosed_quote_is_warned_of_and_the_settings_below_it_are_read() {
    let sandbox = Sandbox::new();
    sandbox.unset("KORA_PROBE_WAKE_STATE_DIR");
    let text = "KORA_PROBE_OUTCOME_LOG=\"/x\nKORA_PROBE_WAKE_STATE_DIR=/from/the/file\n";
    sandbox.give("given/env", text);
    let status = sandbox
        .command("status --format json --env-file given/env")
        .exits(0)
        .warns("line 1: KORA_PROBE_OUTCOME_LOG: the quote in its value is not closed");
    assert_eq!(status.json()["state_dir"], "/from/the/file");
}

#[test]
fn a_user_without_a_home_is_asked_for_the_paths() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    needs!("setpriv");
    let sandbox = Sandbox::bare();
    sandbox.unset("HOME");
    let status = |line: &str| {
        let nameless = [
            "setpriv",
            "--reuid=54321",
            "--regid=54321",
            "--clear-groups",
        ];
        sandbox.through(&nameless, line)
    };
    status("status").exits(2).warns("KORA_PROBE_WAKE_STATE_DIR");
    status("status --state-dir state")
        .exits(2)
        .warns("KORA_AUDIT_LOG_PATH");
    status("status --audit-log log --state-dir state").exits(0);
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
fn a_fifo_or_a_folder_is_refused_at_once() {
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
fn the_environment_wins_whichever_variable_it_sets_a_secret_by() {
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
    let status = sandbox.command("status --format json").exits(0).json();
    assert_eq!(status["state_dir"], "/var/lib/first");
}
