//! The systemd units: a service that is one run, a timer, and a path unit that starts the service
//! when the log is written.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::{fs, iter};

use anyhow::Context;

use super::{Plan, cannot_stand, print, printable, shell_word};
use crate::cli::SystemdArgs;
use crate::commands::user::User;
use crate::config::{self, Config};
use crate::exit::Problem;
use crate::files::create_anew;

const SERVICE: &str = "probe-wake.service";
const TIMER: &str = "probe-wake.timer";
const PATH: &str = "probe-wake.path";
const UNITS: [&str; 3] = [SERVICE, TIMER, PATH];

/// In seconds: what a run may need for Slack when its own time and the engine's are up.
const TIME_FOR_SLACK: u64 = 120;

/// Links that lead to each other in a circle are not followed for ever.
const MOST_LINKS: usize = 8;

/// Where the system's service manager looks for units.
const SYSTEM_FOLDER: &str = "/etc/systemd/system";

/// The name of a unit's file, which is also its first line, and the text.
type Unit = (&'static str, String);

pub(super) fn units(plan: &Plan, args: &SystemdArgs) -> Result<Vec<Unit>, Problem> {
    let service = service(plan, args)?;
    let timer = timer(plan.config.cadence.as_secs_f64());
    let mut units = vec![(SERVICE, service + "\n"), (TIMER, timer)];
    if !args.no_path {
        units[1].1.push('\n');
        units.push((PATH, path_unit(&plan.config.paths.audit_log)?));
    }
    Ok(units)
}

/// Returns the commands that start the runs.
fn start_commands(user: &User, args: &SystemdArgs) -> Vec<String> {
    let systemctl = systemctl(user, args.user);
    let mut commands = vec![
        format!("{systemctl} daemon-reload"),
        // The first run only notes what the log holds: it has to come before any alert.
        format!("{systemctl} start {SERVICE}"),
        format!("{systemctl} enable --now {TIMER}"),
    ];
    if !args.no_path {
        commands.push(format!("{systemctl} enable --now {PATH}"));
    }
    if args.user {
        // The runs go on while the user is logged out.
        commands.push(format!("loginctl enable-linger {}", user.name));
    }
    commands
}

/// Returns the commands that stop these units once their files are gone. `stop` comes first, since `disable`
/// makes systemd forget them.
fn stop_commands(user: &User, own: bool, units: &[&str]) -> Vec<String> {
    let systemctl = systemctl(user, own);
    let started = units.iter().copied().filter(|unit| *unit != SERVICE);
    let started = started.collect::<Vec<_>>().join(" ");
    vec![
        format!("{systemctl} stop {started}"),
        format!("{systemctl} disable {started}"),
        format!("{systemctl} daemon-reload"),
    ]
}

/// Returns the command for the user's service manager, or the system's, which needs root.
pub fn systemctl(user: &User, own: bool) -> &'static str {
    match own {
        true => "systemctl --user",
        false if user.uid == 0 => "systemctl",
        false => "sudo systemctl",
    }
}

/// Returns the service. Its first lines say what to do with the units.
fn service(plan: &Plan, args: &SystemdArgs) -> Result<String, Problem> {
    // systemd does not start a program that has one of these in its path.
    if printable(&plan.binary)?.contains(['"', '\'', '\\']) {
        return Err(cannot_stand(&plan.binary));
    }
    let (user, paths) = (&plan.user.name, &plan.config.paths);
    let network = "Wants=network-online.target\nAfter=network-online.target\n";
    let (folder, network, confinement) = match args.user {
        true => ("~/.config/systemd/user", "", String::new()),
        false => (SYSTEM_FOLDER, network, confinement(plan)?),
    };
    let first = match args.user {
        true => String::new(),
        false => format!(", the first command as {user}"),
    };
    let start = start_commands(plan.user, args).join("\n#   ");
    let (mkdir, state_dir) = (shell_word(&paths.state_dir)?, text(&paths.state_dir)?);
    let (binary, mut log) = (word(&plan.binary)?, text(&paths.audit_log)?);
    // If the env file names the log, a change there counts.
    match plan.config.env.file_path.is_some() && plan.found.audit_log == paths.audit_log {
        true => log.clear(),
        false => log = format!("Environment=\"KORA_AUDIT_LOG_PATH={log}\"\n"),
    }
    let env_file = match &plan.env_file {
        None => String::new(),
        Some(file) => format!("EnvironmentFile=-{}\n", unquoted(file)?),
    };
    let time_after = plan.config.engine_timeout.as_secs() + TIME_FOR_SLACK;
    let limit = match plan.config.max_runtime {
        None => "infinity".to_owned(),
        // More seconds than the longest run takes.
        Some(limit) => (limit.as_secs() + time_after).to_string(),
    };
    Ok(format!(
        "\
# {SERVICE}
# The files go to {folder}. Then{first}:
#   mkdir -p -m 700 {mkdir}
#   {start}
[Unit]
Description=Send the operator what is new in the audit log
StartLimitIntervalSec=0
{network}
[Service]
Type=oneshot
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
{confinement}{HARDENING}\
"
    ))
}

/// Returns the lines that only the system's service manager can apply. A private `/tmp` is left out if it
/// would hide something that a run needs.
fn confinement(plan: &Plan) -> Result<String, Problem> {
    let (user, writable, paths) = (&plan.user.name, writable(&plan.config)?, &plan.config.paths);
    let needed = [&paths.audit_log, &paths.state_dir, &plan.binary];
    let mut needed = needed.into_iter().chain(&plan.env_file);
    let is_needed =
        plan.config.names_tmp() || needed.any(|path| config::is_in_tmp(&path.to_string_lossy()));
    let private_tmp = if is_needed { "" } else { "PrivateTmp=yes\n" };
    Ok(format!(
        "\
User={user}
# Used only where the line with the state folder is removed
StateDirectory=probe-wake
StateDirectoryMode=0700
# The log is only read: a home folder is there read-only, and nothing but the state is writable
ProtectHome=read-only
ProtectSystem=strict
{private_tmp}{writable}{HARDENING_BY_ROOT}"
    ))
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

/// Returns a unit that starts the service of the same name when the log is written, created or replaced.
/// There is no limit on how often: past it, systemd would stop watching. If the log is a link, systemd
/// watches its target only while that exists, so the target is named, too.
fn path_unit(log: &Path) -> Result<String, Problem> {
    let next = |path: &PathBuf| {
        let target = path.with_file_name("").join(fs::read_link(path).ok()?);
        // systemd ignores a path with `..` in it.
        let folder = fs::canonicalize(target.parent()?).ok()?;
        Some(folder.join(target.file_name()?))
    };
    let paths = iter::successors(Some(log.to_owned()), next).take(MOST_LINKS);
    let lines = paths.map(|path| Ok(format!("PathModified={}\n", unquoted(&path)?)));
    let paths: String = lines.collect::<Result<_, Problem>>()?;
    Ok(format!(
        "\
# {PATH}
[Unit]
Description=Start probe-wake when the audit log is written

[Path]
{paths}\
TriggerLimitIntervalSec=0

[Install]
WantedBy=paths.target
"
    ))
}

/// Returns a path for a line that systemd takes literally to its end, without quotes. A backslash at the end
/// would join the next line.
fn unquoted(path: &Path) -> Result<String, Problem> {
    let text = printable(path)?.replace('%', "%%");
    match text.ends_with(|c: char| c == '\\' || c.is_whitespace()) {
        true => Err(cannot_stand(path)),
        false => Ok(text),
    }
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

/// Returns a path for use between double quotes in a unit file; `%` is doubled.
fn text(path: &Path) -> Result<String, Problem> {
    let text = printable(path)?.replace('%', "%%");
    Ok(text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns a path as a word of a unit file, quoted if it is not plain.
fn word(path: &Path) -> Result<String, Problem> {
    let text = text(path)?;
    Ok(match text.contains([' ', '\'', '\\']) {
        true => format!("\"{text}\""),
        false => text,
    })
}

/// Writes the units into the folder, and prints the commands that start them. A path unit that is no longer
/// wanted is removed.
pub(super) fn write(
    units: &[Unit],
    folder: &Path,
    user: &User,
    args: &SystemdArgs,
) -> Result<(), Problem> {
    let folder = std::path::absolute(folder).context("the folder to write to")?;
    let failed = || format!("cannot write the units to {}", folder.display());
    fs::create_dir_all(&folder).with_context(failed)?;
    let is_looked_at = match args.user {
        true => user_folder(user).is_some_and(|usual| usual == folder),
        false => folder == Path::new(SYSTEM_FOLDER),
    };
    let mut commands = Vec::new();
    if args.no_path && fs::remove_file(folder.join(PATH)).is_ok() {
        commands.extend(stop_commands(user, args.user, &[PATH]));
    }
    for (name, text) in units {
        let path = folder.join(name);
        create_anew(&path, 0o644)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(failed)?;
        if !is_looked_at {
            let systemctl = systemctl(user, args.user);
            commands.push(format!("{systemctl} link {}", shell_word(&path)?));
        }
    }
    commands.extend(start_commands(user, args));
    let (commands, shown) = (commands.join("\n  "), folder.display());
    print(&format!(
        "Wrote {} units to {shown}. To start the runs:\n  {commands}\n",
        units.len()
    ))
}

/// Removes the units from the folder, and prints the commands that stop them.
pub(super) fn remove(folder: &Path, user: &User, own: bool) -> Result<(), Problem> {
    let mut removed = Vec::new();
    for name in UNITS {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => {
                done.with_context(|| format!("cannot remove {}", path.display()))?;
                removed.push(name);
            }
        }
    }
    let (shown, names) = (folder.display(), removed.join(", "));
    if removed.is_empty() {
        return print(&format!("{shown} holds no units of probe-wake.\n"));
    }
    let commands = stop_commands(user, own, &removed).join("\n  ");
    print(&format!(
        "Removed {names} from {shown}. To stop the runs:\n  {commands}\n"
    ))
}

/// Returns where the user's service manager looks for units.
pub fn user_folder(user: &User) -> Option<PathBuf> {
    let config = match user.used_sudo {
        true => user.home.join(".config"),
        false => directories::BaseDirs::new()?.config_dir().to_owned(),
    };
    Some(config.join("systemd/user"))
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
