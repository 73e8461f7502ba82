//! The table of settings: every variable's name, default and meaning, once. The configuration reads
//! its defaults from here, and the man page is held to it.

/// An environment variable, or a line of the env file.
pub struct Variable {
    pub name: &'static str,
    /// As it would be written; empty where there is none.
    pub default: &'static str,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the man page and the README tell it")
    )]
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
        "Kora's folder, in which kora_audit_log.jsonl is looked for.";
    HERMES_HOME = "HERMES_HOME", "",
        "The same under its legacy name; read with a warning where the two above are unset.";
    STATE_DIR = "KORA_PROBE_WAKE_STATE_DIR", "",
        "The folder of the state. Unset: systemd's STATE_DIRECTORY, or ~/.local/state/probe-wake.";
    STATE_DIRECTORY = "STATE_DIRECTORY", "",
        "Set by systemd for a unit with StateDirectory=; used where the variable above is unset.";
    ENV_FILE = "KORA_PROBE_WAKE_ENV_FILE", "",
        "A file of KEY=value settings. Unset: ~/.config/probe-wake/env, where it exists.";
    SLACK_BOT_TOKEN = "KORA_SLACK_BOT_TOKEN", "",
        "The Slack app's bot token (xoxb-...), scope chat:write. Or KORA_SLACK_BOT_TOKEN_FILE.";
    SLACK_USER_ID = "KORA_SLACK_JOSHUA_USER_ID", "",
        "The operator's Slack user id (U...), who gets the DMs.";
    SLACK_API_URL = "KORA_SLACK_API_URL", "https://slack.com/api",
        "Where Slack's Web API is; GovSlack is https://slack-gov.com/api.";
    ENGINE_API = "KORA_PROBE_ENGINE_API", "kora",
        "What the engine speaks: kora, openai or anthropic.";
    ENGINE_URL = "KORA_PROBE_ENGINE_URL", "",
        "Where the engine is. kora: the whole URL; openai: the base, https://api.openai.com/v1; anthropic: the base, https://api.anthropic.com.";
    ENGINE_TOKEN = "KORA_PROBE_ENGINE_TOKEN", "",
        "The engine's token. Unset: OPENAI_API_KEY or ANTHROPIC_API_KEY for their API. Or KORA_PROBE_ENGINE_TOKEN_FILE.";
    OPENAI_API_KEY = "OPENAI_API_KEY", "",
        "The token of the openai API where the one above is unset. Or OPENAI_API_KEY_FILE.";
    ANTHROPIC_API_KEY = "ANTHROPIC_API_KEY", "",
        "The token of the anthropic API where KORA_PROBE_ENGINE_TOKEN is unset. Or ANTHROPIC_API_KEY_FILE.";
    ENGINE_MODEL = "KORA_PROBE_ENGINE_MODEL", "",
        "The model. anthropic: claude-haiku-4-5; openai has no default.";
    ENGINE_MAX_TOKENS = "KORA_PROBE_ENGINE_MAX_TOKENS", "",
        "The longest answer, in tokens. Unset: 1024 for anthropic, nothing is sent to openai.";
    ENGINE_TIMEOUT_SECONDS = "KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "60",
        "How long one investigation may take in all.";
    CONTEXT = "KORA_PROBE_CONTEXT", "auto",
        "What the engine gets of other rows. off: only the alert and its incident; kinds: also other alerts, service health, earlier diagnoses and which kinds of rows there were; rows: also the details of the last rows of each kind, masked; auto: rows where the engine's URL is on loopback, kinds elsewhere.";
    CONTEXT_SECONDS = "KORA_PROBE_CONTEXT_SECONDS", "3600",
        "How long before an alert its context begins: 1 to 604800.";
    RUNBOOK_DIR = "KORA_PROBE_RUNBOOK_DIR", "",
        "The folder of runbooks: site.md, PROBE:CATEGORY.md, PROBE.md and default.md. Unset: ~/.config/probe-wake/runbooks.";
    MAX_INVESTIGATIONS_PER_HOUR = "KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR", "0",
        "How many times the engine is asked within an hour, across runs; 0 is no limit.";
    FACTS_AFTER_SECONDS = "KORA_PROBE_FACTS_AFTER_SECONDS", "30",
        "How long an alert waits for its diagnosis before its facts are sent; 0 is at once, never is no limit.";
    LATE_DIAGNOSIS_SECONDS = "KORA_PROBE_LATE_DIAGNOSIS_SECONDS", "0",
        "How long after the alert the engine is asked again where it could not be reached; 0 is not at all.";
    DIGEST_WAKES = "KORA_PROBE_DIGEST_WAKES", "0",
        "From so many new alerts at once (2 or more) they share one question and one message; 0 turns it off.";
    TELL_RECOVERY = "KORA_PROBE_TELL_RECOVERY", "false",
        "true, 1, yes or on: say in the alert's thread when Kora's snapshot calls the service healthy again.";
    SNAPSHOT_PATH = "KORA_SNAPSHOT_PATH", "",
        "Kora's daemon_snapshot.json. Unset: in $KORA_HOME/cache, or in the folder cache beside the audit log.";
    DEBOUNCE_SECONDS = "KORA_PROBE_DEBOUNCE_SECONDS", "600",
        "The window in which repeats of one (probe, category) are held back; 0 turns it off.";
    DEBOUNCE_BYPASS_CRITICAL = "KORA_PROBE_DEBOUNCE_BYPASS_CRITICAL", "false",
        "true, 1, yes or on: wakes of severity critical are never held back.";
    DEBOUNCE_BYPASS_ESCALATION = "KORA_PROBE_DEBOUNCE_BYPASS_ESCALATION", "false",
        "true, 1, yes or on: a wake of a higher severity than the pair's last dispatched one is not held back.";
    DEBOUNCE_CONSECUTIVE_REQUIRED = "KORA_PROBE_DEBOUNCE_CONSECUTIVE_REQUIRED", "1",
        "Dispatch a pair only at its n-th wake within one window of the first.";
    DEBOUNCE_BACKOFF_FACTOR = "KORA_PROBE_DEBOUNCE_BACKOFF_FACTOR", "1",
        "Each dispatch within two windows of the one before multiplies the pair's window by this.";
    DEBOUNCE_MAX_SECONDS = "KORA_PROBE_DEBOUNCE_MAX_SECONDS", "86400",
        "The longest window that the factor can lead to.";
    OUTBOX_TTL_SECONDS = "KORA_PROBE_OUTBOX_TTL_SECONDS", "86400",
        "A queued DM older than this moves to undelivered.jsonl.";
    MAX_RUNTIME_SECONDS = "KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", "300",
        "After this long a run asks no engine and reads no row; the rest stays for the next run. 0 is no limit.";
    POLL_SEC = "KORA_PROBE_WAKE_POLL_SEC", "30",
        "How often runs are started, for schedule and status; fractions of a second are taken.";
    OUTCOME_LOG = "KORA_PROBE_OUTCOME_LOG", "",
        "The file that outcome rows are appended to. Unset: outcomes.jsonl in the state folder.";
    METRICS_FILE = "KORA_PROBE_WAKE_METRICS_FILE", "",
        "Prometheus text for node_exporter's textfile collector is written here after each run.";
    HEARTBEAT_URL = "KORA_PROBE_WAKE_HEARTBEAT_URL", "",
        "Asked after a run that ended well, and with /fail appended after one that did not.";
    HTTPS_PROXY = "HTTPS_PROXY", "",
        "The proxy for https URLs; loopback is always direct.";
    NO_PROXY = "NO_PROXY", "",
        "Hosts that are reached without the proxy.";
    NO_COLOR = "NO_COLOR", "",
        "Set to anything: no colour at a terminal.";
    SSL_CERT_FILE = "SSL_CERT_FILE", "",
        "The certificates to trust in place of the system's.";
}
