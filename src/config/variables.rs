//! The table of settings: the name, default and meaning of every variable, in one place. The
//! configuration reads its defaults from here, and a test keeps the man page in step with it. Below it:
//! which names are known, which hold a token, and which one was probably meant.

use crate::engine::APIS;

/// An environment variable, or a line of the env file.
pub struct Variable {
    pub name: &'static str,
    /// As a user would write it; empty if there is none.
    pub default: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "printed by the man page"))]
    pub help: &'static str,
}

macro_rules! variables {
    ($($constant:ident = $name:literal, $default:literal, $help:literal;)*) => {
        $(pub const $constant: Variable =
            Variable { name: $name, default: $default, help: $help };)*
        /// All of them, in the order in which they are documented.
        pub const VARIABLES: &[&Variable] = &[$(&$constant),*];
    };
}

variables! {
    AUDIT_LOG_PATH = "KORA_AUDIT_LOG_PATH", "",
        "The audit log. Unset: $KORA_HOME/kora_audit_log.jsonl, or ~/.kora/kora_audit_log.jsonl.";
    KORA_HOME = "KORA_HOME", "",
        "Kora's folder, which holds kora_audit_log.jsonl.";
    HERMES_HOME = "HERMES_HOME", "",
        "The legacy name of KORA_HOME; read, with a warning, if the two above are unset.";
    STATE_DIR = "KORA_PROBE_WAKE_STATE_DIR", "",
        "The state folder. Unset: systemd's STATE_DIRECTORY, or ~/.local/state/probe-wake.";
    STATE_DIRECTORY = "STATE_DIRECTORY", "",
        "Set by systemd for a unit with StateDirectory=; used if the variable above is unset.";
    ENV_FILE = "KORA_PROBE_WAKE_ENV_FILE", "",
        "A file of KEY=value settings. Unset: ~/.config/probe-wake/env, if it exists.";
    SLACK_BOT_TOKEN = "KORA_SLACK_BOT_TOKEN", "",
        "The Slack app's bot token (xoxb-...) with the scope chat:write. Or KORA_SLACK_BOT_TOKEN_FILE.";
    SLACK_USER_ID = "KORA_SLACK_JOSHUA_USER_ID", "",
        "The operator's Slack user id (U...): who gets the messages.";
    SLACK_API_URL = "KORA_SLACK_API_URL", "https://slack.com/api",
        "The base URL of Slack's Web API; GovSlack is https://slack-gov.com/api.";
    FALLBACK_COMMAND = "KORA_PROBE_FALLBACK_COMMAND", "",
        "The second channel: an executable file, run without arguments, that gets on its standard input an alert that Slack did not take. It must belong to you or root, and others must not be able to write it. probe-wake(7) has examples for ntfy and mail. Unset: off.";
    FALLBACK_AFTER_SECONDS = "KORA_PROBE_FALLBACK_AFTER_SECONDS", "300",
        "How long an alert waits for Slack before the fallback command gets it, if a try has failed or none can be made; 0: not at all.";
    ENGINE_API = "KORA_PROBE_ENGINE_API", "kora",
        "The engine's API: kora, openai or anthropic.";
    ENGINE_URL = "KORA_PROBE_ENGINE_URL", "",
        "The engine's URL. kora: the whole URL; openai: the base, https://api.openai.com/v1 if unset; anthropic: the base, https://api.anthropic.com if unset.";
    ENGINE_TOKEN = "KORA_PROBE_ENGINE_TOKEN", "",
        "The engine's token. Unset: OPENAI_API_KEY or ANTHROPIC_API_KEY for their API. Or KORA_PROBE_ENGINE_TOKEN_FILE.";
    OPENAI_API_KEY = "OPENAI_API_KEY", "",
        "The token for the openai API if KORA_PROBE_ENGINE_TOKEN is unset. Or OPENAI_API_KEY_FILE.";
    ANTHROPIC_API_KEY = "ANTHROPIC_API_KEY", "",
        "The token for the anthropic API if KORA_PROBE_ENGINE_TOKEN is unset. Or ANTHROPIC_API_KEY_FILE.";
    ENGINE_MODEL = "KORA_PROBE_ENGINE_MODEL", "",
        "The model. anthropic: claude-haiku-4-5 if unset; openai has no default.";
    ENGINE_MAX_TOKENS = "KORA_PROBE_ENGINE_MAX_TOKENS", "",
        "The longest answer, in tokens (1 or more). Unset: 1024 for anthropic, no limit for openai.";
    ENGINE_TIMEOUT_SECONDS = "KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "60",
        "How long one investigation may take in all: 1 to 86400.";
    CONTEXT = "KORA_PROBE_CONTEXT", "auto",
        "What the engine gets of other rows. off: only the alert and its incident; kinds: also other alerts, service health, earlier diagnoses and which kinds of rows there were; rows: also the details of the last rows of each kind, masked; auto: rows where the engine's URL is on loopback, kinds elsewhere.";
    CONTEXT_SECONDS = "KORA_PROBE_CONTEXT_SECONDS", "3600",
        "How long before an alert its context begins: 1 to 604800.";
    RUNBOOK_DIR = "KORA_PROBE_RUNBOOK_DIR", "",
        "The folder of runbooks: site.md, PROBE:CATEGORY.md, PROBE.md and default.md. Unset: ~/.config/probe-wake/runbooks.";
    MAX_INVESTIGATIONS_PER_HOUR = "KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR", "0",
        "How often the engine may be asked within an hour, across runs; 0: no limit.";
    FACTS_AFTER_SECONDS = "KORA_PROBE_FACTS_AFTER_SECONDS", "30",
        "How long an alert waits for its diagnosis before its facts are sent; 0: not at all, never: without a limit. Fractions are taken.";
    LATE_DIAGNOSIS_SECONDS = "KORA_PROBE_LATE_DIAGNOSIS_SECONDS", "0",
        "For how long after an alert the engine is asked again if the reason for having no diagnosis may pass; 0: off.";
    DIGEST_WAKES = "KORA_PROBE_DIGEST_WAKES", "0",
        "The number of new alerts at once (2 or more) from which they share one question and one message; 0: off.";
    TELL_RECOVERY = "KORA_PROBE_TELL_RECOVERY", "false",
        "Whether a reply to an alert says that Kora's snapshot calls the service healthy again.";
    SNAPSHOT_PATH = "KORA_SNAPSHOT_PATH", "",
        "Kora's daemon_snapshot.json. Unset: in $KORA_HOME/cache, or in the folder cache beside the audit log.";
    QUIET_SECONDS = "KORA_PROBE_QUIET_SECONDS", "0",
        "How long the audit log may have no new row before a message says that nothing was heard; 0: off.";
    ACK_REACTION = "KORA_PROBE_ACK_REACTION", "",
        "The Slack emoji, by its name without colons (eyes), with which the operator acknowledges an incident; needs the scope reactions:read. Unset: off.";
    DEBOUNCE_SECONDS = "KORA_PROBE_DEBOUNCE_SECONDS", "600",
        "The window in which repeats of one pair of probe and category are held back; 0: off.";
    DEBOUNCE_BYPASS_CRITICAL = "KORA_PROBE_DEBOUNCE_BYPASS_CRITICAL", "false",
        "Whether wakes of severity critical are never held back as repeats.";
    DEBOUNCE_BYPASS_ESCALATION = "KORA_PROBE_DEBOUNCE_BYPASS_ESCALATION", "false",
        "Whether a wake that is more severe than the last one dispatched goes out at once, and not when the window ends.";
    DEBOUNCE_CONSECUTIVE_REQUIRED = "KORA_PROBE_DEBOUNCE_CONSECUTIVE_REQUIRED", "1",
        "Dispatch a pair only at its n-th wake within one window of the first. Over 1, a service that raises a single row is never announced.";
    DEBOUNCE_BACKOFF_FACTOR = "KORA_PROBE_DEBOUNCE_BACKOFF_FACTOR", "1",
        "Each dispatch within two windows of the one before multiplies the pair's window by this, 1 to 1000; fractions are taken. 2 is the remedy for a service that flaps.";
    DEBOUNCE_MAX_SECONDS = "KORA_PROBE_DEBOUNCE_MAX_SECONDS", "86400",
        "The longest window that the factor can lead to (1 or more).";
    OUTBOX_TTL_SECONDS = "KORA_PROBE_OUTBOX_TTL_SECONDS", "86400",
        "A message that has waited longer than this is given up, and kept in undelivered; 0: no limit.";
    MAX_RUNTIME_SECONDS = "KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", "300",
        "After this long a run reads no row and begins no question; the rest is for the next run. 0: no limit.";
    POLL_SEC = "KORA_PROBE_WAKE_POLL_SEC", "30",
        "The cadence: how often runs are started, for schedule and status. 0.1 to 86400; fractions are taken.";
    OUTCOME_LOG = "KORA_PROBE_OUTCOME_LOG", "",
        "A second file for the probe.investigation_completed rows. It is never created.";
    METRICS_FILE = "KORA_PROBE_WAKE_METRICS_FILE", "",
        "After each run, Prometheus text for node_exporter's textfile collector is written to this file.";
    HEARTBEAT_URL = "KORA_PROBE_WAKE_HEARTBEAT_URL", "",
        "Requested after a run that ended well, and with /fail appended after one that did not.";
    HTTPS_PROXY = "HTTPS_PROXY", "",
        "The proxy for https URLs; loopback is always reached directly.";
    NO_PROXY = "NO_PROXY", "",
        "Hosts that are reached without the proxy.";
    NO_COLOR = "NO_COLOR", "",
        "Set to anything: no colour at a terminal.";
    SSL_CERT_FILE = "SSL_CERT_FILE", "",
        "The certificates to trust in place of the system's.";
}

/// How alike two names must be for one to be a misspelling of the other; 1 is the same name.
const ALIKE: f64 = 0.7;

/// Returns the names of the variables that hold a token. Each `X` can also be set as `X_FILE`.
pub fn secrets() -> impl Iterator<Item = &'static str> {
    let of_apis = APIS.into_iter().filter_map(|api| api.token_variable);
    of_apis.chain([ENGINE_TOKEN.name, SLACK_BOT_TOKEN.name])
}

/// Returns whether this program reads a variable of this name.
pub fn is_known(name: &str) -> bool {
    // These are also read in lower case.
    let either_case = [&HTTPS_PROXY, &NO_PROXY];
    let mut either_case = either_case.into_iter().map(|known| known.name);
    names().any(|known| known == name) || either_case.any(|known| known.eq_ignore_ascii_case(name))
}

/// Returns every name, in capitals only.
pub fn names() -> impl Iterator<Item = String> {
    let files = secrets().map(|secret| format!("{secret}_FILE"));
    let names = VARIABLES.iter().map(|variable| variable.name.to_owned());
    names.chain(files)
}

/// Returns the known name that was probably meant by this one, unless that is set as well (`is_set`).
pub fn meant_by(name: &str, is_set: impl Fn(&str) -> bool) -> Option<String> {
    let written = name.to_ascii_uppercase();
    let likeness = |known: &str| {
        // TIMEOUT is closer to TOKEN than to TIMEOUT_SECONDS by letters alone.
        let lacks_its_end = f64::from(u8::from(known.starts_with(&written))) / 4.0;
        strsim::normalized_damerau_levenshtein(&written, known) + lacks_its_end
    };
    let likely = names().map(|known| (likeness(&known), known));
    let (likeness, known) = likely.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (likeness >= ALIKE && !is_set(&known)).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_name_is_recognised() {
        for (written, meant) in [
            ("KORA_SLACK_TOKEN", "KORA_SLACK_BOT_TOKEN"),
            ("SLACK_BOT_TOKEN", "KORA_SLACK_BOT_TOKEN"),
            ("KORA_SLACK_BOT_TOKEN_FLE", "KORA_SLACK_BOT_TOKEN_FILE"),
            ("KORA_SLACK_USER_ID", "KORA_SLACK_JOSHUA_USER_ID"),
            (
                "KORA_PROBE_ENGINE_TIMEOUT",
                "KORA_PROBE_ENGINE_TIMEOUT_SECONDS",
            ),
            ("KORA_AUDIT_LOG", "KORA_AUDIT_LOG_PATH"),
            ("kora_audit_log_path", "KORA_AUDIT_LOG_PATH"),
            ("KORA_DEBOUNCE_SECONDS", "KORA_PROBE_DEBOUNCE_SECONDS"),
        ] {
            assert_eq!(meant_by(written, |_| false).as_deref(), Some(meant));
        }
    }

    #[test]
    fn the_settings_of_other_programs_are_left_alone() {
        for name in [
            "PATH",
            "LANG",
            "DATABASE_URL",
            "KORA_GATEWAY_PORT",
            "KORA_SLACK_DM_LOG_PATH",
        ] {
            assert_eq!(meant_by(name, |_| false), None, "{name}");
        }
        let is_set = |name: &str| name == "KORA_SLACK_BOT_TOKEN";
        assert_eq!(meant_by("KORA_SLACK_APP_TOKEN", is_set), None);
    }

    #[test]
    fn every_variable_with_a_token_is_documented() {
        for name in secrets() {
            assert!(
                VARIABLES.iter().any(|variable| variable.name == name),
                "{name}"
            );
        }
    }
}
