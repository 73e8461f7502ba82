//! The systemd unit and its timer.

use std::path::{Path, PathBuf};

use super::{Plan, cannot_stand, printable, shell_word};
use crate::commands::user::User;
use crate::config::Config;
use crate::exit::Problem;

pub(super) const SERVICE: &str = "probe-wake.service";
pub(super) const TIMER: &str = "probe-wake.timer";

/// In seconds: what a run may need for Slack when its own time and the engine's are over.
const TIME_FOR_SLACK: u64 = 120;

/// Where the system's service manager looks for units.
pub(super) const SYSTEM_FOLDER: &str = "/etc/systemd/system";

/// Both files in one text, each with its name above it. With `own`, they are for the user's service
/// manager, otherwise for the system's.
pub(super) fn units(plan: &Plan, own: bool) -> Result<String, Problem> {
    let service = if own {
        own_service(plan)?
    } else {
        system_service(plan)?
    };
    Ok(service + "\n" + &timer(plan.config.cadence.as_secs_f64()))
}

/// The command for the user's service manager or the system's, which needs root.
pub(super) fn systemctl(own: bool) -> &'static str {
    match own {
        true => "systemctl --user",
        false if rustix::process::geteuid().is_root() => "systemctl",
        false => "sudo systemctl",
    }
}

/// A unit for the system's service manager. It runs as this user.
fn system_service(plan: &Plan) -> Result<String, Problem> {
    let config = &plan.config;
    let (user, systemctl) = (User::current_name(), systemctl(false));
    let settings = settings(plan)?;
    let state_dir = shell_word(&config.paths.state_dir)?;
    let writable = writable(config)?;
    let private_tmp = match needs_tmp(config, &plan.binary) {
        true => "",
        false => "PrivateTmp=yes\n",
    };
    Ok(format!(
        "\
# {SERVICE}
# Both files go to {SYSTEM_FOLDER}. Then, the first as {user}:
#   mkdir -p -m 700 {state_dir}
#   {systemctl} daemon-reload
#   {systemctl} enable --now {TIMER}
[Unit]
Description=Tell the operator of new wake rows in the audit log
StartLimitIntervalSec=0
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User={user}
{settings}\
# Used only where the line with the state folder is taken out
StateDirectory=probe-wake
StateDirectoryMode=0700
# The log is only read: a home folder is there read-only, and nothing but the state is writable
ProtectHome=read-only
ProtectSystem=strict
{private_tmp}{writable}\
{HARDENING}{HARDENING_BY_ROOT}\
"
    ))
}

/// A unit for the user's service manager, which has fewer means to confine it.
fn own_service(plan: &Plan) -> Result<String, Problem> {
    let (user, settings) = (User::current_name(), settings(plan)?);
    let systemctl = systemctl(true);
    Ok(format!(
        "\
# {SERVICE}
# Both files go to ~/.config/systemd/user. Then, the last so that it runs while {user} is logged out:
#   {systemctl} daemon-reload
#   {systemctl} enable --now {TIMER}
#   loginctl enable-linger {user}
[Unit]
Description=Tell the operator of new wake rows in the audit log
StartLimitIntervalSec=0

[Service]
Type=oneshot
{settings}\
{HARDENING}\
"
    ))
}

/// The command and the settings that both kinds of units have.
fn settings(plan: &Plan) -> Result<String, Problem> {
    let config = &plan.config;
    // systemd does not start a program that has one of these in its path.
    if printable(&plan.binary)?.contains(['"', '\'', '\\']) {
        return Err(cannot_stand(&plan.binary));
    }
    let binary = word(&plan.binary)?;
    let (log, state_dir) = (audit_log_line(plan)?, text(&config.paths.state_dir)?);
    let (env_file, limit) = (env_file_line(plan)?, time_limit(config));
    Ok(format!(
        "\
ExecStart={binary} run
# What the env file says wins over what is said here
{log}\
Environment=\"KORA_PROBE_WAKE_STATE_DIR={state_dir}\"
{env_file}\
# 75: another run holds the lock
SuccessExitStatus=75
# Above the run's own limit, so that a run ends by itself
TimeoutStartSec={limit}
"
    ))
}

/// The log's path. It is left out if an env file names it, so that a change there counts.
fn audit_log_line(plan: &Plan) -> Result<String, Problem> {
    let log = &plan.config.paths.audit_log;
    if plan.config.env_file.is_some() && plan.found.audit_log == *log {
        return Ok(String::new());
    }
    let log = text(log)?;
    Ok(format!("Environment=\"KORA_AUDIT_LOG_PATH={log}\"\n"))
}

fn timer(cadence: f64) -> String {
    format!(
        "\
# {TIMER}
[Unit]
Description=Run probe-wake every {cadence} s

[Timer]
OnActiveSec={cadence}
OnUnitActiveSec={cadence}
AccuracySec={accuracy}

[Install]
WantedBy=timers.target
",
        accuracy = cadence.min(1.0)
    )
}

/// In seconds, more than the longest run takes.
fn time_limit(config: &Config) -> String {
    let Some(max_runtime) = config.max_runtime else {
        return "infinity".to_owned();
    };
    let limit = max_runtime.as_secs() + config.engine_timeout.as_secs() + TIME_FOR_SLACK;
    limit.to_string()
}

fn env_file_line(plan: &Plan) -> Result<String, Problem> {
    let Some(path) = &plan.env_file else {
        return Ok(String::new());
    };
    // systemd takes the rest of this line as the path and knows no quotes here. A backslash at the
    // end would join the next line.
    let text = printable(path)?.replace('%', "%%");
    if text.ends_with(|c: char| c == '\\' || c.is_whitespace()) {
        return Err(cannot_stand(path));
    }
    Ok(format!("EnvironmentFile=-{text}\n"))
}

/// Whether a private `/tmp` would hide something that a run needs.
fn needs_tmp(config: &Config, binary: &Path) -> bool {
    let paths = &config.paths;
    let files = [&config.metrics_file, &paths.outcome_log];
    let files = files.into_iter().flatten().chain(&config.secret_files);
    let files = files.chain([&paths.audit_log, &paths.state_dir]);
    let mut needed = files.map(PathBuf::as_path).chain([binary]);
    needed.any(|path| path.starts_with("/tmp") || path.starts_with("/var/tmp"))
}

/// Settings that need neither privileges nor a mount namespace.
const HARDENING: &str = "\
NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
LimitCORE=0
UMask=0077
";

const HARDENING_BY_ROOT: &str = "\
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RemoveIPC=yes
CapabilityBoundingSet=
AmbientCapabilities=
";

/// The folders that a run writes into.
fn writable(config: &Config) -> Result<String, Problem> {
    let files = [&config.metrics_file, &config.paths.outcome_log];
    let folders = files.into_iter().flatten().filter_map(|file| file.parent());
    let folders = folders.chain([config.paths.state_dir.as_path()]);
    let lines = folders.map(|folder| Ok(format!("ReadWritePaths=\"-{}\"\n", text(folder)?)));
    lines.collect()
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
