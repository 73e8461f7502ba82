//! Anthropic's Messages API (version 2023-06-01). An answer is a list of blocks; those of type `text` are the
//! diagnosis. New values of `stop_reason` may appear at any time; three of them matter here.

use serde_json::{Value, json};

use super::api::{Api, EngineConfig, Question};
use super::diagnosis::Diagnosis;
use super::failure::{Failure, Reason};
use crate::http::Header;
use crate::secret::Secret;

pub(super) static API: Api = Api {
    name: "anthropic",
    token_variable: Some("ANTHROPIC_API_KEY"),
    default_url: Some("https://api.anthropic.com"),
    default_model: Some("claude-haiku-4-5"),
    needs_model: false,
    path: "/v1/messages",
    models_path: Some("/v1/models"),
    headers,
    body,
    read,
};

/// The API requires a limit; this is enough for what the prompt asks for.
const MAX_TOKENS: u32 = 1024;

fn headers(token: Option<&Secret>) -> Vec<Header> {
    let mut headers = vec![Header::new("anthropic-version", "2023-06-01")];
    headers.extend(token.map(|token| Header::new("x-api-key", token.expose())));
    headers
}

fn body(config: &EngineConfig, question: &Question) -> Value {
    json!({
        "model": config.model,
        "max_tokens": config.max_tokens.unwrap_or(MAX_TOKENS),
        "messages": [{"role": "user", "content": question.prompt}],
    })
}

fn read(body: &Value) -> Result<Diagnosis, Failure> {
    let stop = body["stop_reason"].as_str().unwrap_or_default();
    if stop == "refusal" {
        return Err(Reason::Refusal.into());
    }
    let blocks = body["content"].as_array();
    let blocks = blocks.ok_or(Reason::InvalidResponse)?.iter();
    // A text with citations is split into blocks in mid-sentence: join them with nothing in
    // between.
    let texts = blocks.filter(|block| block["type"] == "text");
    let text: String = texts.filter_map(|block| block["text"].as_str()).collect();
    let is_limit = |stop: &&str| matches!(*stop, "max_tokens" | "model_context_window_exceeded");
    let cut_short = Some(stop).filter(is_limit).map(str::to_owned);
    Ok(Diagnosis {
        cut_short,
        ..Diagnosis::new(&text)?
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, shown};
    use super::*;

    fn message(stop: &str, content: &str) -> String {
        format!(r#"{{"type":"message","stop_reason":"{stop}","content":{content}}}"#)
    }

    #[test]
    fn the_request_has_its_headers_and_a_limit() {
        let (head, body) = asked(&API, "", |_| {});
        assert!(head.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nx-api-key: t0ken\r\n"), "{head}");
        assert!(
            head.contains("\r\nanthropic-version: 2023-06-01\r\n"),
            "{head}"
        );
        assert!(!head.contains("authorization"), "{head}");
        let messages = json!([{"role": "user", "content": "why?"}]);
        assert_eq!(
            body,
            json!({"model": "m1", "max_tokens": 1024, "messages": messages})
        );
        let (_, limited) = asked(&API, "", |config| config.max_tokens = Some(300));
        assert_eq!(
            (&limited["max_tokens"], &limited["model"]),
            (&json!(300), &json!("m1"))
        );
    }

    #[test]
    fn only_the_text_blocks_are_the_diagnosis() {
        let text = r#"{"type":"text","text":"down"}"#;
        let thinking = r#"{"type":"thinking","thinking":"hm","text":"hm"}"#;
        for (stop, content, result) in [
            ("end_turn", format!("[{text}]"), "down"),
            (
                "end_turn",
                format!("[{thinking},{text},{{}},{text}]"),
                "downdown",
            ),
            ("end_turn", format!("[{thinking}]"), "empty_response_text"),
            ("end_turn", "[]".to_owned(), "empty_response_text"),
            (
                "tool_use",
                r#"[{"type":"tool_use","name":"x","input":{}}]"#.to_owned(),
                "empty_response_text",
            ),
            (
                "end_turn",
                "null".to_owned(),
                "engine_exception:InvalidResponse",
            ),
            ("refusal", format!("[{text}]"), "refusal"),
            ("refusal", "[]".to_owned(), "refusal"),
            ("max_tokens", format!("[{text}]"), "down|max_tokens"),
            ("max_tokens", format!("[{thinking}]"), "empty_response_text"),
            (
                "model_context_window_exceeded",
                format!("[{text}]"),
                "down|model_context_window_exceeded",
            ),
            ("new_in_2027", format!("[{text}]"), "down"),
        ] {
            assert_eq!(
                shown(&API, 200, &message(stop, &content)),
                result,
                "{stop} {content}"
            );
        }
    }
}
