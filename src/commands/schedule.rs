//! `schedule systemd|cron`: what starts the runs, ready to be installed, with the path of the running
//! binary and the settings that the schedule has to agree with.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use directories::BaseDirs;

use crate::cli::{Global, ScheduleArgs, Scheduler};
use crate::config::{Config, usual_state_dir};
use crate::exit::{Ended, Exit, Problem};

/// Over its own time and the last investigation, what a run may need for Slack.
const TIME_FOR_SLACK: u64 = 120;

pub fn schedule(flags: &Global, args: &ScheduleArgs) -> Ended {
    let config = Config::load(flags)?;
    let binary = std::env::current_exe().context("the path of this binary is not known")?;
    let text = match args.scheduler {
        Scheduler::Systemd => systemd(&config, flags, &binary)?,
        Scheduler::Cron => cron(&config, flags, &binary)?,
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context("cannot print the schedule")?;
    Ok(Exit::Done)
}

fn systemd(config: &Config, flags: &Global, binary: &Path) -> Result<String, Problem> {
    let binary = systemd_word(binary)?;
    let log = systemd_word(&config.paths.audit_log)?;
    let engine_seconds = config
        .engine
        .as_ref()
        .map_or(0, |engine| engine.timeout.as_secs());
    let limit = config.max_runtime.as_secs() + engine_seconds + TIME_FOR_SLACK;
    let cadence = config.cadence.as_secs();
    let env_file = env_file(flags);
    let env_file = env_file.as_deref().map(systemd_word).transpose()?;
    let env_file = env_file.map_or(String::new(), |path| format!("EnvironmentFile=-{path}\n"));
    let user = user();
    let writable = writable(config)?;
    // A private /tmp would hide a log that lies there.
    let is_in_tmp = ["/tmp", "/var/tmp"]
        .iter()
        .any(|tmp| config.paths.audit_log.starts_with(tmp));
    let state_dir = state_dir(config)?;
    let private_tmp = if is_in_tmp { "" } else { "PrivateTmp=yes\n" };
    Ok(format!(
        "\
# probe-wake.service
# Both files go to /etc/systemd/system; then: systemctl enable --now probe-wake.timer
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
# probe-wake.timer
[Unit]
Description=Run probe-wake every {cadence} s

[Timer]
OnActiveSec={cadence}
OnUnitActiveSec={cadence}
AccuracySec=1s

[Install]
WantedBy=timers.target
",
        log = log.trim_matches('"'),
    ))
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
    let dir = systemd_word(dir)?;
    let dir = dir.trim_matches('"');
    Ok(format!("Environment=\"KORA_PROBE_WAKE_STATE_DIR={dir}\"\n"))
}

/// The folders outside `StateDirectory=` that a run writes into.
fn writable(config: &Config) -> Result<String, Problem> {
    let files = [&config.metrics_file, &config.paths.outcome_log];
    let folders = files.into_iter().flatten().filter_map(|file| file.parent());
    let state_dir = Some(config.paths.state_dir.as_path());
    let usual = usual_state_dir();
    let folders = folders.chain(state_dir.filter(|dir| Some(*dir) != usual.as_deref()));
    let lines = folders.map(|folder| Ok(format!("ReadWritePaths=-{}\n", systemd_word(folder)?)));
    lines.collect()
}

fn env_file(flags: &Global) -> Option<std::path::PathBuf> {
    let usual = || BaseDirs::new().map(|dirs| dirs.home_dir().join(".config/probe-wake/env"));
    let path = flags.env_file.clone().or_else(usual)?;
    std::path::absolute(path).ok()
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

/// A path as a word of a unit file: `%` is doubled, and what is not plain is quoted.
fn systemd_word(path: &Path) -> Result<String, Problem> {
    let text = printable(path)?
        .replace('%', "%%")
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    Ok(if text.contains([' ', '\'', '\\']) {
        format!("\"{text}\"")
    } else {
        text
    })
}

fn cron(config: &Config, flags: &Global, binary: &Path) -> Result<String, Problem> {
    let mut command = cron_word(binary)?;
    for (flag, path) in [
        ("--env-file", &flags.env_file),
        ("--state-dir", &flags.state_dir),
    ] {
        if let Some(path) = path {
            let path = std::path::absolute(path).context("a path is empty")?;
            command.push_str(&format!(" {flag} {}", cron_word(&path)?));
        }
    }
    command.push_str(&format!(
        " --audit-log {} run",
        cron_word(&config.paths.audit_log)?
    ));
    let cadence = config.cadence.as_secs();
    let mut text = String::from(
        "# probe-wake, for `crontab -e`; settings come from ~/.config/probe-wake/env.\n\
         # It prints nothing unless there is a problem, which cron then mails.\n",
    );
    if cadence < 60 {
        for second in (0..60).step_by(cadence as usize) {
            let sleep = if second == 0 {
                String::new()
            } else {
                format!("sleep {second}; ")
            };
            text.push_str(&format!("* * * * * {sleep}{command}\n"));
        }
    } else {
        text.push_str(&format!("{} {command}\n", every(cadence / 60)));
    }
    Ok(text)
}

/// The crontab's time fields for every so many minutes.
fn every(minutes: u64) -> String {
    match minutes {
        1 => "* * * * *".to_owned(),
        2..60 => format!("*/{minutes} * * * *"),
        60..1_440 => format!("0 */{} * * *", minutes / 60),
        _ => "0 0 * * *".to_owned(),
    }
}

/// A path as a word of a crontab's command: quoted for the shell, and `%` escaped for cron.
fn cron_word(path: &Path) -> Result<String, Problem> {
    let text = printable(path)?;
    let plain = text
        .chars()
        .all(|c| c.is_alphanumeric() || "/._-+@,:=".contains(c));
    let quoted = if plain {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    };
    Ok(quoted.replace('%', "\\%"))
}

fn printable(path: &Path) -> Result<String, Problem> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(char::is_control));
    text.map(str::to_owned).ok_or_else(|| {
        let error = anyhow!("the path {} cannot stand in a schedule", path.display());
        Problem::new(Exit::Failed, error).with_next_step("move the file to a plainer path")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_quoted_for_their_reader() {
        assert_eq!(
            systemd_word(Path::new("/a b/50%")).unwrap(),
            "\"/a b/50%%\""
        );
        assert_eq!(systemd_word(Path::new("/a/b")).unwrap(), "/a/b");
        assert_eq!(cron_word(Path::new("/a b/50%")).unwrap(), "'/a b/50\\%'");
        assert_eq!(cron_word(Path::new("/it's")).unwrap(), "'/it'\\''s'");
        assert!(systemd_word(Path::new("/a\nb")).is_err());
    }

    #[test]
    fn minutes_become_time_fields() {
        assert_eq!(every(1), "* * * * *");
        assert_eq!(every(5), "*/5 * * * *");
        assert_eq!(every(120), "0 */2 * * *");
    }
}
