//! A request's headers. One with a secret is marked as sensitive, so that ureq never prints it.

use ureq::http::HeaderValue;

use super::RequestError;
use crate::secret::Secret;

/// One request header.
pub struct Header {
    pub(super) name: &'static str,
    /// `None` if it has a character that no header can carry.
    value: Option<HeaderValue>,
}

impl Header {
    pub fn new(name: &'static str, value: &str) -> Self {
        Self {
            name,
            value: HeaderValue::from_str(value).ok(),
        }
    }

    /// `authorization: Bearer SECRET`
    pub fn bearer(secret: &Secret) -> Self {
        Self::sensitive("authorization", &format!("Bearer {}", secret.expose()))
    }

    /// `NAME: SECRET`
    pub fn secret(name: &'static str, secret: &Secret) -> Self {
        Self::sensitive(name, secret.expose())
    }

    fn sensitive(name: &'static str, value: &str) -> Self {
        let mut header = Self::new(name, value);
        if let Some(value) = &mut header.value {
            value.set_sensitive(true);
        }
        header
    }

    /// Returns the value. The error does not repeat it, since it may be a secret.
    pub(super) fn value(&self) -> Result<HeaderValue, RequestError> {
        self.value.clone().ok_or_else(|| {
            let name = self.name;
            RequestError::NotSent(format!(
                "the value for {name} has a character that no header can carry"
            ))
        })
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
            (Header::secret("x-api-key", &secret), true),
            (Header::new("accept", "text/plain"), false),
        ] {
            assert_eq!(header.value().unwrap().is_sensitive(), is_sensitive);
        }
    }
}
