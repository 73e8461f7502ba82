//! What the tests of the three APIs share.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::Value;

use super::answer::read;
use super::{Api, Diagnosis, EngineConfig, Question, ask};
use crate::audit::wake::Wake;
use crate::http::fake_server::{answer, answering, reply};
use crate::http::{Endpoint, Http, ProxySettings};
use crate::secret::Secret;

pub(super) fn wake() -> Wake {
    Wake {
        probe: "fly".to_owned(),
        category: "service_unhealthy".to_owned(),
        severity: "critical".to_owned(),
        title: "Fly app(s) unreachable: HTTP 401".to_owned(),
        detail: "status=unhealthy".to_owned(),
        snapshot_details: r#"{"apps_running":0}"#.to_owned(),
        envelope_enabled: false,
        envelope_fix_name: "restart_unhealthy_machine".to_owned(),
        emitted_at: None,
    }
}

pub(super) fn config(api: Api, url: &str) -> EngineConfig {
    EngineConfig {
        api,
        url: Endpoint::parse(url).unwrap(),
        token: Some(Secret::new("t0ken".to_owned())),
        model: Some("m1".to_owned()),
        max_tokens: None,
        timeout: Duration::from_secs(5),
    }
}

/// Asks a server under `path` that answers `{}`: the request's head and body.
pub(super) fn asked(api: Api, path: &str, change: impl Fn(&mut EngineConfig)) -> (String, Value) {
    let server = answering(answer("200 OK", "{}"));
    let mut config = config(api, &format!("{}{path}", server.url));
    change(&mut config);
    let (wake, asked_at) = (wake(), "2026-05-24T14:32:00Z".parse().unwrap());
    let question = Question {
        wake: &wake,
        prompt: "why?".to_owned(),
        asked_at,
        key: "k-1 ü".to_owned(),
    };
    ask(&config, &Http::new(ProxySettings::default()), &question);
    let request = server.requests.recv().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nidempotency-key: k-1 \\u{fc}"), "{head}");
    assert!(!head.to_lowercase().contains("hermes"), "{head}");
    (head.to_owned(), serde_json::from_str(body).unwrap())
}

/// An answer's reason, or its text with what it was cut short by behind a bar.
pub(super) fn told(api: Api, status: u16, body: &str) -> String {
    told_with(api, status, &[], body)
}

pub(super) fn told_with(
    api: Api,
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &str,
) -> String {
    match read(api, &reply(status, headers, body)).result {
        Ok(Diagnosis {
            text,
            cut_short: Some(by),
        }) => format!("{text}|{by}"),
        Ok(Diagnosis {
            text,
            cut_short: None,
        }) => text,
        Err(reason) => reason.to_string(),
    }
}
