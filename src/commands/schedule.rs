//! `schedule systemd|cron`: what starts the runs, ready to be installed, with the path of the running
//! binary and the settings that the schedule has to agree with.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::cli::{Global, ScheduleArgs, Scheduler};
use crate::config::{Config, usual_env_file, usual_state_dir};
use crate::exit::{Ended, Exit, Problem};

/// Over its own time and the last investigation, what a run may need for Slack.
const TIME_FOR_SLACK: u64 = 120;

/// In seconds; so few runs ever wait for another one under cron.
const LONGEST_WAIT: u64 = 60;

pub fn schedule(flags: &Global, args: &ScheduleArgs) -> Ended {
    let config = Config::load(flags)?;
    let binary = std::env::current_exe().context("the path of this binary is not known")?;
    let text = match args.scheduler {
        Scheduler::Systemd => systemd(&config, &binary)?,
        Scheduler::Cron => cron(&config, &binary)?,
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context("cannot print the schedule")?;
    Ok(Exit::Done)
}

fn systemd(config: &Config, binary_path: &Path) -> Result<String, Problem> {
    // systemd starts no program with these in its path.
    if printable(binary_path)?.contains(['"', '\'', '\\']) {
        return Err(cannot_stand(binary_path));
    }
    let binary = systemd_word(binary_path)?;
    let log = systemd_text(&config.paths.audit_log)?;
    let limit = limit(config);
    let timer = timer(config);
    let env_file = env_file(config)
        // The rest of this line is the path as it is: it knows no quotes.
        .map(|path| Ok::<_, Problem>(printable(&path)?.replace('%', "%%")))
        .transpose()?
        .map_or(String::new(), |path| format!("EnvironmentFile=-{path}\n"));
    let user = user();
    let (state_dir, writable) = (state_dir(config)?, writable(config)?);
    let private_tmp = if needs_tmp(config, binary_path) {
        ""
    } else {
        "PrivateTmp=yes\n"
    };
    Ok(format!(
        "\
{HEAD}[Service]
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
{timer}",
    ))
}

/// In seconds, above what a run allows itself.
fn limit(config: &Config) -> u64 {
    let engine_seconds = config
        .engine
        .as_ref()
        .map_or(0, |engine| engine.timeout.as_secs());
    config.max_runtime.as_secs() + engine_seconds + TIME_FOR_SLACK
}

fn timer(config: &Config) -> String {
    let cadence = config.cadence.as_secs();
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

const HEAD: &str = "\
# probe-wake.service
# Both files go to /etc/systemd/system; then, as root:
#   systemctl daemon-reload && systemctl enable --now probe-wake.timer
[Unit]
Description=Tell the operator of new wake rows in the audit log
Wants=network-online.target
After=network-online.target

";

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
    let dir = systemd_text(dir)?;
    Ok(format!("Environment=\"KORA_PROBE_WAKE_STATE_DIR={dir}\"\n"))
}

/// The folders outside `StateDirectory=` that a run writes into.
fn writable(config: &Config) -> Result<String, Problem> {
    let files = [&config.metrics_file, &config.paths.outcome_log];
    let folders = files.into_iter().flatten().filter_map(|file| file.parent());
    let state_dir = Some(config.paths.state_dir.as_path());
    let usual = usual_state_dir();
    let folders = folders.chain(state_dir.filter(|dir| Some(*dir) != usual.as_deref()));
    let lines =
        folders.map(|folder| Ok(format!("ReadWritePaths=\"-{}\"\n", systemd_text(folder)?)));
    lines.collect()
}

/// The env file that was read, or the one that will be once it is there.
fn env_file(config: &Config) -> Option<PathBuf> {
    let path = config.env_file.clone().or_else(usual_env_file)?;
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

/// A path as it stands between double quotes in a unit file; `%` is doubled.
fn systemd_text(path: &Path) -> Result<String, Problem> {
    let text = printable(path)?.replace('%', "%%");
    Ok(text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A path as a word of a unit file, quoted where it is not plain.
fn systemd_word(path: &Path) -> Result<String, Problem> {
    let text = systemd_text(path)?;
    Ok(if text.contains([' ', '\'', '\\']) {
        format!("\"{text}\"")
    } else {
        text
    })
}

fn cron(config: &Config, binary: &Path) -> Result<String, Problem> {
    let mut command = cron_word(binary)?;
    let (env_file, state_dir) = (env_file(config), &config.paths.state_dir);
    let is_usual = |path: &Path, usual: Option<PathBuf>| usual.as_deref() == Some(path);
    if let Some(path) = env_file.filter(|path| !is_usual(path, usual_env_file())) {
        command.push_str(&format!(" --env-file {}", cron_word(&path)?));
    }
    if !is_usual(state_dir, usual_state_dir()) {
        command.push_str(&format!(" --state-dir {}", cron_word(state_dir)?));
    }
    let cadence = config.cadence.as_secs();
    command.push_str(&format!(
        " --audit-log {} run --wait {}",
        cron_word(&config.paths.audit_log)?,
        cadence.min(LONGEST_WAIT)
    ));
    let mut text = String::from(
        "# probe-wake, for `crontab -e`: settings come from the env file, since cron has no profile.\n\
         # It prints nothing unless there is a problem, which cron then mails. A run waits a while\n\
         # for the one before, which may be asking the engine, before it says that it is held up.\n",
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
    text.map(str::to_owned).ok_or_else(|| cannot_stand(path))
}

fn cannot_stand(path: &Path) -> Problem {
    let error = anyhow!("the path {} cannot stand in a schedule", path.display());
    Problem::new(Exit::Failed, error).with_next_step("move the file to a plainer path")
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
