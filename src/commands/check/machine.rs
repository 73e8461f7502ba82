//! What `check` examines on this machine: settings, secrets, the state and the runs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::Item;
use crate::commands::finding::{Finding, failed, ok, warning};
use crate::commands::health::{self, Runs};
use crate::config::Config;
use crate::config::variables as var;
use crate::files::{create_anew, is_readable_by_others, open_own, sync_folder};
use crate::state::{State, Store, lock, undelivered};
use crate::time::span;

pub(super) fn settings(config: &Config) -> Vec<Item> {
    let read = match &config.env.file_path {
        Some(path) => ok(format!("environment and {}", path.display())),
        None => ok("environment only; there is no env file").with_next_step(
            "put them into ~/.config/probe-wake/env: cron and systemd have no profile",
        ),
    };
    let mut items = vec![("settings", read)];
    // A token that cannot be read counts as not set. If alerts need it, `peers` says so.
    let warnings = config.env.warnings().into_iter();
    let warnings = warnings.chain(config.env.suspicious());
    items.extend(warnings.map(|one| (one.subject, warning(one.message, one.next_step))));
    let required = config.debounce.consecutive_required;
    if required > 1 {
        let name = var::DEBOUNCE_CONSECUTIVE_REQUIRED.name;
        let effect = "a service that raises a single row is never announced";
        let next_step = "unset it, unless every service repeats its rows";
        let one = warning(format!("{name} is {required}: {effect}"), next_step);
        items.push(("settings", one));
    }
    for file in config.env.secret_files() {
        let shown = file.display().to_string();
        if !items.iter().any(|(_, one)| one.message.contains(&shown)) {
            items.extend(secret_file(&file).map(|one| ("secrets", one)));
        }
    }
    items
}

fn secret_file(path: &Path) -> Option<Finding> {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) => Some(warning(
            format!("{shown} cannot be read: {error}"),
            "name a file that the runs can read",
        )),
        Ok(meta) => is_readable_by_others(&meta).then(|| {
            let mode = meta.mode() & 0o777;
            let message = format!("{shown} can be read by others (mode {mode:03o})");
            warning(message, format!("chmod 600 {shown}"))
        }),
    }
}

pub(super) fn state(config: &Config, now: Timestamp) -> Vec<Item> {
    let mut items = Vec::new();
    let mut store = Store::at(&config.paths.state_dir);
    let checked = store.check().map_err(|problem| ("state folder", problem));
    let state = checked.and_then(|()| {
        items.push(("state folder", state_dir(&store.dir)));
        store.load().map_err(|problem| ("state", problem))
    });
    match &state {
        Ok(state) => items.extend(runs_and_messages(config, &store, state, now)),
        Err((subject, problem)) => {
            let next_step = problem.next_step.clone().unwrap_or_default();
            items.push((subject, failed(problem.what(), next_step)));
        }
    }
    let state = state.as_ref().ok();
    let kept = state.and_then(|state| state.log(&config.paths.audit_log));
    let recovery = health::recovery(config, kept, now);
    items.extend(recovery.map(|one| ("recovery", one)));
    items
}

/// Returns what the state says about the runs so far and the messages that wait.
fn runs_and_messages(config: &Config, store: &Store, state: &State, now: Timestamp) -> Vec<Item> {
    let runs = Runs::look(&store.dir);
    let last_run = match runs.overdue(config, now) {
        _ if state.log(&config.paths.audit_log).is_none() => warning(
            "no run has read this log yet",
            "start one with: probe-wake run",
        ),
        Some(overdue) => overdue,
        None => {
            let ago = runs.last().map(|at| span(now.duration_since(at)));
            ok(format!("the last was {} ago", ago.unwrap_or_default()))
        }
    };
    let undelivered = match undelivered::count(store, &state.outbox) {
        Ok(number) => health::undelivered(number),
        Err(error) => Some(warning(
            format!("{error:#}"),
            "it must be a regular file of the runs' user",
        )),
    };
    let items = [
        ("runs", Some(last_run)),
        ("runs", runs.failing(now)),
        ("outbox", health::queued(state, SignedDuration::ZERO, now)),
        ("wakes", health::unsent(state, now)),
        ("undelivered", undelivered),
    ];
    let found = |(subject, one): (_, Option<Finding>)| Some((subject, one?));
    items.into_iter().filter_map(found).collect()
}

fn state_dir(dir: &Path) -> Finding {
    let shown = dir.display();
    let Ok(meta) = fs::metadata(dir) else {
        return missing_state_dir(dir);
    };
    let mode = meta.mode() & 0o777;
    match write_trial(dir) {
        Err(error) => failed(
            format!("{shown} cannot be written: {error}"),
            "let the runs' user write it, or free some space",
        ),
        Ok(false) => warning(
            format!("{shown} cannot be synced: a power cut may undo the last run"),
            "move it to a local file system (--state-dir)",
        ),
        Ok(true) if mode & 0o077 != 0 => warning(
            format!("{shown} is open to others (mode {mode:03o})"),
            format!("chmod 700 {shown}"),
        ),
        Ok(true) => ok(shown.to_string()),
    }
}

fn missing_state_dir(dir: &Path) -> Finding {
    let shown = dir.display();
    let parent = dir.ancestors().find(|folder| folder.exists());
    match rustix::fs::access(parent.unwrap_or(dir), rustix::fs::Access::WRITE_OK) {
        Ok(()) => ok(format!("{shown} will be created by the first run")),
        Err(error) => failed(
            format!("{shown} cannot be created: {error}"),
            "name another with KORA_PROBE_WAKE_STATE_DIR",
        ),
    }
}

/// Writes as a run would, and returns whether the folder can be synced.
fn write_trial(dir: &Path) -> io::Result<bool> {
    // On a full disk a file can be created, but not written.
    let trial = dir.join(".check");
    let written = create_anew(&trial, 0o600).and_then(|mut file| file.write_all(b"x"));
    let _ = fs::remove_file(&trial);
    written?;
    // After a run by hand as root, the scheduled runs cannot open the lock.
    match open_own(&dir.join(lock::FILE), File::options().write(true)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let message = format!("{}: {error}", lock::FILE);
            Err(io::Error::new(error.kind(), message))
        }
        _ => sync_folder(dir),
    }
}
