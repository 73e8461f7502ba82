//! A string that cannot be printed. Tokens are wrapped here as soon as they are read and leave only
//! as the value of a request header, so that no log line, error or report can carry one by
//! accident.

use std::fmt;

/// The length from which a secret is no word of the language.
const SHORTEST_MASKED: usize = 8;

/// A token or another text that must not be seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The text with this secret masked, however often it stands there. A short one is left: local
    /// servers take words such as `ollama` for a token, and a diagnosis may well hold that word.
    pub fn mask(&self, text: String) -> String {
        if self.0.len() < SHORTEST_MASKED || !text.contains(&self.0) {
            return text;
        }
        text.replace(&self.0, "[masked]")
    }

    /// The secret itself, for a header and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
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
    fn a_secret_is_masked_and_a_mere_word_is_not() {
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
