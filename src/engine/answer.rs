//! Reads an answer: status, `error` and usage for all APIs, the text by the API's own file.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::Api;
use super::diagnosis::{Diagnosis, is_visible};
use super::failure::{Failure, Reason};
use crate::http::Reply;
use crate::text::quote;

/// The result of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub result: Result<Diagnosis, Failure>,
    pub usage: Usage,
    /// How long it took, from the question to the answer and nothing else.
    pub took: Duration,
}

impl Answer {
    /// Returns an answer without a diagnosis and without known usage.
    pub fn without(failure: impl Into<Failure>) -> Self {
        Self {
            result: Err(failure.into()),
            usage: Usage::default(),
            took: Duration::ZERO,
        }
    }
}

/// What the engine says it used, with the field names of an outcome row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub model_used: Option<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cache_creation_input_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
    pub total_cost_usd: Option<f64>,
}

/// Reads an answer of any status.
pub(super) fn read(api: &Api, reply: &Reply) -> Answer {
    let body = reply.json().unwrap_or_default();
    if !reply.is_success() {
        return Answer::without(Failure::outside_2xx(reply.status, &body));
    }
    if !body.is_object() {
        return Answer::without(Reason::InvalidResponse);
    }
    // Hermes and Kora's gateway send this with HTTP 200 when their agent stopped early.
    let completed = reply.header("x-hermes-completed").map(str::trim);
    let result = match set_error(&body["error"]) {
        Some(failure) => Err(failure),
        None if completed.is_some_and(|value| value.eq_ignore_ascii_case("false")) => {
            Err(Reason::IncompleteResponse.into())
        }
        None => (api.read)(&body).map(|diagnosis| Diagnosis {
            text: reply.masked_text(diagnosis.text),
            ..diagnosis
        }),
    };
    Answer {
        result,
        usage: usage(&body),
        took: Duration::ZERO,
    }
}

/// Returns the failure that an `error` in a 2xx answer names; `None` if it is not set.
pub(super) fn set_error(error: &Value) -> Option<Failure> {
    let is_set = match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(code) => code.contains(is_visible),
        _ => true,
    };
    is_set.then(|| Failure::of(error, Reason::IncompleteResponse, []))
}

/// Reads the usage. Kora has the numbers at the top level, the other APIs in an object, some of them under
/// other names.
fn usage(body: &Value) -> Usage {
    let object = &body["usage"];
    let count = |name: &str| body[name].as_u64().or_else(|| object[name].as_u64());
    // A gateway may write both names of a number, with 0 for the one that is not this API's.
    let either = |name, other| count(name).or_else(|| count(other));
    let model = body.get("model_used").unwrap_or(&body["model"]);
    let cost = body["total_cost_usd"].as_f64();
    Usage {
        model_used: model.as_str().map(quote).filter(|name| !name.is_empty()),
        input_tokens: either("prompt_tokens", "input_tokens"),
        output_tokens: either("completion_tokens", "output_tokens"),
        cache_creation_input_tokens: count("cache_creation_input_tokens"),
        cache_read_input_tokens: count("cache_read_input_tokens"),
        total_cost_usd: cost.or_else(|| object["cost"].as_f64()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::APIS;
    use super::super::tests::{shown, shown_with};
    use super::*;
    use crate::http::fake_server::reply;

    #[test]
    fn an_error_status_is_named_by_its_code_or_its_number() {
        for (status, body, reason) in [
            (503, "", "engine_exception:HTTP503"),
            (302, "", "engine_exception:HTTP302"),
            (502, "<html>Bad Gateway</html>", "engine_exception:HTTP502"),
            (404, r#"{"detail":"Not Found"}"#, "engine_exception:HTTP404"),
            (400, r#"["error"]"#, "engine_exception:HTTP400"),
            (
                400,
                r#"{"object":"error","type":"BadRequestError","code":400}"#,
                "engine_exception:HTTP400",
            ),
            (500, r#"{"error":""}"#, "engine_exception:HTTP500"),
            (
                500,
                r#"{"error":{"message":"x"}}"#,
                "engine_exception:HTTP500",
            ),
            (429, r#"{"error":"sdk_rate_limited"}"#, "sdk_rate_limited"),
            (
                404,
                r#"{"error":"model 'm1' not found"}"#,
                "model 'm1' not found",
            ),
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
            (
                400,
                r#"{"error":{"code":"400","type":"throttling_error"}}"#,
                "throttling_error",
            ),
            (
                401,
                r#"{"error":{"code":"401","type":null}}"#,
                "engine_exception:HTTP401",
            ),
        ] {
            for api in APIS {
                assert_eq!(shown(api, status, body), reason, "{} {body}", api.name);
            }
        }
    }

    #[test]
    fn a_2xx_that_is_not_the_apis_json_is_invalid() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for body in [
            "",
            "<html>",
            "[]",
            "null",
            "\"x\"",
            "{}",
            r#"{"answer":"x"}"#,
            "data: {}\n\ndata: [DONE]\n\n",
            r#"{"text":"#,
            &format!(r#"{{"text":{deep}}}"#),
        ] {
            for api in APIS {
                assert_eq!(
                    shown(api, 200, body),
                    "engine_exception:InvalidResponse",
                    "{}",
                    api.name
                );
            }
        }
    }

    /// Returns a body in which every API finds the text `t`, with this `error`.
    fn body(error: &str) -> String {
        format!(
            r#"{{"error":{error},"text":"t","choices":[{{"message":{{"content":"t"}}}}],"content":[{{"type":"text","text":"t"}}]}}"#
        )
    }

    #[test]
    fn a_gateway_that_broke_off_is_an_incomplete_response() {
        for (value, result) in [
            ("false", "incomplete_response"),
            ("False", "incomplete_response"),
            ("true", "t"),
        ] {
            for api in APIS {
                let headers = [("x-hermes-completed", value)];
                assert_eq!(shown_with(api, 200, &headers, &body("null")), result);
            }
        }
    }

    #[test]
    fn an_error_wins_over_a_text() {
        for (error, reason) in [
            ("null", "t"),
            ("\"\"", "t"),
            ("\"\u{200b}\"", "t"),
            ("false", "t"),
            (r#""cost_ladder_halted""#, "cost_ladder_halted"),
            (r#"{"code":"c","type":"t"}"#, "c"),
            (r#"{"type":"t"}"#, "t"),
            (r#"{"code":"502","type":"t"}"#, "t"),
            (r#"{"code":502,"message":"m"}"#, "incomplete_response"),
            ("7", "incomplete_response"),
            ("{}", "incomplete_response"),
        ] {
            for api in APIS {
                assert_eq!(
                    shown(api, 200, &body(error)),
                    reason,
                    "{} {error}",
                    api.name
                );
            }
        }
    }

    #[test]
    fn the_message_of_an_error_in_a_2xx_is_kept() {
        for (error, shown) in [
            (
                r#"{"code":502,"message":"no upstream"}"#,
                "incomplete_response: no upstream",
            ),
            (r#"{"code":"c","message":"no upstream"}"#, "c: no upstream"),
            (r#""cost_ladder_halted""#, "cost_ladder_halted"),
        ] {
            let reply = reply(200, &[], &format!(r#"{{"error":{error}}}"#));
            let failure = read(APIS[0], &reply).result.unwrap_err();
            assert_eq!(failure.to_string(), shown);
        }
    }

    #[test]
    fn usage_is_read_where_the_api_puts_it() {
        let kora = r#"{"error":"x","model_used":"m","input_tokens":1,"output_tokens":2,
            "cache_creation_input_tokens":4,"cache_read_input_tokens":3,"total_cost_usd":0.25,"usage":{"input_tokens":9}}"#;
        let openai = r#"{"model":"m","usage":{"input_tokens":0,"prompt_tokens":1,"output_tokens":0,"completion_tokens":2,
            "cache_creation_input_tokens":4,"cache_read_input_tokens":3,"cost":0.25}}"#;
        let anthropic = r#"{"model":"m","usage":{"input_tokens":1,"output_tokens":2,
            "cache_creation_input_tokens":4,"cache_read_input_tokens":3,"cost":7},"total_cost_usd":0.25}"#;
        let expected = Usage {
            model_used: Some("m".to_owned()),
            input_tokens: Some(1),
            output_tokens: Some(2),
            cache_creation_input_tokens: Some(4),
            cache_read_input_tokens: Some(3),
            total_cost_usd: Some(0.25),
        };
        for (api, body) in APIS.into_iter().zip([kora, openai, anthropic]) {
            assert_eq!(
                read(api, &reply(200, &[], body)).usage,
                expected,
                "{}",
                api.name
            );
        }
        let wrong = r#"{"model":7,"usage":[1],"total_cost_usd":"0.25"}"#;
        assert_eq!(
            read(APIS[1], &reply(200, &[], wrong)).usage,
            Usage::default()
        );
    }
}
