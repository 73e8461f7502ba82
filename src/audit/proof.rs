//! Bytes of a generation as a later run knows them again.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The hash of a range of bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proof {
    pub start: u64,
    pub end: u64,
    /// The first half of a SHA-256, in hex.
    hash: String,
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
        hash.truncate(hash.len() / 2);
        Self { start, end, hash }
    }

    pub fn length(&self) -> u64 {
        self.end - self.start
    }
}

/// The hash of these bytes.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn hex(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}
