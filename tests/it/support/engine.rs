//! A reasoning engine that speaks the `kora`, `openai` and `anthropic` APIs and answers as real ones do.

use std::ops::Deref;
use std::time::Duration;

use serde_json::{Value, json};

use super::server::Server;
use super::wire::{Reply, Request};

/// The engine's answer unless a test scripts another.
pub const DIAGNOSIS: &str = "The Fly API token was revoked. Next step: rotate FLY_API_TOKEN.";

pub struct Engine(Server);

impl Engine {
    pub fn start() -> Self {
        Self(Server::start("engine", |request, _| diagnosed(request)))
    }

    pub fn url(&self) -> String {
        format!("http://{}/investigate?via=probe", self.address())
    }

    /// Makes every unscripted answer take this long.
    pub fn takes(&self, time: Duration) {
        self.usually(move |request, _| diagnosed(request).after(time));
    }

    /// Returns the answer of a `kora` engine with this diagnosis.
    pub fn answer(text: &str) -> Reply {
        let body = json!({
            "text": text, "model_used": "claude-haiku-4-5", "input_tokens": 812, "output_tokens": 96,
            "reasoning_duration_ms": 1200, "error": null,
            "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5,
        });
        Reply::json(200, &body)
    }

    /// Returns an answer with status 200 and an error code only.
    pub fn error(code: &str) -> Reply {
        Reply::json(200, &json!({"text": null, "error": code}))
    }

    /// Returns the questions in order, without requests for the models.
    pub fn questions(&self) -> Vec<Request> {
        let requests = self.requests().into_iter();
        requests.filter(|one| one.method == "POST").collect()
    }

    pub fn prompts(&self) -> Vec<String> {
        self.questions().iter().map(prompt).collect()
    }

    pub fn metadata(&self) -> Vec<Value> {
        self.requests()
            .iter()
            .map(|request| request.json()["message"]["metadata"].clone())
            .collect()
    }
}

impl Deref for Engine {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

/// Returns the question's idempotency key.
#[track_caller]
pub fn key(question: &Request) -> &str {
    question.header("idempotency-key").expect("a key")
}

#[track_caller]
fn prompt(question: &Request) -> String {
    let body = question.json();
    let of_kora = body["message"]["text"].as_str();
    let prompt = of_kora.or(body["messages"][0]["content"].as_str());
    prompt.expect("a prompt").to_owned()
}

/// Returns the usual diagnosis in the API that the request's path belongs to.
fn diagnosed(request: &Request) -> Reply {
    let path = request.path.as_str();
    if path.ends_with("/chat/completions") {
        completion("stop", json!({"role": "assistant", "content": DIAGNOSIS}))
    } else if path.ends_with("/v1/messages") {
        message("end_turn", json!([{"type": "text", "text": DIAGNOSIS}]))
    } else if path.ends_with("/models") {
        Reply::json(200, &json!({"object": "list", "data": [{"id": "m1"}]}))
    } else {
        Engine::answer(DIAGNOSIS)
    }
}

/// Returns a chat completion with this finish reason and message.
pub fn completion(finish: &str, message: Value) -> Reply {
    Reply::json(
        200,
        &json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m1-2026",
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": null}],
            "usage": {"prompt_tokens": 812, "completion_tokens": 96, "total_tokens": 908},
        }),
    )
}

/// Returns an Anthropic message with this stop reason and these blocks.
pub fn message(stop: &str, content: Value) -> Reply {
    Reply::json(
        200,
        &json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m1-2026",
            "content": content, "stop_reason": stop, "stop_sequence": null,
            "usage": {"input_tokens": 812, "output_tokens": 96, "cache_creation_input_tokens": 3,
                "cache_read_input_tokens": 5},
        }),
    )
}
