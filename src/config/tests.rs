//! What is made of settings, each by itself.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::context::Mode;

/// What is made of these settings, for an audit log in `/kora`.
fn config(settings: &[(&str, &str)]) -> Config {
    let env = Environment::of(settings);
    let paths = Paths::of_log("/kora/audit.jsonl".into(), &env);
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
    let mut secrets: Vec<_> = secrets.iter().map(Secret::expose).collect();
    secrets.sort_unstable();
    assert_eq!(secrets, ["engine-1", "sk-1", "xoxb-1"]);
}

#[test]
fn an_engine_has_what_its_api_cannot_do_without_or_there_is_none() {
    let (openai, anthropic) = ("openai", "anthropic");
    let url = ("KORA_PROBE_ENGINE_URL", "http://127.0.0.1:1");
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
        let told = engine.as_ref().map(|engine| {
            let token = engine.token.as_ref().map(Secret::expose);
            (token, engine.model.as_deref())
        });
        assert_eq!(told, expected, "{api:?} {settings:?}");
    }
}

#[test]
fn a_number_that_is_not_usable_is_warned_of_with_variable_value_and_default() {
    for (variable, default) in [
        ("KORA_PROBE_DEBOUNCE_SECONDS", "600"),
        ("KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "60"),
        ("KORA_PROBE_ENGINE_MAX_TOKENS", "unset"),
        ("KORA_PROBE_OUTBOX_TTL_SECONDS", "86400"),
        ("KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", "300"),
        ("KORA_PROBE_WAKE_POLL_SEC", "30"),
        ("KORA_PROBE_FACTS_AFTER_SECONDS", "30"),
        ("KORA_PROBE_LATE_DIAGNOSIS_SECONDS", "0"),
        ("KORA_PROBE_DIGEST_WAKES", "0"),
        ("KORA_PROBE_CONTEXT_SECONDS", "3600"),
    ] {
        let warnings = |value| {
            let url = ("KORA_PROBE_ENGINE_URL", "http://127.0.0.1:1");
            let warnings = config(&[(variable, value), url]).warnings.into_iter();
            warnings.map(|one| one.message).collect::<Vec<_>>()
        };
        for value in ["soon", "-1", "1e400", "99999999999999999999999999"] {
            let expected =
                format!("{variable}: '{value}' is not usable: the default {default} is used");
            assert_eq!(warnings(value), [expected]);
        }
        assert_eq!(warnings(""), [""; 0]);
        assert_eq!(warnings("  90\t"), [""; 0]);
    }
    let limit = ("KORA_PROBE_ENGINE_MAX_TOKENS", "300");
    let limited = config(&[("KORA_PROBE_ENGINE_URL", "http://127.0.0.1:1"), limit]);
    assert_eq!(limited.engine.unwrap().max_tokens, Some(300));
    assert_eq!(
        config(&[("KORA_PROBE_DEBOUNCE_SECONDS", "soon")])
            .debounce
            .window,
        seconds(600)
    );
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
    let warnings = config(&[("KORA_PROBE_CONTEXT", "everything")]).warnings;
    assert!(warnings[0].message.contains("the default auto is used"));
}

#[test]
fn a_switch_is_on_by_four_words() {
    let is_on = |value| {
        config(&[("KORA_PROBE_DEBOUNCE_BYPASS_CRITICAL", value)])
            .debounce
            .bypass_critical
    };
    for (value, expected) in [
        ("true", true),
        ("TRUE", true),
        ("1", true),
        ("Yes", true),
        (" on ", true),
        ("false", false),
        ("", false),
        ("2", false),
        ("maybe", false),
    ] {
        assert_eq!(is_on(value), expected, "{value:?}");
    }
}

#[test]
fn a_proxy_is_named_in_either_case_and_a_blank_one_is_none() {
    for (name, value, expected) in [
        ("HTTPS_PROXY", "http://proxy:1", Some("http://proxy:1")),
        ("https_proxy", "http://proxy:1", Some("http://proxy:1")),
        ("HTTPS_PROXY", " ", None),
    ] {
        let proxy = config(&[(name, value)]).proxy;
        assert_eq!(proxy.https_proxy.as_deref(), expected, "{name} {value:?}");
    }
}
