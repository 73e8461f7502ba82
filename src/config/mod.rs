//! Flags over environment over env file, validated once. No other module reads the environment,
//! and no setting is half set: what must be there is there, what may be missing is an
//! `Option` with a meaning.

mod engine;
mod env_file;
mod environment;
mod paths;
pub mod variables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use log::{debug, warn};

use crate::cli::Global;
use crate::debounce::Policy;
use crate::engine::EngineConfig;
use crate::exit::Problem;
use crate::http::{Endpoint, Http, ProxySettings};
use crate::secret::Secret;
use crate::slack::SlackConfig;
use environment::Environment;
pub use environment::usual_env_file;
pub use paths::{Paths, usual_state_dir};
use paths::{absolute, no_color, snapshot_path};
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
    /// Every token that is set, to be masked in what is read.
    secrets: Vec<Secret>,
    /// How long an alert waits for its diagnosis before its facts are sent.
    #[allow(dead_code, reason = "issue 10 reads it")]
    pub facts_after: FactsAfter,
    /// For how long an investigation that failed stays owed; zero is not at all.
    #[allow(dead_code, reason = "issue 10 reads it")]
    pub late_diagnosis: SignedDuration,
    /// From how many wakes on a batch becomes one message; `None` is never.
    #[allow(dead_code, reason = "issue 10 reads it")]
    pub digest_wakes: Option<usize>,
    /// Whether it is told that a service is well again.
    #[allow(dead_code, reason = "issue 13 reads it")]
    pub tell_recovery: bool,
    pub outbox_ttl: SignedDuration,
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

/// Something about a setting that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about, as `check` calls it.
    pub subject: &'static str,
    pub message: String,
    pub next_step: String,
}

impl Warning {
    fn of_setting(message: String) -> Self {
        Self {
            subject: "settings",
            message,
            next_step: "give it a usable value, or leave it unset".to_owned(),
        }
    }
}

/// Unknown names in the env file, each with the one that may have been meant.
pub fn misspelt(flags: &Global) -> Result<Vec<(String, String)>, Problem> {
    Ok(Environment::read(flags)?.misspelt())
}

fn tell(warnings: &[Warning]) {
    for warning in warnings {
        warn!("{}", warning.message);
    }
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

    /// For a rehearsal of the log that is named, which needs neither a home nor a state folder.
    pub fn for_replay(flags: &Global, log: &Path) -> Result<Self, Problem> {
        let env = Environment::read(flags)?;
        let audit_log = absolute(log)?;
        let paths = Paths {
            snapshot_path: snapshot_path(&env, &audit_log),
            audit_log,
            state_dir: PathBuf::new(),
            outcome_log: None,
            no_color: no_color(&env),
        };
        let config = Self::from(paths, &env)?;
        tell(&config.warnings);
        Ok(config)
    }

    /// The client for all requests.
    pub fn http(&self) -> Http {
        Http::new(self.proxy.clone()).trusting(self.ca_file.clone())
    }

    /// Every token that is set, whether this run uses it or not.
    #[allow(dead_code, reason = "issue 11 masks them in rows")]
    pub fn secrets(&self) -> Vec<Secret> {
        self.secrets.clone()
    }

    fn from(paths: Paths, env: &Environment) -> Result<Self, Problem> {
        let mut config = Self {
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
            secrets: var::secrets().filter_map(|name| env.secret(name)).collect(),
            facts_after: facts_after(env),
            late_diagnosis: seconds(env.number(&var::LATE_DIAGNOSIS_SECONDS, 0..=A_YEAR)),
            digest_wakes: digest_wakes(env),
            tell_recovery: env.switch(&var::TELL_RECOVERY),
            outbox_ttl: seconds(env.number(&var::OUTBOX_TTL_SECONDS, 0..=A_YEAR)),
            max_runtime: time_limit(env.number(&var::MAX_RUNTIME_SECONDS, 0..=A_YEAR)),
            cadence: Duration::from_secs_f64(env.number(&var::POLL_SEC, 0.1..=86_400.0)),
            metrics_file: env
                .path(&var::METRICS_FILE)
                .map(|path| absolute(&path))
                .transpose()?,
            heartbeat: env
                .get(var::HEARTBEAT_URL.name)
                .map(|url| endpoint(var::HEARTBEAT_URL.name, &url))
                .transpose()?,
            env_file: env.file_path.clone(),
            secret_files: var::secrets()
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
        let number = text.parse().ok().filter(|number| *number <= A_YEAR)?;
        Some(FactsAfter::After(seconds(number)))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What is made of these settings, for an audit log in `/kora`.
    fn config(settings: &[(&str, &str)]) -> Config {
        let env = Environment::of(settings);
        let log = PathBuf::from("/kora/audit.jsonl");
        let paths = Paths {
            snapshot_path: snapshot_path(&env, &log),
            audit_log: log,
            state_dir: PathBuf::new(),
            outcome_log: None,
            no_color: false,
        };
        Config::from(paths, &env).unwrap()
    }

    #[test]
    fn facts_wait_for_seconds_or_for_ever() {
        let cases = [
            ("", FactsAfter::After(seconds(30))),
            ("0", FactsAfter::After(seconds(0))),
            ("2", FactsAfter::After(seconds(2))),
            ("never", FactsAfter::Never),
            ("Never", FactsAfter::Never),
            ("-1", FactsAfter::After(seconds(30))),
            ("nie", FactsAfter::After(seconds(30))),
        ];
        for (value, expected) in cases {
            let config = config(&[("KORA_PROBE_FACTS_AFTER_SECONDS", value)]);
            assert_eq!(config.facts_after, expected, "{value}");
        }
    }

    #[test]
    fn a_digest_has_two_wakes_at_least() {
        let cases = [
            ("", None),
            ("0", None),
            ("1", None),
            ("2", Some(2)),
            ("12", Some(12)),
        ];
        for (value, expected) in cases {
            let config = config(&[("KORA_PROBE_DIGEST_WAKES", value)]);
            assert_eq!(config.digest_wakes, expected, "{value}");
        }
    }

    #[test]
    fn a_run_without_a_time_limit_is_one_of_zero_seconds() {
        let of = |value| config(&[("KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", value)]).max_runtime;
        assert_eq!(of("0"), None);
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("soon"), Some(Duration::from_secs(300)));
    }

    #[test]
    fn runs_may_start_within_a_second() {
        let of = |value| config(&[("KORA_PROBE_WAKE_POLL_SEC", value)]).cadence;
        assert_eq!(of("0.5"), Duration::from_millis(500));
        assert_eq!(of("60"), Duration::from_secs(60));
        for unusable in ["0", "-1", "nan", "inf", "86401"] {
            assert_eq!(of(unusable), Duration::from_secs(30), "{unusable}");
        }
    }

    #[test]
    fn new_behaviour_is_off_by_default() {
        let off = config(&[]);
        assert!(off.late_diagnosis.is_zero() && !off.tell_recovery);
        assert!(!off.debounce.bypass_escalation);
        let on = config(&[
            ("KORA_PROBE_LATE_DIAGNOSIS_SECONDS", "3600"),
            ("KORA_PROBE_TELL_RECOVERY", "yes"),
            ("KORA_PROBE_DEBOUNCE_BYPASS_ESCALATION", "ON"),
        ]);
        assert!(on.late_diagnosis == seconds(3_600) && on.tell_recovery);
        assert!(on.debounce.bypass_escalation);
    }

    #[test]
    fn the_snapshot_is_named_or_in_koras_cache() {
        let of = |settings: &[_]| config(settings).paths.snapshot_path;
        let path = Path::new;
        assert_eq!(of(&[]), path("/kora/cache/daemon_snapshot.json"));
        let home = ("KORA_HOME", "/home/kora");
        assert_eq!(of(&[home]), path("/home/kora/cache/daemon_snapshot.json"));
        let named = ("KORA_SNAPSHOT_PATH", "/run/snapshot");
        assert_eq!(of(&[home, named]), path("/run/snapshot"));
    }

    #[test]
    fn every_token_is_known_whether_it_is_used_or_not() {
        let config = config(&[
            ("KORA_SLACK_BOT_TOKEN", "xoxb-1"),
            ("KORA_PROBE_ENGINE_TOKEN", "engine-1"),
            ("OPENAI_API_KEY", "sk-1"),
        ]);
        let secrets = config.secrets();
        let secrets: Vec<_> = secrets.iter().map(Secret::expose).collect();
        assert_eq!(secrets, ["xoxb-1", "engine-1", "sk-1"]);
    }
}
