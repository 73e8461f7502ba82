//! Bytes of a generation as a later run knows them again.

use std::str::FromStr;

use anyhow::{Error, anyhow};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::hash::{hex, sha256};

/// So many hex digits of the hash are kept: 128 bits.
const DIGITS: usize = 32;

/// The hash of a range of bytes. In the state it is one text, `START-END:HASH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Proof {
    pub start: u64,
    pub end: u64,
    hash: String,
}

impl Proof {
    /// Proves bytes that begin at this offset.
    pub fn of(start: u64, bytes: &[u8]) -> Self {
        let mut hash = sha256(bytes);
        hash.truncate(DIGITS);
        let end = start + bytes.len() as u64;
        Self { start, end, hash }
    }

    /// Proves bytes that went through a hash.
    pub fn hashed(start: u64, end: u64, hash: Sha256) -> Self {
        let mut hash = hex(hash);
        hash.truncate(DIGITS);
        Self { start, end, hash }
    }

    pub fn length(&self) -> u64 {
        self.end - self.start
    }
}

impl From<Proof> for String {
    fn from(Proof { start, end, hash }: Proof) -> Self {
        format!("{start}-{end}:{hash}")
    }
}

impl TryFrom<String> for Proof {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let invalid = || anyhow!("{text:?} is not START-END:HASH");
        let (range, hash) = text.split_once(':').ok_or_else(invalid)?;
        let (start, end) = range.split_once('-').ok_or_else(invalid)?;
        let number = |text| u64::from_str(text).map_err(|_| invalid());
        let (start, end) = (number(start)?, number(end)?);
        if end < start {
            return Err(invalid());
        }
        let hash = hash.to_owned();
        Ok(Self { start, end, hash })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_one_text_in_the_state() {
        let proof = Proof::of(7, b"abc");
        let text = serde_json::to_string(&proof).unwrap();
        assert_eq!(text, "\"7-10:ba7816bf8f01cfea414140de5dae2223\"");
        assert_eq!(serde_json::from_str::<Proof>(&text).unwrap(), proof);
        for text in ["", "1-2", "1:ab", "2-1:ab", "-:ab", "a-b:c"] {
            let text = format!("\"{text}\"");
            assert!(serde_json::from_str::<Proof>(&text).is_err(), "{text}");
        }
    }
}
