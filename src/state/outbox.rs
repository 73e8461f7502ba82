//! The outbox: DMs that are not known to have been delivered. Each is queued, then (committed
//! before the request leaves) being sent, then delivered and gone; one that was being sent when its
//! run died, or whose answer told nothing, is unknown and is sent once more with a line saying so.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::json::is_default;
use crate::random::random_id;
use crate::slack::Thread;
use crate::text::serialize_time;

/// Oldest first.
pub type Outbox = VecDeque<Dm>;

/// With so many DMs, or so many bytes of them, nothing is added that can wait.
const MOST_DMS: usize = 2_000;
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Parts beyond this one give way to all else.
const MOST_PARTS_AT_ONCE: u32 = 10;

pub fn is_full(outbox: &Outbox) -> bool {
    outbox.len() >= MOST_DMS || outbox.iter().map(Dm::size).sum::<usize>() >= MOST_BYTES
}

/// A direct message on its way to the operator. Texts are as a person reads them, unescaped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dm {
    /// Names this DM among all, also after it went to `undelivered.jsonl`.
    #[serde(default = "random_id")]
    pub id: String,
    #[serde(serialize_with = "serialize_time")]
    pub queued_at: Timestamp,
    /// The first time, where it was taken back from `undelivered.jsonl`: its outcome row is of then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_queued_at: Option<Timestamp>,
    pub probe: String,
    pub category: String,
    pub severity: String,
    /// It tells that its pair is well again. A row may name any severity, and so says nothing of that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_recovery: bool,
    /// What is still to be sent of the message, without the notes.
    pub text: String,
    /// Lines behind the text, each for itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Begins a new part behind text and notes; empty where there is no more.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub further: String,
    /// The message in whose thread this one goes; `None` begins a thread of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follows>,
    pub delivery: Delivery,
    /// In how many runs Slack refused it or its answer stayed unknown.
    #[serde(default, alias = "refused_runs", skip_serializing_if = "is_default")]
    pub failures: u32,
    /// The next try of a DM whose answer stays unknown while others go through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Why it has to go to `undelivered.jsonl`, where that could not be written yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
    /// Why it is still here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Parts of it were delivered; the rest goes into this thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Begun>,
    /// It was taken back from `undelivered.jsonl`, where its row may still lie.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_retried: bool,
}

/// How far a DM has come; one that was delivered is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    Queued,
    BeingSent,
    Unknown,
}

/// Where the message is that another one follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follows {
    /// Still in the outbox, under this id: what follows it waits.
    Dm(String),
    /// Delivered.
    Thread(Thread),
    /// Delivered, but it has no thread that could be replied in.
    TopLevel,
    /// It went to `undelivered.jsonl`: what follows it has to stand alone.
    Undelivered,
}

/// A message of which Slack took the first parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    pub parts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Thread>,
}

/// A DM that is left alone until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub until: Timestamp,
    /// How many pauses there were, this one included.
    pub count: u32,
}

/// Whom a DM is about: a pair of (probe, category), or all wakes of a digest.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub probe: String,
    pub category: String,
    pub severity: String,
}

impl Dm {
    /// A DM that begins a thread of its own.
    pub fn new(subject: Subject, text: String, notes: Vec<String>, queued_at: Timestamp) -> Self {
        Self {
            id: random_id(),
            queued_at,
            first_queued_at: None,
            probe: subject.probe,
            category: subject.category,
            severity: subject.severity,
            is_recovery: false,
            text,
            notes,
            further: String::new(),
            follows: None,
            delivery: Delivery::Queued,
            failures: 0,
            paused: None,
            given_up: None,
            cause: None,
            begun: None,
            is_retried: false,
        }
    }

    /// Begins anew, in a thread of its own. Whether it may have been delivered is as it was.
    pub fn retry(&mut self, now: Timestamp) {
        self.first_queued_at.get_or_insert(self.queued_at);
        self.queued_at = now;
        self.failures = 0;
        self.paused = None;
        self.cause = None;
        if self.follows.is_some() || self.begun.is_some() {
            self.leave_thread();
        }
        self.is_retried = true;
    }

    /// A try is over, and it is known whether it may have been carried out.
    pub fn settle(&mut self, doubtful: bool) {
        self.delivery = match doubtful {
            true => Delivery::Unknown,
            false => Delivery::Queued,
        };
    }

    /// That of the wake or digest it tells of.
    pub fn caller_session_id(&self) -> String {
        crate::audit::wake::caller_session_id(&self.probe, &self.category)
    }

    /// Whether an earlier request may have been carried out although no answer told so.
    pub fn may_be_repeat(&self) -> bool {
        matches!(self.delivery, Delivery::BeingSent | Delivery::Unknown)
    }

    /// Whether the message that it follows has to go first.
    pub fn is_waiting(&self) -> bool {
        matches!(self.follows, Some(Follows::Dm(_)))
    }

    /// The thread that its next part goes into.
    pub fn thread(&self) -> Option<&Thread> {
        match (&self.begun, &self.follows) {
            (Some(begun), _) => begun.thread.as_ref(),
            (None, Some(Follows::Thread(thread))) => Some(thread),
            _ => None,
        }
    }

    /// Whether its next part gives way to all else.
    pub fn gives_way(&self) -> bool {
        let begun = self.begun.as_ref();
        begun.is_some_and(|begun| begun.parts >= MOST_PARTS_AT_ONCE)
    }

    /// The thread is gone: what is left goes to the top level.
    pub fn leave_thread(&mut self) {
        match &mut self.begun {
            Some(begun) => begun.thread = None,
            None => self.follows = Some(Follows::TopLevel),
        }
    }

    /// About how many bytes it takes in the state.
    pub fn size(&self) -> usize {
        self.text.len() + self.further.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dm_that_is_retried_twice_knows_when_it_was_queued_first() {
        let subject = Subject {
            probe: "fly".to_owned(),
            category: "c".to_owned(),
            severity: "critical".to_owned(),
        };
        let at = |second| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(second);
        let mut dm = Dm::new(subject, "text".to_owned(), Vec::new(), at(1));
        dm.retry(at(2));
        dm.retry(at(3));
        assert_eq!((dm.first_queued_at, dm.queued_at), (Some(at(1)), at(3)));
    }
}
