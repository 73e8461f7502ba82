//! A reasoning engine that speaks the `kora` API.

use std::ops::Deref;

use serde_json::{Value, json};

use super::server::Server;
use super::wire::Reply;

/// What the engine says where a test does not say otherwise.
pub const DIAGNOSIS: &str = "The Fly API token was revoked. Next step: rotate FLY_API_TOKEN.";

pub struct Engine(Server);

impl Engine {
    pub fn start() -> Self {
        Self(Server::start(
            "engine",
            Box::new(|_, _| Self::answer(DIAGNOSIS)),
        ))
    }

    pub fn url(&self) -> String {
        format!("http://{}/investigate?via=probe", self.address())
    }

    /// The whole answer of an engine that found something.
    pub fn answer(text: &str) -> Reply {
        let body = json!({
            "text": text, "model_used": "claude-haiku-4-5", "input_tokens": 812, "output_tokens": 96,
            "reasoning_duration_ms": 1200, "error": null,
            "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5,
        });
        Reply::json(200, &body)
    }

    /// An answer with status 200 that holds no more than an error code.
    pub fn error(code: &str) -> Reply {
        Reply::json(200, &json!({"text": null, "error": code}))
    }

    pub fn prompts(&self) -> Vec<String> {
        let text = |body: Value| {
            body["message"]["text"]
                .as_str()
                .expect("a prompt")
                .to_owned()
        };
        self.requests()
            .iter()
            .map(|request| text(request.json()))
            .collect()
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
