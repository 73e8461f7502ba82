//! The queue: investigations that are owed. A wake that is dispatched lies here, whole, from the
//! commit that moves the position behind its row until the commit that puts the result into the
//! outbox, so that nothing behind that first commit needs the audit log.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::outbox::{Follows, Subject};
use crate::audit::wake::{Wake, caller_session_id};
use crate::debounce::{Before, Pair, Severity};

/// In the order in which the wakes were read.
pub type Queue = VecDeque<Investigation>;

/// A question about one wake, or about all wakes of a digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Investigation {
    /// Also names it to an engine that honours `Idempotency-Key`.
    pub id: String,
    /// The path of the audit log that the wakes came from.
    pub log: String,
    /// When the wakes were dispatched.
    pub queued_at: Timestamp,
    /// How many runs have begun it.
    #[serde(default)]
    pub attempts: u32,
    pub alert: Alert,
    /// The other wakes of a digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Alert>,
    /// The message that told the facts; `None` while the operator was told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Follows>,
    /// It has failed and was told so; a diagnosis is still hoped for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Late>,
}

/// A dispatched wake, with what the debounce says of the wakes before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub wake: Wake,
    #[serde(flatten)]
    pub before: Before,
}

/// The tries of a late diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    pub asked_at: Timestamp,
    /// Tries since the failure that was told.
    pub tries: u32,
    pub until: Timestamp,
}

/// The most tries of a late diagnosis.
const MOST_LATE_TRIES: u32 = 6;

impl Late {
    pub fn first(asked_at: Timestamp, length: SignedDuration, dispatched_at: Timestamp) -> Self {
        let until = dispatched_at.checked_add(length).unwrap_or(Timestamp::MAX);
        Self {
            asked_at,
            tries: 0,
            until,
        }
    }

    /// Whether it is asked again now: 1, 2, 4, ... minutes after the last question. A question in
    /// the future is a clock that was set back.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let pause = SignedDuration::from_mins(1 << self.tries.min(10));
        let since = now.duration_since(self.asked_at);
        since >= pause || since.is_negative()
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        self.tries >= MOST_LATE_TRIES || now >= self.until
    }
}

impl Investigation {
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        std::iter::once(&self.alert).chain(&self.others)
    }

    /// The wake that the whole goes by: the most severe one, the first among equals.
    pub fn main_wake(&self) -> &Wake {
        let more_severe = |main, wake| match Severity::of(main) < Severity::of(wake) {
            true => wake,
            false => main,
        };
        self.others
            .iter()
            .map(|alert| &alert.wake)
            .fold(&self.alert.wake, more_severe)
    }

    /// How many wakes it is about.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    pub fn is_digest(&self) -> bool {
        !self.others.is_empty()
    }

    pub fn subject(&self) -> Subject {
        let wake = self.main_wake();
        if self.is_digest() {
            return Subject {
                probe: "digest".to_owned(),
                category: self.count().to_string(),
                severity: wake.severity.clone(),
            };
        }
        Subject {
            probe: wake.probe.clone(),
            category: wake.category.clone(),
            severity: wake.severity.clone(),
        }
    }

    pub fn caller_session_id(&self) -> String {
        let Subject {
            probe, category, ..
        } = self.subject();
        caller_session_id(&probe, &category)
    }

    pub fn severity(&self) -> Severity {
        Severity::of(self.main_wake())
    }

    /// Whether the operator was told nothing of it yet.
    pub fn is_untold(&self) -> bool {
        self.told.is_none()
    }

    /// Whether its facts were told and its result is owed; a late one is owed nothing.
    pub fn is_owed(&self) -> bool {
        self.told.is_some() && self.late.is_none()
    }

    /// Whether one of its wakes is of this pair.
    pub fn is_of(&self, log: &str, pair: &Pair) -> bool {
        self.log == log && self.alerts().any(|alert| pair.is_of(&alert.wake))
    }

    /// Drops what can be megabytes long, once it was told.
    pub fn drop_details(&mut self) {
        let others = self.others.iter_mut();
        let alerts = std::iter::once(&mut self.alert).chain(others);
        alerts.for_each(|alert| alert.wake.detail = String::new());
    }

    /// About how many bytes its wakes take.
    pub fn size(&self) -> usize {
        self.alerts().map(|alert| alert.wake.size()).sum()
    }
}
