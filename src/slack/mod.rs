//! Slack's Web API: one call, and what its answer means for the message. The question is always whether the
//! message may have arrived, since Slack has no idempotency keys and a message sent twice wakes a person
//! twice. Retries and the queue are up to the caller.
//!
//! Codes as in Slack's documentation of chat.postMessage, November 2026.

mod text;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::{Endpoint, Header, Http, Reply, RequestError};
use crate::secret::Secret;
use crate::text::quote;
use text::escape;
pub use text::{PART_LIMIT, next_message};

/// For the whole call.
const TIMEOUT: Duration = Duration::from_secs(10);

const REACTIONS_TIMEOUT: Duration = Duration::from_secs(3);

/// The wait if a rate limit names none, and the longest one that is believed.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// Who gets the messages, and whose token sends them.
#[derive(Clone, Debug)]
pub struct SlackConfig {
    /// The base that a method's name is appended to: `https://slack.com/api`.
    pub api_url: Endpoint,
    pub token: Option<Secret>,
    /// The user id that gets the messages.
    pub operator: Option<String>,
}

/// Where a reply to a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// The conversation's id (`D...`), which is not the operator's.
    pub channel: String,
    pub ts: String,
    /// Who the conversation is with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

/// What became of a message: the thread that it opened or went to, if Slack named it.
pub type Posted = Result<Option<Thread>, NotPosted>;

/// Why a message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPosted {
    pub trouble: Trouble,
    /// Slack's code, `HTTP 503`, or why the connection failed.
    pub cause: String,
}

impl NotPosted {
    pub fn new(trouble: Trouble, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self { trouble, cause }
    }
}

/// What a failure means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Certainly not sent: there was no connection.
    NotSent,
    /// Certainly not sent: too many at once. It can be tried again after this long.
    RateLimited(Duration),
    /// Nobody can say whether it was sent.
    Unknown,
    /// Certainly not sent, and never will be: Slack takes no such message.
    MessageFault,
    /// Certainly not sent: the thread takes no reply.
    ThreadGone,
    /// Certainly not sent, and no other message would be: the token, its scopes or the operator are wrong.
    Settings,
    /// Certainly not sent, whatever is at fault.
    Refused,
}

/// Posts one message with one request: to the operator, or as a reply in `thread`. `text` is
/// neither escaped nor longer than [`PART_LIMIT`] after escaping.
pub fn post(http: &Http, config: &SlackConfig, text: &str, thread: Option<&Thread>) -> Posted {
    let mut body = json!({
        "channel": thread.map(|thread| &thread.channel).or(config.operator.as_ref()),
        "text": escape(text),
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
    });
    if let Some(thread) = thread {
        body["thread_ts"] = json!(thread.ts);
    }
    match call(http, config, "/chat.postMessage", &body) {
        Ok(reply) => judge(&reply, thread.is_some()),
        Err(error) => {
            let trouble = match error {
                RequestError::NotSent(_) | RequestError::NotSentInTime => Trouble::NotSent,
                _ => Trouble::Unknown,
            };
            Err(NotPosted::new(trouble, error.to_string()))
        }
    }
}

/// Asks who the token belongs to, as in `team Acme, as kora`; needs no scope. The error is Slack's code or
/// why the call failed.
pub fn auth_test(http: &Http, config: &SlackConfig) -> Result<String, String> {
    let reply = call(http, config, "/auth.test", &json!({})).map_err(|error| error.to_string())?;
    let [ok, error, team, user] = reply.members(["ok", "error", "team", "user"]);
    if ok != true || !reply.is_success() {
        return Err(cause(&reply, ok.as_bool(), &error));
    }
    let name = |value: Value| value.as_str().map(quote).unwrap_or_default();
    Ok(format!("team {}, as {}", name(team), name(user)))
}

/// Returns whether the operator has reacted to a message with this emoji; needs the scope `reactions:read`.
/// Skin tones are ignored. The error is Slack's code or why the call failed.
pub fn has_reaction(
    http: &Http,
    config: &SlackConfig,
    message: &Thread,
    name: &str,
) -> Result<bool, String> {
    let Thread { channel, ts, .. } = message;
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    if !is_plain(channel) || !is_plain(ts) {
        return Err("no message of Slack's".to_owned());
    }
    let method = format!("/reactions.get?channel={channel}&timestamp={ts}&full=true");
    let headers: Vec<_> = config.token.iter().map(Header::bearer).collect();
    let reply = http.get(&config.api_url.join(&method), &headers, REACTIONS_TIMEOUT);
    let reply = reply.map_err(|error| error.to_string())?;
    let [ok, error, message] = reply.members(["ok", "error", "message"]);
    if error == "no_reaction" {
        return Ok(false);
    }
    if ok != true || !reply.is_success() {
        return Err(cause(&reply, ok.as_bool(), &error));
    }
    let reactions = message["reactions"].as_array();
    let is_ours = |reaction: &Value| {
        let given = reaction["name"].as_str().unwrap_or_default();
        let users = reaction["users"].as_array();
        let operator = config.operator.as_deref();
        given.split("::").next() == Some(name)
            && users.is_some_and(|users| users.iter().any(|user| user.as_str() == operator))
    };
    Ok(reactions.is_some_and(|reactions| reactions.iter().any(is_ours)))
}

fn call(
    http: &Http,
    config: &SlackConfig,
    method: &str,
    body: &Value,
) -> Result<Reply, RequestError> {
    let mut headers = vec![Header::new(
        "content-type",
        "application/json; charset=utf-8",
    )];
    headers.extend(config.token.iter().map(Header::bearer));
    http.post(&config.api_url.join(method), &headers, body, TIMEOUT)
}

/// Returns Slack's code, or else what is wrong with its answer.
fn cause(reply: &Reply, ok: Option<bool>, error: &Value) -> String {
    let code = error.as_str().map(quote).filter(|code| !code.is_empty());
    code.unwrap_or_else(|| match (reply.is_success(), ok) {
        (true, None) => "not Slack's JSON".to_owned(),
        (true, Some(_)) => "ok: false without an error".to_owned(),
        (false, _) => format!("HTTP {}", reply.status),
    })
}

/// Returns what an answer means for the message: the status counts first, then Slack's own code. The rest of
/// the answer, including the message's echo, is not read, so nothing in it can turn a delivered message into
/// an unknown one.
fn judge(reply: &Reply, is_reply: bool) -> Posted {
    let [ok, error, channel, ts] = reply.members(["ok", "error", "channel", "ts"]);
    let ok = ok.as_bool();
    let cause = match reply.status {
        500.. => format!("HTTP {}", reply.status),
        _ => cause(reply, ok, &error),
    };
    let trouble = match (reply.status, ok) {
        (200..300, Some(true)) => {
            let (channel, ts) = (channel.as_str(), ts.as_str());
            return Ok(channel.zip(ts).map(|(channel, ts)| Thread {
                channel: channel.to_owned(),
                ts: ts.to_owned(),
                operator: None,
            }));
        }
        (429, _) => Trouble::RateLimited(retry_after(reply)),
        (500.., _) | (200..300, None) => Trouble::Unknown,
        (200..300 | 400..500, Some(false)) => judge_code(&cause, reply, is_reply),
        // A redirect is not followed, and comes from something other than Slack.
        (300..400, _) => Trouble::NotSent,
        _ => Trouble::Refused,
    };
    Err(NotPosted { trouble, cause })
}

fn judge_code(code: &str, reply: &Reply, is_reply: bool) -> Trouble {
    match code {
        "ratelimited" | "rate_limited" => Trouble::RateLimited(retry_after(reply)),
        "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
            Trouble::Unknown
        }
        "msg_too_long" | "no_text" | "invalid_blocks" | "msg_blocks_too_long" => {
            Trouble::MessageFault
        }
        "cannot_reply_to_message"
        | "thread_not_found"
        | "restricted_action_non_threadable_channel" => Trouble::ThreadGone,
        _ if code.starts_with("restricted_action_thread_") => Trouble::ThreadGone,
        // The conversation that the message's answer named is gone.
        "channel_not_found" if is_reply => Trouble::ThreadGone,
        _ if is_settings_fault(code) => Trouble::Settings,
        _ => Trouble::Refused,
    }
}

/// Returns whether this code says that no message can be sent until a person corrects the settings.
pub fn is_settings_fault(code: &str) -> bool {
    matches!(
        code,
        "not_authed"
            | "invalid_auth"
            | "account_inactive"
            | "token_revoked"
            | "token_expired"
            | "missing_scope"
            | "channel_not_found"
    )
}

fn retry_after(reply: &Reply) -> Duration {
    let asked = reply.header("retry-after").unwrap_or_default().trim();
    let seconds = match !asked.is_empty() && asked.bytes().all(|b| b.is_ascii_digit()) {
        // A number too large to parse is over the limit anyway.
        true => asked.parse().unwrap_or(u64::MAX),
        false => return RETRY_AFTER,
    };
    Duration::from_secs(seconds).min(MAX_RETRY_AFTER)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::fake_server::{Server, answer, answering, reply};

    fn config(url: &str) -> SlackConfig {
        SlackConfig {
            api_url: Endpoint::parse(url).unwrap(),
            token: Some(Secret::new("xoxb-1".to_owned())),
            operator: Some("U1".to_owned()),
        }
    }

    fn sent(server: &Server, text: &str, thread: Option<&Thread>) -> (Posted, String) {
        let posted = post(&Http::default(), &config(&server.url), text, thread);
        (posted, server.requests.recv().unwrap())
    }

    fn d1() -> Thread {
        Thread {
            channel: "D1".to_owned(),
            ts: "1.2".to_owned(),
            operator: None,
        }
    }

    /// What became of the message, without its cause; a rate limit with its seconds.
    fn kind(posted: Posted) -> String {
        match posted {
            Ok(_) => "Delivered".to_owned(),
            Err(NotPosted { trouble, .. }) => match trouble {
                Trouble::RateLimited(length) => format!("wait {}", length.as_secs()),
                trouble => format!("{trouble:?}"),
            },
        }
    }

    #[test]
    fn a_message_is_sent_to_the_letter() {
        let server = answering(answer("200 OK", r#"{"ok":true,"channel":"D1","ts":"1.2"}"#));
        let (posted, request) = sent(&server, "<!channel> a & b", None);
        assert_eq!(posted, Ok(Some(d1())));
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("POST /chat.postMessage HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nauthorization: Bearer xoxb-1"), "{head}");
        assert!(
            head.contains("\r\ncontent-type: application/json; charset=utf-8\r\n"),
            "{head}"
        );
        let expected = json!({"channel": "U1", "text": "&lt;!channel&gt; a &amp; b", "mrkdwn": false,
            "unfurl_links": false, "unfurl_media": false});
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), expected);
    }

    #[test]
    fn a_reply_goes_to_its_thread() {
        let server = answering(answer("200 OK", r#"{"ok":true}"#));
        let (posted, request) = sent(&server, "more", Some(&d1()));
        assert_eq!(posted, Ok(None));
        assert!(
            request.contains(r#""channel":"D1""#) && request.contains(r#""thread_ts":"1.2""#),
            "{request}"
        );
    }

    #[test]
    fn each_code_has_its_meaning() {
        for (meaning, codes) in [
            ("wait 5", "ratelimited rate_limited"),
            (
                "Unknown",
                "internal_error fatal_error service_unavailable request_timeout",
            ),
            (
                "MessageFault",
                "msg_too_long no_text invalid_blocks msg_blocks_too_long",
            ),
            (
                "ThreadGone",
                "cannot_reply_to_message thread_not_found restricted_action_thread_locked \
                 restricted_action_thread_only_channel restricted_action_non_threadable_channel",
            ),
            (
                "Settings",
                "not_authed invalid_auth account_inactive token_revoked token_expired missing_scope \
                 channel_not_found",
            ),
            (
                "Refused",
                "message_limit_exceeded restricted_action is_archived new_in_2027",
            ),
        ] {
            for code in codes.split(' ') {
                for status in [200, 400] {
                    let body = format!(r#"{{"ok":false,"error":"{code}"}}"#);
                    let reply = reply(status, &[], &body);
                    assert_eq!(kind(judge(&reply, false)), meaning, "{status} {code}");
                    let in_thread = match code {
                        "channel_not_found" => "ThreadGone",
                        _ => meaning,
                    };
                    assert_eq!(kind(judge(&reply, true)), in_thread, "{status} {code}");
                }
            }
        }
    }

    #[test]
    fn each_status_has_its_meaning() {
        let code = r#"{"ok":false,"error":"invalid_auth"}"#;
        for (status, body, meaning) in [
            (200, "", "Unknown"),
            (200, "<html>", "Unknown"),
            (200, "{}", "Unknown"),
            (200, r#"{"ok":"true"}"#, "Unknown"),
            (200, "[true]", "Unknown"),
            (
                200,
                r#"{"ok":true,"message":{"text":"\ud800"}}"#,
                "Delivered",
            ),
            (200, r#"{"ok":false}"#, "Refused"),
            (302, "", "NotSent"),
            (302, r#"{"ok":true}"#, "NotSent"),
            (401, code, "Settings"),
            (404, "", "Refused"),
            (400, r#"{"ok":true}"#, "Refused"),
            (429, "", "wait 5"),
            (429, code, "wait 5"),
            (500, code, "Unknown"),
            (503, "", "Unknown"),
            (503, r#"{"ok":true}"#, "Unknown"),
        ] {
            assert_eq!(
                kind(judge(&reply(status, &[], body), false)),
                meaning,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn the_cause_is_the_code_or_the_status() {
        let refused = |cause: &str| Err(NotPosted::new(Trouble::Refused, cause));
        assert_eq!(
            judge(&reply(403, &[], r#"{"error":"not_\nallowed"}"#), false),
            refused("not_ allowed")
        );
        assert_eq!(judge(&reply(403, &[], "no"), false), refused("HTTP 403"));
        assert_eq!(
            judge(&reply(502, &[], "no"), false),
            Err(NotPosted::new(Trouble::Unknown, "HTTP 502"))
        );
    }

    #[test]
    fn a_rate_limit_lasts_as_long_as_slack_says_within_bounds() {
        for (header, seconds) in [
            ("7", 7),
            ("0", 0),
            ("120", 120),
            ("99999999999999999999999999", 86_400),
            ("", 5),
            ("Wed, 21 Oct 2026 07:28:00 GMT", 5),
            ("-1", 5),
        ] {
            let posted = judge(&reply(429, &[("retry-after", header)], ""), false);
            assert_eq!(kind(posted), format!("wait {seconds}"), "{header}");
        }
    }

    #[test]
    fn no_connection_is_not_sent_and_a_cut_one_is_unknown() {
        let http = Http::default();
        assert_eq!(
            kind(post(&http, &config("http://127.0.0.1:1"), "x", None)),
            "NotSent"
        );
        let cut = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        assert_eq!(kind(sent(&cut, "x", None).0), "Unknown");
    }

    #[test]
    fn auth_test_names_the_tokens_owner_or_the_error() {
        let ask = |body: &str| {
            let server = answering(answer("200 OK", body));
            auth_test(&Http::default(), &config(&server.url))
        };
        let owner = ask(r#"{"ok":true,"team":"T","user":"kora","bot_id":"B1"}"#).unwrap();
        assert_eq!(owner, "team T, as kora");
        assert_eq!(
            ask(r#"{"ok":false,"error":"invalid_auth"}"#).unwrap_err(),
            "invalid_auth"
        );
        assert_eq!(ask("oops").unwrap_err(), "not Slack's JSON");
    }
}
