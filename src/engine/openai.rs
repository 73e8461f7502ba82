//! Chat Completions as OpenAI, Ollama, vLLM, llama.cpp, LiteLLM, LM Studio and Kora's gateway speak
//! it. Only `content` is the diagnosis: what a server puts into `reasoning` or `reasoning_content`
//! is the model thinking aloud.

use std::slice;

use serde_json::{Value, json};

use super::answer::set_error;
use super::api::{Api, EngineConfig, Question, bearer};
use super::diagnosis::Diagnosis;
use super::failure::{Failure, Reason};

pub(super) static API: Api = Api {
    name: "openai",
    token_variable: Some("OPENAI_API_KEY"),
    default_url: Some("https://api.openai.com/v1"),
    default_model: None,
    needs_model: true,
    path: "/chat/completions",
    models_path: Some("/models"),
    headers: bearer,
    body,
    read,
};

fn body(config: &EngineConfig, question: &Question) -> Value {
    let mut body = json!({
        "model": config.model,
        "messages": [{"role": "user", "content": question.prompt}],
        "stream": false,
    });
    // Only if it is set: o-series models refuse `max_tokens`, and local servers know nothing else.
    if let Some(limit) = config.max_tokens {
        body["max_tokens"] = limit.into();
    }
    body
}

/// If several things are wrong, what the model or the server says about its answer comes before
/// what the answer looks like.
fn read(body: &Value) -> Result<Diagnosis, Failure> {
    let choice = &body["choices"][0];
    if let Some(failure) = set_error(&choice["error"]) {
        return Err(failure);
    }
    let message = &choice["message"];
    // A text, or a list of parts.
    let content = &message["content"];
    let parts = content.as_array();
    let parts = parts.map_or(slice::from_ref(content), Vec::as_slice);
    if is_refusal(message) || parts.iter().any(is_refusal) {
        return Err(Reason::Refusal.into());
    }
    let finish = choice["finish_reason"].as_str().unwrap_or_default();
    match (finish, content) {
        ("content_filter", _) => return Err(Reason::ContentFilter.into()),
        ("error", _) => return Err(Reason::IncompleteResponse.into()),
        (_, Value::String(_) | Value::Array(_)) => {}
        (_, Value::Null) if message.is_object() => {}
        _ => return Err(Reason::InvalidResponse.into()),
    }
    let text: String = parts.iter().filter_map(text).collect();
    Ok(Diagnosis {
        cut_short: (finish == "length").then(|| finish.to_owned()),
        ..Diagnosis::new(&text)?
    })
}

fn is_refusal(value: &Value) -> bool {
    let words = value["refusal"].as_str();
    words.is_some_and(|words| !words.trim().is_empty())
}

/// Parts of other kinds (`thinking`, `reasoning`, `refusal`) do not belong to the diagnosis.
fn text(part: &Value) -> Option<&str> {
    let kind = part["type"].as_str();
    let is_text = kind.is_none_or(|kind| matches!(kind, "text" | "output_text"));
    part.as_str().or(part["text"].as_str().filter(|_| is_text))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, shown};
    use super::*;

    fn choice(finish: &str, message: &str) -> String {
        format!(r#"{{"choices":[{{"finish_reason":"{finish}","message":{message}}}]}}"#)
    }

    #[test]
    fn the_request_has_a_limit_only_if_one_is_set() {
        let (head, body) = asked(&API, "/v1/", |_| {});
        assert!(
            head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(
            head.contains("\r\nauthorization: Bearer t0ken\r\n"),
            "{head}"
        );
        assert!(!head.contains("x-api-key"), "{head}");
        let plain = json!({"model": "m1", "messages": [{"role": "user", "content": "why?"}], "stream": false});
        assert_eq!(body, plain);
        let (_, limited) = asked(&API, "", |config| config.max_tokens = Some(300));
        assert_eq!(limited["max_tokens"], 300);
    }

    #[test]
    fn only_content_is_a_diagnosis() {
        for (message, result) in [
            (r#"{"content":" down "}"#, "down"),
            (r#"{"content":"down","refusal":null}"#, "down"),
            (
                r#"{"content":[{"type":"text","text":"a"},{"text":"b"}]}"#,
                "ab",
            ),
            (
                r#"{"content":[{"type":"reasoning","text":"hm"}]}"#,
                "empty_response_text",
            ),
            (
                r#"{"content":null,"reasoning":"hm","reasoning_content":"hm"}"#,
                "empty_response_text",
            ),
            (
                r#"{"content":[{"type":"thinking","text":"Hm."},{"type":"text","text":"a"}]}"#,
                "a",
            ),
            (r#"{"tool_calls":[]}"#, "empty_response_text"),
            (r#"{"content":7}"#, "engine_exception:InvalidResponse"),
            (r#"{"content":"","refusal":"I can't"}"#, "refusal"),
            (
                r#"{"content":[{"type":"refusal","refusal":"I can't"}]}"#,
                "refusal",
            ),
        ] {
            assert_eq!(
                shown(&API, 200, &choice("stop", message)),
                result,
                "{message}"
            );
        }
    }

    #[test]
    fn the_finish_reason_counts() {
        let text = r#"{"content":"half"}"#;
        for (finish, message, result) in [
            ("length", text, "half|length"),
            (
                "length",
                r#"{"content":null,"reasoning":"hm"}"#,
                "empty_response_text",
            ),
            ("content_filter", text, "content_filter"),
            ("content_filter", r#"{"content":""}"#, "content_filter"),
            ("error", text, "incomplete_response"),
            ("tool_calls", text, "half"),
            ("", text, "half"),
        ] {
            assert_eq!(
                shown(&API, 200, &choice(finish, message)),
                result,
                "{finish} {message}"
            );
        }
    }

    #[test]
    fn an_error_in_the_choice_wins() {
        for (finish, error, result) in [
            (
                "error",
                r#"{"code":502,"message":"m"}"#,
                "incomplete_response",
            ),
            ("error", r#"{"code":"c"}"#, "c"),
            ("stop", r#"{"code":"502","type":"t"}"#, "t"),
            ("stop", "null", "half"),
        ] {
            let body = format!(
                r#"{{"choices":[{{"finish_reason":"{finish}","error":{error},"message":{{"content":"half"}}}}]}}"#
            );
            assert_eq!(shown(&API, 200, &body), result, "{finish} {error}");
        }
    }

    #[test]
    fn an_answer_without_a_choice_is_invalid() {
        for body in [
            r#"{"choices":[]}"#,
            r#"{"choices":null}"#,
            r#"{"choices":[7]}"#,
            r#"{"choices":{"0":1}}"#,
        ] {
            assert_eq!(
                shown(&API, 200, body),
                "engine_exception:InvalidResponse",
                "{body}"
            );
        }
    }
}
