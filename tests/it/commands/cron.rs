//! `schedule cron`, and its block under Debian's own cron.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
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
    let lines = block(&sandbox, "");
    assert_eq!(lines[0], format!("* * * * * {BINARY} run --wait 30"));
    // cron has no such variable.
    sandbox.set("XDG_STATE_HOME", sandbox.path("xdg"));
    let lines = block(&sandbox, "");
    let folder = sandbox.path("xdg/probe-wake");
    assert!(lines[0].contains(&format!("--state-dir {} run", folder.display())));
    let file = sandbox.give("given/env", "");
    sandbox.set("KORA_PROBE_WAKE_ENV_FILE", &file);
    sandbox.set("KORA_PROBE_WAKE_STATE_DIR", "/srv/wake");
    let lines = block(&sandbox, "");
    assert!(
        lines[0].contains(&format!("--env-file {}", file.display())),
        "{lines:?}"
    );
    assert!(lines[0].contains("--state-dir /srv/wake"), "{lines:?}");
    sandbox.set("KORA_AUDIT_LOG_PATH", "/srv/log");
    let lines = block(&sandbox, "");
    assert!(lines[0].contains("--audit-log /srv/log"), "{lines:?}");
}

#[test]
fn what_the_env_file_says_is_left_to_it() {
    let sandbox = Sandbox::bare();
    let settings = "KORA_HOME=/srv/kora\nKORA_PROBE_WAKE_STATE_DIR=/srv/wake\n";
    sandbox.give("home/.config/probe-wake/env", settings);
    let lines = block(&sandbox, "");
    assert_eq!(lines[0], format!("* * * * * {BINARY} run --wait 30"));
    let lines = block(&sandbox, "--audit-log /srv/kora/other");
    assert!(
        lines[0].contains("--audit-log /srv/kora/other"),
        "{lines:?}"
    );
}

/// Splits a line of a crontab as cron(8) does: five fields and the command, with `%` for `\%`.
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
    sandbox.shell(&as_cron_runs_it(&lines[0])).finish().exits(0);
    let state = fs::read_to_string(sandbox.path(folder).join("state/state.json")).unwrap();
    assert!(state.contains("100% of 'it'; $HOME/log"), "{state}");
}

#[test]
fn a_run_that_is_still_under_way_is_waited_for() {
    let sandbox = Sandbox::bare();
    assert!(block(&sandbox, "")[0].ends_with("run --wait 30"));
}

/// Runs in its own mount namespace, so that this machine's crontabs and cron are not touched. It ends when
/// the test ends, also after a panic.
pub const CRON: &str = "set -e
    mount --make-rprivate /
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /var/spool/cron
    mount -t tmpfs tmpfs /etc/cron.d
    mkdir -m 1730 /var/spool/cron/crontabs
    cp \"$1\" /var/spool/cron/crontabs/root
    chmod 600 /var/spool/cron/crontabs/root
    exec setpriv --pdeathsig KILL cron -f";

/// It needs root, and is skipped without it.
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

/// A `crontab` that keeps its table in a file of the sandbox.
const CRONTAB: &str = "#!/bin/sh
set -eu
table=$HOME/table
case $1 in
    -l) cat \"$table\" 2>/dev/null || { echo \"no crontab for $USER\" >&2; exit 1; } ;;
    -r) rm \"$table\" ;;
    -) cat > \"$table.new\"; mv \"$table.new\" \"$table\" ;;
esac
";

/// A sandbox in whose PATH this is the `crontab`.
fn with_crontab(script: &str) -> Sandbox {
    let sandbox = Sandbox::bare();
    let file = sandbox.give("home/bin/crontab", script);
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let folder = file.parent().unwrap().display();
    sandbox.set("PATH", format!("{folder}:{path}"));
    sandbox.set("USER", "joshua");
    sandbox
}

#[test]
fn the_block_is_installed_and_removed_and_nothing_else_changes() {
    for table in [None, Some("MAILTO=\"\"\n\n# mine\n5 4 * * *\tls # x\n")] {
        let sandbox = with_crontab(CRONTAB);
        let file = sandbox.path("home/table");
        if let Some(table) = table {
            fs::write(&file, table).unwrap();
        }
        let read = || fs::read_to_string(&file).ok();
        sandbox.command("schedule cron --remove").exits(0);
        assert_eq!(read().as_deref(), table);
        let block = sandbox.command("schedule cron").exits(0).stdout;
        let expected = format!("{}{block}", table.unwrap_or_default());
        for _ in 0..2 {
            sandbox
                .command("schedule cron --install")
                .exits(0)
                .prints("--remove");
            assert_eq!(read().as_deref(), Some(expected.as_str()));
        }
        sandbox.set("KORA_PROBE_WAKE_POLL_SEC", "60");
        sandbox.command("schedule cron --install").exits(0);
        assert_eq!(read().unwrap().matches("run --wait").count(), 1);
        sandbox.command("schedule cron --remove").exits(0);
        assert_eq!(read().as_deref(), table);
    }
}

#[test]
fn a_crontab_that_cannot_be_read_is_not_replaced() {
    for script in [
        "#!/bin/sh\n[ \"$1\" = - ] && touch $HOME/written\necho 'You (joshua) are not allowed' >&2\nexit 1\n",
        "#!/bin/sh\n[ \"$1\" = - ] && touch $HOME/written\necho '# BEGIN probe-wake'\n",
    ] {
        let sandbox = with_crontab(script);
        for line in ["schedule cron --install", "schedule cron --remove"] {
            sandbox.command(line).exits(1).warns("crontab");
        }
        assert!(!sandbox.path("home/written").exists());
    }
    let sandbox = Sandbox::bare();
    sandbox.set("PATH", sandbox.path("home"));
    sandbox
        .command("schedule cron --install")
        .exits(1)
        .warns("is cron installed?");
}

/// As above, in a mount namespace, with Debian's own `crontab`.
const REAL_CRONTAB: &str = "set -e
    mount --make-rprivate /
    mount -t tmpfs tmpfs /var/spool/cron
    mkdir -m 1730 /var/spool/cron/crontabs
    echo '5 4 * * * true' | crontab -
    \"$1\" schedule cron --install
    \"$1\" schedule cron --install
    crontab -l
    \"$1\" schedule cron --remove
    echo ---
    crontab -l";

#[test]
fn debians_crontab_takes_the_block() {
    needs!("crontab");
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::bare();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", REAL_CRONTAB, "sh", BINARY]);
    let told = sandbox.spawn(&mut command).finish().exits(0).stdout;
    let (with, without) = told.split_once("---\n").unwrap();
    assert_eq!(with.matches("# BEGIN probe-wake\n").count(), 1, "{told}");
    assert!(with.contains("5 4 * * * true\n# BEGIN"), "{told}");
    assert_eq!(without, "5 4 * * * true\n");
}
