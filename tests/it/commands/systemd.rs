//! Section 9 of the contract: `schedule systemd`, held to systemd's own judgement.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{BINARY, Sandbox};

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
    fs::copy(BINARY, &binary).unwrap();
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
    fs::copy(BINARY, &binary).unwrap();
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
}

/// In seconds.
#[track_caller]
fn limit(sandbox: &Sandbox) -> u64 {
    let unit = Unit::of(sandbox, "");
    let line = unit
        .service
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStartSec="));
    line.unwrap().parse().unwrap()
}

#[test]
fn the_time_limit_is_above_the_runs_own_and_the_last_investigation() {
    let sandbox = Sandbox::new();
    assert!(limit(&sandbox) > 300);
    sandbox.set("KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", "1000");
    assert!(limit(&sandbox) > 1_000);
    sandbox.set("KORA_PROBE_ENGINE_URL", "http://127.0.0.1:1/");
    sandbox.set("KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "500");
    assert!(limit(&sandbox) > 1_500);
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
    assert!(!Unit::of(&sandbox, "").service.contains("ReadWritePaths"));
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
