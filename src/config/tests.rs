//! What is made of settings, each by itself.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::context::Mode;

const ENGINE: (&str, &str) = ("KORA_PROBE_ENGINE_URL", "http://127.0.0.1:1");

fn config(settings: &[(&str, &str)]) -> Config {
    Config::of(settings).unwrap()
}

/// The value of a number, as the table below writes it.
type Shown = fn(&Config) -> String;

fn shown<T: std::fmt::Debug>(limit: Option<T>) -> String {
    limit.map_or("none".to_owned(), |limit| format!("{limit:?}"))
}

/// Every number: its default, and what becomes of values at its edges. `-` is a value that is
/// refused.
#[test]
fn every_number_is_read_as_its_help_says() {
    let values = [
        "0", "1", "-1", "0.5", "1.5", "31622400", "31622401", "1e400",
    ];
    let unusable = [
        "soon",
        "nan",
        "inf",
        "1s",
        "1,5",
        "0x10",
        "99999999999999999999999999",
    ];
    let table: &[(&str, &str, Shown, [&str; 8])] = &[
        (
            "KORA_PROBE_DEBOUNCE_SECONDS",
            "10m",
            |config| format!("{:#}", config.debounce.window),
            ["0s", "1s", "-", "-", "-", "8784h", "-", "-"],
        ),
        (
            "KORA_PROBE_DEBOUNCE_MAX_SECONDS",
            "24h",
            |config| format!("{:#}", config.debounce.max_window),
            ["-", "1s", "-", "-", "-", "8784h", "-", "-"],
        ),
        (
            "KORA_PROBE_DEBOUNCE_CONSECUTIVE_REQUIRED",
            "1",
            |config| config.debounce.consecutive_required.to_string(),
            ["-", "1", "-", "-", "-", "-", "-", "-"],
        ),
        (
            "KORA_PROBE_DEBOUNCE_BACKOFF_FACTOR",
            "1",
            |config| config.debounce.backoff_factor.to_string(),
            ["-", "1", "-", "-", "1.5", "-", "-", "-"],
        ),
        (
            "KORA_PROBE_ENGINE_TIMEOUT_SECONDS",
            "60s",
            |config| format!("{:?}", config.engine_timeout),
            ["-", "1s", "-", "-", "-", "-", "-", "-"],
        ),
        (
            "KORA_PROBE_ENGINE_MAX_TOKENS",
            "none",
            |config| shown(config.engine.as_ref().unwrap().max_tokens),
            ["-", "1", "-", "-", "-", "-", "-", "-"],
        ),
        (
            "KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR",
            "0",
            |config| config.max_investigations_per_hour.to_string(),
            ["0", "1", "-", "-", "-", "-", "-", "-"],
        ),
        (
            "KORA_PROBE_FACTS_AFTER_SECONDS",
            "30s",
            |config| shown(config.facts_after),
            ["0s", "1s", "-", "500ms", "1s 500ms", "8784h", "-", "-"],
        ),
        (
            "KORA_PROBE_LATE_DIAGNOSIS_SECONDS",
            "0s",
            |config| format!("{:#}", config.late_diagnosis),
            ["0s", "1s", "-", "-", "-", "8784h", "-", "-"],
        ),
        (
            "KORA_PROBE_DIGEST_WAKES",
            "none",
            |config| shown(config.digest_wakes),
            ["none", "-", "-", "-", "-", "-", "-", "-"],
        ),
        (
            "KORA_PROBE_QUIET_SECONDS",
            "none",
            |config| shown(config.quiet_after),
            ["none", "1s", "-", "-", "-", "8784h", "-", "-"],
        ),
        (
            "KORA_PROBE_CONTEXT_SECONDS",
            "1h",
            |config| format!("{:#}", config.context.length),
            ["-", "1s", "-", "-", "-", "-", "-", "-"],
        ),
        (
            "KORA_PROBE_FALLBACK_AFTER_SECONDS",
            "5m",
            |config| format!("{:#}", config.fallback_after),
            ["0s", "1s", "-", "-", "-", "8784h", "-", "-"],
        ),
        (
            "KORA_PROBE_OUTBOX_TTL_SECONDS",
            "24h",
            |config| shown(config.outbox_ttl),
            ["none", "1s", "-", "-", "-", "8784h", "-", "-"],
        ),
        (
            "KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS",
            "300s",
            |config| shown(config.max_runtime),
            ["none", "1s", "-", "-", "-", "31622400s", "-", "-"],
        ),
        (
            "KORA_PROBE_WAKE_POLL_SEC",
            "30s",
            |config| format!("{:?}", config.cadence),
            ["-", "1s", "-", "500ms", "1s 500ms", "-", "-", "-"],
        ),
    ];
    let numbers = variables::VARIABLES.iter().filter(|variable| {
        let is_number = variable.default.parse::<f64>().is_ok();
        is_number || variable.name.ends_with("_TOKENS")
    });
    for variable in numbers {
        let (name, default, shown, expected) = table
            .iter()
            .find(|(name, ..)| *name == variable.name)
            .unwrap_or_else(|| panic!("no row for {}", variable.name));
        let read = |value: &str| {
            let config = config(&[(name, value), ENGINE]);
            let warnings = config.env.warnings().into_iter().map(|one| one.message);
            (shown(&config), warnings.collect::<Vec<_>>())
        };
        let used = match variable.default {
            "" => "it is taken as unset".to_owned(),
            default => format!("the default {default} is used"),
        };
        let refused = |value: &str| {
            let warning = format!("{name}: '{value}' is not usable: {used}");
            ((*default).to_owned(), vec![warning])
        };
        for (value, expected) in values.iter().zip(expected) {
            let expected = match *expected {
                "-" => refused(value),
                usable => (usable.to_owned(), Vec::new()),
            };
            assert_eq!(read(value), expected, "{name}={value}");
        }
        for value in unusable {
            assert_eq!(read(value), refused(value), "{name}={value}");
        }
        assert_eq!(read(" \t").0, *default, "{name}");
        assert_eq!(read(" 90\t").1, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn facts_may_wait_for_ever() {
    for value in ["never", "Never"] {
        let config = config(&[("KORA_PROBE_FACTS_AFTER_SECONDS", value)]);
        assert_eq!(config.facts_after, None, "{value}");
    }
}

#[test]
fn a_digest_has_at_least_two_wakes() {
    let of = |value| config(&[("KORA_PROBE_DIGEST_WAKES", value)]).digest_wakes;
    assert_eq!(of("2"), Some(2));
    assert_eq!(of("12"), Some(12));
}

#[test]
fn without_a_limit_nothing_in_the_outbox_expires() {
    let (now, a_month_ago) = (
        Timestamp::now(),
        Timestamp::now() - SignedDuration::from_hours(720),
    );
    let expires = |value| {
        let config = config(&[("KORA_PROBE_OUTBOX_TTL_SECONDS", value)]);
        config.is_expired(a_month_ago, now)
    };
    assert!(expires("86400") && !expires("0"));
}

type IsOn = fn(&Config) -> bool;

const SWITCHES: [(&str, IsOn); 3] = [
    ("KORA_PROBE_TELL_RECOVERY", |config| config.tell_recovery),
    ("KORA_PROBE_DEBOUNCE_BYPASS_CRITICAL", |config| {
        config.debounce.bypass_critical
    }),
    ("KORA_PROBE_DEBOUNCE_BYPASS_ESCALATION", |config| {
        config.debounce.bypass_escalation
    }),
];

#[test]
fn a_switch_is_on_or_off_by_four_words_each_and_others_are_warned_of() {
    for (name, is_on) in SWITCHES {
        for (value, expected) in [
            ("true", true),
            ("TRUE", true),
            ("1", true),
            ("Yes", true),
            (" on ", true),
            ("false", false),
            ("0", false),
            ("NO", false),
            ("off", false),
            ("", false),
        ] {
            let config = config(&[(name, value)]);
            assert_eq!(is_on(&config), expected, "{name}={value}");
            assert_eq!(config.env.warnings(), [], "{name}={value}");
        }
        for value in ["2", "maybe", "treu", "y", "enabled"] {
            let config = config(&[(name, value)]);
            let warning = format!("{name}: '{value}' is not usable: the default false is used");
            assert!(!is_on(&config));
            assert_eq!(config.env.warnings()[0].message, warning);
        }
    }
}

#[test]
fn the_operator_acknowledges_with_an_emoji_by_its_name() {
    for (value, expected) in [
        ("", None),
        ("eyes", Some("eyes")),
        ("+1", Some("+1")),
        ("white_check_mark", Some("white_check_mark")),
        (":eyes:", None),
        ("+1::skin-tone-2", None),
        ("👀", None),
        ("two words", None),
    ] {
        let config = config(&[("KORA_PROBE_ACK_REACTION", value)]);
        assert_eq!(config.ack_reaction.as_deref(), expected, "{value}");
        let is_warned_of = !value.is_empty() && expected.is_none();
        assert_eq!(
            config.env.warnings().len(),
            usize::from(is_warned_of),
            "{value}"
        );
    }
}

#[test]
fn a_relative_fallback_command_is_made_absolute() {
    let of = |settings: &[_]| config(settings).fallback_command;
    assert_eq!(of(&[]), None);
    let absolute = ("KORA_PROBE_FALLBACK_COMMAND", "/usr/local/bin/page");
    assert_eq!(of(&[absolute]), Some(PathBuf::from(absolute.1)));
    let relative = of(&[("KORA_PROBE_FALLBACK_COMMAND", "page")]);
    assert!(relative.unwrap().is_absolute());
}

#[test]
fn the_snapshot_is_the_one_named_or_the_one_in_koras_cache() {
    let of = |settings: &[_]| config(settings).paths.snapshot_path;
    let path = Path::new;
    assert_eq!(of(&[]), path("/kora/cache/daemon_snapshot.json"));
    let home = ("KORA_HOME", "/home/kora");
    assert_eq!(of(&[home]), path("/home/kora/cache/daemon_snapshot.json"));
    let named = ("KORA_SNAPSHOT_PATH", "/run/snapshot");
    assert_eq!(of(&[home, named]), path("/run/snapshot"));
}

#[test]
fn every_token_is_masked_whether_it_is_used_or_not() {
    let config = config(&[
        ("KORA_SLACK_BOT_TOKEN", "xoxb-1"),
        ("KORA_PROBE_ENGINE_TOKEN", "engine-1"),
        ("OPENAI_API_KEY", "sk-1"),
    ]);
    let secrets = config.secrets();
    let mut secrets: Vec<_> = secrets.iter().map(Secret::expose).collect();
    secrets.sort_unstable();
    assert_eq!(secrets, ["engine-1", "sk-1", "xoxb-1"]);
}

#[test]
fn without_a_setting_that_its_api_needs_there_is_no_engine() {
    let (openai, anthropic) = ("openai", "anthropic");
    let url = ENGINE;
    let model = ("KORA_PROBE_ENGINE_MODEL", "m1");
    let own = ("KORA_PROBE_ENGINE_TOKEN", "own");
    let (of_openai, of_anthropic) = (("OPENAI_API_KEY", "o"), ("ANTHROPIC_API_KEY", "a"));
    let haiku = Some("claude-haiku-4-5");
    for (api, settings, expected) in [
        ("kora", &[][..], None),
        ("kora", &[own], None),
        ("kora", &[url, of_openai], Some((None, None))),
        ("kora", &[url, own], Some((Some("own"), None))),
        (openai, &[url], None),
        (openai, &[url, ("KORA_PROBE_ENGINE_MODEL", " ")], None),
        (openai, &[model, of_anthropic], None),
        (openai, &[url, model], Some((None, Some("m1")))),
        (openai, &[model, of_openai], Some((Some("o"), Some("m1")))),
        (
            openai,
            &[model, of_openai, own],
            Some((Some("own"), Some("m1"))),
        ),
        (anthropic, &[], None),
        (anthropic, &[of_openai], None),
        (anthropic, &[url], Some((None, haiku))),
        (
            anthropic,
            &[of_anthropic, of_openai],
            Some((Some("a"), haiku)),
        ),
        (
            anthropic,
            &[of_anthropic, own, model],
            Some((Some("own"), Some("m1"))),
        ),
    ] {
        let api = ("KORA_PROBE_ENGINE_API", api);
        let engine = config(&[settings, &[api]].concat()).engine;
        let found = engine.as_ref().map(|engine| {
            let token = engine.token.as_ref().map(Secret::expose);
            (token, engine.model.as_deref())
        });
        assert_eq!(found, expected, "{api:?} {settings:?}");
    }
}

#[test]
fn a_proxy_is_read_in_either_case_and_a_blank_one_is_unset() {
    for (name, value, expected) in [
        ("HTTPS_PROXY", "http://proxy:1", Some("http://proxy:1")),
        ("https_proxy", "http://proxy:1", Some("http://proxy:1")),
        ("HTTPS_PROXY", " ", None),
    ] {
        let proxy = config(&[(name, value)]).env.either_case(&var::HTTPS_PROXY);
        assert_eq!(proxy.as_deref(), expected, "{name} {value:?}");
    }
}

#[test]
fn rows_go_to_an_engine_on_loopback_unless_the_operator_decides() {
    let mode = |url: &str, value: &str| {
        let url = ("KORA_PROBE_ENGINE_URL", url);
        config(&[url, ("KORA_PROBE_CONTEXT", value)]).context.mode
    };
    for (url, expected) in [
        ("http://127.0.0.1:8642/v1", Mode::Rows),
        ("http://[::1]:1", Mode::Rows),
        ("http://localhost:1", Mode::Rows),
        ("https://127.9.9.9", Mode::Rows),
        ("https://localhost.example.com", Mode::Kinds),
        ("https://127.0.0.1.nip.io", Mode::Kinds),
        ("https://127.1", Mode::Kinds),
        ("https://api.example.com", Mode::Kinds),
    ] {
        for value in ["", "auto", "AUTO", "everything"] {
            assert_eq!(mode(url, value), expected, "{url} {value}");
        }
        for (value, chosen) in [
            ("off", Mode::Off),
            ("kinds", Mode::Kinds),
            ("Rows", Mode::Rows),
        ] {
            assert_eq!(mode(url, value), chosen, "{url} {value}");
        }
    }
    assert_eq!(config(&[]).context.mode, Mode::Kinds);
    let warnings = config(&[("KORA_PROBE_CONTEXT", "everything")])
        .env
        .warnings();
    assert!(warnings[0].message.contains("the default auto is used"));
}

#[test]
fn a_token_that_changes_while_it_is_read_is_masked_as_it_is_sent() {
    // Another one each time that the file is read.
    let file = "/proc/sys/kernel/random/uuid";
    let config = config(&[("KORA_SLACK_BOT_TOKEN_FILE", file)]);
    let token = config.slack.token.as_ref().unwrap();
    assert!(config.holds_secret(token.expose()));
}
