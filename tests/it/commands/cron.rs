//! Section 9 of the contract: `schedule cron`, and its block under Debian's own cron.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{BINARY, Sandbox, World, wake};

/// The lines that are not comments.
#[track_caller]
fn block(sandbox: &Sandbox, flags: &str) -> Vec<String> {
    let told = sandbox.command(&format!("schedule cron {flags}")).exits(0);
    let lines = told.stdout.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn it_is_a_line_for_each_start_within_a_minute() {
    let sandbox = Sandbox::bare();
    let lines = block(&sandbox, "");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with(&format!("* * * * * {BINARY} ")),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with(&format!("* * * * * sleep 30; {BINARY} ")),
        "{lines:?}"
    );
    for (seconds, fields) in [
        ("60", "* * * * * "),
        ("300", "*/5 * * * * "),
        ("7200", "0 */2 * * * "),
    ] {
        sandbox.set("KORA_PROBE_WAKE_POLL_SEC", seconds);
        let lines = block(&sandbox, "");
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with(fields), "{lines:?}");
    }
}

#[test]
fn it_names_what_cron_would_not_know() {
    let sandbox = Sandbox::bare();
    let log = sandbox.path("home/.kora/kora_audit_log.jsonl");
    let lines = block(&sandbox, "");
    assert!(
        lines[0].contains(&format!("--audit-log {} run", log.display())),
        "{lines:?}"
    );
    assert!(
        !lines[0].contains("--state-dir") && !lines[0].contains("--env-file"),
        "{lines:?}"
    );
    let file = sandbox.give("given/env", "");
    sandbox.set("KORA_PROBE_WAKE_ENV_FILE", &file);
    sandbox.set("KORA_PROBE_WAKE_STATE_DIR", "/srv/wake");
    let lines = block(&sandbox, "");
    assert!(
        lines[0].contains(&format!("--env-file {}", file.display())),
        "{lines:?}"
    );
    assert!(lines[0].contains("--state-dir /srv/wake"), "{lines:?}");
}

/// Takes a line of a crontab apart as cron(8) and its shell do: the first five fields, and `\%` for `%`.
fn as_cron_runs_it(line: &str) -> String {
    let command = line.splitn(6, ' ').nth(5).expect("a command");
    assert!(
        !command.replace("\\%", "").contains('%'),
        "a bare %: {command}"
    );
    command.replace("\\%", "%")
}

#[test]
fn paths_with_spaces_quotes_and_percents_reach_the_program() {
    let sandbox = Sandbox::bare();
    let folder = "100% of 'it'; $HOME";
    let env = sandbox.give(&format!("{folder}/env"), "KORA_PROBE_WAKE_POLL_SEC=60\n");
    sandbox.set("KORA_PROBE_WAKE_ENV_FILE", env);
    let log = sandbox.path(folder).join("log");
    fs::write(&log, "").unwrap();
    sandbox.set("KORA_AUDIT_LOG_PATH", log);
    sandbox.set(
        "KORA_PROBE_WAKE_STATE_DIR",
        sandbox.path(folder).join("state"),
    );
    let lines = block(&sandbox, "");
    assert_eq!(lines.len(), 1);
    for variable in [
        "KORA_PROBE_WAKE_ENV_FILE",
        "KORA_AUDIT_LOG_PATH",
        "KORA_PROBE_WAKE_STATE_DIR",
    ] {
        sandbox.unset(variable);
    }
    sandbox
        .shell(&as_cron_runs_it(&lines[0]))
        .finish()
        .exits(0)
        .silent();
    let state = fs::read_to_string(sandbox.path(folder).join("state/state.json")).unwrap();
    assert!(state.contains("100% of 'it'; $HOME/log"), "{state}");
}

#[test]
fn a_run_that_is_still_under_way_is_waited_for() {
    let sandbox = Sandbox::bare();
    assert!(block(&sandbox, "")[0].ends_with("run --wait 30"));
}

/// In a mount namespace of its own, so that this machine's crontabs and its cron are left alone. It ends with
/// the test, whatever becomes of that.
const CRON: &str = "set -e
    mount --make-rprivate /
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /var/spool/cron
    mount -t tmpfs tmpfs /etc/cron.d
    mkdir -m 1730 /var/spool/cron/crontabs
    cp \"$1\" /var/spool/cron/crontabs/root
    chmod 600 /var/spool/cron/crontabs/root
    exec setpriv --pdeathsig KILL cron -f";

/// It needs root, and is passed over elsewhere.
#[test]
#[ignore = "cron starts its jobs at the next full minute"]
fn debians_cron_runs_the_block_and_a_wake_is_told() {
    needs!("cron");
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::stamped();
    world.append([wake("fly")]);
    // One line of crontab, so that no job sleeps on when the test is over.
    world.set("KORA_PROBE_WAKE_POLL_SEC", "60");
    let file = world.path("home/.config/probe-wake/env");
    world.give("home/.config/probe-wake/env", &world.settings());
    world.set("KORA_PROBE_WAKE_ENV_FILE", &file);
    let home = format!("HOME={}\nMAILTO=\"\"\n", world.path("home").display());
    let crontab = world.command("schedule cron").exits(0).stdout;
    let crontab = world.give("given/crontab", &format!("{home}{crontab}"));
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", CRON, "sh"])
        .arg(crontab);
    let cron = world.spawn(&mut command);
    let begun = Instant::now();
    while world.slack.requests().is_empty() && begun.elapsed() < Duration::from_secs(75) {
        sleep(Duration::from_millis(100));
    }
    sleep(Duration::from_millis(200));
    let ended = cron.kill();
    assert_eq!(
        world.slack.texts().len(),
        1,
        "{}{}",
        ended.stdout,
        ended.stderr
    );
}
