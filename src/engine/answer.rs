//! What an engine's answer comes to. The status, `error` and the usage are read for all APIs alike;
//! the text is for the API's own file to find.

use serde_json::{Map, Value};

use super::{Answer, Api, Reason, Usage, anthropic, kora, openai};
use crate::http::Reply;
use crate::text::quote;

/// Reads a whole answer, of any status.
pub(super) fn read(api: Api, reply: &Reply) -> Answer {
    let body = reply.json();
    if !reply.is_success() {
        let code = body.as_ref().and_then(|body| error_code(&body["error"]));
        let reason = code.map_or(Reason::Http(reply.status), |code| Reason::code(&code));
        return Answer::without(reason);
    }
    let Some(Value::Object(body)) = body else {
        return Answer::without(Reason::InvalidResponse);
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

/// The reason where a 2xx has `error` set: its code, else its JSON. It counts whatever else is
/// there.
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
pub(super) fn fit_to_send(text: &str) -> Result<&str, Reason> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fake_server::told;
    use super::*;
    use crate::http::fake_server::reply;

    const APIS: [Api; 3] = [Api::Kora, Api::Openai, Api::Anthropic];

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
