//! What is wrong with a setting: collected while the settings are read, and told on stderr by every
//! command but `check`, which lists it among its findings.

use log::warn;

/// Something about a setting that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about, as `check` calls it.
    pub subject: &'static str,
    pub message: String,
    pub next_step: String,
}

impl Warning {
    pub fn of_setting(message: String) -> Self {
        Self {
            subject: "settings",
            message,
            next_step: "give it a usable value, or leave it unset".to_owned(),
        }
    }
}

/// Tells them on stderr.
pub fn tell(warnings: &[Warning]) {
    for warning in warnings {
        warn!("{}", warning.message);
    }
}
