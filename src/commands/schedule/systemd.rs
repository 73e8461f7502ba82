//! The systemd units: a service that is one run, a timer, and a path unit that starts the service
//! when the log is written.

use std::path::{Path, PathBuf};

use super::{Plan, cannot_stand, printable, shell_word};
use crate::cli::SystemdArgs;
use crate::commands::user::User;
use crate::config::{self, Config, Paths};
use crate::exit::Problem;

const SERVICE: &str = "probe-wake.service";
const TIMER: &str = "probe-wake.timer";
pub(super) const PATH: &str = "probe-wake.path";
pub(super) const UNITS: [&str; 3] = [SERVICE, TIMER, PATH];

/// In seconds: what a run may need for Slack when its own time and the engine's are over.
const TIME_FOR_SLACK: u64 = 120;

/// Where the system's service manager looks for units.
pub(super) const SYSTEM_FOLDER: &str = "/etc/systemd/system";

/// Returns the units, each with the name of its file, which is also its first line.
pub(super) fn units(
    plan: &Plan,
    args: &SystemdArgs,
) -> Result<Vec<(&'static str, String)>, Problem> {
    let service = match args.user {
        true => own_service(plan, args)?,
        false => system_service(plan, args)?,
    };
    let timer = timer(plan.config.cadence.as_secs_f64());
    let mut units = vec![(SERVICE, service + "\n"), (TIMER, timer)];
    if !args.no_path {
        units[1].1.push('\n');
        units.push((PATH, path_unit(&plan.config.paths.audit_log)?));
    }
    Ok(units)
}

/// Returns the commands that start the runs.
pub(super) fn start_commands(user: &User, args: &SystemdArgs) -> Vec<String> {
    let systemctl = systemctl(user, args.user);
    let mut commands = vec![
        format!("{systemctl} daemon-reload"),
        format!("{systemctl} enable --now {TIMER}"),
    ];
    if !args.no_path {
        commands.push(format!("{systemctl} enable --now {PATH}"));
    }
    if args.user {
        // The runs go on while the user is logged out.
        commands.push(format!("loginctl enable-linger {}", user.name()));
    }
    commands
}

/// Returns the commands that stop these units when their files are gone. To stop comes first, since
/// `disable` lets systemd forget them.
pub(super) fn stop_commands(user: &User, own: bool, units: &[&str]) -> Vec<String> {
    let systemctl = systemctl(user, own);
    let started = units.iter().filter(|unit| **unit != SERVICE);
    let started = started.copied().collect::<Vec<_>>().join(" ");
    ["stop", "disable"]
        .map(|verb| format!("{systemctl} {verb} {started}"))
        .into()
}

/// Returns the command for the user's service manager, or the system's, which needs root.
pub(super) fn systemctl(user: &User, own: bool) -> &'static str {
    match own {
        true => "systemctl --user",
        false if user.uid == 0 => "systemctl",
        false => "sudo systemctl",
    }
}

/// Returns the comment above the service: what to do with the units.
fn comment(plan: &Plan, args: &SystemdArgs, folder: &str) -> Result<String, Problem> {
    let state_dir = shell_word(&plan.config.paths.state_dir)?;
    let commands = start_commands(&plan.user, args).into_iter();
    let commands = [format!("mkdir -p -m 700 {state_dir}")]
        .into_iter()
        .chain(commands);
    let commands: String = commands.map(|line| format!("#   {line}\n")).collect();
    let user = plan.user.name();
    Ok(format!(
        "# {SERVICE}\n# The files go to {folder}. Then, the first command as {user}:\n{commands}"
    ))
}

/// Returns a service for the system's service manager. It runs as the user who called.
fn system_service(plan: &Plan, args: &SystemdArgs) -> Result<String, Problem> {
    let comment = comment(plan, args, SYSTEM_FOLDER)?;
    let (user, settings, writable) = (plan.user.name(), settings(plan)?, writable(&plan.config)?);
    let private_tmp = match needs_tmp(plan) {
        true => "",
        false => "PrivateTmp=yes\n",
    };
    Ok(format!(
        "\
{comment}\
[Unit]
Description=Send the operator what is new in the audit log
StartLimitIntervalSec=0
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User={user}
{settings}\
# Used only where the line with the state folder is removed
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

/// Returns a service for the user's own service manager, which has fewer means to confine it.
fn own_service(plan: &Plan, args: &SystemdArgs) -> Result<String, Problem> {
    let comment = comment(plan, args, "~/.config/systemd/user")?;
    let settings = settings(plan)?;
    Ok(format!(
        "\
{comment}\
[Unit]
Description=Send the operator what is new in the audit log
StartLimitIntervalSec=0

[Service]
Type=oneshot
{settings}\
{HARDENING}\
"
    ))
}

/// Returns the command and the settings that both kinds of services have.
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
# A log that is written all the time costs one run a second
ExecStart={binary} run --pace 1
# What the env file says wins over what is said here
{log}\
Environment=\"KORA_PROBE_WAKE_STATE_DIR={state_dir}\"
{env_file}\
# 75: another run holds the lock
SuccessExitStatus=75
# Above the run's own limit, so that a run ends by itself
TimeoutStartSec={limit}
# Without systemd's own lines about each run
LogLevelMax=notice
"
    ))
}

/// Returns the line with the log's path; none if an env file names it, so that a change there counts.
fn audit_log_line(plan: &Plan) -> Result<String, Problem> {
    let log = &plan.config.paths.audit_log;
    let is_found = |found: &Paths| found.audit_log == *log;
    if plan.config.env_file.is_some() && plan.found.as_ref().is_some_and(is_found) {
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

/// Returns a unit that starts the service of the same name when the log is written, made or replaced.
/// Without a limit on how often: past it, systemd would watch no more.
fn path_unit(log: &Path) -> Result<String, Problem> {
    let log = unquoted(log)?;
    Ok(format!(
        "\
# {PATH}
[Unit]
Description=Start probe-wake when the audit log is written

[Path]
PathModified={log}
TriggerLimitIntervalSec=0

[Install]
WantedBy=paths.target
"
    ))
}

/// Returns more seconds than the longest run takes.
fn time_limit(config: &Config) -> String {
    let Some(max_runtime) = config.max_runtime else {
        return "infinity".to_owned();
    };
    let limit = max_runtime.as_secs() + config.engine_timeout.as_secs() + TIME_FOR_SLACK;
    limit.to_string()
}

fn env_file_line(plan: &Plan) -> Result<String, Problem> {
    let line = |path: &PathBuf| Ok(format!("EnvironmentFile=-{}\n", unquoted(path)?));
    plan.env_file.as_ref().map_or(Ok(String::new()), line)
}

/// Returns a path where systemd takes the rest of the line as it stands and knows no quotes. A
/// backslash at the end would join the next line.
fn unquoted(path: &Path) -> Result<String, Problem> {
    let text = printable(path)?.replace('%', "%%");
    match text.ends_with(|c: char| c == '\\' || c.is_whitespace()) {
        true => Err(cannot_stand(path)),
        false => Ok(text),
    }
}

/// Returns whether a private `/tmp` would hide something that a run needs.
fn needs_tmp(plan: &Plan) -> bool {
    let (config, paths) = (&plan.config, &plan.config.paths);
    let named = [&config.metrics_file, &paths.outcome_log, &plan.env_file];
    let named = named.into_iter().flatten();
    let mut needed = named.chain([&paths.audit_log, &paths.state_dir, &plan.binary]);
    plan.names_tmp || needed.any(|path| config::is_in_tmp(&path.to_string_lossy()))
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

/// Returns the lines with the folders that a run writes into.
fn writable(config: &Config) -> Result<String, Problem> {
    let files = [&config.metrics_file, &config.paths.outcome_log];
    let folders = files.into_iter().flatten().filter_map(|file| file.parent());
    let folders = folders.chain([config.paths.state_dir.as_path()]);
    let lines = folders.map(|folder| Ok(format!("ReadWritePaths=\"-{}\"\n", text(folder)?)));
    lines.collect()
}

/// Returns a path as it stands between double quotes in a unit file; `%` is doubled.
fn text(path: &Path) -> Result<String, Problem> {
    let text = printable(path)?.replace('%', "%%");
    Ok(text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns a path as a word of a unit file, quoted where it is not plain.
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
