//! The rows that a run leaves, in the audit log's own shape: what became of each dispatch, of messages
//! delivered or given up later, and of incidents that are over. A person reads them with `history`;
//! other programs read them as they read the audit log.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

use crate::audit::wake::{Wake, caller_session_id};
use crate::engine::Usage;
use crate::files::{append_own, append_shared, is_same_file};
use crate::incident::{HeldCounts, Incident, Scope, Silence};
use crate::json::is_default;
use crate::message::{Lines, render};
use crate::state::outbox::{Content, Message, Outcome, Place, PromptSize, Record};
use crate::state::queue::Alert;
use crate::text::{rfc3339, serialize_time};

/// The default file, in the state folder, and what it moves to when it grows.
pub const FILE: &str = "outcomes.jsonl";
pub const TURNED_FILE: &str = "outcomes.jsonl.1";
pub const COMPLETED_SEAM: &str = "probe.investigation_completed";
pub const DELIVERED_SEAM: &str = "probe.dm_delivered";
pub const UNDELIVERED_SEAM: &str = "probe.dm_undelivered";
pub const SILENCE_OVER_SEAM: &str = "probe.silence_over";
pub const RECOVERED_SEAM: &str = "probe.recovery_told";

/// The default file is turned over once it is larger.
const MOST_BYTES: u64 = 8 * 1024 * 1024;
/// The most characters of a title.
const MOST_TITLE: usize = 200;

/// A row of the outcome log.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    emitted_at: String,
    seam: &'static str,
    details: Details,
    caller_session_id: Option<String>,
    source: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Details {
    OfPair {
        /// Of the investigation.
        id: Option<String>,
        probe: String,
        issue_category: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        severity: Option<String>,
        #[serde(flatten)]
        of_seam: OfSeam,
    },
    SilenceOver {
        /// As it was typed.
        pair: String,
        probe: Option<String>,
        issue_category: Option<String>,
        #[serde(serialize_with = "serialize_time")]
        from: Timestamp,
        #[serde(serialize_with = "serialize_time")]
        until: Timestamp,
        reason: Option<String>,
        wakes: u64,
    },
}

/// What the details hold besides investigation, pair and severity.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum OfSeam {
    Completed(Box<Completed>),
    Delivered {
        #[serde(serialize_with = "serialize_time")]
        queued_at: Timestamp,
        dm_status: &'static str,
    },
    Undelivered {
        reason: String,
    },
    Recovered {
        /// When the service was seen healthy.
        #[serde(serialize_with = "serialize_time")]
        healthy_at: Timestamp,
        #[serde(serialize_with = "serialize_time")]
        first_wake_at: Timestamp,
        /// Since the last outcome row.
        held_back: HeldCounts,
    },
}

#[derive(Clone, Debug, Serialize)]
struct Completed {
    title: String,
    raised_at: Option<String>,
    dispatched_at: String,
    first_wake_at: String,
    last_wake_at: Option<String>,
    held_back: HeldCounts,
    #[serde(flatten)]
    usage: Usage,
    /// How many bytes of the prompt were context, and how many were runbook; null where nothing was asked.
    context: Option<PromptSize>,
    investigation_duration_ms: u64,
    investigation_summary_text: String,
    dm_status: &'static str,
    autofix_attempted: bool,
    /// Where consecutive-required asks for several: how many wakes there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    buffered_consecutive_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_error_message: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    facts_first: bool,
    #[serde(skip_serializing_if = "is_default")]
    late_diagnosis: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_session: Option<String>,
}

/// How an investigation ended, for one of its wakes.
pub struct Ended<'a> {
    pub message: &'a Message,
    /// With its whole texts.
    pub content: &'a Content,
    /// Of the wake.
    pub index: usize,
    pub record: &'a Record,
    /// Whether the message with the result was delivered.
    pub is_sent: bool,
}

/// Makes the row of one wake. What the engine used stands in the first row of a digest alone.
pub fn completed(ended: &Ended<'_>, incident: Option<&Incident>, now: Timestamp) -> Row {
    let Ended {
        message, record, ..
    } = ended;
    let alerts = ended.content.alerts();
    let alert = &alerts[ended.index];
    let has_diagnosis = record.error.is_none();
    let usage = match ended.index {
        0 => record.usage.clone(),
        _ => Usage::default(),
    };
    let is_digest = alerts.len() > 1;
    let completed = Completed {
        title: alert.wake.title.chars().take(MOST_TITLE).collect(),
        raised_at: alert.wake.raised_at().map(rfc3339),
        dispatched_at: rfc3339(alert.dispatched_at),
        first_wake_at: rfc3339(alert.dispatch.since),
        last_wake_at: incident.map(|incident| rfc3339(incident.last_raised)),
        held_back: incident.map_or_else(HeldCounts::default, |incident| incident.unrecorded),
        usage,
        context: record.prompt,
        investigation_duration_ms: record.duration_ms,
        investigation_summary_text: summary(ended, now),
        dm_status: match (has_diagnosis, ended.is_sent) {
            (true, true) => "sent",
            (true, false) => "failed_send",
            (false, true) => "engine_unavailable_fallback",
            (false, false) => "engine_unavailable_failed_send",
        },
        autofix_attempted: record.autofix_attempted,
        buffered_consecutive_count: alert.dispatch.counted.map(|counted| counted.count),
        reasoning_error: record.error.clone(),
        reasoning_error_message: record.error_message.clone(),
        facts_first: record.facts_first,
        late_diagnosis: record.late_diagnosis,
        digest_size: is_digest.then_some(alerts.len()),
        digest_session: is_digest.then(|| message.subject().caller_session_id()),
    };
    let completed = OfSeam::Completed(Box::new(completed));
    row(
        COMPLETED_SEAM,
        message.investigation.as_ref(),
        &alert.wake,
        completed,
        record.ended_at,
    )
}

/// Returns the diagnosis, or the fallback's text; of a digest's, what is about this wake.
fn summary(ended: &Ended<'_>, now: Timestamp) -> String {
    let outcome = match ended.content.outcome() {
        Some(Outcome::Diagnosis { text, .. }) => return text.here().to_owned(),
        Some(outcome) => outcome.clone(),
        None => return String::new(),
    };
    let content = Content::Alert {
        alerts: vec![ended.content.alerts()[ended.index].clone()],
        outcome,
    };
    render(&content, &Place::TopLevel, &Lines::default(), now).text
}

/// Makes the rows of a message whose first try failed and that was delivered later, one a pair.
pub fn delivered(message: &Message, now: Timestamp) -> Vec<Row> {
    let delivered = OfSeam::Delivered {
        queued_at: message.queued_at,
        dm_status: "sent",
    };
    rows(message, DELIVERED_SEAM, &delivered, now)
}

/// Makes the rows of a message that was given up, one a pair.
pub fn undelivered(message: &Message, reason: &str, now: Timestamp) -> Vec<Row> {
    let reason = reason.to_owned();
    let undelivered = OfSeam::Undelivered { reason };
    rows(message, UNDELIVERED_SEAM, &undelivered, now)
}

fn rows(message: &Message, seam: &'static str, of_seam: &OfSeam, now: Timestamp) -> Vec<Row> {
    let id = message.investigation.as_ref();
    let alerts = message.content.alerts().iter();
    let rows = alerts.map(|alert| row(seam, id, &alert.wake, of_seam.clone(), now));
    rows.collect()
}

/// Makes the row of a recovery whose message was put into the outbox.
pub fn recovered(
    alert: &Alert,
    id: Option<&String>,
    healthy_at: Timestamp,
    held_back: HeldCounts,
    now: Timestamp,
) -> Row {
    let recovered = OfSeam::Recovered {
        healthy_at,
        first_wake_at: alert.dispatch.since,
        held_back,
    };
    row(RECOVERED_SEAM, id, &alert.wake, recovered, now)
}

/// Makes the row of a silence that is over.
pub fn silence_over(silence: &Silence, wakes: u64, now: Timestamp) -> Row {
    let (probe, category) = match &silence.scope {
        Scope::All => (None, None),
        Scope::Probe(probe) => (Some(probe.clone()), None),
        Scope::Pair(pair) => (Some(pair.probe.clone()), Some(pair.category.clone())),
    };
    Row {
        emitted_at: rfc3339(now),
        seam: SILENCE_OVER_SEAM,
        caller_session_id: None,
        details: Details::SilenceOver {
            pair: silence.scope.to_string(),
            probe,
            issue_category: category,
            from: silence.since,
            until: silence.until,
            reason: silence.reason.clone(),
            wakes,
        },
        source: "reasoning",
    }
}

fn row(
    seam: &'static str,
    id: Option<&String>,
    wake: &Wake,
    of_seam: OfSeam,
    now: Timestamp,
) -> Row {
    Row {
        emitted_at: rfc3339(now),
        seam,
        caller_session_id: Some(caller_session_id(&wake.probe, &wake.category)),
        details: Details::OfPair {
            id: id.cloned(),
            probe: wake.probe.clone(),
            issue_category: wake.category.clone(),
            severity: Some(wake.severity.clone()).filter(|_| seam != RECOVERED_SEAM),
            of_seam,
        },
        source: "reasoning",
    }
}

/// Appends to the file in the state folder, and what others know to the named one as well: Kora's readers warn
/// of seams that they do not know. Returns whether that was done.
pub fn append(named: Option<&Path>, state_dir: &Path, row: &Row) -> Result<bool> {
    let own = state_dir.join(FILE);
    if fs::metadata(&own).is_ok_and(|meta| meta.len() > MOST_BYTES) {
        let turned = fs::rename(&own, state_dir.join(TURNED_FILE));
        turned.with_context(|| format!("cannot rename {}", own.display()))?;
    }
    let appended = append_own(&own, row);
    let appended = appended.with_context(|| format!("cannot append to {}", own.display()));
    let is_own = |path: &&Path| *path == own || is_same_file(path, &own);
    let named = named.filter(|path| row.seam == COMPLETED_SEAM && !is_own(path));
    if let Some(path) = named {
        append_shared(path, row).with_context(|| format!("cannot append to {}", path.display()))?;
    }
    appended.map(|_| named.is_some())
}

#[cfg(test)]
mod tests;
