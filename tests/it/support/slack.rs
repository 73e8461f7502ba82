//! Slack's Web API: `chat.postMessage`.

use std::ops::Deref;
use std::time::Instant;

use serde_json::{Value, json};

use super::server::Server;
use super::wire::{Reply, Request};

pub struct Slack(Server);

/// One request to post a message, and its answer.
#[derive(Clone, Debug)]
pub struct Post {
    pub at: Instant,
    pub channel: String,
    pub text: String,
    /// The thread it is a reply in.
    pub thread_ts: Option<String>,
    /// The `ts` in Slack's answer; None if the answer was not `ok: true`.
    pub ts: Option<String>,
    /// The whole request.
    pub body: Value,
}

impl Slack {
    pub fn start() -> Self {
        Self(Server::start("Slack", |_, before| Self::took(before)))
    }

    /// Returns a Slack that refuses every text that contains `poison` with this error and accepts the others.
    pub fn refusing(poison: &'static str, error: &'static str) -> Self {
        Self::judging(move |text| match text.contains(poison) {
            true => Err(error),
            false => Ok(()),
        })
    }

    /// Returns a Slack that refuses the texts for which `judge` returns an error.
    pub fn judging(
        judge: impl Fn(&str) -> Result<(), &'static str> + Send + Sync + 'static,
    ) -> Self {
        Self(Server::start("Slack", move |request, before| {
            match judge(&Post::of(request).text) {
                Ok(()) => Self::took(before),
                Err(error) => Self::refusal(error),
            }
        }))
    }

    /// Returns a Slack that gives every request this reply.
    pub fn always(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Self {
        Self(Server::start("Slack", move |_, _| reply()))
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

    /// Status 429 with this `Retry-After`.
    pub fn rate_limit(seconds: &str) -> Reply {
        Reply::text(429, "").with("Retry-After", seconds)
    }

    /// Returns every post in order, including those that were refused or not answered.
    pub fn posts(&self) -> Vec<Post> {
        let requests = self.requests();
        let posted = requests
            .iter()
            .filter(|request| request.path.ends_with("/chat.postMessage"));
        posted.map(Post::of).collect()
    }

    /// Returns the texts of all posts as they were sent, in order.
    pub fn texts(&self) -> Vec<String> {
        self.posts().into_iter().map(|post| post.text).collect()
    }

    /// Returns the texts that Slack accepted as replies to the message with this `ts`.
    pub fn thread(&self, ts: &str) -> Vec<String> {
        let posts = self.posts().into_iter();
        posts
            .filter(|post| post.ts.is_some() && post.thread_ts.as_deref() == Some(ts))
            .map(|post| post.text)
            .collect()
    }
}

impl Post {
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn of(request: &Request) -> Self {
        let body = request.json();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let answer: Value = serde_json::from_slice(&request.answered).unwrap_or_default();
        Self {
            at: request.at,
            channel: text(&body["channel"]).expect("a channel"),
            text: text(&body["text"]).expect("a text"),
            thread_ts: text(&body["thread_ts"]),
            ts: text(&answer["ts"]).filter(|_| answer["ok"] == true),
            body,
        }
    }
}

impl Deref for Slack {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}
