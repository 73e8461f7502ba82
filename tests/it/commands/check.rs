//! `check`: each finding that is not ok has a next step, and the exit code is 1 if an alert could not arrive.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::support::{DEAD_URL, Reply, SLACK_TOKEN, Sandbox, Slack, World, other_row, wake};

/// A world that has run, whose Slack answers `auth.test` and in which a timer starts the runs.
fn healthy() -> World {
    let slack = Slack::always(|| {
        let identity = json!({"ok": true, "team": "Kora", "user": "probe", "bot_id": "B1", "ts": "1.1", "channel": "D1"});
        Reply::json(200, &identity)
    });
    let world = World::stamped_with(slack);
    world.engine.maybe();
    world.slack.maybe();
    enable(&world, "probe-wake.timer");
    world
}

/// Enables a unit of the user's own service manager, as `systemctl --user enable` does.
fn enable(sandbox: &Sandbox, unit: &str) {
    let file = sandbox.give(&format!("home/.config/systemd/user/{unit}"), "");
    let wants = file.with_file_name("timers.target.wants");
    fs::create_dir_all(&wants).unwrap();
    symlink(&file, wants.join(unit)).unwrap();
}

/// Returns the finding about `subject`. The check must exit with `code`.
#[track_caller]
fn finding(world: &Sandbox, code: i32, subject: &str) -> Value {
    let checked = world.command("check --format json").exits(code).json();
    assert_eq!(checked["ok"], code == 0);
    let findings = checked["findings"].as_array().unwrap();
    for one in findings.iter().filter(|one| one["level"] != "ok") {
        assert!(
            one["next_step"]
                .as_str()
                .is_some_and(|step| !step.is_empty()),
            "{one}"
        );
    }
    let one = findings.iter().find(|one| one["subject"] == subject);
    one.unwrap_or_else(|| panic!("nothing about {subject}: {checked:#}"))
        .clone()
}

#[track_caller]
fn level(world: &Sandbox, code: i32, subject: &str) -> String {
    finding(world, code, subject)["level"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_healthy_set_up_exits_0_and_asks_slack_for_auth_test_only() {
    let world = healthy();
    let checked = world.command("check").exits(0);
    let stdout = &checked.stdout;
    assert!(stdout.ends_with("Alerts can arrive.\n"), "{stdout}");
    assert!(!stdout.contains("FAILED") && checked.stderr.is_empty());
    assert!(stdout.contains("team Kora, as probe; no message was tried"));
    let asked = world.slack.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/api/auth.test");
    let bearer = format!("Bearer {SLACK_TOKEN}");
    assert_eq!(asked[0].header("authorization"), Some(bearer.as_str()));
}

#[test]
fn it_asks_the_engine_no_question_and_shows_it_no_token() {
    let world = healthy();
    world.command("check").exits(0);
    for request in world.engine.requests() {
        assert_eq!((request.method.as_str(), request.body.len()), ("GET", 0));
        assert_eq!(request.header("authorization"), None);
    }
}

#[test]
fn an_empty_home_fails_with_what_to_set() {
    let sandbox = Sandbox::bare();
    let checked = sandbox.command("check").exits(1);
    for part in [
        "KORA_AUDIT_LOG_PATH",
        "KORA_SLACK_BOT_TOKEN",
        "KORA_SLACK_JOSHUA_USER_ID",
        "~/.config/probe-wake/env",
        "probe-wake run",
    ] {
        let stdout = &checked.stdout;
        assert!(stdout.contains(part), "no {part}:\n{stdout}");
    }
    assert!(!checked.stdout.contains("Alerts can arrive"));
    assert!(
        !sandbox.path("home/.local").exists(),
        "check created a folder"
    );
}

#[test]
fn it_fails_if_an_alert_could_not_arrive() {
    let world = healthy();
    world.unset("KORA_SLACK_BOT_TOKEN");
    assert_eq!(level(&world, 1, "slack"), "failed");
    let world = healthy();
    world.unset("KORA_SLACK_JOSHUA_USER_ID");
    assert_eq!(level(&world, 1, "operator"), "failed");
    let world = healthy();
    fs::remove_file(world.log()).unwrap();
    assert_eq!(level(&world, 1, "audit log"), "failed");
    let world = healthy();
    fs::remove_file(world.log()).unwrap();
    fs::create_dir(world.log()).unwrap();
    assert_eq!(level(&world, 1, "audit log"), "failed");
    let world = healthy();
    world.age_lock(60);
    assert_eq!(level(&world, 1, "runs"), "failed");
    let world = healthy();
    world.reach_slack_at(DEAD_URL);
    assert_eq!(level(&world, 1, "slack"), "failed");
    let world = healthy();
    fs::write(world.state_dir().join("state.json"), "{").unwrap();
    let found = finding(&world, 1, "state");
    assert!(found["next_step"].as_str().unwrap().contains("state reset"));
}

#[test]
fn what_costs_only_the_diagnosis_is_a_warning() {
    let world = healthy();
    world.unset("KORA_PROBE_ENGINE_URL");
    assert_eq!(level(&world, 0, "engine"), "warning");
    let world = healthy();
    world.set("KORA_PROBE_ENGINE_URL", DEAD_URL);
    assert_eq!(level(&world, 0, "engine"), "warning");
    let world = healthy();
    world.engine.script([Reply::text(503, "")]);
    assert_eq!(level(&world, 0, "engine"), "warning");
    let world = healthy();
    world.set("KORA_PROBE_ENGINE_TOKEN_FILE", "/nowhere");
    assert_eq!(level(&world, 0, "secrets"), "warning");
}

#[test]
fn what_slack_refuses_is_named_with_the_way_out() {
    for (error, way_out) in [
        ("invalid_auth", "bot token"),
        ("not_allowed_token_type", "bot token"),
        ("missing_scope", "chat:write"),
    ] {
        let world = World::stamped_with(Slack::always(move || Slack::refusal(error)));
        world.engine.maybe();
        let found = finding(&world, 1, "slack");
        assert!(found["message"].as_str().unwrap().contains(error));
        assert!(found["next_step"].as_str().unwrap().contains(way_out));
    }
}

#[test]
fn a_secret_that_others_can_read_is_a_warning() {
    let world = healthy();
    let file = world.give("given/token", SLACK_TOKEN);
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.set("KORA_SLACK_BOT_TOKEN_FILE", &file);
    world.command("check").exits(0).hides("warning  secrets");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let found = finding(&world, 0, "secrets");
    assert_eq!(found["next_step"], format!("chmod 600 {}", file.display()));
}

#[test]
fn check_asks_about_a_misspelled_setting_and_runs_are_silent() {
    let world = healthy();
    let settings = "KORA_SLACK_TOKEN=x\nKORA_PROBE_DEBOUNCE_SECONDS=0\nDATABASE_URL=x\n";
    world.give("home/.config/probe-wake/env", settings);
    // A name that is set already is not suggested.
    world.command("check").exits(0).hides("did you mean");
    world.unset("KORA_SLACK_BOT_TOKEN");
    world
        .command("check")
        .exits(1)
        .prints("KORA_SLACK_TOKEN in the env file")
        .prints("did you mean KORA_SLACK_BOT_TOKEN?")
        .hides("DATABASE_URL");
}

#[test]
fn a_misspelled_setting_of_the_environment_is_asked_about() {
    let world = healthy();
    world.set("KORA_PROBE_DEBOUNCE_SECOND", "60");
    world.set("KORA_GATEWAY_PORT", "8642");
    world
        .command("check")
        .exits(0)
        .prints("KORA_PROBE_DEBOUNCE_SECOND in the environment")
        .prints("did you mean KORA_PROBE_DEBOUNCE_SECONDS?")
        .hides("KORA_GATEWAY_PORT");
}

#[test]
fn a_value_with_a_line_break_is_a_warning() {
    let world = healthy();
    world.set("KORA_SLACK_JOSHUA_USER_ID", "U0JOSHUA\nU0ANNA");
    world
        .command("check")
        .exits(1)
        .prints("the value of KORA_SLACK_JOSHUA_USER_ID in the environment has a line break");
}

#[test]
fn consecutive_required_is_warned_of() {
    let world = healthy();
    world.set("KORA_PROBE_DEBOUNCE_CONSECUTIVE_REQUIRED", "2");
    world
        .command("check")
        .exits(0)
        .prints("KORA_PROBE_DEBOUNCE_CONSECUTIVE_REQUIRED is 2")
        .prints("is never announced");
}

#[test]
fn a_recovery_that_no_snapshot_can_tell_is_a_warning() {
    let world = healthy();
    world.set("KORA_PROBE_TELL_RECOVERY", "yes");
    let found = finding(&world, 0, "recovery");
    assert_eq!(found["level"], "warning");
    let path = world.path("cache/daemon_snapshot.json");
    assert!(
        found["message"]
            .as_str()
            .unwrap()
            .contains(&*path.to_string_lossy())
    );
    let now = jiff::Timestamp::now();
    let snapshot = format!(r#"{{"computed_at":"{now}","service_health":{{}}}}"#);
    world.give("cache/daemon_snapshot.json", &snapshot);
    world.command("check").exits(0).hides("recovery");
}

#[test]
fn an_operator_or_a_token_of_another_kind_is_named() {
    for (variable, value, code, message) in [
        (
            "KORA_SLACK_JOSHUA_USER_ID",
            "@joshua",
            1,
            "a name and not an id",
        ),
        (
            "KORA_SLACK_JOSHUA_USER_ID",
            "joshua",
            1,
            "not a Slack user id",
        ),
        ("KORA_SLACK_BOT_TOKEN", "xoxb-...", 1, "a placeholder"),
        ("KORA_SLACK_BOT_TOKEN", "xoxp-1-2-3", 0, "a user token"),
    ] {
        let world = healthy();
        world.set(variable, value);
        world.command("check").exits(code).prints(message);
    }
}

#[test]
fn alerts_can_arrive_only_if_something_starts_the_runs() {
    let world = healthy();
    let units = world.path("home/.config/systemd/user");
    world
        .command("check")
        .exits(0)
        .prints("probe-wake.timer of ");
    fs::remove_dir_all(units.join("timers.target.wants")).unwrap();
    world
        .command("check")
        .exits(0)
        .prints("is not enabled")
        .prints("systemctl --user enable --now probe-wake.timer")
        .hides("Alerts can arrive");
    fs::remove_dir_all(units).unwrap();
    world
        .command("check")
        .exits(0)
        .prints("nothing was found that starts the runs")
        .hides("Alerts can arrive");
    let crontab = "#!/bin/sh\necho '* * * * * /usr/bin/probe-wake run'\n";
    let file = world.give("home/bin/crontab", crontab);
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        file.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    world.set("PATH", path);
    world
        .command("check")
        .exits(0)
        .prints("a line of a crontab")
        .prints("Alerts can arrive.");
}

#[test]
fn what_is_wrong_with_a_line_of_the_env_file_is_a_finding_and_a_warning() {
    for (line, warning) in [
        ("export KORA_HOME=/x", "'export' is not part of the syntax"),
        ("KORA_PROBE_OUTCOME_LOG=~/x", "~, which is not expanded"),
        ("KORA_PROBE_WAKE_POLL_SEC=30 # often", "it is no comment"),
        (
            "KORA_PROBE_OUTCOME_LOG=\"/x",
            "KORA_PROBE_OUTCOME_LOG: the quote in its value is not closed",
        ),
        (
            "KORA_PROBE_DEBOUNCE_SECONDS=soon",
            "the default 600 is used",
        ),
    ] {
        let world = healthy();
        world.give("home/.config/probe-wake/env", &format!("{line}\n"));
        let checked = world.command("check").exits(0).prints(warning);
        assert_eq!(checked.stderr, "");
        world.command("status").exits(0).warns(warning);
    }
}

#[test]
fn a_log_is_judged_by_what_it_holds() {
    let world = healthy();
    let found = finding(&world, 0, "audit log")["message"].to_string();
    assert!(found.contains("no row yet"), "{found}");
    world.append([wake("fly")]);
    world.append_raw(other_row("probe.wake_requested") + "\n");
    let found = finding(&world, 0, "audit log")["message"].to_string();
    assert!(found.contains("1 wake in it"), "{found}");
    fs::copy("/etc/passwd", world.log()).unwrap();
    let found = finding(&world, 1, "audit log");
    assert_eq!(found["level"], "failed");
    assert!(found["message"].to_string().contains("no JSON rows"));
    let mut long = "{}\n".repeat(6_000_000);
    long.push_str(&(wake("fly").line() + "\n"));
    fs::write(world.log(), long).unwrap();
    let found = finding(&world, 0, "audit log")["message"].to_string();
    assert!(found.contains("1 wake in its last 16 MiB"), "{found}");
}

#[test]
fn a_missing_token_file_fails() {
    let world = healthy();
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.set("KORA_SLACK_BOT_TOKEN_FILE", "/nowhere/token");
    assert_eq!(level(&world, 1, "slack"), "failed");
    let found = finding(&world, 1, "secrets");
    assert!(
        found["message"]
            .as_str()
            .unwrap()
            .contains("/nowhere/token")
    );
}

#[test]
fn a_state_folder_that_others_can_open_is_a_warning() {
    let world = healthy();
    fs::set_permissions(world.state_dir(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(level(&world, 0, "state folder"), "warning");
}

#[test]
fn a_state_folder_that_cannot_be_synced_is_a_warning_and_one_that_fails_is_a_failure() {
    needs!("strace");
    for (error, code, message) in [
        ("EINVAL", 0, "warning  state folder"),
        ("EOPNOTSUPP", 0, "cannot be synced"),
        ("ENOSYS", 0, "cannot be synced"),
        ("EIO", 1, "FAILED   state folder"),
    ] {
        let world = healthy();
        let inject = format!("inject=fsync:error={error}");
        let flags = ["-e", "trace=fsync", "-e", &inject];
        let (outcome, _) = world.traced(&flags, "check");
        outcome.exits(code).prints(message);
    }
}

#[test]
fn a_lock_that_only_root_can_write_fails() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = healthy();
    let lock = world.state_dir().join("state.lock");
    fs::set_permissions(&lock, Permissions::from_mode(0o400)).unwrap();
    let outcome = world.without_privileges("check");
    outcome.exits(1).prints("state.lock");
}

#[test]
fn a_message_that_is_queued_or_given_up_is_a_warning() {
    let world = healthy();
    world.queue([wake("fly")]);
    assert_eq!(level(&world, 0, "outbox"), "warning");
    world.command("state reset --outbox --yes").exits(0);
    assert_eq!(level(&world, 0, "undelivered"), "warning");
}

#[test]
fn a_test_message_is_sent_on_request_only() {
    let world = healthy();
    world
        .command("check --send-test-dm")
        .exits(0)
        .prints("look at Slack")
        .hides("no message was tried");
    let sent = world.slack.requests();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].path, "/api/chat.postMessage");
    assert_eq!(sent[1].json()["channel"], "U0JOSHUA");
    assert!(
        sent[1].json()["text"]
            .as_str()
            .unwrap()
            .contains("test message")
    );
}

#[test]
fn a_test_message_that_does_not_arrive_fails() {
    let world = World::stamped_with(Slack::always(|| Slack::refusal("channel_not_found")));
    world.engine.maybe();
    world.slack.script([Reply::json(
        200,
        &json!({"ok": true, "team": "T", "user": "u"}),
    )]);
    world
        .command("check --send-test-dm")
        .exits(1)
        .prints("channel_not_found")
        .prints("member id");
}

#[test]
fn at_a_terminal_no_line_is_cut_or_too_wide() {
    let world = healthy();
    world.unset("KORA_PROBE_ENGINE_URL");
    let seen = world.at_terminal(80, "check");
    let plain = world.command("check").stdout;
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let bare = strip_escapes(&seen);
    assert_eq!(words(&bare.replace("[exit 0]", "")), words(&plain));
    let is_path = |line: &str| line.contains('/') && line.split_whitespace().count() < 6;
    for line in bare.lines().filter(|line| !is_path(line)) {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
}

fn strip_escapes(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        text + &part[end + 1..]
    })
}

#[test]
fn it_says_what_an_engine_is_sent_and_which_runbooks_there_are() {
    let world = healthy();
    let sent = finding(&world, 0, "context");
    assert!(
        sent["message"]
            .as_str()
            .unwrap()
            .contains("secrets are masked in the details of other rows, our own tokens everywhere"),
        "{sent}"
    );
    let next = sent["next_step"].as_str().unwrap();
    assert!(
        next.contains("gateway") && next.contains("KORA_PROBE_CONTEXT=kinds"),
        "{sent}"
    );

    let folder = world.path("runbooks");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("fly.md"), "Call Ann.").unwrap();
    fs::write(folder.join("Flie.md"), "Call Bob.").unwrap();
    fs::write(folder.join("neon.md"), "Call Eve.").unwrap();
    fs::set_permissions(folder.join("neon.md"), Permissions::from_mode(0o666)).unwrap();
    world.raise([wake("fly")]);
    world.set("KORA_PROBE_RUNBOOK_DIR", &folder);
    world.set("KORA_PROBE_CONTEXT", "off");
    let told = world.command("check").exits(0).stdout;
    assert!(told.contains("nothing of other rows"), "{told}");
    let one_line = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        one_line.contains("s old; no alert of the last 30 days used it"),
        "{told}"
    );
    let fly = told
        .lines()
        .find(|line| line.contains(" fly.md, "))
        .unwrap();
    assert!(fly.starts_with("ok ") && fly.ends_with(" s old"), "{told}");
    assert!(
        told.contains("warning  runbooks") && told.contains("neon.md is not used: "),
        "{told}"
    );
}
