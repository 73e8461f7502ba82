//! A string that cannot be printed. Tokens are wrapped here as soon as they are read and leave only
//! as the value of a request header, so that no log line, error or report contains one by accident.

use std::fmt;

use serde_json::Value;

/// A shorter secret may be an ordinary word.
const SHORTEST_MASKED: usize = 8;

/// A string that does not show up in output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// Masks every occurrence of this secret in the text. A short one is left as it is: for local servers, a
    /// word such as `ollama` is a token, and a diagnosis may well contain it.
    pub fn mask(&self, text: String) -> String {
        if self.0.len() < SHORTEST_MASKED || !text.contains(&self.0) {
            return text;
        }
        text.replace(&self.0, "[masked]")
    }

    /// Returns the secret itself: to send it in a header, or to see what kind of token it is.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Masks every occurrence of these secrets in the text. A text joined from parts may contain a secret that
/// none of the parts did.
pub fn masked(text: String, secrets: &[Secret]) -> String {
    let mask = |text, secret: &Secret| secret.mask(text);
    secrets.iter().fold(text, mask)
}

/// Masks these secrets in every string and key of the value.
pub fn mask_value(value: Value, secrets: &[Secret]) -> Value {
    let mask = |value| mask_value(value, secrets);
    match value {
        Value::String(text) => Value::String(masked(text, secrets)),
        Value::Array(values) => values.into_iter().map(mask).collect(),
        Value::Object(members) => {
            let members = members.into_iter();
            let masked = members.map(|(key, value)| (masked(key, secrets), mask(value)));
            masked.collect()
        }
        other => other,
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_and_a_short_word_is_not() {
        let masked =
            |secret: &str| Secret::new(secret.to_owned()).mask("ollama has sk-12345678".to_owned());
        assert_eq!(masked("sk-12345678"), "ollama has [masked]");
        assert_eq!(masked("ollama"), "ollama has sk-12345678");
        assert_eq!(masked(""), "ollama has sk-12345678");
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(
            format!("{:?}", Secret::new("hunter2".to_owned())),
            "Secret(..)"
        );
    }
}
