//! The paths: the audit log, the state folder and the other files.

use std::path::{Path, PathBuf};

use directories::BaseDirs;

use super::Warning;
use super::environment::{Environment, absolute, home_folder};
use super::variables as var;
use crate::cli::Global;
use crate::exit::Problem;

/// Kora's name for its audit log.
const LOG_NAME: &str = "kora_audit_log.jsonl";

/// The paths; enough for the commands that use no network.
#[derive(Debug, Default)]
pub struct Paths {
    pub audit_log: PathBuf,
    pub state_dir: PathBuf,
    /// `None`: the file in the state folder, the only one that is rotated when it grows.
    pub outcome_log: Option<PathBuf>,
    /// Kora's `daemon_snapshot.json`.
    pub snapshot_path: PathBuf,
    /// Whether `NO_COLOR` is set and not empty (no-color.org).
    pub no_color: bool,
}

impl Paths {
    /// Reads the paths, and warns of settings that are not usable.
    pub fn load(flags: &Global) -> Result<Self, Problem> {
        let env = Environment::read(flags)?;
        let paths = Self::from(flags, &env)?;
        env.print_warnings();
        Ok(paths)
    }

    /// Returns the path of the audit log. If a flag names it, no setting is read: an unreadable env file must
    /// not keep an alert from being raised.
    pub fn audit_log(flags: &Global) -> Result<PathBuf, Problem> {
        if let Some(named) = &flags.audit_log {
            return absolute(named);
        }
        let env = Environment::read(flags)?;
        let audit_log = absolute(&audit_log(flags, &env)?)?;
        env.print_warnings();
        Ok(audit_log)
    }

    /// Returns the paths that a scheduled run finds by itself, from the env file and the home
    /// folder.
    pub fn of_scheduled_runs(flags: &Global) -> Result<Self, Problem> {
        let mut env = Environment::read(flags)?;
        env.process.clear();
        let no_flags = Global {
            audit_log: None,
            state_dir: None,
            ..flags.clone()
        };
        Self::from(&no_flags, &env)
    }

    pub(super) fn from(flags: &Global, env: &Environment) -> Result<Self, Problem> {
        let state_dir = absolute(&state_dir(flags, env)?)?;
        let audit_log = absolute(&audit_log(flags, env)?)?;
        Ok(Self {
            state_dir,
            outcome_log: env.absolute_path(&var::OUTCOME_LOG)?,
            ..Self::of_log(audit_log, env)
        })
    }

    /// Returns the paths for a replay of this log, which has no state.
    pub(super) fn of_log(audit_log: PathBuf, env: &Environment) -> Self {
        Self {
            snapshot_path: snapshot_path(env, &audit_log),
            audit_log,
            state_dir: PathBuf::new(),
            outcome_log: None,
            no_color: env.get(var::NO_COLOR.name).is_some(),
        }
    }
}

/// Returns the home folder. If it is unknown, the error says what to name instead.
fn home(flags: &Global, next_step: &str) -> Result<PathBuf, Problem> {
    let unknown = || Problem::usage("the home folder is unknown").with_next_step(next_step);
    home_folder(flags).ok_or_else(unknown)
}

fn audit_log(flags: &Global, env: &Environment) -> Result<PathBuf, Problem> {
    let named = flags.audit_log.clone();
    if let Some(path) = named.or_else(|| env.path(&var::AUDIT_LOG_PATH)) {
        return Ok(path);
    }
    if let Some(home) = env.path(&var::KORA_HOME) {
        return Ok(home.join(LOG_NAME));
    }
    if let Some(home) = env.path(&var::HERMES_HOME) {
        let what = "HERMES_HOME is a legacy name".to_owned();
        let next_step = "set KORA_HOME or KORA_AUDIT_LOG_PATH instead";
        env.warn(Warning::new("settings", what, next_step));
        return Ok(home.join(LOG_NAME));
    }
    let home = home(flags, "give --audit-log or KORA_AUDIT_LOG_PATH")?;
    let [kora, hermes] = [".kora", ".hermes"].map(|name| home.join(name));
    let is_legacy = !kora.exists() && hermes.exists();
    Ok(if is_legacy { hermes } else { kora }.join(LOG_NAME))
}

/// Returns the file in which Kora's daemon reports the health of each service.
fn snapshot_path(env: &Environment, audit_log: &Path) -> PathBuf {
    let beside_the_log = || audit_log.parent().unwrap_or(audit_log).to_owned();
    env.path(&var::SNAPSHOT_PATH).unwrap_or_else(|| {
        let home = env.path(&var::KORA_HOME).unwrap_or_else(beside_the_log);
        home.join("cache/daemon_snapshot.json")
    })
}

fn state_dir(flags: &Global, env: &Environment) -> Result<PathBuf, Problem> {
    let named = flags.state_dir.clone();
    if let Some(path) = named.or_else(|| env.path(&var::STATE_DIR)) {
        return Ok(path);
    }
    // systemd may name several folders, separated by colons; the first is ours.
    if let Some(folders) = env.get(var::STATE_DIRECTORY.name) {
        let first = folders.split(':').next().unwrap_or(&folders);
        return Ok(PathBuf::from(first));
    }
    let home = home(flags, "give --state-dir or KORA_PROBE_WAKE_STATE_DIR")?;
    // XDG_STATE_HOME belongs to this process: a scheduled run does not have it.
    let is_own = !env.process.is_empty() && flags.home.is_none();
    let states = match BaseDirs::new() {
        Some(dirs) if is_own || dirs.state_dir().is_none() => {
            dirs.state_dir().unwrap_or(dirs.data_local_dir()).to_owned()
        }
        _ => home.join(".local/state"),
    };
    Ok(states.join("probe-wake"))
}
