//! Numbers that nobody outside can guess, for names and for the marks in a prompt.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Returns 16 hex digits. The standard library seeds this keyed hash from the system's random source.
pub fn random_id() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let ids: std::collections::HashSet<_> = (0..1_000).map(|_| random_id()).collect();
        assert_eq!(ids.len(), 1_000);
        let is_hex = |id: &String| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(ids.iter().all(is_hex));
    }
}
