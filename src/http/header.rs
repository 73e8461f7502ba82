//! A request's headers. One with a secret is marked as sensitive, so that ureq never prints it.

use ureq::http::HeaderValue;

use super::RequestError;
use crate::secret::Secret;

/// One request header.
pub struct Header {
    pub(super) name: &'static str,
    value: String,
    is_secret: bool,
}

impl Header {
    pub fn new(name: &'static str, value: &str) -> Self {
        Self {
            name,
            value: value.to_owned(),
            is_secret: false,
        }
    }

    /// `NAME: VALUE`, where the value is or holds a secret.
    pub fn secret(name: &'static str, value: &str) -> Self {
        Self {
            is_secret: true,
            ..Self::new(name, value)
        }
    }

    /// `authorization: Bearer SECRET`
    pub fn bearer(secret: &Secret) -> Self {
        Self::secret("authorization", &format!("Bearer {}", secret.expose()))
    }

    /// Returns the value. The error does not repeat it, since it may be a secret.
    pub(super) fn value(&self) -> Result<HeaderValue, RequestError> {
        let mut value = HeaderValue::from_str(&self.value).map_err(|_| {
            RequestError::NotSent(format!(
                "the value for {} has a character that no header can carry",
                self.name
            ))
        })?;
        value.set_sensitive(self.is_secret);
        Ok(value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_marked_as_sensitive() {
        let secret = Secret::new("a-long-token".to_owned());
        for (header, is_sensitive) in [
            (Header::bearer(&secret), true),
            (Header::secret("x-api-key", secret.expose()), true),
            (Header::new("accept", "text/plain"), false),
        ] {
            assert_eq!(header.value().unwrap().is_sensitive(), is_sensitive);
        }
    }
}
