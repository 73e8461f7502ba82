//! Kora's own API: the wake goes with the prompt as metadata, and the answer is one flat object of
//! which only `text` or `error` must be there (`error` is read for all APIs alike, in `answer`).

use serde_json::{Map, Value, json};

use super::answer::fit_to_send;
use super::{Diagnosis, EngineConfig, Question, Reason, Request};
use crate::http::Header;

/// The route and the source by which Kora knows these questions.
const ROUTE: &str = "probe_investigation";

pub(super) fn request<'a>(config: &'a EngineConfig, question: &Question<'_>) -> Request<'a> {
    let wake = question.wake;
    let body = json!({
        "message": {
            "text": question.prompt,
            "source": ROUTE,
            "received_at": question.asked_at.to_string(),
            "metadata": {
                "probe_name": wake.probe,
                "issue_category": wake.category,
                "severity": wake.severity,
                "envelope_enabled": wake.envelope_enabled,
                "envelope_fix_name": wake.envelope_fix_name,
            },
        },
        "context": {
            "recent_messages": [],
            "current_operational_state": "unknown",
            "current_cost_ladder_rung": "unknown",
        },
        "caller_session_id": wake.caller_session_id(),
        "route": ROUTE,
    });
    Request {
        url: config.url.clone(),
        headers: config.token.iter().map(Header::bearer).collect(),
        body,
    }
}

/// Reads a 2xx whose `error` is not set.
pub(super) fn read(body: &Map<String, Value>) -> Result<Diagnosis, Reason> {
    match body.get("text") {
        Some(Value::String(text)) => Ok(Diagnosis {
            text: fit_to_send(text)?.to_owned(),
            cut_short: None,
        }),
        Some(Value::Null) => Err(Reason::EmptyResponseText),
        None if body.contains_key("error") => Err(Reason::EmptyResponseText),
        _ => Err(Reason::InvalidResponse),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Api::Kora;
    use super::super::fake_server::{asked, told};
    use super::*;

    #[test]
    fn the_request_is_to_the_letter() {
        let (head, body) = asked(Kora, "/reason", |_| {});
        assert!(head.starts_with("POST /reason HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains("\r\nauthorization: Bearer t0ken\r\n"),
            "{head}"
        );
        let expected = json!({
            "message": {"text": "why?", "source": "probe_investigation", "received_at": "2026-05-24T14:32:00Z",
                "metadata": {"probe_name": "fly", "issue_category": "service_unhealthy", "severity": "critical",
                    "envelope_enabled": false, "envelope_fix_name": "restart_unhealthy_machine"}},
            "context": {"recent_messages": [], "current_operational_state": "unknown",
                "current_cost_ladder_rung": "unknown"},
            "caller_session_id": "probe:fly:service_unhealthy", "route": "probe_investigation",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn without_a_token_there_is_no_header() {
        let (head, _) = asked(Kora, "", |config| config.token = None);
        assert!(!head.contains("authorization"), "{head}");
    }

    #[test]
    fn a_text_is_trimmed_or_empty_or_invalid() {
        for (body, result) in [
            (r#"{"text":" It is down.\n"}"#, "It is down."),
            (r#"{"text":null}"#, "empty_response_text"),
            (r#"{"text":" \n\u0000\ufeff"}"#, "empty_response_text"),
            (r#"{"error":null}"#, "empty_response_text"),
            (r#"{"text":7}"#, "engine_exception:InvalidResponse"),
            (r#"{"model_used":"m"}"#, "engine_exception:InvalidResponse"),
        ] {
            assert_eq!(told(Kora, 200, body), result, "{body}");
        }
    }
}
