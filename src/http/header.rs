//! A request's headers. A secret in one can only be read as the value that ureq sends.

use ureq::http::HeaderValue;

use super::Failed;
use crate::secret::Secret;

/// One request header.
pub struct Header<'a> {
    pub(super) name: &'static str,
    value: Value<'a>,
}

enum Value<'a> {
    Plain(&'a str),
    Secret {
        scheme: &'static str,
        secret: &'a Secret,
    },
}

impl<'a> Header<'a> {
    pub fn new(name: &'static str, value: &'a str) -> Self {
        Self {
            name,
            value: Value::Plain(value),
        }
    }

    /// `authorization: Bearer SECRET`
    pub fn bearer(secret: &'a Secret) -> Self {
        Self {
            name: "authorization",
            value: Value::Secret {
                scheme: "Bearer ",
                secret,
            },
        }
    }

    /// `NAME: SECRET`
    pub fn secret(name: &'static str, secret: &'a Secret) -> Self {
        Self {
            name,
            value: Value::Secret { scheme: "", secret },
        }
    }

    /// The value as ureq takes it. One that no header can carry is an error that does not repeat
    /// it.
    pub(super) fn value(&self) -> Result<HeaderValue, Failed> {
        let value = match self.value {
            Value::Plain(text) => HeaderValue::from_str(text),
            Value::Secret { scheme, secret } => {
                HeaderValue::from_str(&format!("{scheme}{}", secret.expose()))
            }
        };
        let mut value = value.map_err(|_| {
            Failed::not_sent(format!(
                "the value for {} has a character that no header can carry",
                self.name
            ))
        })?;
        value.set_sensitive(matches!(self.value, Value::Secret { .. }));
        Ok(value)
    }
}
