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
    /// Without the times of day, see [`without_times`], and without the lines about other alerts.
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

    /// The texts of all posts in order, without the times of day.
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
            text: without_other_alerts(&without_times(&text(&body["text"]).expect("a text"))),
            thread_ts: text(&body["thread_ts"]),
            ts: text(&answer["ts"]).filter(|_| answer["ok"] == true),
            body,
        }
    }
}

/// The text without the paragraph that names the alerts of other pairs: which ones these are depends on what
/// else a test raises.
fn without_other_alerts(text: &str) -> String {
    let paragraphs = text.split("\n\n");
    let kept: Vec<_> = paragraphs
        .filter(|one| !one.starts_with("Also in the last hour: "))
        .collect();
    kept.join("\n\n")
}

/// Puts `HH:MM UTC` in the place of each time in a text, its date included, so that a test can say what it
/// expects at any time of day.
pub fn without_times(text: &str) -> String {
    let (before, last) = text.rsplit_once(" UTC").unwrap_or(("", text));
    if before.is_empty() {
        return last.to_owned();
    }
    let parts = before.split(" UTC");
    let whole: Vec<_> = parts
        .map(|part| without_time(part).unwrap_or_else(|| part.to_owned()))
        .collect();
    format!("{} UTC{last}", whole.join(" UTC"))
}

/// The text with `HH:MM` for the time that ends it; `None` where none does.
fn without_time(text: &str) -> Option<String> {
    let (before, time) = text.split_at_checked(text.len().checked_sub(5)?)?;
    let is_time = time.bytes().enumerate().all(|(index, byte)| match index {
        2 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let before = match before.rsplitn(3, ' ').collect::<Vec<_>>()[..] {
        ["", month, rest] if is_month(month) => rest.trim_end_matches(|c: char| c.is_ascii_digit()),
        _ => before,
    };
    is_time.then(|| format!("{before}HH:MM"))
}

fn is_month(word: &str) -> bool {
    const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    MONTHS.split(' ').any(|month| month == word)
}

impl Deref for Slack {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}
