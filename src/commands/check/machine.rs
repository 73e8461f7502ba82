//! What `check` examines on this machine: settings, secrets, the state and the runs.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::cli::Global;
use crate::commands::finding::{Finding, failed, ok, warning};
use crate::commands::health;
use crate::config::{self, Config};
use crate::exit::Problem;
use crate::files::{create_anew, open_own};
use crate::message::span;
use crate::state::{State, Store, lock, undelivered};

pub(super) fn settings(config: &Config) -> Vec<Finding> {
    let mut findings = vec![match &config.env_file {
        Some(path) => ok("settings", format!("environment and {}", path.display())),
        None => Finding {
            next_step: Some(
                "put them into ~/.config/probe-wake/env: cron and systemd have no profile".into(),
            ),
            ..ok("settings", "environment only; there is no env file")
        },
    }];
    // A token that cannot be read counts as not set. If alerts need it, `peers` says so.
    for told in &config.warnings {
        findings.push(warning(told.subject, &told.message, &told.next_step));
    }
    for file in &config.secret_files {
        let shown = file.display().to_string();
        if !findings.iter().any(|one| one.message.contains(&shown)) {
            findings.extend(secret_file(file));
        }
    }
    findings
}

pub(super) fn misspelt(flags: &Global) -> Result<Vec<Finding>, Problem> {
    let finding = |(written, meant): (String, String)| {
        let found = format!("{written} in the env file is no setting of probe-wake");
        warning("settings", found, format!("did you mean {meant}?"))
    };
    Ok(config::misspelt(flags)?.into_iter().map(finding).collect())
}

fn secret_file(path: &Path) -> Option<Finding> {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) => Some(warning(
            "secrets",
            format!("{shown} cannot be read: {error}"),
            "name a file that the runs can read",
        )),
        Ok(meta) if is_open_to_others(&meta) => Some(warning(
            "secrets",
            format!("{shown} can be read by others (mode {:03o})", mode(&meta)),
            format!("chmod 600 {shown}"),
        )),
        Ok(_) => None,
    }
}

pub(super) fn state(config: &Config) -> Vec<Finding> {
    let dir = &config.paths.state_dir;
    let store = Store::at(dir);
    let refused = |subject, problem: &Problem| {
        let next_step = problem.next_step().unwrap_or_default();
        failed(subject, problem.what(), next_step)
    };
    if let Err(problem) = store.check() {
        return vec![refused("state folder", &problem)];
    }
    let mut findings = vec![state_dir(dir)];
    match store.load() {
        Err(problem) => findings.push(refused("state", &problem)),
        Ok(state) => findings.extend(kept(config, &store, &state)),
    }
    findings
}

/// What the state says of the runs so far.
fn kept(config: &Config, store: &Store, state: &State) -> Vec<Finding> {
    let now = Timestamp::now();
    let last_run = lock::last_run(&store.dir);
    let is_running = lock::is_held(&store.dir) == Some(true);
    let runs = match health::overdue(config, last_run, is_running, now) {
        _ if state.log(&config.paths.audit_log).is_none() => warning(
            "runs",
            "no run has stamped this log yet",
            "start one with: probe-wake run",
        ),
        Some(overdue) => overdue,
        None => {
            let ago = last_run.map(|at| span(now.duration_since(at)));
            let ago = ago.unwrap_or_default();
            ok("runs", format!("the last was {ago} ago"))
        }
    };
    let failing_since = lock::failing_since(&store.dir).filter(|_| !is_running);
    let undelivered = match undelivered::count(store, &state.outbox) {
        Ok(number) => health::undelivered(number),
        Err(error) => Some(warning(
            "undelivered",
            format!("{error:#}"),
            "it must be a regular file of the runs' user",
        )),
    };
    let waiting = [
        health::failing(failing_since, now),
        health::queued(state, SignedDuration::ZERO, now),
        health::untold(state, now),
        undelivered,
    ];
    std::iter::once(runs)
        .chain(waiting.into_iter().flatten())
        .collect()
}

fn state_dir(dir: &Path) -> Finding {
    let shown = dir.display();
    let Ok(meta) = fs::metadata(dir) else {
        return missing_state_dir(dir);
    };
    match write_trial(dir).and_then(|()| open_lock(dir)) {
        Err(error) => failed(
            "state folder",
            format!("{shown} cannot be written: {error}"),
            "let the runs' user write it, or free some space",
        ),
        Ok(()) if is_open_to_others(&meta) => warning(
            "state folder",
            format!("{shown} is open to others (mode {:03o})", mode(&meta)),
            format!("chmod 700 {shown}"),
        ),
        Ok(()) => ok("state folder", shown.to_string()),
    }
}

fn missing_state_dir(dir: &Path) -> Finding {
    let shown = dir.display();
    let parent = dir.ancestors().find(|folder| folder.exists());
    match rustix::fs::access(parent.unwrap_or(dir), rustix::fs::Access::WRITE_OK) {
        Ok(()) => ok(
            "state folder",
            format!("{shown} will be made by the first run"),
        ),
        Err(error) => failed(
            "state folder",
            format!("{shown} cannot be made: {error}"),
            "name another with KORA_PROBE_WAKE_STATE_DIR",
        ),
    }
}

/// Writes a byte, as a run would. On a full disk a file can be made, but not written.
fn write_trial(dir: &Path) -> io::Result<()> {
    let trial = dir.join(".check");
    let written = create_anew(&trial, 0o600).and_then(|mut file| file.write_all(b"x"));
    let _ = fs::remove_file(&trial);
    written
}

/// After a run by hand as root, the scheduled runs cannot open the lock.
fn open_lock(dir: &Path) -> io::Result<()> {
    match open_own(&dir.join(lock::FILE), File::options().write(true)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", lock::FILE),
        )),
    }
}

fn is_open_to_others(meta: &Metadata) -> bool {
    meta.mode() & 0o077 != 0
}

fn mode(meta: &Metadata) -> u32 {
    meta.mode() & 0o777
}
