//! The record of what happened: wakes, investigations, DMs and recoveries. `history` joins it from the
//! outcome log and the audit log, `replay` makes it from a replay. It is shown as a table, as JSON
//! and as a page.

mod join;
mod pairs;
mod rows;

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::audit::wake::Wake;
use crate::engine::Reason;
use crate::incident::{Pair, Severity};
use crate::snapshot::{Health, Snapshot};
pub use join::{OwedDispatch, Watched, find_decisions, join_tools, link_in_order, note_fix};
pub use pairs::{PairRecord, pairs, sum};
pub use rows::{delivery, investigation, recovery, tool};

/// All that is known, each list in the order of time.
#[derive(Debug, Default)]
pub struct Record {
    pub wakes: Vec<WakeRecord>,
    pub investigations: Vec<Investigation>,
    /// Dispatches whose investigation has not ended.
    pub owed: Vec<OwedDispatch>,
    pub recoveries: Vec<Recovery>,
    /// What the snapshot says of the pairs now.
    pub resolutions: BTreeMap<Pair, Resolution>,
}

/// A wake, and what became of it.
#[derive(Debug)]
pub struct WakeRecord {
    /// When it was raised. If its row has no time, the time of the row before it.
    pub at: Timestamp,
    pub wake: Wake,
    pub decision: WakeDecision,
}

/// What a run did with a wake, in the order in which time lines draw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WakeDecision {
    HeldBack,
    /// It is from before the first run, or no run has read it yet.
    Unknown,
    Dispatched,
}

/// An investigation: an outcome row, with the tools and the wake that belong to it.
#[derive(Debug, Default, Serialize)]
pub struct Investigation {
    /// When it ended.
    pub at: Timestamp,
    #[serde(flatten)]
    pub pair: Pair,
    pub severity: String,
    pub caller_session_id: String,
    pub dm_status: String,
    /// When a later run delivered the DM.
    pub delivered_at: Option<Timestamp>,
    pub duration_ms: u64,
    pub model_used: Option<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub total_cost_usd: Option<f64>,
    pub tools: Vec<Tool>,
    /// The reason why there is no diagnosis.
    pub error: Option<String>,
    pub reasoning_error_message: Option<String>,
    pub summary: Option<String>,
    pub autofix_attempted: bool,
    pub facts_first: bool,
    pub late_diagnosis: bool,
    pub buffered_consecutive_count: Option<u64>,
    pub digest_size: Option<u64>,
    pub digest_session: Option<String>,
    /// It brought no diagnosis, or its DM was not delivered.
    pub failed: bool,
    pub resolution: Resolution,
    /// The title of its wake; `None` if the wake is not known.
    #[serde(skip)]
    pub title: Option<String>,
    #[serde(skip)]
    pub raised_at: Option<Timestamp>,
}

/// A tool that the engine called.
#[derive(Clone, Debug, Serialize)]
pub struct Tool {
    #[serde(skip)]
    pub session: String,
    pub at: Option<Timestamp>,
    pub tool: String,
    /// As the engine calls it: `ok`, `not_allowed`, `execution_error`, ...
    pub status: String,
    /// What went wrong.
    pub exception: Option<String>,
    pub duration_ms: Option<u64>,
}

/// A recovery: the operator was told that a pair is well again.
#[derive(Debug)]
pub struct Recovery {
    pub at: Timestamp,
    pub healthy_at: Timestamp,
    pub pair: Pair,
}

/// Whether a pair is still bad, by the snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    Resolved,
    Active,
    #[default]
    Unknown,
}

/// The sums over the whole record.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    pub wakes: u64,
    pub dispatched: u64,
    pub held_back: u64,
    /// Investigations without a diagnosis, or with a DM that was not delivered.
    pub failed: u64,
    pub tokens: u64,
    /// In US dollars; `null` where the engine named none.
    pub cost: Option<f64>,
}

/// Gives wakes that have no time the one of the wake before them, or else of the first that has one.
pub fn with_times(wakes: Vec<(Option<Timestamp>, Wake, WakeDecision)>) -> Vec<WakeRecord> {
    let first = wakes.iter().find_map(|(at, ..)| *at);
    let mut clock = first.unwrap_or(Timestamp::UNIX_EPOCH);
    let records = wakes.into_iter().map(|(at, wake, decision)| {
        clock = at.unwrap_or(clock);
        WakeRecord {
            at: clock,
            wake,
            decision,
        }
    });
    records.collect()
}

impl WakeRecord {
    pub fn pair(&self) -> Pair {
        Pair::of(&self.wake)
    }
}

impl Investigation {
    /// How long the engine took, in seconds.
    pub fn seconds(&self) -> f64 {
        self.duration_ms as f64 / 1_000.0
    }

    /// Input and output tokens together; `None` if the engine named neither.
    pub fn tokens(&self) -> Option<u64> {
        let named = self.input_tokens.into_iter().chain(self.output_tokens);
        named.reduce(u64::saturating_add)
    }

    pub fn asked_at(&self) -> Timestamp {
        let length = SignedDuration::from_millis(i64::try_from(self.duration_ms).unwrap_or(0));
        self.at.checked_sub(length).unwrap_or(self.at)
    }

    /// Whether an engine was configured.
    pub fn has_engine(&self) -> bool {
        self.error != Some(Reason::EngineUnavailable.to_string())
    }

    /// Whether the engine was asked at all.
    pub fn was_asked(&self) -> bool {
        let never_asked = [
            Reason::EngineUnavailable,
            Reason::BudgetSpent,
            Reason::Backlog,
            Reason::Interrupted,
            Reason::Expired,
        ];
        let is_error = |reason: &Reason| self.error.as_ref() == Some(&reason.to_string());
        !never_asked.iter().any(is_error)
    }

    pub fn is_delivered(&self) -> bool {
        !self.dm_status.ends_with("failed_send") || self.delivered_at.is_some()
    }

    /// Short notes on it. The caller has its own words for a fix and for a digest of so many wakes.
    pub fn notes(&self, fix: &str, digest: impl Fn(u64) -> String) -> Vec<String> {
        let notes = [
            (self.facts_first, "facts first"),
            (self.late_diagnosis, "late diagnosis"),
            (self.autofix_attempted, fix),
        ];
        let notes = notes.into_iter().filter(|(applies, _)| *applies);
        let notes = notes.map(|(_, note)| note.to_owned());
        notes.chain(self.digest_size.map(digest)).collect()
    }

    /// Whether it belongs to this session, or to the digest of that name.
    pub fn is_in(&self, session: &str) -> bool {
        self.caller_session_id == session || self.digest_session.as_deref() == Some(session)
    }

    /// The reason why there is no diagnosis, with the peer's own words.
    pub fn failure(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        Some(match &self.reasoning_error_message {
            Some(message) => format!("{error}: {message}"),
            None => error.clone(),
        })
    }
}

/// `fly_logs execution_error (HTTPError)`.
impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tool, self.status)?;
        match &self.exception {
            Some(exception) => write!(f, " ({exception})"),
            None => Ok(()),
        }
    }
}

impl Tool {
    pub fn is_failed(&self) -> bool {
        !["ok", "success", "called"].contains(&self.status.as_str())
    }
}

impl Resolution {
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Active => "active",
            Self::Unknown => "unknown",
        }
    }
}

impl Record {
    /// Keeps what `keeps` says yes to, by pair and time.
    pub fn retain(&mut self, keeps: impl Fn(&Pair, Timestamp) -> bool) {
        self.wakes.retain(|one| keeps(&one.pair(), one.at));
        self.investigations.retain(|one| keeps(&one.pair, one.at));
        self.owed.retain(|one| keeps(&one.pair, one.at));
        self.recoveries.retain(|one| keeps(&one.pair, one.at));
    }

    pub fn is_empty(&self) -> bool {
        self.wakes.is_empty() && self.investigations.is_empty() && self.owed.is_empty()
    }

    pub fn totals(&self) -> Totals {
        let held_back = count(self.wakes.iter(), WakeDecision::HeldBack);
        let unknown = count(self.wakes.iter(), WakeDecision::Unknown);
        let told = self.investigations.iter();
        let dispatched = told.clone().filter(|one| !one.late_diagnosis).count() + self.owed.len();
        let tokens = told.clone().filter_map(Investigation::tokens);
        let costs: Vec<f64> = told.clone().filter_map(|one| one.total_cost_usd).collect();
        Totals {
            wakes: (dispatched + held_back + unknown) as u64,
            dispatched: dispatched as u64,
            held_back: held_back as u64,
            failed: told.filter(|one| one.failed).count() as u64,
            tokens: tokens.fold(0, u64::saturating_add),
            cost: (!costs.is_empty()).then(|| costs.iter().sum()),
        }
    }

    /// Notes for each pair what the snapshot says of it now.
    pub fn resolve(&mut self, snapshot: &Snapshot) {
        let resolved = |one: PairRecord<'_>| {
            let resolution = match snapshot.health(&one.pair.probe) {
                // From before the last wake it says nothing.
                Health::Healthy if snapshot.computed_at > one.last_wake() => Resolution::Resolved,
                Health::Bad => Resolution::Active,
                Health::Healthy | Health::Unknown => Resolution::Unknown,
            };
            (one.pair, resolution)
        };
        let resolutions: BTreeMap<_, _> = pairs(self).into_iter().map(resolved).collect();
        for one in &mut self.investigations {
            one.resolution = resolutions.get(&one.pair).copied().unwrap_or_default();
        }
        self.resolutions = resolutions;
    }
}

/// How many of these wakes had this decision.
fn count<'a>(wakes: impl Iterator<Item = &'a WakeRecord>, decision: WakeDecision) -> usize {
    wakes.filter(|one| one.decision == decision).count()
}

/// The name of the worst of these severities.
pub fn worst<'a>(severities: impl IntoIterator<Item = &'a str>) -> &'a str {
    let severities = severities.into_iter();
    let worst = severities.max_by_key(|name| Severity::named(name));
    worst.unwrap_or("warning")
}
