//! Flags over environment over env file, validated once. No other module reads the environment. A
//! setting that may be missing is an `Option` whose `None` is explained.

mod env_file;
mod environment;
mod paths;
mod screen;
#[cfg(test)]
mod tests;
pub mod variables;
mod warning;

use std::path::{Path, PathBuf};
use std::time::Duration;

use directories::BaseDirs;
use jiff::{SignedDuration, Timestamp};
use log::debug;

use crate::cli::Global;
use crate::context::Mode;
use crate::engine::{APIS, EngineConfig};
use crate::exit::Problem;
use crate::http::{Endpoint, Http, ProxySettings};
use crate::incident::Rules;
use crate::secret::Secret;
use crate::slack::SlackConfig;
use environment::absolute;
pub use environment::{Environment, usual_env_file};
pub use paths::Paths;
pub use screen::screen;
use variables::{self as var, Variable};
use warning::Warning;

/// All settings of a run.
pub struct Config {
    pub paths: Paths,
    pub debounce: Rules,
    /// `None`: no engine is configured.
    pub engine: Option<EngineConfig>,
    pub context: ContextConfig,
    /// Zero: no limit.
    pub max_investigations_per_hour: usize,
    pub slack: SlackConfig,
    /// Every token that is set, to be masked in what is read.
    secrets: Vec<Secret>,
    /// How long an alert waits for its diagnosis before its facts are sent; zero: not at all, `None`:
    /// without a limit.
    pub facts_after: Option<SignedDuration>,
    /// For how long an investigation without a diagnosis is retried; zero: not at all.
    pub late_diagnosis: SignedDuration,
    /// From how many wakes a batch becomes one message; `None`: never.
    pub digest_wakes: Option<usize>,
    /// Whether a reply says that Kora's snapshot calls the service healthy again.
    pub tell_recovery: bool,
    /// How long the log may have no new row before a message says so; `None`: for ever.
    pub quiet_after: Option<SignedDuration>,
    /// The emoji with which the operator acknowledges an incident; `None`: reactions are not read.
    pub ack_reaction: Option<String>,
    /// The second channel; `None`: there is none.
    pub fallback_command: Option<PathBuf>,
    /// How long an alert waits for Slack before the fallback command is run.
    pub fallback_after: SignedDuration,
    /// How long a message is kept in the outbox; `None`: until it is delivered.
    pub outbox_ttl: Option<SignedDuration>,
    /// How long one question may take, even if no engine is configured.
    pub engine_timeout: Duration,
    /// `None`: no limit.
    pub max_runtime: Option<Duration>,
    /// How often runs are started.
    pub cadence: SignedDuration,
    pub metrics_file: Option<PathBuf>,
    pub heartbeat: Option<Endpoint>,
    /// What all this was read from.
    pub env: Environment,
}

/// What an engine is sent besides the alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextConfig {
    pub mode: Mode,
    /// How long before the alert the context begins.
    pub length: SignedDuration,
    /// `None` if no home folder is known.
    pub runbook_dir: Option<PathBuf>,
}

/// Returns whether this is a path below `/tmp` or `/var/tmp`, or names one after a space.
pub fn is_in_tmp(text: &str) -> bool {
    let mut words = text.split(' ');
    words.any(|word| word.starts_with("/tmp/") || word.starts_with("/var/tmp/"))
}

/// Returns whether stderr goes to journald, which names the device and inode of its socket
/// (systemd.exec(5)).
pub fn stderr_is_journal() -> bool {
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|meta| *named == *format!("{}:{}", meta.st_dev, meta.st_ino))
}

/// A shorter pause between runs is not worth mentioning.
const SHORTEST_PAUSE: SignedDuration = SignedDuration::from_mins(15);

impl Config {
    /// Returns the longest pause between runs that does not count as unwatched.
    pub fn patience(&self) -> SignedDuration {
        (self.cadence * 10).max(SHORTEST_PAUSE)
    }

    /// Returns how long after the last run the next one is overdue.
    pub fn overdue_after(&self) -> SignedDuration {
        (self.cadence * 5).max(SHORTEST_PAUSE)
    }

    /// Returns whether something that was queued then has waited too long.
    pub fn is_expired(&self, queued_at: Timestamp, now: Timestamp) -> bool {
        self.outbox_ttl
            .is_some_and(|ttl| now.duration_since(queued_at) > ttl)
    }

    /// Reads and validates all settings, and warns of those that are not usable.
    pub fn load(flags: &Global) -> Result<Self, Problem> {
        let config = Self::examine(flags)?;
        config.env.print_warnings();
        Ok(config)
    }

    /// Reads and validates all settings; leaves it to the caller to print the warnings.
    pub fn examine(flags: &Global) -> Result<Self, Problem> {
        let env = Environment::read(flags)?;
        let paths = Paths::from(flags, &env)?;
        match &env.file_path {
            Some(path) => debug!("env file: {}", path.display()),
            None => debug!("env file: none"),
        }
        debug!("audit log: {}", paths.audit_log.display());
        debug!("state folder: {}", paths.state_dir.display());
        Self::from(paths, env)
    }

    /// Reads the settings for a replay of this log, which needs neither a home nor a state folder.
    pub fn for_replay(flags: &Global, log: &Path) -> Result<Self, Problem> {
        let env = Environment::read(flags)?;
        let audit_log = absolute(log)?;
        let config = Self::from(Paths::of_log(audit_log, &env), env)?;
        config.env.print_warnings();
        Ok(config)
    }

    /// Returns the client for all requests.
    pub fn http(&self) -> Http {
        let proxy = ProxySettings {
            https_proxy: self.env.either_case(&var::HTTPS_PROXY),
            no_proxy: self.env.either_case(&var::NO_PROXY),
        };
        // The certificates to trust in place of the system's.
        let ca_file = self.env.path(&var::SSL_CERT_FILE);
        Http::new(proxy, ca_file, self.secrets.clone())
    }

    /// Returns the variable that has to be set before anything can be sent to Slack.
    pub fn missing_for_slack(&self) -> Option<&'static str> {
        match (&self.slack.token, &self.slack.operator) {
            (None, _) => Some(var::SLACK_BOT_TOKEN.name),
            (_, None) => Some(var::SLACK_USER_ID.name),
            (Some(_), Some(_)) => None,
        }
    }

    /// Returns whether this text is or contains a token.
    pub fn holds_secret(&self, text: &str) -> bool {
        let is_in = |secret: &Secret| secret.mask(text.to_owned()) != text;
        self.secrets.iter().any(is_in)
    }

    /// Returns the variables of this process that may hold a token.
    pub fn secret_variables(&self) -> Vec<String> {
        let named = var::secrets().map(str::to_owned);
        let process = std::env::vars_os().filter_map(|(name, value)| {
            let holds = self.holds_secret(&value.to_string_lossy());
            holds.then(|| name.into_string().ok())?
        });
        named.chain(process).collect()
    }

    /// Returns the lines of the env file, without those that hold a token.
    pub fn settings(&self) -> Vec<(String, String)> {
        let is_secret = |name: &str, value: &str| {
            var::secrets().any(|secret| secret == name) || self.holds_secret(value)
        };
        let mut settings: Vec<_> = self.env.file.clone().into_iter().collect();
        settings.retain(|(name, value)| !is_secret(name, value));
        settings
    }

    /// Returns the settings in this process's environment that are not in the env file, without the
    /// paths of log and state, which a schedule writes down itself.
    pub fn only_in_this_environment(&self) -> Vec<String> {
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
        let needed = var::names().filter(is_needed);
        needed
            .filter(|name| self.env.is_only_in_process(name))
            .collect()
    }

    /// Returns whether a setting names something below `/tmp` or `/var/tmp`.
    pub fn names_tmp(&self) -> bool {
        var::names().any(|name| self.env.get(&name).is_some_and(|value| is_in_tmp(&value)))
    }

    /// Returns every token that is set, whether this run uses it or not.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// Returns the configuration for these settings, with an audit log in `/kora`.
    #[cfg(test)]
    pub fn of(settings: &[(&str, &str)]) -> Result<Self, Problem> {
        let env = Environment::of(settings);
        let paths = Paths::of_log("/kora/audit.jsonl".into(), &env);
        Self::from(paths, env)
    }

    fn from(paths: Paths, env: Environment) -> Result<Self, Problem> {
        let engine_timeout = env.number(&var::ENGINE_TIMEOUT_SECONDS, 1..=86_400);
        let engine_timeout = Duration::from_secs(engine_timeout);
        let engine = engine(&env, engine_timeout)?;
        Ok(Self {
            paths,
            debounce: Rules {
                window: seconds(env.number(&var::DEBOUNCE_SECONDS, 0..=A_YEAR)),
                bypass_critical: env.switch(&var::DEBOUNCE_BYPASS_CRITICAL),
                bypass_escalation: env.switch(&var::DEBOUNCE_BYPASS_ESCALATION),
                consecutive_required: env
                    .number(&var::DEBOUNCE_CONSECUTIVE_REQUIRED, 1..=1_000_000),
                backoff_factor: env.number(&var::DEBOUNCE_BACKOFF_FACTOR, 1.0..=1_000.0),
                max_window: seconds(env.number(&var::DEBOUNCE_MAX_SECONDS, 1..=A_YEAR)),
            },
            context: context(&env, engine.as_ref())?,
            engine,
            max_investigations_per_hour: env.number(&var::MAX_INVESTIGATIONS_PER_HOUR, 0..=100_000),
            slack: SlackConfig {
                api_url: endpoint(&var::SLACK_API_URL, &env.text(&var::SLACK_API_URL))?,
                token: env.secret(var::SLACK_BOT_TOKEN.name),
                operator: env.get(var::SLACK_USER_ID.name),
            },
            secrets: var::secrets().filter_map(|name| env.secret(name)).collect(),
            facts_after: facts_after(&env),
            late_diagnosis: seconds(env.number(&var::LATE_DIAGNOSIS_SECONDS, 0..=A_YEAR)),
            digest_wakes: digest_wakes(&env),
            tell_recovery: env.switch(&var::TELL_RECOVERY),
            quiet_after: limit(env.number(&var::QUIET_SECONDS, 0..=A_YEAR)),
            ack_reaction: env.parsed(&var::ACK_REACTION, emoji),
            fallback_command: env.absolute_path(&var::FALLBACK_COMMAND)?,
            fallback_after: seconds(env.number(&var::FALLBACK_AFTER_SECONDS, 0..=A_YEAR)),
            outbox_ttl: limit(env.number(&var::OUTBOX_TTL_SECONDS, 0..=A_YEAR)),
            engine_timeout,
            max_runtime: time_limit(env.number(&var::MAX_RUNTIME_SECONDS, 0..=A_YEAR)),
            cadence: SignedDuration::from_secs_f64(env.number(&var::POLL_SEC, 0.1..=86_400.0)),
            metrics_file: env.absolute_path(&var::METRICS_FILE)?,
            heartbeat: env
                .get(var::HEARTBEAT_URL.name)
                .map(|url| endpoint(&var::HEARTBEAT_URL, &url))
                .transpose()?,
            env,
        })
    }
}

/// In seconds.
const A_YEAR: u64 = 366 * 86_400;

fn seconds(number: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Like [`seconds`]; 0 means no limit.
fn limit(number: u64) -> Option<SignedDuration> {
    (number > 0).then(|| seconds(number))
}

/// Returns how long a run may take, from a number of seconds; 0 means no limit.
pub fn time_limit(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn context(env: &Environment, engine: Option<&EngineConfig>) -> Result<ContextConfig, Problem> {
    let is_local = engine.is_some_and(|engine| engine.url.is_loopback());
    let mode = |text: &str| match text.to_ascii_lowercase().as_str() {
        "off" => Some(Mode::Off),
        "kinds" => Some(Mode::Kinds),
        "rows" => Some(Mode::Rows),
        "auto" if is_local => Some(Mode::Rows),
        "auto" => Some(Mode::Kinds),
        _ => None,
    };
    let runbook_dir = env.absolute_path(&var::RUNBOOK_DIR)?;
    let usual = BaseDirs::new().map(|dirs| dirs.home_dir().join(".config/probe-wake/runbooks"));
    Ok(ContextConfig {
        mode: env.parsed(&var::CONTEXT, mode).unwrap_or(Mode::Kinds),
        length: seconds(env.number(&var::CONTEXT_SECONDS, 1..=7 * 86_400)),
        runbook_dir: runbook_dir.or(usual),
    })
}

fn facts_after(env: &Environment) -> Option<SignedDuration> {
    let is_never = |text: &str| text.eq_ignore_ascii_case("never");
    let is_usable = |number: &f64| (0.0..=A_YEAR as f64).contains(number);
    let read = |text: &str| match text.parse().ok().filter(is_usable) {
        Some(number) => Some(Some(SignedDuration::from_secs_f64(number))),
        None => is_never(text).then_some(None),
    };
    env.parsed(&var::FACTS_AFTER_SECONDS, read).flatten()
}

/// Returns the name of an emoji as Slack writes it, without colons and skin tone.
fn emoji(name: &str) -> Option<String> {
    let may_be_in_name = |c: char| c.is_alphanumeric() || "_-+'".contains(c);
    (!name.is_empty() && name.chars().all(may_be_in_name)).then(|| name.to_owned())
}

fn digest_wakes(env: &Environment) -> Option<usize> {
    // One wake is no digest.
    let usable = |number: &usize| *number == 0 || (2..=1_000_000).contains(number);
    env.parsed(&var::DIGEST_WAKES, |text| text.parse().ok().filter(usable))
        .filter(|number| *number > 0)
}

fn endpoint(variable: &Variable, url: &str) -> Result<Endpoint, Problem> {
    Endpoint::parse(url).map_err(|error| Problem::usage(format!("{}: {error}", variable.name)))
}

/// Returns the engine, or `None` if a setting that its API needs is missing.
fn engine(env: &Environment, timeout: Duration) -> Result<Option<EngineConfig>, Problem> {
    let name = env.text(&var::ENGINE_API);
    let api = APIS.into_iter().find(|api| api.name == name);
    let api = api.ok_or_else(|| {
        let names = APIS.map(|api| api.name).join(", ");
        let variable = var::ENGINE_API.name;
        Problem::usage(format!("{variable} is '{name}': it must be one of {names}"))
    })?;
    let token = env.secret(var::ENGINE_TOKEN.name);
    let token = token.or_else(|| env.secret(api.token_variable?));
    let default_url = api.default_url.filter(|_| token.is_some());
    let url = env.get(var::ENGINE_URL.name);
    let Some(url) = url.as_deref().or(default_url) else {
        return Ok(None);
    };
    let url = endpoint(&var::ENGINE_URL, url)?;
    let default_model = api.default_model.map(str::to_owned);
    let model = env.get(var::ENGINE_MODEL.name).or(default_model);
    if api.needs_model && model.is_none() {
        return Ok(None);
    }
    let max_tokens = env.number(&var::ENGINE_MAX_TOKENS, 1..=10_000_000);
    Ok(Some(EngineConfig {
        api,
        url,
        token,
        model,
        max_tokens: Some(max_tokens).filter(|most| *most > 0),
        timeout,
    }))
}
