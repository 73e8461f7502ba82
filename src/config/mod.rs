//! Flags over environment over env file, validated once. Below this room nobody reads the
//! environment, and no setting is half set: what must be there is there, what may be missing is an
//! `Option` with a meaning.

mod engine;
mod env_file;
mod environment;
mod paths;
pub mod variables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use log::debug;

use crate::cli::Global;
use crate::debounce::Policy;
use crate::engine::EngineConfig;
use crate::exit::Problem;
use crate::http::{Endpoint, Http, ProxySettings};
use crate::slack::SlackConfig;
use environment::Environment;
pub use environment::usual_env_file;
pub use paths::{Paths, usual_state_dir};
use paths::{absolute, no_color};
use variables as var;

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
    pub outbox_ttl: SignedDuration,
    pub max_runtime: Duration,
    /// How often runs are started.
    pub cadence: Duration,
    pub metrics_file: Option<PathBuf>,
    pub heartbeat: Option<Endpoint>,
    /// The env file that was read, for `check`.
    pub env_file: Option<PathBuf>,
    /// The files that secrets are kept in, for `check`.
    pub secret_files: Vec<PathBuf>,
}

/// Whether stderr goes to journald: it names device and inode of its socket (systemd.exec(5)).
pub fn stderr_is_journal() -> bool {
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|meta| *named == *format!("{}:{}", meta.st_dev, meta.st_ino))
}

/// After so many cadences, and at least a quarter of an hour, the schedule is taken to be broken.
const OVERDUE_CADENCES: u32 = 10;
const OVERDUE: SignedDuration = SignedDuration::from_mins(15);

impl Config {
    /// How long the last run may be ago before nobody can be said to watch.
    pub fn patience(&self) -> SignedDuration {
        let cadences = self.cadence.saturating_mul(OVERDUE_CADENCES);
        SignedDuration::try_from(cadences)
            .unwrap_or(SignedDuration::MAX)
            .max(OVERDUE)
    }

    /// Reads and validates all settings.
    pub fn load(flags: &Global) -> Result<Self, Problem> {
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

    /// For a rehearsal of the log that is named, which needs neither a home nor a state folder.
    pub fn for_replay(flags: &Global, log: &Path) -> Result<Self, Problem> {
        let env = Environment::read(flags)?;
        let paths = Paths {
            audit_log: absolute(log)?,
            state_dir: PathBuf::new(),
            outcome_log: None,
            no_color: no_color(&env),
        };
        Self::from(paths, &env)
    }

    /// The client for all requests.
    pub fn http(&self) -> Http {
        Http::new(self.proxy.clone()).trusting(self.ca_file.clone())
    }

    fn from(paths: Paths, env: &Environment) -> Result<Self, Problem> {
        Ok(Self {
            paths,
            debounce: debounce(env),
            engine: engine::engine(env)?,
            max_investigations_per_hour: env.number(&var::MAX_INVESTIGATIONS_PER_HOUR, 0..=100_000),
            slack: slack(env)?,
            proxy: ProxySettings {
                https_proxy: env.either_case(&var::HTTPS_PROXY),
                no_proxy: env.either_case(&var::NO_PROXY),
            },
            ca_file: env.path(&var::SSL_CERT_FILE),
            outbox_ttl: seconds(env.number(&var::OUTBOX_TTL_SECONDS, 0..=A_YEAR)),
            max_runtime: Duration::from_secs(env.number(&var::MAX_RUNTIME_SECONDS, 0..=A_YEAR)),
            cadence: Duration::from_secs(env.number(&var::POLL_SEC, 1..=A_DAY)),
            metrics_file: env
                .path(&var::METRICS_FILE)
                .map(|path| absolute(&path))
                .transpose()?,
            heartbeat: env
                .get(var::HEARTBEAT_URL.name)
                .map(|url| endpoint(var::HEARTBEAT_URL.name, &url))
                .transpose()?,
            env_file: env.file_path.clone(),
            secret_files: engine::token_variables()
                .chain([var::SLACK_BOT_TOKEN.name])
                .filter_map(|name| env.secret_file(name))
                .collect(),
        })
    }
}

const A_DAY: u64 = 86_400;
const A_YEAR: u64 = 366 * A_DAY;

fn seconds(number: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(number).unwrap_or(i64::MAX))
}

fn debounce(env: &Environment) -> Policy {
    Policy {
        window: seconds(env.number(&var::DEBOUNCE_SECONDS, 0..=A_YEAR)),
        bypass_critical: env.switch(&var::DEBOUNCE_BYPASS_CRITICAL),
        consecutive_required: env.number(&var::DEBOUNCE_CONSECUTIVE_REQUIRED, 1..=1_000_000),
        backoff_factor: env.number(&var::DEBOUNCE_BACKOFF_FACTOR, 1.0..=1_000.0),
        max_window: seconds(env.number(&var::DEBOUNCE_MAX_SECONDS, 1..=A_YEAR)),
    }
}

fn endpoint(name: &str, url: &str) -> Result<Endpoint, Problem> {
    Endpoint::parse(url).map_err(|error| Problem::usage(format!("{name}: {error}")))
}

fn slack(env: &Environment) -> Result<SlackConfig, Problem> {
    Ok(SlackConfig {
        api_url: endpoint(var::SLACK_API_URL.name, &env.text(&var::SLACK_API_URL))?,
        token: env.secret(var::SLACK_BOT_TOKEN.name),
        operator: env.get(var::SLACK_USER_ID.name),
    })
}
