//! The queue: investigations that have not ended. A dispatched wake is kept here, whole, from the commit
//! that moves the checkpoint past its row until the commit that puts its result into the outbox, so that
//! nothing after that first commit needs the audit log.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::outbox::Place;
use crate::audit::wake::{Wake, caller_session_id};
use crate::incident::{Dispatch, HeldBack, Pair, Severity};
use crate::json::is_default;
use crate::time::within;

/// In the order in which the wakes were dispatched.
pub type Queue = VecDeque<Investigation>;

/// A question about one wake, or about all wakes of a digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Investigation {
    /// Also its `Idempotency-Key`.
    pub id: String,
    /// The key of the audit log that the wakes came from.
    pub log: String,
    pub queued_at: Timestamp,
    /// How many runs have begun it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempts: u32,
    /// One alert, or those of a digest.
    pub alerts: Vec<Alert>,
    pub stage: Stage,
}

/// A dispatched wake, and what its message says about those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub wake: Wake,
    pub dispatch: Dispatch,
    pub read_at: Timestamp,
    pub dispatched_at: Timestamp,
    /// What was held back before its message was sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held_back: HeldBack,
    /// When its pair was seen healthy again, before its message was made: the recovery is sent after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Timestamp>,
}

/// What the operator has been sent about an investigation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing.
    New,
    /// Its facts; the diagnosis is pending. `None`: the facts were given up, and its result is an
    /// ordinary message.
    Announced(Option<Place>),
    /// The fallback; the engine is asked again later.
    Retrying(Retry),
}

/// The tries for a late diagnosis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Where the diagnosis goes; `None` if the fallback was given up.
    pub place: Option<Place>,
    pub asked_at: Timestamp,
    /// Tries since the fallback.
    pub tries: u32,
    pub until: Timestamp,
}

/// The most tries for a late diagnosis.
const MOST_TRIES: u32 = 6;

impl Retry {
    /// Returns whether to ask the engine again now: 1, 2, 4, ... minutes after the last question. A
    /// question in the future means that the clock was set back.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let pause = SignedDuration::from_mins(1 << self.tries.min(10));
        !within(now, self.asked_at, pause)
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        self.tries >= MOST_TRIES || now >= self.until
    }
}

/// What an investigation or a message is about: a pair, or all wakes of a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub probe: String,
    pub category: String,
    pub severity: String,
}

impl Subject {
    pub fn of(alerts: &[Alert]) -> Self {
        let wake = main_wake(alerts);
        let (probe, category) = match alerts {
            [_] => (wake.probe.clone(), wake.category.clone()),
            _ => ("digest".to_owned(), alerts.len().to_string()),
        };
        Self {
            probe,
            category,
            severity: wake.severity.clone(),
        }
    }

    pub fn caller_session_id(&self) -> String {
        caller_session_id(&self.probe, &self.category)
    }
}

/// Returns the wake that stands for all: the most severe one, the first among equals.
pub fn main_wake(alerts: &[Alert]) -> &Wake {
    let mut main = &alerts[0].wake;
    for Alert { wake, .. } in alerts {
        if Severity::of(wake) > Severity::of(main) {
            main = wake;
        }
    }
    main
}

impl Investigation {
    pub fn is_critical(&self) -> bool {
        Severity::of(main_wake(&self.alerts)) == Severity::Critical
    }

    pub fn subject(&self) -> Subject {
        Subject::of(&self.alerts)
    }

    pub fn is_new(&self) -> bool {
        self.stage == Stage::New
    }

    /// Returns whether its facts are sent and its result is pending.
    pub fn is_pending(&self) -> bool {
        matches!(self.stage, Stage::Announced(_))
    }

    pub fn retry(&self) -> Option<&Retry> {
        match &self.stage {
            Stage::Retrying(retry) => Some(retry),
            _ => None,
        }
    }

    /// Returns whether one of its wakes is of this pair.
    pub fn is_of(&self, log: &str, pair: &Pair) -> bool {
        let mut alerts = self.alerts.iter();
        self.log == log && alerts.any(|alert| Pair::of(&alert.wake) == *pair)
    }

    /// Returns about how many bytes its wakes take.
    pub fn size(&self) -> usize {
        self.alerts.iter().map(|alert| alert.wake.size()).sum()
    }
}
