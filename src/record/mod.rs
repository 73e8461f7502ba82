//! The record of what happened, for whoever looks later: investigations, incidents and silences, read
//! from outcome rows. `history` and `replay` show it as text, as JSON and as a page.

mod group;
mod incidents;
mod rows;
mod select;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::audit::seams::{Row, TOOL_SEAM};
use crate::incident::{HeldCounts, Pair, Severity};
use crate::outcome::{COMPLETED_SEAM, DELIVERED_SEAM, RECOVERED_SEAM, SILENCE_OVER_SEAM};
use crate::report::counted;
use crate::snapshot::Snapshot;
use crate::text::with_reason;
pub use incidents::{Incident, bad_for, by_pair, worst};
pub use rows::tool;
pub use select::{Filter, Selection, Totals};

/// A tool that was called longer than this before a question, or after its answer, belongs to none of ours.
const LONGEST_DISTANCE: SignedDuration = SignedDuration::from_hours(1);

/// Everything that is known. It is made from the rows given to [`Record::take`] and from what no row says
/// yet; [`Record::join`] then puts it together.
#[derive(Debug, Default)]
pub struct Record {
    /// In the order in which they ended. A late diagnosis is an entry of its own.
    pub investigations: Vec<Investigation>,
    /// In the order in which they ended, or were last seen.
    pub incidents: Vec<Incident>,
    pub silences: Vec<Silence>,
    /// What no investigation's row says: the wakes of investigations that have not ended, the incidents that
    /// the state still holds, with what was held back since their last row, and recoveries.
    pub parts: Vec<Incident>,
    tools: Vec<Tool>,
    /// The index of the investigation of each (id, pair, late). Rows without an id go by their time.
    places: BTreeMap<(String, Pair, bool), usize>,
    deliveries: Vec<(String, Pair, Timestamp)>,
    /// By the incident's pair and first wake.
    recoveries: BTreeMap<(Pair, Timestamp), Incident>,
}

/// A silence or an acknowledgement.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Silence {
    /// `probe`, `probe:category` or `all`.
    #[serde(rename = "pair")]
    pub of: String,
    pub from: Timestamp,
    pub until: Timestamp,
    pub reason: Option<String>,
    #[serde(default)]
    pub wakes: u64,
}

/// An investigation: an outcome row with the tools that were called for it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Investigation {
    /// When it ended.
    pub at: Timestamp,
    /// `None` in the row of a program that writes no id.
    pub id: Option<String>,
    #[serde(flatten, skip_deserializing)]
    pub pair: Pair,
    pub severity: String,
    pub title: Option<String>,
    pub raised_at: Option<Timestamp>,
    pub dispatched_at: Option<Timestamp>,
    /// That of its incident, as is `last_wake_at`.
    #[serde(skip_serializing)]
    pub first_wake_at: Option<Timestamp>,
    #[serde(skip_serializing)]
    pub last_wake_at: Option<Timestamp>,
    /// Since the pair's previous row.
    pub held_back: HeldCounts,
    pub caller_session_id: String,
    pub dm_status: String,
    /// When the message was delivered after all.
    #[serde(skip_deserializing)]
    pub delivered_at: Option<Timestamp>,
    #[serde(rename(deserialize = "investigation_duration_ms"))]
    pub duration_ms: u64,
    pub model_used: Option<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub total_cost_usd: Option<f64>,
    #[serde(skip_deserializing)]
    pub tools: Vec<Tool>,
    /// The reason why there is no diagnosis.
    #[serde(rename(deserialize = "reasoning_error"))]
    pub error: Option<String>,
    pub reasoning_error_message: Option<String>,
    #[serde(rename(deserialize = "investigation_summary_text"))]
    pub summary: Option<String>,
    pub autofix_attempted: bool,
    pub facts_first: bool,
    pub late_diagnosis: bool,
    pub buffered_consecutive_count: Option<u64>,
    pub digest_size: Option<u64>,
    pub digest_session: Option<String>,
    /// It has no diagnosis, not even a late one, or its message was not delivered.
    pub failed: bool,
    /// That of its incident.
    #[serde(skip_deserializing)]
    pub resolution: Resolution,
}

/// A tool that the engine called.
#[derive(Clone, Debug, Serialize)]
pub struct Tool {
    #[serde(skip)]
    pub session: String,
    pub at: Timestamp,
    pub tool: String,
    /// As the engine calls it: `ok`, `not_allowed`, `execution_error`, ...
    pub status: String,
    /// What went wrong.
    pub exception: Option<String>,
    pub duration_ms: Option<u64>,
}

/// Whether what was wrong is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    Resolved,
    Active,
    #[default]
    Unknown,
}

impl Record {
    /// Returns an incident's investigations, the oldest first.
    pub fn investigations_of(
        &self,
        one: &Incident,
    ) -> impl Iterator<Item = &Investigation> + Clone {
        let places = one.investigations.iter();
        places.map(|place| &self.investigations[*place])
    }

    /// Adds a row of any seam. After a kill there may be two rows of one investigation and pair, or of one
    /// recovery: the last one counts.
    pub fn take(&mut self, row: &Row) {
        match row.text("seam").unwrap_or_default().as_str() {
            COMPLETED_SEAM => rows::investigation(row).into_iter().for_each(|one| {
                let id = one.id.clone().unwrap_or_else(|| one.at.to_string());
                let key = (id, one.pair.clone(), one.late_diagnosis);
                let next = self.investigations.len();
                match *self.places.entry(key).or_insert(next) {
                    place if place == next => self.investigations.push(one),
                    place => self.investigations[place] = one,
                }
            }),
            TOOL_SEAM => self.tools.extend(rows::tool(row)),
            DELIVERED_SEAM => self.deliveries.extend(rows::delivery(row)),
            RECOVERED_SEAM => {
                let recovery = rows::recovery(row);
                let keyed = recovery.map(|one| ((one.pair.clone(), one.first_wake_at), one));
                self.recoveries.extend(keyed);
            }
            SILENCE_OVER_SEAM => {
                let silence = Silence::deserialize(row.details()).ok();
                let new = silence.filter(|one| !self.silences.contains(one));
                self.silences.extend(new);
            }
            _ => {}
        }
    }

    /// Puts together everything that was added. The snapshot says which services are well now.
    pub fn join(&mut self, snapshot: Option<&Snapshot>) {
        for (id, pair, at) in self.deliveries.drain(..) {
            let keys = [false, true].map(|late| (id.clone(), pair.clone(), late));
            for place in keys.iter().filter_map(|key| self.places.get(key)) {
                let one = &mut self.investigations[*place];
                if !one.is_delivered() {
                    one.delivered_at = Some(at);
                }
            }
        }
        for one in &mut self.investigations {
            let late = one.id.clone().map(|id| (id, one.pair.clone(), true));
            let has_late = late.is_some_and(|key| self.places.contains_key(&key));
            one.failed = (one.error.is_some() && !has_late) || !one.is_delivered();
        }
        self.investigations.sort_by_key(|one| one.at);
        let recoveries = std::mem::take(&mut self.recoveries);
        self.parts.extend(recoveries.into_values());
        join_tools(&mut self.investigations, std::mem::take(&mut self.tools));
        self.incidents = incidents::group(&self.investigations, &self.parts);
        incidents::resolve(&mut self.incidents, snapshot);
        for one in &self.incidents {
            for place in &one.investigations {
                self.investigations[*place].resolution = one.resolution;
            }
        }
    }
}

/// Adds each tool to the last investigation of its session that had begun when it was called.
fn join_tools(investigations: &mut [Investigation], tools: Vec<Tool>) {
    let mut of_session: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, one) in investigations.iter().enumerate() {
        let sessions = [Some(&one.caller_session_id), one.digest_session.as_ref()];
        for session in sessions.into_iter().flatten() {
            of_session.entry(session.clone()).or_default().push(place);
        }
    }
    for tool in tools {
        let Some(places) = of_session.get(&tool.session) else {
            continue;
        };
        let begun = places.partition_point(|place| investigations[*place].asked_at() <= tool.at);
        let one = &mut investigations[places[begun.saturating_sub(1)]];
        let nearest = tool.at.clamp(one.asked_at(), one.at);
        if nearest.duration_since(tool.at).abs() <= LONGEST_DISTANCE {
            one.tools.push(tool);
        }
    }
    for one in investigations {
        one.tools.sort_by_key(|tool| tool.at);
    }
}

impl fmt::Display for HeldCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repeats = match self.repeat {
            1 => "repeat",
            _ => "repeats",
        };
        let parts = counted([
            (self.repeat, repeats),
            (self.buffered, "buffered"),
            (self.silenced, "silenced"),
            (self.acknowledged, "acknowledged"),
        ]);
        f.write_str(&parts.join(", "))
    }
}

impl Silence {
    pub fn holds(&self, Pair { probe, category }: &Pair) -> bool {
        ["all", probe, &format!("{probe}:{category}")].contains(&self.of.as_str())
    }

    /// Returns whether it holds any pair of this probe.
    pub fn concerns(&self, probe: &str) -> bool {
        let rest = self.of.strip_prefix(probe);
        self.of == "all" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }
}

impl Investigation {
    /// Returns when the question was asked.
    pub fn asked_at(&self) -> Timestamp {
        let length = Duration::from_millis(self.duration_ms);
        self.at.checked_sub(length).unwrap_or(self.at)
    }

    /// Returns when its wake was dispatched, or else the earliest known time.
    pub fn begun_at(&self) -> Timestamp {
        self.dispatched_at.unwrap_or_else(|| self.asked_at())
    }

    /// Returns whether the engine was asked at all.
    pub fn was_asked(&self) -> bool {
        self.duration_ms > 0 || self.model_used.is_some()
    }

    /// Returns whether the message was sent at the first try.
    pub fn was_sent(&self) -> bool {
        !self.dm_status.ends_with("failed_send")
    }

    pub fn is_delivered(&self) -> bool {
        self.was_sent() || self.delivered_at.is_some()
    }

    /// Returns whether it belongs to this session, or to the digest of that name.
    pub fn is_in(&self, session: &str) -> bool {
        self.caller_session_id == session || self.digest_session.as_deref() == Some(session)
    }

    /// Returns the reason why there is no diagnosis, with the peer's own words.
    pub fn failure(&self) -> Option<String> {
        let words = self.reasoning_error_message.as_deref();
        self.error.as_ref().map(|error| with_reason(error, words))
    }

    pub fn failed_tools(&self) -> impl Iterator<Item = &Tool> {
        self.tools.iter().filter(|tool| tool.is_failed())
    }

    /// Returns what is special about it.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let notes = [
            self.facts_first.then(|| "facts first".to_owned()),
            self.late_diagnosis.then(|| "late diagnosis".to_owned()),
            self.autofix_attempted.then(|| "fix attempted".to_owned()),
            self.digest_size.map(|size| format!("digest of {size}")),
        ];
        notes.into_iter().flatten()
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

/// Returns the worse of two severities, or the first if they are equal.
pub fn worse<'a>(one: &'a str, other: &'a str) -> &'a str {
    match Severity::named(other) > Severity::named(one) {
        true => other,
        false => one,
    }
}
