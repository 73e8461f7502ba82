//! What an engine is: it is asked once about a wake and gives a diagnosis that is fit to be sent,
//! or a reason why there is none. What the three APIs share is here (the one request and the
//! reasons' names) and in `answer`; their own request and their own text are in a file each.

mod answer;
mod anthropic;
#[cfg(test)]
mod fake_server;
mod kora;
mod openai;
mod prompt;

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::audit::wake::Wake;
use crate::http::{Endpoint, Failed, Header, Http};
use crate::secret::Secret;
use crate::text::quote;

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

/// What came of asking.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub result: Result<Diagnosis, Reason>,
    pub usage: Usage,
}

impl Answer {
    /// No diagnosis, and nothing that is known to have been used.
    pub fn without(reason: Reason) -> Self {
        Self {
            result: Err(reason),
            usage: Usage::default(),
        }
    }
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
        Ok(reply) => answer::read(config.api, &reply),
        Err(failed) => {
            log::debug!("the engine gave no answer: {failed}");
            Answer::without(failed.into())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::fake_server::{config, wake};
    use super::*;
    use crate::http::ProxySettings;
    use crate::http::fake_server::server;

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
}
