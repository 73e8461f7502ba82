//! Hashes by which a later run recognises the bytes of a generation.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The hash of a range of bytes. Serialized as a single string, since the state may hold thousands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Proof {
    pub start: u64,
    pub end: u64,
    /// The first digits of a SHA-256 in hex.
    hash: String,
}

/// How many digits are kept: 96 bits.
const DIGITS: usize = 24;

impl TryFrom<String> for Proof {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = text.splitn(3, ' ');
        let mut parse = || {
            Some(Self {
                start: parts.next()?.parse().ok()?,
                end: parts.next()?.parse().ok()?,
                hash: parts.next()?.to_owned(),
            })
        };
        parse().ok_or_else(|| format!("{text:?} is no proof"))
    }
}

impl From<Proof> for String {
    fn from(Proof { start, end, hash }: Proof) -> Self {
        format!("{start} {end} {hash}")
    }
}

impl Proof {
    /// Proves bytes that begin at this offset.
    pub fn of(start: u64, bytes: &[u8]) -> Self {
        let end = start + bytes.len() as u64;
        Self::hashed(start, end, Sha256::new_with_prefix(bytes))
    }

    /// Proves bytes that were already hashed.
    pub fn hashed(start: u64, end: u64, hash: Sha256) -> Self {
        let mut hash = hex(hash);
        hash.truncate(DIGITS);
        Self { start, end, hash }
    }
}

/// Returns the SHA-256 of these bytes in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn hex(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_one_text_in_the_state() {
        let proof = Proof::of(7, b"abc");
        let text = serde_json::to_string(&proof).unwrap();
        assert_eq!(text, "\"7 10 ba7816bf8f01cfea414140de\"");
        assert_eq!(serde_json::from_str::<Proof>(&text).unwrap(), proof);
        for text in ["", "1 2", "1 ab", "- 2 ab"] {
            let text = format!("\"{text}\"");
            assert!(serde_json::from_str::<Proof>(&text).is_err(), "{text}");
        }
    }
}
