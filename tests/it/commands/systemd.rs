//! Section 9 of the contract: `schedule systemd`, checked with systemd's own tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{BINARY, Sandbox, copy_binary};

/// The two files as a person would cut them out of what is printed.
struct Unit {
    service: String,
    timer: String,
}

impl Unit {
    #[track_caller]
    fn of(sandbox: &Sandbox, flags: &str) -> Self {
        let told = sandbox
            .command(&format!("schedule systemd {flags}"))
            .exits(0);
        let (service, timer) = told
            .stdout
            .split_once("# probe-wake.timer\n")
            .expect("a timer");
        assert!(service.starts_with("# probe-wake.service\n"), "{service}");
        assert_eq!(told.stderr, "");
        Self {
            service: service.to_owned(),
            timer: format!("# probe-wake.timer\n{timer}"),
        }
    }

    /// Writes them where systemd's tools can look at them.
    fn written(&self, sandbox: &Sandbox) -> [PathBuf; 2] {
        let give = |name: &str, text: &str| sandbox.give(&format!("units/{name}"), text);
        [
            give("probe-wake.service", &self.service),
            give("probe-wake.timer", &self.timer),
        ]
    }

    #[track_caller]
    fn has(&self, line: &str) {
        let all = format!("{}\n{}", self.service, self.timer);
        assert!(all.lines().any(|one| one == line), "no {line:?} in\n{all}");
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
    let (service, timer) = printed.stdout.split_once("# probe-wake.timer\n").unwrap();
    let unit = Unit {
        service: service.into(),
        timer: timer.into(),
    };
    verified(&sandbox, &unit);
    let doubled = named("env").display().to_string().replace('%', "%%");
    unit.has(&format!("EnvironmentFile=-{doubled}"));
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
    let [service, _] = Unit::of(&sandbox, "").written(&sandbox);
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
    unit.has(&format!("ExecStart={BINARY} run"));
    unit.has(&format!("EnvironmentFile=-{}", env_file.display()));
    unit.has("Type=oneshot");
    unit.has("StateDirectory=probe-wake");
    unit.has("SuccessExitStatus=75");
    unit.has("LimitCORE=0");
    unit.has("OnUnitActiveSec=30");
    unit.has("WantedBy=timers.target");
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
    assert!(all.contains("\n#   systemctl --user enable --now probe-wake.timer\n"));
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

/// The two files in a folder.
fn files(folder: &Path) -> [String; 2] {
    ["probe-wake.service", "probe-wake.timer"]
        .map(|name| fs::read_to_string(folder.join(name)).unwrap())
}

#[test]
fn units_are_written_and_the_commands_that_enable_them_are_told() {
    let sandbox = Sandbox::bare();
    for (flags, folder) in [
        ("", "units"),
        ("--user", "home/.config/systemd/user"),
        ("--user", "elsewhere"),
    ] {
        let unit = Unit::of(&sandbox, flags);
        // The second time changes nothing.
        let line = format!("schedule systemd {flags} --write {folder}");
        sandbox.command(&line).exits(0);
        let told = sandbox.command(&line).exits(0);
        let folder = sandbox.path(folder);
        assert_eq!(files(&folder), [unit.service, unit.timer]);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        let told = told.prints("enable --now probe-wake.timer\n");
        let needs_link = !folder.ends_with("systemd/user");
        let link = format!("link {}/probe-wake.service\n", folder.display());
        assert_eq!(told.stdout.contains(&link), needs_link, "{}", told.stdout);
    }
    let (first, second) = (sandbox.path("units"), sandbox.path("again"));
    fs::remove_file(first.join("probe-wake.timer")).unwrap();
    std::os::unix::fs::symlink(&second, first.join("probe-wake.timer")).unwrap();
    sandbox.command("schedule systemd --write units").exits(0);
    assert!(!second.exists(), "a link was followed");
}

#[test]
fn with_sudo_the_unit_is_the_calling_users() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Some(nobody) = passwd_line("nobody") else {
        return;
    };
    let sandbox = Sandbox::bare();
    sandbox.set("SUDO_UID", nobody[2].as_str());
    sandbox.set("SUDO_USER", "nobody");
    // A place from which that user can start it.
    let binary = std::env::temp_dir().join(format!("probe-wake-{}", std::process::id()));
    copy_binary(&binary);
    let run = |line: &str| {
        let arguments = line.split_whitespace();
        sandbox
            .spawn(Command::new(&binary).args(arguments))
            .finish()
    };
    let printed = run("schedule systemd").exits(0).stdout;
    let state = format!("STATE_DIR={}/.local/state/probe-wake\"\n", nobody[5]);
    for part in ["\nUser=nobody\n", state.as_str()] {
        assert!(printed.contains(part), "no {part} in {printed}");
    }
    run("schedule systemd --write units")
        .exits(0)
        .prints("sudo systemctl");
    let written = files(&sandbox.path("units")).concat();
    assert_eq!(written, printed);
    run("schedule systemd --nonsense").exits(2);
    fs::remove_file(binary).unwrap();
}

fn passwd_line(user: &str) -> Option<Vec<String>> {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users
        .lines()
        .find(|line| line.starts_with(&format!("{user}:")))?;
    Some(line.split(':').map(str::to_owned).collect())
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
