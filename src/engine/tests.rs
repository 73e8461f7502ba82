//! Asking an engine, and what the tests of the APIs share.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::Value;

use super::answer::read;
use super::*;
use crate::audit::wake::Wake;
use crate::http::Endpoint;
use crate::http::fake_server::{answer, answering, reply, server};
use crate::secret::Secret;

pub(super) fn wake() -> Wake {
    Wake {
        snapshot_details: r#"{"apps_running":0}"#.to_owned(),
        envelope_fix_name: "restart_unhealthy_machine".to_owned(),
        ..Wake::sample()
    }
}

pub(super) fn config(api: &'static Api, url: &str) -> EngineConfig {
    EngineConfig {
        api,
        url: Endpoint::parse(url).unwrap(),
        token: Some(Secret::new("t0ken".to_owned())),
        model: Some("m1".to_owned()),
        max_tokens: None,
        timeout: Duration::from_secs(5),
    }
}

fn question() -> Question {
    Question {
        prompt: "why?".to_owned(),
        key: "k-1 ü".to_owned(),
        asked_at: "2026-05-24T14:32:00Z".parse().unwrap(),
        caller_session_id: wake().caller_session_id(),
        metadata: metadata(&wake()),
    }
}

/// Asks a server at `path` that answers `{}`. Returns the request's head and body.
pub(super) fn asked(
    api: &'static Api,
    path: &str,
    change: impl Fn(&mut EngineConfig),
) -> (String, Value) {
    let server = answering(answer("200 OK", "{}"));
    let mut config = config(api, &format!("{}{path}", server.url));
    change(&mut config);
    ask(&config, &Http::default(), &question());
    let request = server.requests.recv().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nidempotency-key: k-1 \\u{fc}"), "{head}");
    assert!(!head.to_lowercase().contains("hermes"), "{head}");
    (head.to_owned(), serde_json::from_str(body).unwrap())
}

/// Returns the reason in an answer, or its text, followed by a bar and the limit that cut it short.
pub(super) fn shown(api: &Api, status: u16, body: &str) -> String {
    shown_with(api, status, &[], body)
}

pub(super) fn shown_with(
    api: &Api,
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &str,
) -> String {
    match read(api, &reply(status, headers, body)).result {
        Ok(diagnosis) => match diagnosis.cut_short {
            Some(limit) => format!("{}|{limit}", diagnosis.text),
            None => diagnosis.text,
        },
        Err(failure) => failure.reason.to_string(),
    }
}

#[test]
fn the_reason_says_how_the_engine_was_not_reached() {
    let hang = server(|_| {
        std::thread::sleep(Duration::from_secs(1));
        false
    });
    let cut = server(|_| false);
    for (url, shown) in [
        (&*hang.url, "engine_exception:Timeout"),
        (
            &cut.url,
            "engine_exception:ConnectionError: the connection was closed",
        ),
        (
            "http://127.0.0.1:1",
            "engine_exception:ConnectionError: Connection refused (os error 111)",
        ),
    ] {
        let config = EngineConfig {
            timeout: Duration::from_millis(300),
            ..config(APIS[0], url)
        };
        let failure = ask(&config, &Http::default(), &question())
            .result
            .unwrap_err();
        assert_eq!(failure.to_string(), shown);
    }
}

#[test]
fn an_engine_can_be_asked_from_another_thread() {
    fn assert_shared<T: Send + Sync + 'static>() {}
    assert_shared::<(EngineConfig, Http, Question, Answer)>();
}
