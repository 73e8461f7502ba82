//! Section 9 of the contract: `check`. Each finding that is not ok has a next step, and the exit code is 1 if
//! an alert could not arrive.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{DEAD_URL, Reply, SLACK_TOKEN, Sandbox, Slack, World, other_row, wake};

/// A world that has run, whose Slack answers `auth.test`.
fn well() -> World {
    let slack = Slack::always(|| {
        let identity = json!({"ok": true, "team": "Kora", "user": "probe", "bot_id": "B1", "ts": "1.1", "channel": "D1"});
        Reply::json(200, &identity)
    });
    let world = World::stamped_with(slack);
    world.engine.maybe();
    world.slack.maybe();
    world
}

/// The finding about `subject`. The check must exit with `code`.
#[track_caller]
fn finding(world: &Sandbox, code: i32, subject: &str) -> Value {
    let told = world.command("check --format json").exits(code).json();
    assert_eq!(told["ok"], code == 0);
    let findings = told["findings"].as_array().unwrap();
    for one in findings.iter().filter(|one| one["level"] != "ok") {
        assert!(
            one["next_step"]
                .as_str()
                .is_some_and(|step| !step.is_empty()),
            "{one}"
        );
    }
    let one = findings.iter().find(|one| one["subject"] == subject);
    one.unwrap_or_else(|| panic!("nothing about {subject}: {told:#}"))
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
fn a_set_up_that_is_well_exits_0_and_asks_auth_test_alone() {
    let world = well();
    let told = world.command("check").exits(0);
    assert!(
        told.stdout.ends_with("Alerts can arrive.\n"),
        "{}",
        told.stdout
    );
    assert!(!told.stdout.contains("FAILED") && told.stderr.is_empty());
    assert!(told.stdout.contains("team Kora, as probe"));
    let asked = world.slack.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/api/auth.test");
    let bearer = format!("Bearer {SLACK_TOKEN}");
    assert_eq!(asked[0].header("authorization"), Some(bearer.as_str()));
}

#[test]
fn it_asks_no_question_of_the_engine_and_shows_it_no_token() {
    let world = well();
    world.command("check").exits(0);
    for request in world.engine.requests() {
        assert_eq!((request.method.as_str(), request.body.len()), ("GET", 0));
        assert_eq!(request.header("authorization"), None);
    }
}

#[test]
fn an_empty_home_fails_with_what_to_set() {
    let sandbox = Sandbox::bare();
    let told = sandbox.command("check").exits(1);
    for part in [
        "KORA_AUDIT_LOG_PATH",
        "KORA_SLACK_BOT_TOKEN",
        "KORA_SLACK_JOSHUA_USER_ID",
        "~/.config/probe-wake/env",
        "probe-wake run",
    ] {
        assert!(told.stdout.contains(part), "no {part}:\n{}", told.stdout);
    }
    assert!(!sandbox.path("home/.local").exists(), "check made a folder");
}

#[test]
fn it_fails_exactly_where_an_alert_could_not_arrive() {
    let world = well();
    world.unset("KORA_SLACK_BOT_TOKEN");
    assert_eq!(level(&world, 1, "slack"), "failed");
    let world = well();
    world.unset("KORA_SLACK_JOSHUA_USER_ID");
    assert_eq!(level(&world, 1, "operator"), "failed");
    let world = well();
    fs::remove_file(world.log()).unwrap();
    assert_eq!(level(&world, 1, "audit log"), "failed");
    let world = well();
    fs::remove_file(world.log()).unwrap();
    fs::create_dir(world.log()).unwrap();
    assert_eq!(level(&world, 1, "audit log"), "failed");
    let world = well();
    world.age_lock(60);
    assert_eq!(level(&world, 1, "runs"), "failed");
    let world = well();
    world.reach_slack_at(DEAD_URL);
    assert_eq!(level(&world, 1, "slack"), "failed");
    let world = well();
    fs::write(world.state_dir().join("state.json"), "{").unwrap();
    let found = finding(&world, 1, "state");
    assert!(found["next_step"].as_str().unwrap().contains("state reset"));
}

#[test]
fn what_costs_the_diagnosis_alone_is_a_warning() {
    let world = well();
    world.unset("KORA_PROBE_ENGINE_URL");
    assert_eq!(level(&world, 0, "engine"), "warning");
    let world = well();
    world.set("KORA_PROBE_ENGINE_URL", DEAD_URL);
    assert_eq!(level(&world, 0, "engine"), "warning");
    let world = well();
    world.engine.script([Reply::text(503, "")]);
    assert_eq!(level(&world, 0, "engine"), "warning");
    let world = well();
    world.set("KORA_PROBE_ENGINE_TOKEN_FILE", "/nowhere");
    assert_eq!(level(&world, 0, "secrets"), "warning");
}

#[test]
fn what_slack_refuses_is_named_with_its_cure() {
    for (error, cure) in [
        ("invalid_auth", "bot token"),
        ("missing_scope", "chat:write"),
    ] {
        let world = World::stamped_with(Slack::always(move || Slack::refusal(error)));
        world.engine.maybe();
        let found = finding(&world, 1, "slack");
        assert!(found["message"].as_str().unwrap().contains(error));
        assert!(found["next_step"].as_str().unwrap().contains(cure));
    }
}

#[test]
fn a_secret_that_others_can_read_is_a_warning() {
    let world = well();
    let file = world.give("given/token", SLACK_TOKEN);
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.set("KORA_SLACK_BOT_TOKEN_FILE", &file);
    world.command("check").exits(0).hides("warning  secrets");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let found = finding(&world, 0, "secrets");
    assert_eq!(found["next_step"], format!("chmod 600 {}", file.display()));
}

#[test]
fn a_misspelt_setting_is_asked_about_and_runs_do_not_nag() {
    let world = well();
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
    world.run().exits(0).silent();
}

#[test]
fn what_is_wrong_with_a_line_of_the_env_file_is_a_finding_and_a_warning() {
    for (line, told) in [
        ("export KORA_HOME=/x", "'export' is not part of the syntax"),
        ("KORA_PROBE_OUTCOME_LOG=~/x", "~, which is not expanded"),
        ("KORA_PROBE_WAKE_POLL_SEC=30 # often", "it is no comment"),
        (
            "KORA_PROBE_DEBOUNCE_SECONDS=soon",
            "the default 600 is used",
        ),
    ] {
        let world = well();
        world.give("home/.config/probe-wake/env", &format!("{line}\n"));
        let checked = world.command("check").exits(0).prints(told);
        assert_eq!(checked.stderr, "");
        world.command("status").exits(0).warns(told);
    }
}

#[test]
fn a_log_is_judged_by_what_it_holds() {
    let world = well();
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
fn a_token_file_that_is_not_there_fails() {
    let world = well();
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
    let world = well();
    fs::set_permissions(world.state_dir(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(level(&world, 0, "state folder"), "warning");
}

#[test]
fn what_only_root_may_write_fails_for_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = well();
    let lock = world.state_dir().join("state.lock");
    fs::set_permissions(&lock, Permissions::from_mode(0o400)).unwrap();
    let outcome = world.without_privileges("check");
    outcome.exits(1).prints("state.lock");
}

#[test]
fn what_is_queued_or_given_up_is_a_warning() {
    let world = well();
    world.queue([wake("fly")]);
    assert_eq!(level(&world, 0, "outbox"), "warning");
    world.command("state reset --outbox --yes").exits(0);
    assert_eq!(level(&world, 0, "undelivered"), "warning");
}

#[test]
fn a_test_message_is_sent_only_when_asked_for() {
    let world = well();
    world
        .command("check --send-test-dm")
        .exits(0)
        .prints("look at Slack");
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
    let world = well();
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
    let world = well();
    let sent = finding(&world, 0, "context");
    assert!(
        sent["message"]
            .as_str()
            .unwrap()
            .contains("details of other rows"),
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
