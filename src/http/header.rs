//! A request's headers. Each is marked as sensitive, so that ureq never prints one that holds a secret.

use ureq::http::HeaderValue;

use super::RequestError;
use crate::secret::Secret;

/// One request header.
pub struct Header {
    pub(super) name: &'static str,
    value: String,
}

impl Header {
    pub fn new(name: &'static str, value: &str) -> Self {
        let value = value.to_owned();
        Self { name, value }
    }

    /// Returns `authorization: Bearer SECRET`.
    pub fn bearer(secret: &Secret) -> Self {
        Self::new("authorization", &format!("Bearer {}", secret.expose()))
    }

    /// Returns the value. The error does not repeat it, since it may be a secret.
    pub(super) fn value(&self) -> Result<HeaderValue, RequestError> {
        let what = "has a character that no header can carry";
        let refused = |_| RequestError::NotSent(format!("the value for {} {what}", self.name));
        let mut value = HeaderValue::from_str(&self.value).map_err(refused)?;
        value.set_sensitive(true);
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
        for header in [
            Header::bearer(&secret),
            Header::new("x-api-key", secret.expose()),
        ] {
            assert!(header.value().unwrap().is_sensitive());
        }
    }
}
