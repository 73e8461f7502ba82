//! What is wrong with a setting: collected while the settings are read, then printed to stderr by
//! every command but `check`, which lists it among its findings.

use std::fmt;

/// A setting that cannot be used, or is probably not meant as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What `check` files it under.
    pub subject: &'static str,
    pub message: String,
    pub next_step: String,
}

impl Warning {
    pub fn new(subject: &'static str, message: String, next_step: &str) -> Self {
        let next_step = next_step.to_owned();
        Self {
            subject,
            message,
            next_step,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.next_step)
    }
}
