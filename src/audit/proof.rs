//! Bytes of a generation as a later run knows them again.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The hash of a range of bytes. In the state, which may hold thousands, it is a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(u64, u64, String)", into = "(u64, u64, String)")]
pub struct Proof {
    pub start: u64,
    pub end: u64,
    /// The first digits of a SHA-256 in hex.
    hash: String,
}

/// So many digits are kept: 96 bits.
const DIGITS: usize = 24;

impl From<(u64, u64, String)> for Proof {
    fn from((start, end, hash): (u64, u64, String)) -> Self {
        Self { start, end, hash }
    }
}

impl From<Proof> for (u64, u64, String) {
    fn from(Proof { start, end, hash }: Proof) -> Self {
        (start, end, hash)
    }
}

impl Proof {
    /// Proves bytes that begin at this offset.
    pub fn of(start: u64, bytes: &[u8]) -> Self {
        let end = start + bytes.len() as u64;
        Self::hashed(start, end, Sha256::new_with_prefix(bytes))
    }

    /// Proves bytes that went through a hash.
    pub fn hashed(start: u64, end: u64, hash: Sha256) -> Self {
        let mut hash = hex(hash);
        hash.truncate(DIGITS);
        Self { start, end, hash }
    }

    pub fn length(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// The hash of these bytes.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn hex(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}
