//! Silences, for planned work and known problems; and acknowledgements, which are silences of one incident.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Incident, Pair};

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

    /// Returns whether the probe or category is missing.
    pub fn is_empty(&self) -> bool {
        let is_blank = |name: &String| name.trim().is_empty();
        match self {
            Self::All => false,
            Self::Probe(probe) => is_blank(probe),
            Self::Pair(Pair { probe, category }) => is_blank(probe) || is_blank(category),
        }
    }

    /// Returns what a typed name means. Names may hold colons: known pairs and probes win, then the first
    /// colon separates probe and category.
    pub fn parse<'a>(text: &str, known: impl Iterator<Item = &'a Pair> + Clone) -> Self {
        let is_pair = |pair: &&Pair| format!("{}:{}", pair.probe, pair.category) == text;
        if let Some(pair) = known.clone().find(is_pair) {
            return Self::Pair(pair.clone());
        }
        if known.into_iter().any(|pair| pair.probe == text) {
            return Self::Probe(text.to_owned());
        }
        match text.split_once(':') {
            _ if text == "all" => Self::All,
            Some((probe, category)) => Self::Pair(Pair {
                probe: probe.to_owned(),
                category: category.to_owned(),
            }),
            None => Self::Probe(text.to_owned()),
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
    /// The incident, if this is an acknowledgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledges: Option<Acknowledged>,
}

/// The incident that an acknowledgement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The audit log's key.
    #[serde(default)]
    pub log: String,
    /// Which incident of the pair.
    pub first_wake: Timestamp,
    /// Whether it was given by a reaction, and ends when that is taken away.
    pub by_reaction: bool,
}

/// What a message says about a silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceNote {
    pub until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Silence {
    /// Returns whether its time is over. An end further ahead than it was set means that the clock was set
    /// back; by less than a minute, it was only adjusted.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let left = self.until.duration_since(now);
        let length = self.until.duration_since(self.since).min(LONGEST);
        left <= SignedDuration::ZERO || left > length + SignedDuration::from_mins(1)
    }

    /// Returns whether it is about this incident, whether or not it still holds.
    pub(super) fn is_about(&self, incident: &Incident) -> bool {
        let is_it = |one: &Acknowledged| one.first_wake == incident.first_wake;
        self.scope.covers(&incident.pair) && self.acknowledges.as_ref().is_none_or(is_it)
    }

    /// Returns whether it holds back this incident's wakes.
    pub fn holds(&self, incident: &Incident, now: Timestamp) -> bool {
        let has_ended = self.acknowledges.is_some()
            && (incident.recovered.is_some() || incident.ack_over == Some(self.since));
        !self.is_over(now) && self.is_about(incident) && !has_ended
    }
}
