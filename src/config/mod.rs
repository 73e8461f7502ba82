//! Flags over environment over env file, validated once. No other module reads the environment,
//! and no setting is half set: what must be there is there, what may be missing is an
//! `Option` with a meaning.

mod engine;
mod env_file;
mod environment;
mod names;
mod paths;
mod screen;
#[cfg(test)]
mod tests;
pub mod variables;
mod warning;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use log::debug;

use crate::cli::Global;
use crate::debounce::Policy;
use crate::engine::EngineConfig;
use crate::exit::Problem;
use crate::http::{Endpoint, Http, ProxySettings};
use crate::secret::Secret;
use crate::slack::SlackConfig;
pub use environment::usual_env_file;
use environment::{Environment, absolute};
pub use paths::Paths;
pub use screen::screen;
use variables::{self as var, Variable};
pub use warning::Warning;
use warning::tell;

/// Everything that a run goes by.
pub struct Config {
    pub paths: Paths,
    pub debounce: Policy,
    /// `None` where no engine is configured.
    pub engine: Option<EngineConfig>,
    /// Zero is no limit.
    pub max_investigations_per_hour: usize,
    pub slack: SlackConfig,
    pub proxy: ProxySettings,
    /// The certificates to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Every token that is set, to be masked in what is read.
    secrets: Vec<Secret>,
    /// How long an alert waits for its diagnosis before its facts are sent.
    pub facts_after: FactsAfter,
    /// For how long an investigation that failed stays owed; zero is not at all.
    pub late_diagnosis: SignedDuration,
    /// From how many wakes on a batch becomes one message; `None` is never.
    pub digest_wakes: Option<usize>,
    /// Whether it is told that a service is well again.
    pub tell_recovery: bool,
    pub outbox_ttl: SignedDuration,
    /// How long a question may take, whether an engine is configured or not.
    pub engine_timeout: Duration,
    /// `None` is no limit.
    pub max_runtime: Option<Duration>,
    /// How often runs are started.
    pub cadence: Duration,
    pub metrics_file: Option<PathBuf>,
    pub heartbeat: Option<Endpoint>,
    /// The env file that was read, for `check`.
    pub env_file: Option<PathBuf>,
    /// The files that secrets are kept in, for `check`.
    pub secret_files: Vec<PathBuf>,
    /// What is wrong with the settings.
    pub warnings: Vec<Warning>,
}

/// When the facts of an alert are sent although its diagnosis is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactsAfter {
    /// The diagnosis is waited for.
    Never,
    /// So long after the wake was read; zero is at once.
    After(SignedDuration),
}

/// Unknown names in the env file, each with the one that may have been meant.
pub fn misspelt(flags: &Global) -> Result<Vec<(String, String)>, Problem> {
    Ok(Environment::read(flags)?.misspelt())
}

/// Settings of this process's environment that are not in the env file. Paths of log and state, which a
/// schedule writes down itself, are not among them.
pub fn only_in_this_environment(flags: &Global) -> Result<Vec<String>, Problem> {
    let written_down = [
        &var::AUDIT_LOG_PATH,
        &var::KORA_HOME,
        &var::HERMES_HOME,
        &var::STATE_DIR,
        &var::STATE_DIRECTORY,
        &var::ENV_FILE,
        &var::NO_COLOR,
    ];
    let is_needed = |name: &String| !written_down.iter().any(|known| known.name == name);
    let env = Environment::read(flags)?;
    Ok(env.only_in_process(names::names().filter(is_needed)))
}

/// Returns whether a setting names something below `/tmp` or `/var/tmp`.
pub fn names_tmp(flags: &Global) -> Result<bool, Problem> {
    let env = Environment::read(flags)?;
    Ok(names::names().any(|name| env.get(&name).is_some_and(|value| is_in_tmp(&value))))
}

/// Returns whether this is a path below `/tmp` or `/var/tmp`, or names one after a space.
pub fn is_in_tmp(text: &str) -> bool {
    let mut words = text.split(' ');
    words.any(|word| word.starts_with("/tmp/") || word.starts_with("/var/tmp/"))
}

/// Whether stderr goes to journald: it names device and inode of its socket (systemd.exec(5)).
pub fn stderr_is_journal() -> bool {
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|meta| *named == *format!("{}:{}", meta.st_dev, meta.st_ino))
}

/// Cadences without a run after which the schedule is taken to be broken.
const OVERDUE_CADENCES: u32 = 5;
/// Cadences without a run after which the next DM says that nothing was watched.
const UNWATCHED_CADENCES: u32 = 10;
/// Fewer minutes than these are neither.
const SHORTEST_PAUSE: SignedDuration = SignedDuration::from_mins(15);

impl Config {
    /// A gap between runs longer than this counts as unwatched.
    pub fn patience(&self) -> SignedDuration {
        self.pause(UNWATCHED_CADENCES)
    }

    /// Where the last run is longer ago than this, the next is overdue.
    pub fn overdue_after(&self) -> SignedDuration {
        self.pause(OVERDUE_CADENCES)
    }

    fn pause(&self, cadences: u32) -> SignedDuration {
        let length = SignedDuration::try_from(self.cadence.saturating_mul(cadences));
        length.unwrap_or(SignedDuration::MAX).max(SHORTEST_PAUSE)
    }

    /// Reads and validates all settings, and warns of those that are not usable.
    pub fn load(flags: &Global) -> Result<Self, Problem> {
        let config = Self::examine(flags)?;
        tell(&config.warnings);
        Ok(config)
    }

    /// Reads and validates all settings; what is not usable is left to be told by the caller.
    pub fn examine(flags: &Global) -> Result<Self, Problem> {
        let env = Environment::read(flags)?;
        let paths = Paths::from(flags, &env)?;
        let settings = env.file_path.as_deref().map(Path::display);
        debug!(
            "env file: {}",
            settings.map_or("none".into(), |path| path.to_string())
        );
        debug!("audit log: {}", paths.audit_log.display());
        debug!("state folder: {}", paths.state_dir.display());
        Self::from(paths, &env)
    }

    /// For a replay of the log that is named, which needs neither a home nor a state folder.
    pub fn for_replay(flags: &Global, log: &Path) -> Result<Self, Problem> {
        let env = Environment::read(flags)?;
        let audit_log = absolute(log)?;
        let config = Self::from(Paths::of_log(audit_log, &env), &env)?;
        tell(&config.warnings);
        Ok(config)
    }

    /// The client for all requests.
    pub fn http(&self) -> Http {
        Http::new(
            self.proxy.clone(),
            self.ca_file.clone(),
            self.secrets.clone(),
        )
    }

    /// The variable that has to be set before anything can be sent to Slack.
    pub fn missing_for_slack(&self) -> Option<&'static str> {
        match (&self.slack.token, &self.slack.operator) {
            (None, _) => Some(var::SLACK_BOT_TOKEN.name),
            (_, None) => Some(var::SLACK_USER_ID.name),
            (Some(_), Some(_)) => None,
        }
    }

    /// Every token that is set, whether this run uses it or not.
    pub fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }

    fn from(paths: Paths, env: &Environment) -> Result<Self, Problem> {
        let engine_timeout =
            Duration::from_secs(env.number(&var::ENGINE_TIMEOUT_SECONDS, 1..=86_400));
        let mut config = Self {
            paths,
            debounce: debounce(env),
            engine: engine::engine(env, engine_timeout)?,
            max_investigations_per_hour: env.number(&var::MAX_INVESTIGATIONS_PER_HOUR, 0..=100_000),
            slack: slack(env)?,
            proxy: ProxySettings {
                https_proxy: env.either_case(&var::HTTPS_PROXY),
                no_proxy: env.either_case(&var::NO_PROXY),
            },
            ca_file: env.path(&var::SSL_CERT_FILE),
            secrets: names::secrets()
                .filter_map(|name| env.secret(name))
                .collect(),
            facts_after: facts_after(env),
            late_diagnosis: seconds(env.number(&var::LATE_DIAGNOSIS_SECONDS, 0..=A_YEAR)),
            digest_wakes: digest_wakes(env),
            tell_recovery: env.switch(&var::TELL_RECOVERY),
            outbox_ttl: seconds(env.number(&var::OUTBOX_TTL_SECONDS, 0..=A_YEAR)),
            engine_timeout,
            max_runtime: time_limit(env.number(&var::MAX_RUNTIME_SECONDS, 0..=A_YEAR)),
            cadence: Duration::from_secs_f64(env.number(&var::POLL_SEC, 0.1..=86_400.0)),
            metrics_file: env.absolute_path(&var::METRICS_FILE)?,
            heartbeat: env
                .get(var::HEARTBEAT_URL.name)
                .map(|url| endpoint(&var::HEARTBEAT_URL, &url))
                .transpose()?,
            env_file: env.file_path.clone(),
            secret_files: names::secrets()
                .filter_map(|name| env.secret_file(name))
                .collect(),
            warnings: Vec::new(),
        };
        config.warnings = env.warnings();
        Ok(config)
    }
}

/// In seconds.
const A_YEAR: u64 = 366 * 86_400;

fn seconds(number: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The longest that a run may take, from a number of seconds of which 0 is no limit.
pub fn time_limit(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn facts_after(env: &Environment) -> FactsAfter {
    let read = |text: &str| {
        if text.eq_ignore_ascii_case("never") {
            return Some(FactsAfter::Never);
        }
        let is_usable = |number: &f64| (0.0..=A_YEAR as f64).contains(number);
        let number = text.parse().ok().filter(is_usable)?;
        Some(FactsAfter::After(SignedDuration::from_secs_f64(number)))
    };
    env.parsed(&var::FACTS_AFTER_SECONDS, read)
        .unwrap_or(FactsAfter::Never)
}

fn digest_wakes(env: &Environment) -> Option<usize> {
    // One wake is no digest.
    let usable = |number: &usize| *number == 0 || (2..=1_000_000).contains(number);
    env.parsed(&var::DIGEST_WAKES, |text| text.parse().ok().filter(usable))
        .filter(|number| *number > 0)
}

fn debounce(env: &Environment) -> Policy {
    Policy {
        window: seconds(env.number(&var::DEBOUNCE_SECONDS, 0..=A_YEAR)),
        bypass_critical: env.switch(&var::DEBOUNCE_BYPASS_CRITICAL),
        bypass_escalation: env.switch(&var::DEBOUNCE_BYPASS_ESCALATION),
        consecutive_required: env.number(&var::DEBOUNCE_CONSECUTIVE_REQUIRED, 1..=1_000_000),
        backoff_factor: env.number(&var::DEBOUNCE_BACKOFF_FACTOR, 1.0..=1_000.0),
        max_window: seconds(env.number(&var::DEBOUNCE_MAX_SECONDS, 1..=A_YEAR)),
    }
}

fn endpoint(variable: &Variable, url: &str) -> Result<Endpoint, Problem> {
    Endpoint::parse(url).map_err(|error| Problem::usage(format!("{}: {error}", variable.name)))
}

fn slack(env: &Environment) -> Result<SlackConfig, Problem> {
    Ok(SlackConfig {
        api_url: endpoint(&var::SLACK_API_URL, &env.text(&var::SLACK_API_URL))?,
        token: env.secret(var::SLACK_BOT_TOKEN.name),
        operator: env.get(var::SLACK_USER_ID.name),
    })
}
