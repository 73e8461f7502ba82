//! The systemd unit and its timer.

use std::path::Path;

use super::{cannot_stand, env_file, printable};
use crate::config::{Config, usual_state_dir};
use crate::exit::Problem;

/// Over its own time and the last investigation, what a run may need for Slack.
const TIME_FOR_SLACK: u64 = 120;

/// The two files, one behind the other, each with its name above it.
pub(super) fn units(config: &Config, binary: &Path) -> Result<String, Problem> {
    Ok(service(config, binary)? + &timer(config.cadence.as_secs_f64()))
}

fn service(config: &Config, binary_path: &Path) -> Result<String, Problem> {
    // systemd starts no program with these in its path.
    if printable(binary_path)?.contains(['"', '\'', '\\']) {
        return Err(cannot_stand(binary_path));
    }
    let binary = word(binary_path)?;
    let log = text(&config.paths.audit_log)?;
    let (user, limit) = (user(), time_limit(config));
    let (env_file, state_dir) = (env_file_line(config)?, state_dir(config)?);
    let writable = writable(config)?;
    let private_tmp = match needs_tmp(config, binary_path) {
        true => "",
        false => "PrivateTmp=yes\n",
    };
    Ok(format!(
        "\
# probe-wake.service
# Both files go to /etc/systemd/system; then, as root:
#   systemctl daemon-reload && systemctl enable --now probe-wake.timer
[Unit]
Description=Tell the operator of new wake rows in the audit log
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User={user}
ExecStart={binary} run
Environment=\"KORA_AUDIT_LOG_PATH={log}\"
{env_file}{state_dir}\
StateDirectory=probe-wake
StateDirectoryMode=0700
# 75: another run holds the lock
SuccessExitStatus=75
# Above the run's own limit, so that a run ends by itself
TimeoutStartSec={limit}
# The log is only read: a home folder is there read-only, and nothing but the state is writable
ProtectHome=read-only
ProtectSystem=strict
{private_tmp}{writable}\
{HARDENING}
",
    ))
}

fn timer(cadence: f64) -> String {
    format!(
        "\
# probe-wake.timer
[Unit]
Description=Run probe-wake every {cadence} s

[Timer]
OnActiveSec={cadence}
OnUnitActiveSec={cadence}
AccuracySec=1s

[Install]
WantedBy=timers.target
"
    )
}

/// In seconds, above what a run takes at the most.
fn time_limit(config: &Config) -> String {
    let Some(max_runtime) = config.max_runtime else {
        return "infinity".to_owned();
    };
    let engine = config.engine.as_ref();
    let investigation = engine.map_or(0, |engine| engine.timeout.as_secs());
    (max_runtime.as_secs() + investigation + TIME_FOR_SLACK).to_string()
}

fn env_file_line(config: &Config) -> Result<String, Problem> {
    let Some(path) = env_file(config) else {
        return Ok(String::new());
    };
    // The rest of this line is the path as it is: it knows no quotes.
    let path = printable(&path)?.replace('%', "%%");
    Ok(format!("EnvironmentFile=-{path}\n"))
}

/// Whether a private `/tmp` would hide something that a run needs.
fn needs_tmp(config: &Config, binary: &Path) -> bool {
    let needed = [
        &config.metrics_file,
        &config.paths.outcome_log,
        &Some(binary.to_owned()),
        &Some(config.paths.audit_log.clone()),
        &Some(config.paths.state_dir.clone()),
    ];
    let mut needed = needed.into_iter().flatten().chain(&config.secret_files);
    needed.any(|path| path.starts_with("/tmp") || path.starts_with("/var/tmp"))
}

const HARDENING: &str = "\
NoNewPrivileges=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
CapabilityBoundingSet=
AmbientCapabilities=
UMask=0077
";

/// Where the state is, which `StateDirectory=` does not say where another folder is named.
fn state_dir(config: &Config) -> Result<String, Problem> {
    let dir = &config.paths.state_dir;
    if Some(dir) == usual_state_dir().as_ref() {
        return Ok("\
# The state is in /var/lib/probe-wake; by hand: probe-wake --state-dir /var/lib/probe-wake status
"
        .to_owned());
    }
    let dir = text(dir)?;
    Ok(format!("Environment=\"KORA_PROBE_WAKE_STATE_DIR={dir}\"\n"))
}

/// The folders outside `StateDirectory=` that a run writes into.
fn writable(config: &Config) -> Result<String, Problem> {
    let files = [&config.metrics_file, &config.paths.outcome_log];
    let folders = files.into_iter().flatten().filter_map(|file| file.parent());
    let state_dir = Some(config.paths.state_dir.as_path());
    let usual = usual_state_dir();
    let folders = folders.chain(state_dir.filter(|dir| Some(*dir) != usual.as_deref()));
    let lines = folders.map(|folder| Ok(format!("ReadWritePaths=\"-{}\"\n", text(folder)?)));
    lines.collect()
}

/// The user that runs this, by name where there is one.
fn user() -> String {
    let id = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut lines = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let named = lines.find(|fields| fields.get(2) == Some(&id.as_str()));
    named
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()))
        .unwrap_or(id)
}

/// A path as it stands between double quotes in a unit file; `%` is doubled.
fn text(path: &Path) -> Result<String, Problem> {
    let text = printable(path)?.replace('%', "%%");
    Ok(text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A path as a word of a unit file, quoted where it is not plain.
fn word(path: &Path) -> Result<String, Problem> {
    let text = text(path)?;
    Ok(if text.contains([' ', '\'', '\\']) {
        format!("\"{text}\"")
    } else {
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_is_quoted_where_it_is_not_plain() {
        assert_eq!(word(Path::new("/a b/50%")).unwrap(), "\"/a b/50%%\"");
        assert_eq!(word(Path::new("/a/b")).unwrap(), "/a/b");
        assert!(word(Path::new("/a\nb")).is_err());
    }
}
