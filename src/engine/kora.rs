//! Kora's own API: the wake goes along with the prompt as metadata, and the answer is one flat
//! object that must have `text` or `error`.

use serde_json::{Value, json};

use super::api::{Api, EngineConfig, Question, bearer};
use super::diagnosis::Diagnosis;
use super::failure::{Failure, Reason};
use crate::audit::wake::Wake;
use crate::text::{label, rfc3339};

pub(super) static API: Api = Api {
    name: "kora",
    token_variable: None,
    default_url: None,
    default_model: None,
    needs_model: false,
    path: "",
    models_path: None,
    headers: bearer,
    body,
    read,
};

/// Kora's name for these questions.
const ROUTE: &str = "probe_investigation";

/// Describes a wake as Kora's API wants it.
pub fn metadata(wake: &Wake) -> Value {
    json!({
        "probe_name": wake.probe,
        "issue_category": wake.category,
        "severity": wake.severity,
        "envelope_enabled": wake.envelope_enabled,
        "envelope_fix_name": label(&wake.envelope_fix_name),
    })
}

fn body(_: &EngineConfig, question: &Question) -> Value {
    json!({
        "message": {
            "text": question.prompt,
            "source": ROUTE,
            "received_at": rfc3339(question.asked_at),
            "metadata": question.metadata,
        },
        "context": {
            "recent_messages": [],
            "current_operational_state": "unknown",
            "current_cost_ladder_rung": "unknown",
        },
        "caller_session_id": question.caller_session_id,
        "route": ROUTE,
    })
}

fn read(body: &Value) -> Result<Diagnosis, Failure> {
    match body.get("text") {
        Some(Value::String(text)) => Ok(Diagnosis::new(text)?),
        Some(Value::Null) => Err(Reason::EmptyResponseText.into()),
        None if body.get("error").is_some() => Err(Reason::EmptyResponseText.into()),
        _ => Err(Reason::InvalidResponse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, shown};
    use super::*;

    #[test]
    fn the_request_is_exactly_what_kora_expects() {
        let (head, body) = asked(&API, "/reason", |_| {});
        assert!(head.starts_with("POST /reason HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains("\r\nauthorization: Bearer t0ken\r\n"),
            "{head}"
        );
        let expected = json!({
            "message": {"text": "why?", "source": "probe_investigation", "received_at": "2026-05-24T14:32:00.000000Z",
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
        let (head, _) = asked(&API, "", |config| config.token = None);
        assert!(!head.contains("authorization"), "{head}");
    }

    #[test]
    fn a_text_is_trimmed_and_may_be_empty_or_invalid() {
        for (body, result) in [
            (r#"{"text":" It is down.\n"}"#, "It is down."),
            (r#"{"text":null}"#, "empty_response_text"),
            (r#"{"text":" \n\u0000\ufeff"}"#, "empty_response_text"),
            (r#"{"error":null}"#, "empty_response_text"),
            (r#"{"text":7}"#, "engine_exception:InvalidResponse"),
            (r#"{"model_used":"m"}"#, "engine_exception:InvalidResponse"),
        ] {
            assert_eq!(shown(&API, 200, body), result, "{body}");
        }
    }
}
