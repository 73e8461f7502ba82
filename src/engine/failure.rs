//! Why there is no diagnosis: a reason, which the message and the report name, and the engine's own
//! message, which the warning adds.

use std::fmt;

use serde_json::Value;

use super::diagnosis::is_visible;
use crate::http::RequestError;
use crate::text::{for_terminal, quote};

/// Why there is no diagnosis. Displayed as the fallback and the report name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    EngineUnavailable,
    Timeout,
    ConnectionError,
    /// A status outside 2xx whose body names no code.
    Http(u16),
    InvalidResponse,
    /// The engine's own code, made by [`Reason::code`].
    Code(String),
    EmptyResponseText,
    Refusal,
    ContentFilter,
    IncompleteResponse,
    BudgetSpent,
    Interrupted,
    /// Too many investigations are pending.
    Backlog,
    /// The investigation was pending for too long.
    Expired,
}

impl Reason {
    /// Returns an engine's code verbatim, on one line and cut at 200 characters.
    pub fn code(code: &str) -> Self {
        Self::Code(quote(&for_terminal(code)))
    }

    /// Returns the label in the metrics: one of a fixed set, since an engine may send any code.
    pub fn label(&self) -> &'static str {
        self.words().0
    }

    /// Returns the label in the metrics, and the name in the message and the report.
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::EngineUnavailable => ("unavailable", "engine_unavailable"),
            Self::Timeout => ("timeout", "engine_exception:Timeout"),
            Self::ConnectionError => ("connection_error", "engine_exception:ConnectionError"),
            Self::Http(_) => ("http_status", "engine_exception:HTTP"),
            Self::InvalidResponse => ("invalid_response", "engine_exception:InvalidResponse"),
            Self::Code(code) => ("engine_error", code),
            Self::EmptyResponseText => ("empty", "empty_response_text"),
            Self::Refusal => ("refusal", "refusal"),
            Self::ContentFilter => ("content_filter", "content_filter"),
            Self::IncompleteResponse => ("incomplete", "incomplete_response"),
            Self::BudgetSpent => ("budget_spent", "investigation_budget_spent"),
            Self::Interrupted => ("interrupted", "interrupted"),
            Self::Backlog => ("backlog", "investigation_backlog"),
            Self::Expired => ("expired", "expired"),
        }
    }

    /// Returns whether the engine could not be reached. The next question is unlikely to reach it either.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Timeout | Self::ConnectionError)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)?;
        match self {
            Self::Http(status) => write!(f, "{status}"),
            _ => Ok(()),
        }
    }
}

/// A reason with what the engine said about it. Displayed as a warning shows it:
/// `401 invalid_api_key: Incorrect API key provided`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: Reason,
    /// The answer's status, if it was outside 2xx.
    pub status: Option<u16>,
    /// The engine's message, or why there was no connection: one line of at most 200 characters,
    /// tokens masked.
    pub message: Option<String>,
}

impl Failure {
    /// Returns the failure that an answer's `error` names: by its text, else its `code`, else its `type`,
    /// else `otherwise`. Its message is the first text, including those in `more`, that says more than that.
    pub(super) fn of<const N: usize>(error: &Value, otherwise: Reason, more: [&Value; N]) -> Self {
        // Digits only repeat the status.
        let is_word = |text: &&str| text.contains(|c: char| is_visible(c) && !c.is_ascii_digit());
        let named = [error, &error["code"], &error["type"]];
        let mut words = named.into_iter().filter_map(Value::as_str).filter(is_word);
        let reason = words.next().map_or(otherwise, Reason::code);
        let name = reason.to_string();
        let texts = [&error["message"], error].into_iter().chain(more);
        let mut texts = texts.filter_map(Value::as_str).map(quote);
        let message = texts.find(|text| text.contains(is_visible) && *text != name);
        Self {
            message,
            ..Self::from(reason)
        }
    }

    /// Returns the failure of an answer outside 2xx.
    pub(super) fn outside_2xx(status: u16, body: &Value) -> Self {
        // Gemini's `openai` endpoint sends its error in a list.
        let body = body.get(0).unwrap_or(body);
        let more = [&body["detail"], &body["message"]];
        Self {
            status: Some(status),
            ..Self::of(&body["error"], Reason::Http(status), more)
        }
    }

    /// Returns whether asking the same question later may help.
    pub fn passes(&self) -> bool {
        let by_status = matches!(self.status, Some(408 | 429 | 500..=599));
        by_status || self.reason.is_unreachable() || self.reason == Reason::BudgetSpent
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            status: None,
            message: None,
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let says_more = error != RequestError::Timeout;
        let message = says_more.then(|| quote(&error.to_string()));
        let reason = match error {
            RequestError::Timeout | RequestError::NotSentInTime => Reason::Timeout,
            RequestError::NotSent(_) | RequestError::Cut(_) => Reason::ConnectionError,
            RequestError::TooLarge(_) => Reason::InvalidResponse,
        };
        Self {
            message,
            ..Self::from(reason)
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status
            && self.reason != Reason::Http(status)
        {
            write!(f, "{status} ")?;
        }
        self.reason.fmt(f)?;
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_code_is_short_and_on_one_line() {
        assert_eq!(Reason::code("a\r\nb").to_string().lines().count(), 1);
        assert_eq!(Reason::code("a\u{202e}b").to_string(), "a\u{fffd}b");
        assert_eq!(Reason::code(&"x".repeat(300)).to_string().len(), 200);
    }

    #[test]
    fn a_warning_has_status_reason_and_message() {
        for (status, body, shown) in [
            (
                401,
                json!({"error": {"code": "invalid_api_key", "message": "Incorrect API key provided"}}),
                "401 invalid_api_key: Incorrect API key provided",
            ),
            (
                400,
                json!({"error": {"code": "400", "type": "auth_error", "message": "No\nkey"}}),
                "400 auth_error: No key",
            ),
            (
                400,
                json!([{"error": {"code": 400, "message": "API key not valid."}}]),
                "engine_exception:HTTP400: API key not valid.",
            ),
            (503, json!(null), "engine_exception:HTTP503"),
            (
                404,
                json!({"detail": "Not Found"}),
                "engine_exception:HTTP404: Not Found",
            ),
            (
                429,
                json!({"error": "sdk_rate_limited", "message": "slow down"}),
                "429 sdk_rate_limited: slow down",
            ),
            (404, json!({"error": "no such model"}), "404 no such model"),
            (
                500,
                json!({"error": "\u{200b}"}),
                "engine_exception:HTTP500",
            ),
            (
                500,
                json!({"error": {"code": "\u{2060} 7", "type": "a_type", "message": "\u{feff}"}}),
                "500 a_type",
            ),
            (
                422,
                json!({"detail": [{"msg": "x"}], "message": " "}),
                "engine_exception:HTTP422",
            ),
        ] {
            assert_eq!(Failure::outside_2xx(status, &body).to_string(), shown);
        }
        assert_eq!(
            Failure::from(Reason::Backlog).to_string(),
            "investigation_backlog"
        );
        let too_large = Failure::from(RequestError::TooLarge(200)).to_string();
        assert_eq!(
            too_large,
            "engine_exception:InvalidResponse: HTTP 200 with an answer over 1 MiB"
        );
        let long = json!({"error": {"message": "é".repeat(300)}});
        let message = Failure::outside_2xx(400, &long).message.unwrap_or_default();
        assert_eq!(message.chars().count(), 200);
    }

    #[test]
    fn a_reason_passes_if_the_question_may_be_answered_later() {
        let code = json!({"error": "a_code"});
        for status in [408, 429, 500, 503, 529] {
            assert!(Failure::outside_2xx(status, &code).passes(), "{status}");
        }
        for status in [302, 400, 401, 404, 600] {
            assert!(!Failure::outside_2xx(status, &code).passes(), "{status}");
        }
        for (reason, passes) in [
            (Reason::Timeout, true),
            (Reason::ConnectionError, true),
            (Reason::BudgetSpent, true),
            (Reason::Interrupted, false),
            (Reason::EngineUnavailable, false),
            (Reason::InvalidResponse, false),
            (Reason::Backlog, false),
            (Reason::Expired, false),
        ] {
            assert_eq!(Failure::from(reason.clone()).passes(), passes, "{reason}");
        }
    }
}
