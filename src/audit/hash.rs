//! SHA-256 in lower-case hex, by which heads, rows and files are known again.

use sha2::{Digest, Sha256};

/// The hash of these bytes.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// The hash of what was put in so far.
pub fn hex(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}
