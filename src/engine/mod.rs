//! What an engine is: it is asked once about a wake and gives a diagnosis that is fit to be sent, or a
//! reason why there is none. The three APIs differ in their request and in how their answer is read;
//! what they share is here: the one request, errors by status and by body, and the reasons' names.

mod anthropic;
mod kora;
mod openai;
mod prompt;

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::audit::wake::Wake;
use crate::http::{Endpoint, Failed, Header, Http, Reply, quote};
use crate::secret::Secret;

pub use prompt::{fence, prompt};

/// The wire format that the engine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Kora,
    Openai,
    Anthropic,
}

/// An engine that can be asked.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub api: Api,
    /// `kora`: the URL to POST to; the others: the base that their path is put behind.
    pub url: Endpoint,
    pub token: Option<Secret>,
    pub model: Option<String>,
    pub max_tokens: Option<u32>,
    /// For the whole call.
    pub timeout: Duration,
}

/// One wake to be investigated.
pub struct Question<'a> {
    pub wake: &'a Wake,
    pub prompt: String,
    pub asked_at: jiff::Timestamp,
    /// Names this wake to an engine that honours `Idempotency-Key`.
    pub key: String,
}

/// What the engine says that it used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    pub model_used: Option<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cache_creation_input_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
}

/// A text that is fit to be sent: not empty, without white space at its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    pub text: String,
    /// Set where the engine ran out of room, as its API names that: `length`, `max_tokens`.
    pub cut_short: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub result: Result<Diagnosis, Reason>,
    pub usage: Usage,
}

/// Why there is no diagnosis. Displayed as the fallback DM and the report name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    EngineUnavailable,
    Timeout,
    ConnectionError,
    /// A status outside 2xx whose body names no code.
    Http(u16),
    InvalidResponse,
    /// The engine's own word, made by [`Reason::code`].
    Code(String),
    EmptyResponseText,
    Refusal,
    ContentFilter,
    IncompleteResponse,
    BudgetSpent,
    Interrupted,
}

impl Reason {
    /// An engine's code as it is, but for its length and line breaks.
    pub fn code(code: &str) -> Self {
        Self::Code(quote(code))
    }

    /// Whether the engine could not be reached at all, which a second wake will hardly change.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Timeout | Self::ConnectionError)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EngineUnavailable => "engine_unavailable",
            Self::Timeout => "engine_exception:Timeout",
            Self::ConnectionError => "engine_exception:ConnectionError",
            Self::Http(status) => return write!(f, "engine_exception:HTTP{status}"),
            Self::InvalidResponse => "engine_exception:InvalidResponse",
            Self::Code(code) => code,
            Self::EmptyResponseText => "empty_response_text",
            Self::Refusal => "refusal",
            Self::ContentFilter => "content_filter",
            Self::IncompleteResponse => "incomplete_response",
            Self::BudgetSpent => "investigation_budget_spent",
            Self::Interrupted => "interrupted",
        })
    }
}

impl From<Failed> for Reason {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Timeout(_)
            | Failed::NotSent {
                timed_out: true, ..
            } => Self::Timeout,
            Failed::NotSent { .. } | Failed::Cut(_) => Self::ConnectionError,
            Failed::TooLarge(_) => Self::InvalidResponse,
        }
    }
}

/// What an API's file makes of a question.
struct Request<'a> {
    url: Endpoint,
    headers: Vec<Header<'a>>,
    body: Value,
}

/// Asks the engine, with exactly one request.
pub fn ask(config: &EngineConfig, http: &Http, question: &Question<'_>) -> Answer {
    // A key may be made from a row's text, and a header carries only printable ASCII.
    let key = question.key.escape_default().to_string();
    let mut request = match config.api {
        Api::Kora => kora::request(config, question),
        Api::Openai => openai::request(config, question),
        Api::Anthropic => anthropic::request(config, question),
    };
    request.headers.push(Header::new("idempotency-key", &key));
    match http.post(
        &request.url,
        &request.headers,
        &request.body,
        config.timeout,
    ) {
        Ok(reply) => read(config.api, &reply),
        Err(failed) => {
            log::debug!("the engine gave no answer: {failed}");
            Answer {
                result: Err(failed.into()),
                usage: Usage::default(),
            }
        }
    }
}

fn read(api: Api, reply: &Reply) -> Answer {
    let body = reply.json();
    if !reply.is_success() {
        let code = body.as_ref().and_then(|body| error_code(&body["error"]));
        let reason = code.map_or(Reason::Http(reply.status), |code| Reason::code(&code));
        return Answer {
            result: Err(reason),
            usage: Usage::default(),
        };
    }
    let Some(Value::Object(body)) = body else {
        return Answer {
            result: Err(Reason::InvalidResponse),
            usage: Usage::default(),
        };
    };
    let result = match (set_error(&body), api) {
        (Some(reason), _) => Err(reason),
        (None, _) if is_marked_incomplete(reply) => Err(Reason::IncompleteResponse),
        (None, Api::Kora) => kora::read(&body),
        (None, Api::Openai) => openai::read(&body),
        (None, Api::Anthropic) => anthropic::read(&body),
    };
    Answer {
        result,
        usage: usage(api, &body),
    }
}

/// `error` where it is a string, else its `code`, else its `type`.
fn error_code(error: &Value) -> Option<String> {
    let named = [error, &error["code"], &error["type"]];
    named
        .into_iter()
        .filter_map(Value::as_str)
        .find(|code| !code.trim().is_empty())
        .map(str::to_owned)
}

/// The reason where a 2xx has `error` set: its code, else its JSON. It counts whatever else is there.
fn set_error(body: &Map<String, Value>) -> Option<Reason> {
    let is_unset = |error: &Value| match error {
        Value::Null | Value::Bool(false) => true,
        Value::String(code) => code.trim().is_empty(),
        _ => false,
    };
    let error = body.get("error").filter(|error| !is_unset(error))?;
    Some(Reason::code(
        &error_code(error).unwrap_or_else(|| error.to_string()),
    ))
}

/// Hermes and Kora's gateway say so on HTTP 200 when their agent broke off.
fn is_marked_incomplete(reply: &Reply) -> bool {
    reply
        .header("x-hermes-completed")
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"))
}

/// The text without white space, control characters and invisible marks at its ends, or the reason
/// where nothing is left of it.
fn fit_to_send(text: &str) -> Result<&str, Reason> {
    let blank = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}')
    };
    match text.trim_matches(blank) {
        "" => Err(Reason::EmptyResponseText),
        text => Ok(text),
    }
}

/// `kora` tells its usage at the top, the others in `usage`, and `openai` by names of its own.
fn usage(api: Api, body: &Map<String, Value>) -> Usage {
    let (model, [input, output]) = match api {
        Api::Kora => ("model_used", ["input_tokens", "output_tokens"]),
        Api::Openai => ("model", ["prompt_tokens", "completion_tokens"]),
        Api::Anthropic => ("model", ["input_tokens", "output_tokens"]),
    };
    let counts = if api == Api::Kora {
        Some(body)
    } else {
        body.get("usage").and_then(Value::as_object)
    };
    let count = |name: &str| counts?.get(name)?.as_u64();
    Usage {
        model_used: body
            .get(model)
            .and_then(Value::as_str)
            .map(quote)
            .filter(|name| !name.is_empty()),
        input_tokens: count(input),
        output_tokens: count(output),
        cache_creation_input_tokens: count("cache_creation_input_tokens"),
        cache_read_input_tokens: count("cache_read_input_tokens"),
    }
}

/// What the tests of the three APIs share.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod stand_in {
    use super::*;
    use crate::http::ProxySettings;
    use crate::http::stand_in::{answer, answering, reply};

    pub(super) fn wake() -> Wake {
        Wake {
            probe: "fly".to_owned(),
            category: "service_unhealthy".to_owned(),
            severity: "critical".to_owned(),
            title: "Fly app(s) unreachable: HTTP 401".to_owned(),
            detail: "status=unhealthy".to_owned(),
            snapshot_details: r#"{"apps_running":0}"#.to_owned(),
            envelope_enabled: false,
            envelope_fix_name: "restart_unhealthy_machine".to_owned(),
            emitted_at: None,
        }
    }

    pub(super) fn config(api: Api, url: &str) -> EngineConfig {
        EngineConfig {
            api,
            url: Endpoint::parse(url).unwrap(),
            token: Some(Secret::new("t0ken".to_owned())),
            model: Some("m1".to_owned()),
            max_tokens: None,
            timeout: Duration::from_secs(5),
        }
    }

    /// Asks a server under `path` that answers `{}`: the request's head and body.
    pub(super) fn asked(
        api: Api,
        path: &str,
        change: impl Fn(&mut EngineConfig),
    ) -> (String, Value) {
        let server = answering(answer("200 OK", "{}"));
        let mut config = config(api, &format!("{}{path}", server.url));
        change(&mut config);
        let (wake, asked_at) = (wake(), "2026-05-24T14:32:00Z".parse().unwrap());
        let question = Question {
            wake: &wake,
            prompt: "why?".to_owned(),
            asked_at,
            key: "k-1 ü".to_owned(),
        };
        ask(&config, &Http::new(ProxySettings::default()), &question);
        let request = server.requests.recv().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nidempotency-key: k-1 \\u{fc}"), "{head}");
        assert!(!head.to_lowercase().contains("hermes"), "{head}");
        (head.to_owned(), serde_json::from_str(body).unwrap())
    }

    /// An answer's reason, or its text with what it was cut short by behind a bar.
    pub(super) fn told(api: Api, status: u16, body: &str) -> String {
        told_with(api, status, &[], body)
    }

    pub(super) fn told_with(
        api: Api,
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &str,
    ) -> String {
        match read(api, &reply(status, headers, body)).result {
            Ok(Diagnosis {
                text,
                cut_short: Some(by),
            }) => format!("{text}|{by}"),
            Ok(Diagnosis {
                text,
                cut_short: None,
            }) => text,
            Err(reason) => reason.to_string(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::stand_in::{config, told, wake};
    use super::*;
    use crate::http::ProxySettings;
    use crate::http::stand_in::{reply, server};

    const APIS: [Api; 3] = [Api::Kora, Api::Openai, Api::Anthropic];

    fn result(url: &str) -> Result<Diagnosis, Reason> {
        let wake = wake();
        let question = Question {
            wake: &wake,
            prompt: String::new(),
            asked_at: jiff::Timestamp::UNIX_EPOCH,
            key: String::new(),
        };
        let config = EngineConfig {
            timeout: Duration::from_millis(300),
            ..config(Api::Kora, url)
        };
        ask(&config, &Http::new(ProxySettings::default()), &question).result
    }

    #[test]
    fn what_is_outside_2xx_is_its_code_or_its_status() {
        for (status, body, reason) in [
            (503, "", "engine_exception:HTTP503"),
            (302, "", "engine_exception:HTTP302"),
            (404, r#"{"detail":"Not Found"}"#, "engine_exception:HTTP404"),
            (500, r#"{"error":""}"#, "engine_exception:HTTP500"),
            (
                500,
                r#"{"error":{"message":"x"}}"#,
                "engine_exception:HTTP500",
            ),
            (429, r#"{"error":"sdk_rate_limited"}"#, "sdk_rate_limited"),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
                "overloaded_error",
            ),
            (
                401,
                r#"{"error":{"code":"invalid_api_key","type":"t"}}"#,
                "invalid_api_key",
            ),
            (
                400,
                r#"{"error":{"code":null,"type":"invalid_request_error"}}"#,
                "invalid_request_error",
            ),
            (
                500,
                r#"{"error":{"code":500,"type":"server_error"}}"#,
                "server_error",
            ),
        ] {
            for api in APIS {
                assert_eq!(told(api, status, body), reason, "{api:?} {body}");
            }
        }
    }

    #[test]
    fn a_2xx_that_is_no_answer_is_invalid() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for body in [
            "",
            "<html>",
            "[]",
            "null",
            "\"x\"",
            "{}",
            r#"{"text":"#,
            &format!(r#"{{"text":{deep}}}"#),
        ] {
            for api in APIS {
                assert_eq!(
                    told(api, 200, body),
                    "engine_exception:InvalidResponse",
                    "{api:?}"
                );
            }
        }
    }

    #[test]
    fn an_error_that_is_set_wins() {
        let body = |error: &str| {
            format!(
                r#"{{"error":{error},"text":"t","choices":[{{"message":{{"content":"t"}}}}],"content":[{{"type":"text","text":"t"}}]}}"#
            )
        };
        for (error, reason) in [
            ("null", "t"),
            ("\"\"", "t"),
            ("false", "t"),
            (r#""cost_ladder_halted""#, "cost_ladder_halted"),
            (r#"{"code":"c","type":"t"}"#, "c"),
            (r#"{"type":"t"}"#, "t"),
            (r#"{"message":"m"}"#, r#"{"message":"m"}"#),
            ("7", "7"),
        ] {
            for api in APIS {
                assert_eq!(told(api, 200, &body(error)), reason, "{api:?} {error}");
            }
        }
    }

    #[test]
    fn a_code_is_short_and_in_one_line() {
        assert_eq!(Reason::code("a\r\nb"), Reason::Code("a  b".to_owned()));
        assert_eq!(Reason::code(&"x".repeat(300)).to_string().len(), 200);
    }

    #[test]
    fn an_engine_that_is_not_reached_is_told_by_how() {
        let hang = server(|_| {
            std::thread::sleep(Duration::from_secs(1));
            false
        });
        let cut = server(|_| false);
        for (url, reason) in [
            (&*hang.url, Reason::Timeout),
            (&cut.url, Reason::ConnectionError),
            ("http://127.0.0.1:1", Reason::ConnectionError),
        ] {
            assert_eq!(result(url), Err(reason.clone()));
            assert!(reason.is_unreachable());
        }
    }

    #[test]
    fn usage_is_read_wherever_the_api_puts_it() {
        let usage = |api, body: &str| read(api, &reply(200, &[], body)).usage;
        let kora = usage(
            Api::Kora,
            r#"{"error":"x","model_used":"m","input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3}"#,
        );
        let openai = usage(
            Api::Openai,
            r#"{"model":"m","usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        );
        let anthropic = usage(
            Api::Anthropic,
            r#"{"model":"m","usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3}}"#,
        );
        assert_eq!(kora, anthropic);
        assert_eq!(
            Usage {
                cache_read_input_tokens: Some(3),
                ..openai
            },
            kora
        );
        assert_eq!(kora.model_used.as_deref(), Some("m"));
    }
}
