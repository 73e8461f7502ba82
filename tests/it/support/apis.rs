//! The engine of a world as a server of the `openai` or the `anthropic` API, and answers as real ones give them.

use serde_json::{Value, json};

use super::wire::{Reply, Request};
use super::world::World;

impl World {
    /// The engine speaks this API under the usual path, and the model is `m1`.
    pub fn speaking(self, api: &str) -> Self {
        let path = if api == "openai" { "/v1" } else { "" };
        self.set("KORA_PROBE_ENGINE_API", api);
        self.set("KORA_PROBE_ENGINE_MODEL", "m1");
        self.set(
            "KORA_PROBE_ENGINE_URL",
            format!("http://{}{path}", self.engine.address()),
        );
        self
    }

    /// Raises a wake of its own that this reply answers, in a run that ends well: the reason, or null, and the
    /// DM's text below its headline.
    #[track_caller]
    pub fn told(&self, reply: Reply) -> (Value, String) {
        let probe = format!("p{}", self.slack.requests().len());
        let row = super::wake(&probe);
        self.engine.script([reply]);
        self.append([row.clone()]);
        let mut wakes = self.report(0)["wakes"].take();
        let text = self.slack.texts().pop().expect("a DM");
        let error = wakes[0]["error"].take();
        assert_eq!(wakes[0]["reasoning_invoked"], error.is_null());
        let headline = format!("🚨 Probe alert · {probe}\n");
        let below = text.strip_prefix(&headline).expect("the headline");
        if let Some(reason) = error.as_str() {
            assert_eq!(text, row.fallback(reason));
        }
        (error, below.to_owned())
    }

    /// The reason why this reply is no diagnosis.
    #[track_caller]
    pub fn reason(&self, reply: Reply) -> String {
        let (error, text) = self.told(reply);
        error
            .as_str()
            .unwrap_or_else(|| panic!("told: {text}"))
            .to_owned()
    }

    /// The text that this reply is sent as.
    #[track_caller]
    pub fn diagnosis(&self, reply: Reply) -> String {
        let (error, text) = self.told(reply);
        assert_eq!(error, Value::Null);
        text
    }
}

/// A request's body without its prompt, which has to tell of the wake of a world's first
/// [`World::told`]; the request has to be named.
#[track_caller]
pub fn without_prompt(request: &Request) -> Value {
    let name = request.header("idempotency-key");
    assert!(name.is_some_and(|name| !name.is_empty()));
    let mut body = request.json();
    let prompt = body["messages"][0]["content"].take().to_string();
    assert!(prompt.contains("p0 unreachable: HTTP 401"), "{prompt}");
    body
}

/// A chat completion that ended so, with this message.
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

/// A message of Anthropic's that stopped for this reason, with these blocks.
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
