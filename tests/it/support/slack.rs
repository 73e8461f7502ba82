//! Slack's Web API, as far as `chat.postMessage` goes.

use std::ops::Deref;

use serde_json::{Value, json};

use super::server::Server;
use super::wire::{Reply, Request};

pub struct Slack(Server);

impl Slack {
    pub fn start() -> Self {
        Self(Server::start(
            "Slack",
            Box::new(|_, before| Self::took(before)),
        ))
    }

    /// A Slack that refuses every text that holds `poison` with this error, and takes the others.
    pub fn refusing(poison: &'static str, error: &'static str) -> Self {
        let reply = move |request: &Request, before| {
            let text = request.json()["text"].to_string();
            if text.contains(poison) {
                Self::refusal(error)
            } else {
                Self::took(before)
            }
        };
        Self(Server::start("Slack", Box::new(reply)))
    }

    /// A Slack that looks at each text and refuses those that are judged an error.
    pub fn judging(
        judge: impl Fn(&str) -> Result<(), &'static str> + Send + Sync + 'static,
    ) -> Self {
        let reply = move |request: &Request, before| {
            let body = request.json();
            match judge(body["text"].as_str().expect("a text")) {
                Ok(()) => Self::took(before),
                Err(error) => Self::refusal(error),
            }
        };
        Self(Server::start("Slack", Box::new(reply)))
    }

    /// A Slack that gives every request this reply.
    pub fn always(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Self {
        Self(Server::start("Slack", Box::new(move |_, _| reply())))
    }

    pub fn base(&self) -> String {
        format!("http://{}/api", self.address())
    }

    /// `ok: true`, with a `ts` of its own for each message.
    pub fn took(before: usize) -> Reply {
        Reply::json(
            200,
            &json!({"ok": true, "channel": "D1", "ts": format!("1.{}", before + 1)}),
        )
    }

    /// `ok: false` with this error; Slack sends it with status 200.
    pub fn refusal(error: &str) -> Reply {
        Reply::json(200, &json!({"ok": false, "error": error}))
    }

    pub fn posts(&self) -> Vec<Value> {
        self.requests().iter().map(Request::json).collect()
    }

    /// The texts as they went over the wire, in order.
    pub fn texts(&self) -> Vec<String> {
        self.posts()
            .iter()
            .map(|body| body["text"].as_str().expect("a text").to_owned())
            .collect()
    }
}

impl Deref for Slack {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}
