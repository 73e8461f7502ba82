//! `schedule systemd`, checked with systemd's own tools. A booted systemd runs its units in `crate::systemd`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{BINARY, Outcome, Sandbox, copy_binary};

/// The files as a person would cut them out of what is printed.
struct Unit {
    service: String,
    timer: String,
    /// `None` with `--no-path`.
    path: Option<String>,
}

impl Unit {
    #[track_caller]
    fn of(sandbox: &Sandbox, flags: &str) -> Self {
        let printed = sandbox
            .command(&format!("schedule systemd {flags}"))
            .exits(0);
        assert_eq!(printed.stderr, "");
        Self::cut(&printed.stdout)
    }

    #[track_caller]
    fn cut(printed: &str) -> Self {
        assert!(printed.starts_with("# probe-wake.service\n"), "{printed}");
        let at = |name: &str| printed.find(&format!("# {name}\n"));
        let timer = at("probe-wake.timer").expect("a timer");
        let path = at("probe-wake.path");
        Self {
            service: printed[..timer].to_owned(),
            timer: printed[timer..path.unwrap_or(printed.len())].to_owned(),
            path: path.map(|path| printed[path..].to_owned()),
        }
    }

    /// Each file's name with its text.
    fn files(&self) -> Vec<(&str, &str)> {
        let mut files = vec![
            ("probe-wake.service", self.service.as_str()),
            ("probe-wake.timer", self.timer.as_str()),
        ];
        files.extend(self.path.as_deref().map(|path| ("probe-wake.path", path)));
        files
    }

    /// Writes them where systemd's tools can look at them.
    fn written(&self, sandbox: &Sandbox) -> Vec<PathBuf> {
        let give = |(name, text)| sandbox.give(&format!("units/{name}"), text);
        self.files().into_iter().map(give).collect()
    }

    #[track_caller]
    fn has(&self, line: &str) {
        let mut lines = self.files().into_iter().flat_map(|(_, text)| text.lines());
        assert!(
            lines.any(|one| one == line),
            "no {line:?} in {}",
            self.service
        );
    }
}

/// `systemd-analyze` in the sandbox's environment.
fn analyze(arguments: &[&str], files: &[PathBuf]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command
        .args(arguments)
        .args(files)
        .env("LC_ALL", "C")
        .env("NO_COLOR", "1");
    command.output().expect("systemd-analyze")
}

#[track_caller]
fn verified(sandbox: &Sandbox, unit: &Unit) {
    let judged = analyze(&["verify", "--man=no"], &unit.written(sandbox));
    let said = [judged.stdout, judged.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(
        (judged.status.code(), said.as_str()),
        (Some(0), ""),
        "{}",
        unit.service
    );
}

#[test]
fn verify_is_silent() {
    needs!("systemd-analyze");
    let sandbox = Sandbox::new();
    verified(&sandbox, &Unit::of(&sandbox, ""));
}

#[test]
fn paths_with_spaces_quotes_and_percents_are_verified_too() {
    needs!("systemd-analyze");
    let sandbox = Sandbox::bare();
    let (odd, spaced) = ("a b/50% of \"it's\" \\x", sandbox.path("a b/100%n"));
    fs::create_dir_all(sandbox.path(odd)).unwrap();
    fs::create_dir(&spaced).unwrap();
    let binary = spaced.join("probe wake%n");
    copy_binary(&binary);
    let named = |file: &str| sandbox.path(odd).join(file);
    sandbox.set("KORA_AUDIT_LOG_PATH", named("log"));
    sandbox.set("KORA_PROBE_WAKE_STATE_DIR", named("state"));
    sandbox.set("KORA_PROBE_WAKE_METRICS_FILE", named("x.prom"));
    sandbox.give(&format!("{odd}/env"), "");
    sandbox.set("KORA_PROBE_WAKE_ENV_FILE", named("env"));
    let printed = sandbox
        .spawn(Command::new(&binary).args(["schedule", "systemd"]))
        .finish();
    let unit = Unit::cut(&printed.stdout);
    verified(&sandbox, &unit);
    let doubled = named("env").display().to_string().replace('%', "%%");
    unit.has(&format!("EnvironmentFile=-{doubled}"));
    let log = named("log").display().to_string().replace('%', "%%");
    unit.has(&format!("PathModified={log}"));
    let quoted = named("log")
        .display()
        .to_string()
        .replace('%', "%%")
        .replace('\\', "\\\\");
    let quoted = quoted.replace('"', "\\\"");
    unit.has(&format!("Environment=\"KORA_AUDIT_LOG_PATH={quoted}\""));
}

#[test]
fn a_binary_that_systemd_would_not_start_is_refused() {
    let sandbox = Sandbox::new();
    let binary = sandbox.path("it's");
    copy_binary(&binary);
    let printed = sandbox
        .spawn(Command::new(&binary).args(["schedule", "systemd"]))
        .finish();
    printed.exits(1).warns("plainer path");
}

#[test]
fn its_exposure_is_rated_four_or_better() {
    needs!("systemd-analyze");
    let sandbox = Sandbox::new();
    let service = Unit::of(&sandbox, "").written(&sandbox).remove(0);
    let judged = analyze(
        &["security", "--offline=true", "--threshold=40", "--no-pager"],
        &[service],
    );
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(
        judged.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&judged.stderr)
    );
    assert!(said.contains("Overall exposure level"), "{said}");
}

#[test]
fn it_names_this_binary_its_settings_and_its_limits() {
    let sandbox = Sandbox::bare();
    let unit = Unit::of(&sandbox, "");
    let env_file = sandbox.path("home/.config/probe-wake/env");
    unit.has(&format!("ExecStart={BINARY} run --pace 1"));
    unit.has(&format!("EnvironmentFile=-{}", env_file.display()));
    unit.has("Type=oneshot");
    unit.has("StateDirectory=probe-wake");
    unit.has("SuccessExitStatus=75");
    unit.has("LimitCORE=0");
    unit.has("LogLevelMax=notice");
    unit.has("OnUnitActiveSec=30");
    unit.has("WantedBy=timers.target");
    let log = sandbox.path("home/.kora/kora_audit_log.jsonl");
    unit.has(&format!("PathModified={}", log.display()));
    unit.has("TriggerLimitIntervalSec=0");
    unit.has("WantedBy=paths.target");
    assert!(Unit::of(&sandbox, "--no-path").path.is_none());
}

#[test]
fn a_log_that_is_a_link_is_watched_at_both_ends() {
    needs!("systemd-analyze");
    let sandbox = Sandbox::new();
    let (next, end) = (sandbox.path("a b/link"), sandbox.path("end"));
    fs::create_dir(sandbox.path("a b")).unwrap();
    std::os::unix::fs::symlink(&next, sandbox.log()).unwrap();
    // The file itself need not be there.
    std::os::unix::fs::symlink("../end", &next).unwrap();
    let unit = Unit::of(&sandbox, "");
    unit.has(&format!("PathModified={}", sandbox.log().display()));
    unit.has(&format!("PathModified={}", next.display()));
    let path = unit.path.clone().unwrap();
    assert_eq!(path.matches("PathModified=").count(), 3);
    verified(&sandbox, &unit);
    fs::remove_file(&next).unwrap();
    std::os::unix::fs::symlink(sandbox.log(), &next).unwrap();
    verified(&sandbox, &Unit::of(&sandbox, ""));
    assert!(!end.exists());
}

#[test]
fn the_cadence_is_the_one_that_is_set() {
    let sandbox = Sandbox::new();
    sandbox.set("KORA_PROBE_WAKE_POLL_SEC", "90");
    let unit = Unit::of(&sandbox, "");
    unit.has("OnUnitActiveSec=90");
    unit.has("OnActiveSec=90");
    sandbox.set("KORA_PROBE_WAKE_POLL_SEC", "0.5");
    let unit = Unit::of(&sandbox, "");
    unit.has("OnUnitActiveSec=0.5");
    // Otherwise systemd gives up after five starts within ten seconds.
    unit.has("StartLimitIntervalSec=0");
    verified(&sandbox, &unit);
}

/// One state, wherever it is run from.
#[test]
fn the_state_is_where_a_run_by_hand_has_it() {
    let sandbox = Sandbox::bare();
    for (variable, folder) in [
        ("HOME", "home/.local/state/probe-wake"),
        ("XDG_STATE_HOME", "xdg/probe-wake"),
        ("KORA_PROBE_WAKE_STATE_DIR", "named"),
    ] {
        let value = folder.split('/').next().unwrap();
        sandbox.set(variable, sandbox.path(value));
        let by_hand = sandbox.command("status --format json").exits(0).json();
        let by_hand = by_hand["state_dir"].as_str().unwrap();
        assert_eq!(by_hand, sandbox.path(folder).display().to_string());
        for flags in ["", "--user"] {
            let unit = Unit::of(&sandbox, flags);
            unit.has(&format!(
                "Environment=\"KORA_PROBE_WAKE_STATE_DIR={by_hand}\""
            ));
        }
        Unit::of(&sandbox, "").has(&format!("ReadWritePaths=\"-{by_hand}\""));
    }
}

#[test]
fn a_unit_of_the_users_own_manager_is_verified_and_says_how_to_linger() {
    needs!("systemd-analyze");
    let sandbox = Sandbox::new();
    let unit = Unit::of(&sandbox, "--user");
    let all = &unit.service;
    for name in ["timer", "path"] {
        let start = format!("\n#   systemctl --user enable --now probe-wake.{name}\n");
        assert!(all.contains(&start), "{all}");
    }
    assert!(all.contains("\n#   loginctl enable-linger "), "{all}");
    // Settings that the user's manager has no right to.
    for line in [
        "User=",
        "CapabilityBoundingSet=",
        "Protect",
        "network-online.target",
    ] {
        assert!(!all.contains(line), "{line} in {all}");
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--user", "--man=no"]);
    command.args(unit.written(&sandbox));
    sandbox.set("XDG_RUNTIME_DIR", sandbox.path("home"));
    sandbox.spawn(&mut command).finish().exits(0).silent();
}

#[test]
fn units_are_written_and_removed_with_the_commands_that_start_and_stop_them() {
    let sandbox = Sandbox::bare();
    for (flags, folder) in [
        ("", "units"),
        ("--no-path", "without"),
        ("--user", "home/.config/systemd/user"),
        ("--user", "elsewhere"),
    ] {
        let unit = Unit::of(&sandbox, flags);
        // The second time changes nothing.
        let line = format!("schedule systemd {flags} --write {folder}");
        sandbox.command(&line).exits(0);
        let printed = sandbox.command(&line).exits(0);
        let shown = sandbox.path(folder);
        for (name, text) in unit.files() {
            assert_eq!(fs::read_to_string(shown.join(name)).unwrap(), text);
            let starts = format!("enable --now {name}\n");
            let is_started = name != "probe-wake.service";
            assert_eq!(printed.stdout.contains(&starts), is_started);
        }
        let count = fs::read_dir(&shown).unwrap().count();
        assert_eq!(count, unit.files().len());
        let needs_link = !folder.ends_with("systemd/user");
        let link = format!("link {}/probe-wake.service\n", shown.display());
        assert_eq!(printed.stdout.contains(&link), needs_link);
        let lingers = printed.stdout.contains("loginctl enable-linger");
        assert_eq!(lingers, flags == "--user");
        // The first file of a state folder that others can read would be too late.
        let state = sandbox.path("home/.local/state/probe-wake");
        assert_eq!(fs::metadata(state).unwrap().mode() & 0o777, 0o700);

        let line = format!("schedule systemd {flags} --remove {folder}");
        let mut line = line.replace("--no-path ", "");
        if !needs_link {
            // The folder says whose service manager it is.
            line = line.replace("--user ", "");
        }
        let printed = sandbox.command(&line).exits(0);
        assert_eq!(
            printed.stdout.contains("--user stop"),
            !flags.is_empty() && flags != "--no-path"
        );
        printed
            .prints(" daemon-reload\n")
            .prints(" stop probe-wake.timer")
            .prints(" disable probe-wake.timer");
        assert_eq!(fs::read_dir(&shown).unwrap().count(), 0);
        sandbox.command(&line).exits(0).prints("holds no units");
    }
}

#[test]
fn a_path_unit_that_is_not_wanted_any_more_is_removed() {
    let sandbox = Sandbox::bare();
    sandbox.command("schedule systemd --write units").exits(0);
    let line = "schedule systemd --no-path --write units";
    let stop = "stop probe-wake.path\n";
    sandbox.command(line).exits(0).prints(stop);
    assert!(!sandbox.path("units/probe-wake.path").exists());
    sandbox.command(line).exits(0).hides(stop);
}

#[test]
fn a_link_in_the_place_of_a_unit_is_not_followed() {
    let sandbox = Sandbox::bare();
    let elsewhere = sandbox.path("elsewhere");
    fs::create_dir(sandbox.path("units")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, sandbox.path("units/probe-wake.timer")).unwrap();
    sandbox.command("schedule systemd --write units").exits(0);
    assert!(!elsewhere.exists());
}

/// A sandbox under sudo: a calling user with a home folder that `/etc/passwd` names, and one without.
const SUDO: &str = "set -e
    mount --make-rprivate /
    mount -t tmpfs tmpfs /home
    cp /etc/passwd passwd
    echo joshua:x:4242:4242::/home/joshua: >> passwd
    mount --bind passwd /etc/passwd
    mkdir -p /home/joshua/.config/probe-wake
    echo KORA_PROBE_WAKE_POLL_SEC=45 > /home/joshua/.config/probe-wake/env
    chown -R 4242:4242 /home/joshua
    chmod -R go= /home/joshua
    export SUDO_GID=4242
    ";

fn under_sudo(sandbox: &Sandbox, script: &str) -> Outcome {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        &format!("{SUDO}{script}"),
        "sh",
        BINARY,
    ]);
    sandbox.spawn(&mut command).finish()
}

#[test]
fn with_sudo_the_runs_are_the_calling_users() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::bare();
    let told = under_sudo(
        &sandbox,
        "export SUDO_UID=4242
        $1 schedule systemd > printed
        $1 schedule systemd --write units
        $1 schedule systemd --user --write /home/joshua/.config/systemd/user
        $1 schedule cron
        cd units && cat probe-wake.service probe-wake.timer probe-wake.path | cmp ../printed -
        stat -c %u *
        stat -c '%u %a' /home/joshua/.local/state/probe-wake
        stat -c %u /home/joshua/.config/systemd/user/probe-wake.path",
    );
    let told = told.exits(0);
    let printed = fs::read_to_string(sandbox.path("printed")).unwrap();
    for line in [
        "User=joshua",
        "OnUnitActiveSec=45",
        "Environment=\"KORA_PROBE_WAKE_STATE_DIR=/home/joshua/.local/state/probe-wake\"",
        "PathModified=/home/joshua/.kora/kora_audit_log.jsonl",
        "EnvironmentFile=-/home/joshua/.config/probe-wake/env",
    ] {
        assert!(printed.lines().any(|one| one == line), "{line}: {printed}");
    }
    let told = told.prints("sudo systemctl enable").prints("sleep 45; ");
    let told = told.prints("loginctl enable-linger joshua\n");
    // The system's units belong to root, the state and the user's units to the user.
    assert!(
        told.stdout.ends_with("\n0\n0\n0\n4242 700\n4242\n"),
        "{}",
        told.stdout
    );
}

#[test]
fn with_sudo_a_user_without_a_name_has_to_name_the_state_folder() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::bare();
    let asked = "export SUDO_UID=4343; $1 schedule systemd";
    under_sudo(&sandbox, asked).exits(2).warns("--state-dir");
    let named = format!("{asked} --state-dir state --audit-log /srv/log --write units");
    under_sudo(&sandbox, &named).exits(0);
    let service = fs::read_to_string(sandbox.path("units/probe-wake.service")).unwrap();
    assert!(service.contains("\nUser=4343\n"), "{service}");
    assert_eq!(fs::metadata(sandbox.path("state")).unwrap().uid(), 4343);
    let nowhere = named.replace("--state-dir state", "--state-dir missing/state");
    let told = under_sudo(&sandbox, &nowhere).exits(0);
    told.warns("cannot make the state folder");
}

#[track_caller]
fn limit(sandbox: &Sandbox) -> String {
    let unit = Unit::of(sandbox, "");
    let line = unit
        .service
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStartSec="));
    line.unwrap().to_owned()
}

#[test]
fn the_time_limit_is_above_the_runs_own_and_the_last_investigation() {
    let sandbox = Sandbox::new();
    assert_eq!(limit(&sandbox), "480");
    sandbox.set("KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", "1000");
    sandbox.set("KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "500");
    assert_eq!(limit(&sandbox), "1620");
    sandbox.set("KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", "0");
    assert_eq!(limit(&sandbox), "infinity");
}

#[test]
fn a_log_under_a_home_folder_can_be_read_and_it_says_how() {
    let sandbox = Sandbox::bare();
    sandbox.set("HOME", "/home/joshua");
    let unit = Unit::of(&sandbox, "");
    unit.has("Environment=\"KORA_AUDIT_LOG_PATH=/home/joshua/.kora/kora_audit_log.jsonl\"");
    unit.has("ProtectHome=read-only");
    let told = unit.service.to_lowercase();
    assert!(
        told.contains("# the log is only read: a home folder is there read-only"),
        "{told}"
    );
}

#[test]
fn what_lies_in_tmp_is_not_hidden_by_a_private_one() {
    for variable in [
        "KORA_AUDIT_LOG_PATH",
        "KORA_PROBE_WAKE_STATE_DIR",
        "KORA_PROBE_WAKE_METRICS_FILE",
        "KORA_SNAPSHOT_PATH",
        "SSL_CERT_FILE",
    ] {
        let sandbox = Sandbox::bare();
        sandbox.set(variable, "/tmp/somewhere/file");
        let unit = Unit::of(&sandbox, "");
        assert!(!unit.service.contains("PrivateTmp"), "{variable}");
    }
}

#[test]
fn folders_that_are_named_are_writable_and_no_others() {
    let sandbox = Sandbox::bare();
    let writable = |unit: &Unit| unit.service.matches("ReadWritePaths=").count();
    assert_eq!(writable(&Unit::of(&sandbox, "")), 1);
    sandbox.set("KORA_PROBE_WAKE_STATE_DIR", "/srv/wake");
    sandbox.set(
        "KORA_PROBE_WAKE_METRICS_FILE",
        "/var/lib/node_exporter/wake.prom",
    );
    sandbox.set("KORA_PROBE_OUTCOME_LOG", "/srv/outcomes/log");
    let unit = Unit::of(&sandbox, "");
    unit.has("Environment=\"KORA_PROBE_WAKE_STATE_DIR=/srv/wake\"");
    for folder in ["/srv/wake", "/var/lib/node_exporter", "/srv/outcomes"] {
        unit.has(&format!("ReadWritePaths=\"-{folder}\""));
    }
    assert_eq!(writable(&unit), 3);
}

#[test]
fn an_env_file_whose_name_would_swallow_the_next_line_is_refused() {
    let sandbox = Sandbox::bare();
    let file = sandbox.give("given/env\\", "");
    sandbox.set("KORA_PROBE_WAKE_ENV_FILE", file);
    for line in ["schedule systemd", "schedule systemd --user"] {
        sandbox.command(line).exits(1).warns("plainer path");
    }
}

#[test]
fn a_setting_that_only_this_shell_has_is_warned_of() {
    let sandbox = Sandbox::bare();
    sandbox.set("KORA_PROBE_WAKE_METRICS_FILE", "/srv/x.prom");
    sandbox.set("KORA_SLACK_JOSHUA_USER_ID", "U1");
    let write = || sandbox.command("schedule systemd --write units").exits(0);
    for name in ["KORA_PROBE_WAKE_METRICS_FILE", "KORA_SLACK_JOSHUA_USER_ID"] {
        let told = write().stderr;
        assert!(told.contains(&format!("{name} is set here")), "{told}");
    }
    let settings = "KORA_PROBE_WAKE_METRICS_FILE=/srv/x.prom\nKORA_SLACK_JOSHUA_USER_ID=U1\n";
    sandbox.give("home/.config/probe-wake/env", settings);
    assert_eq!(write().stderr, "");
}

#[test]
fn flags_and_the_named_env_file_reach_the_unit() {
    let sandbox = Sandbox::bare();
    let file = sandbox.give("given/env", "KORA_PROBE_WAKE_POLL_SEC=45\n");
    let line = format!("EnvironmentFile=-{}", file.display());
    let flagged = Unit::of(&sandbox, "--env-file given/env --audit-log /srv/log");
    flagged.has(&line);
    flagged.has("Environment=\"KORA_AUDIT_LOG_PATH=/srv/log\"");
    flagged.has("OnUnitActiveSec=45");
    sandbox.set("KORA_PROBE_WAKE_ENV_FILE", &file);
    Unit::of(&sandbox, "").has(&line);
}
