//! An answer of any status, and the ways to read it. A peer may repeat anything, tokens included,
//! so its text leaves this module with every token of ours masked.

use std::sync::Arc;

use serde_json::Value;
use ureq::http::{HeaderMap, Response};

use super::{MAX_BODY, RequestError};
use crate::json;
use crate::secret::{Secret, mask_value, masked};

/// An answer of any status. The body is complete, or empty if an error's body could not be read.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) secrets: Arc<[Secret]>,
}

impl Reply {
    /// Reads the whole body: until then, the connection cannot be used again.
    pub(super) fn read(
        answer: Response<ureq::Body>,
        secrets: Arc<[Secret]>,
    ) -> Result<Self, RequestError> {
        let (head, mut body) = answer.into_parts();
        let status = head.status.as_u16();
        let body = match body.with_config().limit(MAX_BODY).read_to_vec() {
            Ok(body) => body,
            // The status says enough; a body that drips or ends early does not matter.
            Err(_) if !head.status.is_success() => Vec::new(),
            Err(ureq::Error::BodyExceedsLimit(_)) => return Err(RequestError::TooLarge(status)),
            Err(error) => return Err(RequestError::from_error(&error, true)),
        };
        Ok(Self {
            status,
            headers: head.headers,
            body,
            secrets,
        })
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns a header's value, if it is printable ASCII. It is not masked: only compare it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Parses the body as JSON, masked. An object may contain what Python writes and JSON does not
    /// allow, above all a text cut in the middle of a surrogate pair.
    pub fn json(&self) -> Option<Value> {
        json::parse(&self.body).map(|value| mask_value(value, &self.secrets))
    }

    /// Returns these members of the body, masked; null if it is not an object that has them. Each
    /// is parsed by itself, so that nothing else in the body matters.
    pub fn members<const N: usize>(&self, names: [&str; N]) -> [Value; N] {
        let object = json::whole_object(&self.body).unwrap_or_default();
        json::last_of(object, names).map(|member| {
            let value = member.and_then(json::parse);
            mask_value(value.unwrap_or_default(), &self.secrets)
        })
    }

    /// Masks our tokens in the text.
    pub fn masked_text(&self, text: String) -> String {
        masked(text, &self.secrets)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "a-token+of/16-characters";

    fn json(body: &[u8]) -> Option<Value> {
        let reply = Reply {
            status: 200,
            headers: HeaderMap::new(),
            body: body.to_vec(),
            secrets: [Secret::new(TOKEN.to_owned())].into(),
        };
        reply.json()
    }

    #[test]
    fn an_object_that_python_writes_is_read() {
        for (body, value) in [
            (&br#"{"a":"x\ud83d"}"#[..], json!({"a": "x\u{fffd}"})),
            (br#"{"a":NaN}"#, json!({"a": null})),
            (b"\n{\"a\":\"\xff\"}\r\n", json!({"a": "\u{fffd}"})),
        ] {
            assert_eq!(json(body), Some(value));
        }
    }

    #[test]
    fn a_body_that_is_not_one_value_is_refused_however_deep_it_is() {
        let deep = "[".repeat(500_000);
        for body in [
            "",
            "{\"a\":1}{",
            "{\"a\":1",
            "{'a':1}",
            &deep,
            &format!("{{\"a\":{deep}"),
            &format!("{{\"a\":{deep}{}}}", "]".repeat(500_000)),
        ] {
            assert_eq!(json(body.as_bytes()), None);
        }
    }

    #[test]
    fn a_token_is_masked_everywhere_however_it_is_escaped() {
        let body = br#"{"a":["is a-token+of\/16-characters","\u0061-token\u002bof/16-characters."],
            "a-token+of/16-characters":{"b":"a-token+of/16-charactersa-token+of/16-characters"}}"#;
        let expected = json!({
            "a": ["is [masked]", "[masked]."], "[masked]": {"b": "[masked][masked]"},
        });
        assert_eq!(json(body), Some(expected));
    }
}
