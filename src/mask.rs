//! Masks what must not leave this machine in the details of other rows: the values of keys that name a
//! secret, and strings that look like one. A hash, an id or a count of tokens is left as it is.

use std::ops::Range;

use crate::json;
use crate::secret::{Secret, masked};

/// Masks the tokens that are set, whatever they look like, and other secrets by their key or form.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masker<'a>(pub &'a [Secret]);

impl Masker<'_> {
    /// Returns the text with every secret in it masked. A text that is a JSON object, as the arguments of
    /// a tool often are, is masked by its keys too.
    pub fn text(&self, text: String) -> String {
        self.string(text, usize::MAX)
    }

    /// Returns a JSON text, masked and without white space. The text ends soon after `most` bytes.
    pub fn details(&self, raw: &[u8], most: usize) -> String {
        let mask = |text| self.string(text, most);
        json::rewrite(raw, most, |_| true, is_hidden, mask)
    }

    /// Masks a string. Masking may shorten it, so more is kept than is shown: what is cut here would not be
    /// seen.
    fn string(&self, mut text: String, most: usize) -> String {
        if text.trim_start().starts_with('{')
            && let Some(object) = json::whole_object(text.as_bytes())
        {
            return self.details(object, most);
        }
        if let Some((end, _)) = text.char_indices().nth(most.saturating_mul(8)) {
            // Half a secret is not recognised, so none is cut in two.
            let whole = text[..end].trim_end_matches(|c: char| !c.is_whitespace());
            let end = if whole.is_empty() { end } else { whole.len() };
            text.truncate(end);
        }
        let forms = FORMS.split(' ').chain([PEM]);
        forms.fold(masked(text, self.0), mask_form)
    }
}

/// Words that end the name of a secret, without separators.
const SECRETS: &str = "token secret password passwd passphrase authorization cookie credential apikey \
     accesskey secretkey privatekey signingkey encryptionkey";

/// Words after the name of a secret that still mean the secret itself.
const SUFFIXES: &str = "value header hash base raw text string plain pem old new b64";

/// Returns whether the value of this key is masked: `apiKey`, `X-Api-Key`, `set_cookie`, but not
/// `token_count`. A yes or no is not a secret, and neither is a number under a plural name, such as `tokens`.
fn is_hidden(key: &str, value: &[u8]) -> bool {
    let is_number = match value.first() {
        Some(b'"' | b'{' | b'[') => false,
        Some(b'-' | b'0'..=b'9') => true,
        _ => return false,
    };
    let letters = key.chars().filter(char::is_ascii_alphanumeric);
    let letters: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    let name = letters.trim_end_matches(|c: char| c.is_ascii_digit());
    let mut suffixes = SUFFIXES.split(' ');
    let name = suffixes
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    let ends_as_secret = |name: &str| SECRETS.split(' ').any(|secret| name.ends_with(secret));
    let singular = name.strip_suffix('s').filter(|_| !is_number);
    ends_as_secret(name) || singular.is_some_and(ends_as_secret)
}

const PEM: &str = "-----BEGIN ";

/// How secrets begin that are recognised by their form.
const FORMS: &str = "xoxb- xoxp- xapp- sk- sk_live_ ghp_ gho_ ghs_ github_pat_ AKIA eyJ";

/// Returns the length of the secret of this form that the text begins with, if it is one.
fn length(form: &str, text: &str) -> Option<usize> {
    let run = |text: &str, is_part: &dyn Fn(char) -> bool| {
        text.find(|c| !is_part(c)).unwrap_or(text.len())
    };
    let token = run(text, &is_token_char);
    match form {
        // Other words begin this way, too, such as `sk-learn`.
        "sk-" => {
            let key = &text[..token];
            let is_named = key.starts_with("sk-ant-") || key.starts_with("sk-proj-");
            let is_random = key.contains(|c: char| c.is_ascii_digit());
            let is_long = key.split('-').any(|part| part.len() >= 16);
            (token >= 11 && (is_named || is_random || is_long)).then_some(token)
        }
        "AKIA" => {
            let id = run(text, &|c| c.is_ascii_uppercase() || c.is_ascii_digit());
            (id >= 20).then_some(id)
        }
        // A JSON web token has three parts or more; the last may be empty.
        "eyJ" => {
            let rest = text[token..].strip_prefix('.')?;
            let payload = run(rest, &is_token_char);
            let is_token = token >= 8 && payload >= 2 && rest[payload..].starts_with('.');
            is_token.then(|| run(text, &|c| is_token_char(c) || c == '.'))
        }
        // To the end of its last line, or of the text if that line is missing.
        PEM => {
            let label = text[PEM.len()..].split("-----").next()?;
            let is_label = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
            let end = format!("-----END {label}-----");
            let length = || text.find(&end).map_or(text.len(), |at| at + end.len());
            (!label.is_empty() && label.chars().all(is_label)).then(length)
        }
        _ => (token >= 11).then_some(token),
    }
}

fn mask_form(text: String, form: &str) -> String {
    let mut masked = String::new();
    let mut rest = 0;
    while let Some(range) = find(&text, rest, form) {
        masked += &text[rest..range.start];
        masked += "[masked]";
        rest = range.end;
    }
    masked + &text[rest..]
}

/// Finds the first secret of this form at `from` or later. Only a PEM block may begin within a word: the line
/// feed before it may be written as `\n`.
fn find(text: &str, from: usize, form: &str) -> Option<Range<usize>> {
    let starts = text[from..].match_indices(form);
    let starts = starts.map(|(at, _)| from + at);
    let mut starts = starts.filter(|at| form == PEM || !text[..*at].ends_with(is_token_char));
    starts.find_map(|start| Some(start..start + length(form, &text[start..])?))
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASKED: &str = "[masked]";

    fn masked(raw: &str) -> String {
        let secrets = [Secret::new("our-own-token-1".to_owned())];
        Masker(&secrets).details(raw.as_bytes(), usize::MAX)
    }

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.Rq8IjqbeYbX";

    #[test]
    fn the_values_of_keys_that_name_a_secret_are_masked() {
        for key in [
            "token",
            "Token",
            "TOKEN",
            "access_token",
            "accessToken",
            "refresh-token",
            "slack_bot_token",
            "secret",
            "client_secret",
            "clientSecret",
            "CLIENT-SECRET",
            "secrets",
            "password",
            "db_password",
            "dbPassword",
            "userpassword",
            "password_hash",
            "old_password",
            "passwd",
            "passphrase",
            "authorization",
            "Authorization",
            "Proxy-Authorization",
            "cookie",
            "Set-Cookie",
            "set_cookie",
            "cookies",
            "apiKey",
            "api-key",
            "API_KEY",
            "api key",
            "apikey",
            "x-api-key",
            "X-Api-Key",
            "credential",
            "credentials",
            "aws_credentials",
            "private_key",
            "privateKey",
            "PRIVATE KEY",
            "private_key_pem",
            "aws_secret_access_key",
            "secret_key_base",
            "token_value",
            "authorization_header",
            "token2",
        ] {
            for value in [r#""hunter2""#, r#"{"a":"hunter2"}"#, r#"["hunter2"]"#] {
                let raw = format!(r#"{{"a":[{{"{key}" : {value}}}],"b":1}}"#);
                let expected = format!(r#"{{"a":[{{"{key}":"[masked]"}}],"b":1}}"#);
                assert_eq!(masked(&raw), expected);
            }
        }
        assert_eq!(masked(r#"{"password":1234}"#), r#"{"password":"[masked]"}"#);
        let escaped = r#"{"\u0061pi_key":"x"}"#;
        assert_eq!(masked(escaped), r#"{"api_key":"[masked]"}"#);
    }

    #[test]
    fn keys_that_only_sound_like_a_secret_keep_their_values() {
        for member in [
            r#""token_count":412"#,
            r#""tokens":5"#,
            r#""input_tokens":1200"#,
            r#""max_tokens":1024"#,
            r#""total_tokens":-1"#,
            r#""token_type":"bearer""#,
            r#""token_expires_at":"2026-05-24T14:32:00Z""#,
            r#""token_id":"tok_17""#,
            r#""has_token":true"#,
            r#""token":null"#,
            r#""secrets":4"#,
            r#""secret":false"#,
            r#""secret_name":"FLY_API_TOKEN""#,
            r#""secret_age_days":203"#,
            r#""secretary":"Ann""#,
            r#""password_changed_at":"2026-05-24""#,
            r#""password_policy":"strong""#,
            r#""passed":"12""#,
            r#""cookie_consent":"given""#,
            r#""cookie_domain":"example.com""#,
            r#""authorization_url":"https://example.com/auth""#,
            r#""author":"Ann""#,
            r#""authorized":true"#,
            r#""key":"fly""#,
            r#""keys":["a"]"#,
            r#""primary_key":"id""#,
            r#""public_key":"ssh-ed25519 AAAA""#,
            r#""api_key_id":"key-7""#,
            r#""api_version":"v2""#,
            r#""credential_type":"oauth""#,
            r#""tokenizer":"cl100k""#,
            r#""name":"FLY_API_TOKEN""#,
        ] {
            let raw = format!("{{{member}}}");
            assert_eq!(masked(&raw), raw);
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_masked_within_any_text() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----";
        for secret in [
            "our-own-token-1",
            "xoxb-123456789012-abcdef",
            "xoxb-1234567890",
            "xoxp-1234567890-abc",
            "xapp-1-A012-345-abcdef",
            "sk-1234567890",
            "sk-abcdefghijklmnopqrstuvwx",
            "sk-proj-AbCd_EfGh-1234",
            "sk-ant-api03-abcDEF_-xyz",
            "sk_live_51H8abcdefgh",
            "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
            "gho_abcdefghijklmnopqrst",
            "ghs_abcdefghijklmnopqrst",
            "github_pat_11ABCDEFG0abcdefg_hij",
            "AKIAIOSFODNN7EXAMPLE",
            JWT,
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
            pem,
            "-----BEGIN CERTIFICATE-----\nMIIE",
        ] {
            let masker = |text: String| {
                let secrets = [Secret::new("our-own-token-1".to_owned())];
                Masker(&secrets).text(text)
            };
            assert_eq!(masker(secret.to_owned()), MASKED);
            for (before, after) in [("Bearer ", ""), ("é=\"", "\" ü"), ("https://h/?k=", "&x=1")]
            {
                if secret.contains("-----") && !secret.contains("END") {
                    continue;
                }
                let text = format!("{before}{secret}{after}, {secret}");
                let expected = format!("{before}{MASKED}{after}, {MASKED}");
                assert_eq!(masker(text), expected);
            }
        }
    }

    #[test]
    fn what_only_looks_a_little_like_a_secret_is_left() {
        for text in [
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
            "deployed 9f86d08 to production",
            "550e8400-e29b-41d4-a716-446655440000",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "dpl_9Qx7",
            "a bot token (xoxb-...)",
            "xoxb-token",
            "sk-learn",
            "sk-learn-pipeline",
            "task-1234567890abcdef",
            "disk-0123456789abcdef01",
            "risk-assessment-20260524",
            "ghp_",
            "ghp_short",
            "xghp_abcdefghijklmnopqrstuvwxyz",
            "AKIA",
            "AKIAshort",
            "SAKIAIOSFODNN7EXAMPLE",
            "eyJhbGciOiJIUzI1NiJ9",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0",
            "eyJ.a.b",
            "eyJhbGciOiJIéab",
            "-----BEGIN",
            "----- BEGIN RSA PRIVATE KEY -----",
            "-----BEGIN the day-----",
            "1234567890123456789012345678901234567890",
            "arn:aws:iam::123456789012:role/deploy",
            "2026.11.29-2",
            "https://example.com/hooks/stripe?attempt=2",
            "the token expired; set FLY_API_TOKEN",
            "password reset by Ann",
            "{\"tokens\":5}",
            "AAAAB3NzaC1yc2E",
        ] {
            assert_eq!(Masker::default().text(text.to_owned()), text);
        }
    }

    #[test]
    fn json_within_a_string_is_masked_by_its_keys() {
        let raw = r#"{"args":"{\"api_key\": \"abc\", \"project\": \"web\"}"}"#;
        let expected = r#"{"args":"{\"api_key\":\"[masked]\",\"project\":\"web\"}"}"#;
        assert_eq!(masked(raw), expected);
    }

    #[test]
    fn a_hostile_text_takes_no_longer_than_another() {
        for text in [
            "eyJ",
            "eyJ.",
            "sk-",
            "xoxb-",
            "-----BEGIN A",
            "-----BEGIN A-----",
        ] {
            let long = text.repeat(1_000_000 / text.len());
            let begun = std::time::Instant::now();
            Masker::default().text(long);
            assert!(begun.elapsed().as_secs() < 5, "{text}");
        }
    }
}
