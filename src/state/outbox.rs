//! The outbox: messages that are not known to have been delivered. A message says what it is about and
//! where it belongs; its text is made when it is sent, and fixed once a request with it may have
//! reached Slack.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Folder;
use super::queue::{Alert, Subject};
use super::text::{LONGEST, Long, Text};
use crate::engine::Usage;
use crate::incident::{MessageRef, Severity};
use crate::json::is_default;
use crate::random::random_id;
use crate::slack::Thread;
use crate::text::serialize_time;

/// In the order in which the messages were queued.
pub type Outbox = VecDeque<Message>;

/// Once there are this many messages, or this many bytes of them, no more rows are read.
const MOST_MESSAGES: usize = 2_000;
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Parts beyond this number are sent last.
const MOST_PARTS_AT_ONCE: u32 = 10;

pub fn is_full(outbox: &Outbox) -> bool {
    outbox.len() >= MOST_MESSAGES || outbox.iter().map(Message::size).sum::<usize>() >= MOST_BYTES
}

/// A message on its way to the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Also its file's name in `undelivered/`.
    pub id: String,
    /// The id of its investigation; `None` if it belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub investigation: Option<String>,
    /// The key of the audit log that it is about.
    pub log: String,
    /// Since when it has waited.
    #[serde(serialize_with = "serialize_time")]
    pub queued_at: Timestamp,
    pub content: Content,
    pub place: Place,
    /// For how many seconds nothing was watched before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwatched: Option<i64>,
    /// The text as it was sent, once it may have reached Slack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Fixed>,
    /// A text that was dropped may have reached Slack.
    #[serde(default, skip_serializing_if = "is_default")]
    pub may_have_arrived: bool,
    /// Whether a try has ended without a delivery.
    #[serde(default, skip_serializing_if = "is_default")]
    pub was_tried: bool,
    /// Whether Slack has refused it or left its answer unknown.
    #[serde(default, skip_serializing_if = "is_default")]
    pub has_failed: bool,
    /// How often it failed while Slack took another message, and when that was last counted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub faults: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_at: Option<Timestamp>,
    /// Delays the next try of a message whose answer stayed unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Why it is still here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Whether the fallback command got it; `None` if it was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOver>,
    /// Why it has to go to `undelivered/`, if that could not be written yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
    /// It was taken back from `undelivered/`, where its file may still be.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_retried: bool,
    /// Its outcome row, while that is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// Its outcome row says that it was not sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_recorded_unsent: bool,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Alerts with their diagnosis or the reason there is none.
    Alert {
        alerts: Vec<Alert>,
        outcome: Outcome,
    },
    /// Alerts whose investigation is pending.
    Announcement { alerts: Vec<Alert> },
    /// The result for alerts that were announced.
    Result {
        alerts: Vec<Alert>,
        outcome: Outcome,
    },
    Recovery {
        alert: Box<Alert>,
        healthy_at: Timestamp,
    },
    /// No row has been read since then; the log is given by its file's name.
    Quiet { log: String, since: Timestamp },
    /// A row was read again.
    HeardAgain { log: String, at: Timestamp },
}

/// How an investigation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Diagnosis {
        text: Text,
        /// What the engine's API calls the limit that ended the text early.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut_short: Option<String>,
    },
    /// The reason.
    NoDiagnosis(String),
    /// Nothing is said about it.
    Unsaid,
}

/// Where a message belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    TopLevel,
    /// In the thread of a message that is still in the outbox.
    After(String),
    Thread(Thread),
}

impl Place {
    /// Returns the place in the thread of a message.
    pub fn of(message: &MessageRef) -> Self {
        match (&message.thread, message.delivered) {
            (Some(thread), _) => Self::Thread(thread.clone()),
            (None, true) => Self::TopLevel,
            (None, false) => Self::After(message.id.clone()),
        }
    }
}

/// A text that may have reached Slack, in part or in whole. Lengths are in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fixed {
    pub text: Text,
    /// Where a new part begins, however short the one before it is; the text's length if none does.
    pub further: usize,
    /// How much of it Slack took, and in how many parts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sent: usize,
    #[serde(default, skip_serializing_if = "is_default")]
    pub parts: u32,
    /// How much of it a request without an answer may have delivered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reach: usize,
    /// Where the next part goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Thread>,
}

/// Something that is not tried again before a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub until: Timestamp,
    /// How many pauses there were, including this one.
    pub count: u32,
}

/// How many bytes of a prompt are context, and how many are runbook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptSize {
    pub context: usize,
    pub runbook: usize,
}

/// How far handing a message over to the fallback command has got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// How often it was begun without a known end; 0 once it has failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unended: u32,
    /// When the command took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Timestamp>,
}

/// What an outcome row says besides the message's own content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    pub ended_at: Timestamp,
    /// `None`: nothing was asked.
    pub prompt: Option<PromptSize>,
    pub usage: Usage,
    pub duration_ms: u64,
    /// The reason why there is no diagnosis, and the peer's own words.
    pub error: Option<String>,
    pub error_message: Option<String>,
    pub autofix_attempted: bool,
    pub facts_first: bool,
    pub late_diagnosis: bool,
}

/// The pauses double from the first to the longest.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(1);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(15);

impl Pause {
    /// Returns the pause after `before`.
    pub fn after(before: Option<&Self>, now: Timestamp) -> Self {
        let count = before.map_or(0, |pause| pause.count);
        let length = (FIRST_PAUSE * (1 << count.min(10))).min(LONGEST_PAUSE);
        Self {
            until: now.checked_add(length).unwrap_or(Timestamp::MAX),
            count: count + 1,
        }
    }

    /// Returns whether the pause has not ended. An end further ahead than any pause means that the clock
    /// was set back.
    pub fn holds(&self, now: Timestamp) -> bool {
        let left = self.until.duration_since(now);
        left > SignedDuration::ZERO && left <= LONGEST_PAUSE
    }
}

impl Fixed {
    pub fn new(text: String, further: usize) -> Self {
        Self {
            text: text.into(),
            further,
            sent: 0,
            parts: 0,
            reach: 0,
            thread: None,
        }
    }
}

impl Content {
    pub fn alerts(&self) -> &[Alert] {
        match self {
            Self::Alert { alerts, .. }
            | Self::Announcement { alerts }
            | Self::Result { alerts, .. } => alerts,
            Self::Recovery { alert, .. } => std::slice::from_ref(alert),
            Self::Quiet { .. } | Self::HeardAgain { .. } => &[],
        }
    }

    fn parts_mut(&mut self) -> (&mut [Alert], Option<&mut Outcome>) {
        match self {
            Self::Alert { alerts, outcome } | Self::Result { alerts, outcome } => {
                (alerts, Some(outcome))
            }
            Self::Announcement { alerts } => (alerts, None),
            Self::Recovery { alert, .. } => (std::slice::from_mut(alert), None),
            Self::Quiet { .. } | Self::HeardAgain { .. } => (&mut [], None),
        }
    }

    pub fn alerts_mut(&mut self) -> &mut [Alert] {
        self.parts_mut().0
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Alert { outcome, .. } | Self::Result { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// Returns everything in it that can be too long for the state.
    fn long(&mut self) -> impl Iterator<Item = Long<'_>> {
        let (alerts, outcome) = self.parts_mut();
        let wakes = alerts
            .iter_mut()
            .map(|alert| Long::Wake(&mut alert.wake, LONGEST));
        wakes.chain(outcome.and_then(|outcome| match outcome {
            Outcome::Diagnosis { text, .. } => Some(Long::Text(text)),
            _ => None,
        }))
    }

    /// Loads the texts that are stored in files of their own.
    pub fn load_texts(&mut self, folder: &Folder) {
        self.long().for_each(|long| long.load(folder));
    }

    /// Leaves out the outcome of the investigation.
    pub fn leave_unsaid(&mut self) {
        if let (_, Some(outcome)) = self.parts_mut() {
            *outcome = Outcome::Unsaid;
        }
    }

    /// Returns whether it informs the operator of alerts.
    pub fn is_alert(&self) -> bool {
        matches!(self, Self::Alert { .. } | Self::Announcement { .. })
    }
}

impl Message {
    pub fn new(log: &str, content: Content, place: Place, queued_at: Timestamp) -> Self {
        Self {
            id: random_id(),
            investigation: None,
            log: log.to_owned(),
            queued_at,
            content,
            place,
            unwatched: None,
            fixed: None,
            may_have_arrived: false,
            was_tried: false,
            has_failed: false,
            faults: 0,
            fault_at: None,
            pause: None,
            cause: None,
            hand_over: None,
            given_up: None,
            is_retried: false,
            record: None,
            is_recorded_unsent: false,
        }
    }

    pub fn subject(&self) -> Subject {
        match &self.content {
            Content::Quiet { log, .. } | Content::HeardAgain { log, .. } => Subject {
                probe: log.clone(),
                category: "quiet".to_owned(),
                severity: "warning".to_owned(),
            },
            content => Subject::of(content.alerts()),
        }
    }

    pub fn is_critical(&self) -> bool {
        Severity::named(&self.subject().severity) == Severity::Critical
    }

    /// Returns since when the operator could have heard of it.
    pub fn waiting_since(&self) -> Timestamp {
        let alerts = self.content.alerts().iter();
        let dispatched = alerts.map(|alert| alert.dispatched_at);
        dispatched.fold(self.queued_at, Timestamp::min)
    }

    pub fn parts(&self) -> u32 {
        self.fixed.as_ref().map_or(0, |fixed| fixed.parts)
    }

    /// Returns whether a request may already have delivered what comes next.
    pub fn may_be_repeat(&self) -> bool {
        let fixed = self.fixed.as_ref();
        fixed.is_some_and(|fixed| fixed.reach > fixed.sent)
    }

    /// Returns whether it is in a thread, or is to be.
    pub fn is_reply(&self) -> bool {
        self.place != Place::TopLevel
    }

    /// Returns whether nothing of it was delivered, and it is the first that the operator hears of an
    /// alert.
    pub fn is_first_word(&self) -> bool {
        let is_notice = matches!(self.content, Content::Quiet { .. });
        self.parts() == 0 && (self.content.is_alert() || is_notice)
    }

    /// Returns whether its next part is sent after everything else.
    pub fn is_long(&self) -> bool {
        self.parts() >= MOST_PARTS_AT_ONCE
    }

    /// Returns the thread that its next part goes into.
    pub fn thread(&self) -> Option<&Thread> {
        match (&self.fixed, &self.place) {
            (Some(fixed), _) if fixed.parts > 0 => fixed.thread.as_ref(),
            (_, Place::Thread(thread)) => Some(thread),
            _ => None,
        }
    }

    /// Takes it back from `undelivered/`: it waits from now on, and goes to the top level. Whether it may
    /// have been delivered stays as it was.
    pub fn retry(&mut self, now: Timestamp) {
        self.queued_at = now;
        self.was_tried = false;
        self.has_failed = false;
        self.faults = 0;
        self.fault_at = None;
        self.pause = None;
        self.cause = None;
        self.given_up = None;
        self.is_retried = true;
        if self.is_reply() || self.parts() > 0 {
            self.leave_thread();
        }
        self.make_text_anew();
    }

    /// Marks it to go to `undelivered/`. If the fallback command has failed with it, the command gets it
    /// once more first.
    pub fn give_up(&mut self, cause: String) {
        self.given_up = Some(cause);
        let has_failed = |one: &mut HandOver| one.unended == 0 && one.done.is_none();
        self.hand_over.take_if(has_failed);
    }

    /// Sends what is left to the top level, since the thread is gone.
    pub fn leave_thread(&mut self) {
        match &mut self.fixed {
            Some(fixed) if fixed.parts > 0 => fixed.thread = None,
            _ => self.place = Place::TopLevel,
        }
    }

    /// Forgets a text if surely nothing of it reached Slack: the next try makes it from scratch.
    pub fn unfix(&mut self) {
        let is_unsent = |fixed: &Fixed| fixed.sent == 0 && fixed.reach == 0;
        self.fixed = self.fixed.take().filter(|fixed| !is_unsent(fixed));
    }

    /// Returns the texts that can be long, besides those of its wakes.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        let fixed = self.fixed.as_ref().map(|fixed| &fixed.text);
        let diagnosis = match self.content.outcome() {
            Some(Outcome::Diagnosis { text, .. }) => Some(text),
            _ => None,
        };
        fixed.into_iter().chain(diagnosis)
    }

    /// Returns everything in it that can be too long for the state.
    pub(super) fn long(&mut self) -> impl Iterator<Item = Long<'_>> {
        let fixed = self.fixed.as_mut();
        let fixed = fixed.map(|fixed| Long::Text(&mut fixed.text));
        fixed.into_iter().chain(self.content.long())
    }

    /// Returns about how many bytes it holds.
    pub fn size(&self) -> usize {
        let wakes = self.content.alerts().iter().map(|alert| alert.wake.size());
        wakes.sum::<usize>() + self.texts().map(Text::len).sum::<usize>()
    }
}
