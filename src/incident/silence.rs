//! Silences: planned work, and what is known already.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Pair;

/// The longest silence and acknowledgement.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Which pairs a silence holds back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    All,
    Probe(String),
    Pair(Pair),
}

impl Scope {
    pub fn covers(&self, pair: &Pair) -> bool {
        match self {
            Self::All => true,
            Self::Probe(probe) => *probe == pair.probe,
            Self::Pair(one) => one == pair,
        }
    }
}

/// As it is typed: `all`, `fly`, `fly:service_unhealthy`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Probe(probe) => f.write_str(probe),
            Self::Pair(Pair { probe, category }) => write!(f, "{probe}:{category}"),
        }
    }
}

/// A silence that the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub scope: Scope,
    pub since: Timestamp,
    pub until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a message says about a silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceNote {
    pub until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Silence {
    pub fn is_over(&self, now: Timestamp) -> bool {
        !holds_until(self.until, now)
    }

    pub fn holds(&self, pair: &Pair, now: Timestamp) -> bool {
        !self.is_over(now) && self.scope.covers(pair)
    }

    pub(super) fn note(&self) -> SilenceNote {
        SilenceNote {
            until: self.until,
            reason: self.reason.clone(),
        }
    }
}

/// Whether something that ends at this time still holds. An end further ahead than any can be set is a
/// clock that was set back.
pub(super) fn holds_until(until: Timestamp, now: Timestamp) -> bool {
    let left = until.duration_since(now);
    left > SignedDuration::ZERO && left <= LONGEST
}
