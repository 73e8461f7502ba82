//! What was held back about an incident, and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::silence::SilenceNote;
use crate::audit::wake::Wake;
use crate::json::is_default;

/// Why a wake is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Inside its pair's window.
    Repeat,
    /// A row that was read before, or that is older than the pair's last recovery: counted nowhere.
    Resent,
    /// Not yet the n-th wake that consecutive-required asks for.
    Buffered,
    Silenced,
    Acknowledged,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Repeat => "repeat",
            Self::Resent => "repeat, of a row that was read before",
            Self::Buffered => "buffered",
            Self::Silenced => "silenced",
            Self::Acknowledged => "acknowledged",
        }
    }
}

/// How many wakes were held back, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldCounts {
    pub repeat: u64,
    pub buffered: u64,
    pub silenced: u64,
    pub acknowledged: u64,
}

impl HeldCounts {
    pub(super) fn add(&mut self, reason: Reason, number: i64) {
        let count = match reason {
            Reason::Repeat => &mut self.repeat,
            Reason::Buffered => &mut self.buffered,
            Reason::Silenced => &mut self.silenced,
            Reason::Acknowledged => &mut self.acknowledged,
            Reason::Resent => return,
        };
        *count = count.saturating_add_signed(number);
    }

    /// Returns how many there were in total.
    pub fn total(&self) -> u64 {
        let counts = [self.repeat, self.buffered, self.silenced, self.acknowledged];
        counts.into_iter().fold(0, u64::saturating_add)
    }

    pub fn merge(&mut self, other: Self) {
        self.repeat = self.repeat.saturating_add(other.repeat);
        self.buffered = self.buffered.saturating_add(other.buffered);
        self.silenced = self.silenced.saturating_add(other.silenced);
        self.acknowledged = self.acknowledged.saturating_add(other.acknowledged);
    }
}

/// What was held back since the incident's last message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    #[serde(flatten)]
    pub counts: HeldCounts,
    /// When the newest of them was raised, or read if the row does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
    /// The silence that held wakes back last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<SilenceNote>,
}

impl HeldBack {
    /// Takes over what the other one counted.
    pub fn merge(&mut self, other: Self) {
        self.counts.merge(other.counts);
        self.newest = self.newest.max(other.newest);
        self.silence = other.silence.or(self.silence.take());
    }
}

/// A wake that is held back and may be dispatched later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub wake: Wake,
    pub reason: Reason,
    pub read_at: Timestamp,
    /// Whether a message has counted it among what was held back, and whether an outcome row has.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_said: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_recorded: bool,
}

impl Held {
    pub(super) fn new(wake: &Wake, reason: Reason, read_at: Timestamp) -> Self {
        Self {
            wake: wake.clone(),
            reason,
            read_at,
            is_said: false,
            is_recorded: false,
        }
    }
}
