//! The outbox: DMs that are not known to have been delivered. Each is queued, then (committed
//! before the request leaves) being sent, then delivered and gone; one that was being sent when its
//! run died, or whose answer told nothing, is unknown and is sent once more with a line saying so.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::wake::{Wake, caller_session_id};
use crate::slack::Thread;

/// A direct message on its way to the operator. Texts are as a person reads them, unescaped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dm {
    pub queued_at: Timestamp,
    pub probe: String,
    pub category: String,
    pub severity: String,
    /// What is still to be sent of the message, without the notes.
    pub text: String,
    /// Lines behind the text, each for itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    pub delivery: Delivery,
    /// In how many runs Slack refused it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused_runs: u32,
    /// Why it is still here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Parts of it were delivered; the rest goes into this thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Begun>,
}

/// How far a DM has come; one that was delivered is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    Queued,
    BeingSent,
    Unknown,
}

/// A message of which Slack took the first parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    pub parts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Thread>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Dm {
    pub fn new(wake: &Wake, text: String, notes: Vec<String>, queued_at: Timestamp) -> Self {
        Self {
            queued_at,
            probe: wake.probe.clone(),
            category: wake.category.clone(),
            severity: wake.severity.clone(),
            text,
            notes,
            delivery: Delivery::Queued,
            refused_runs: 0,
            cause: None,
            begun: None,
        }
    }

    /// That of the wake it tells of.
    pub fn caller_session_id(&self) -> String {
        caller_session_id(&self.probe, &self.category)
    }

    /// Whether an earlier request may have been carried out although no answer told so.
    pub fn may_be_repeat(&self) -> bool {
        matches!(self.delivery, Delivery::BeingSent | Delivery::Unknown)
    }

    pub fn thread(&self) -> Option<&Thread> {
        self.begun.as_ref().and_then(|begun| begun.thread.as_ref())
    }
}

/// Oldest first.
pub type Outbox = VecDeque<Dm>;
