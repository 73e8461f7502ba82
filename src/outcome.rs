//! The rows that a run leaves, in the audit log's own shape: what became of each dispatch, of messages
//! delivered or given up later, and of incidents that are over. A person reads them with `history`;
//! other programs read them as they read the audit log.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, to_value};

use crate::audit::wake::Wake;
use crate::files::{append_own, append_shared, is_same_file};
use crate::incident::{HeldCounts, Incident, Pair, Scope, Silence};
use crate::message;
use crate::state::outbox::{Content, Message, Outcome, Record};
use crate::state::queue::Alert;
use crate::state::{Folder, LogState};
use crate::text::{rfc3339, short};

/// The default file, in the state folder, and the name it is rotated to when it grows.
pub const FILE: &str = "outcomes.jsonl";
pub const TURNED_FILE: &str = "outcomes.jsonl.1";
pub const COMPLETED_SEAM: &str = "probe.investigation_completed";
pub const DELIVERED_SEAM: &str = "probe.dm_delivered";
pub const UNDELIVERED_SEAM: &str = "probe.dm_undelivered";
pub const SILENCE_OVER_SEAM: &str = "probe.silence_over";
pub const RECOVERED_SEAM: &str = "probe.recovery_told";

/// The default file is rotated once it is larger than this.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// A row of the outcome log.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    emitted_at: String,
    seam: &'static str,
    #[serde(serialize_with = "as_object")]
    details: Vec<Field>,
    caller_session_id: Option<String>,
    source: &'static str,
}

/// A field of the details.
type Field = (&'static str, Value);

fn field(name: &'static str, value: impl Serialize) -> Field {
    (name, to_value(value).unwrap_or_default())
}

fn as_object<S: Serializer>(fields: &[Field], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
}

/// Makes the rows of a message's investigation, one for each wake, and takes out of the log's incidents what they
/// say was held back.
pub fn of_investigation(
    message: &Message,
    record: &Record,
    is_sent: bool,
    texts: &Folder,
    mut log: Option<&mut LogState>,
    now: Timestamp,
) -> Vec<Row> {
    let mut whole = message.clone();
    whole.content.load_texts(texts);
    let wakes = whole.content.alerts().iter().enumerate();
    let rows = wakes.map(|(index, alert)| {
        let log = log.as_deref_mut();
        let incident = log.and_then(|log| log.incidents.get_mut(&Pair::of(&alert.wake)));
        let row = completed(&whole, index, record, is_sent, incident.as_deref(), now);
        incident.map(Incident::take_unrecorded);
        row
    });
    rows.collect()
}

/// Makes the row of one wake of a message whose texts are loaded. `index`: of the wake; `is_sent`: whether
/// the message with the result was delivered. Only a digest's first row says what the engine used.
fn completed(
    message: &Message,
    index: usize,
    record: &Record,
    is_sent: bool,
    incident: Option<&Incident>,
    now: Timestamp,
) -> Row {
    let alerts = message.content.alerts();
    let (alert, wake) = (&alerts[index], &alerts[index].wake);
    let last_wake_at = incident.map(|incident| rfc3339(incident.last_raised));
    let held_back = incident.map(|incident| incident.unrecorded);
    // If consecutive-required asks for several wakes: how many there were.
    let counted = alert.dispatch.counted.as_ref().map(|one| one.count);
    let usage = Some(record.usage.clone()).filter(|_| index == 0);
    let usage = usage.unwrap_or_default();
    let dm_status = match (record.error.is_none(), is_sent) {
        (true, true) => "sent",
        (true, false) => "failed_send",
        (false, true) => "engine_unavailable_fallback",
        (false, false) => "engine_unavailable_failed_send",
    };
    let is_digest = alerts.len() > 1;
    let session = is_digest.then(|| message.subject().caller_session_id());
    let fields = [
        field("severity", &wake.severity),
        field("title", short(&wake.title)),
        field("raised_at", wake.raised_at().map(rfc3339)),
        field("dispatched_at", rfc3339(alert.dispatched_at)),
        field("first_wake_at", rfc3339(alert.dispatch.since)),
        field("last_wake_at", last_wake_at),
        field("held_back", held_back.unwrap_or_default()),
        field("model_used", usage.model_used),
        field("input_tokens", usage.input_tokens),
        field("output_tokens", usage.output_tokens),
        field(
            "cache_creation_input_tokens",
            usage.cache_creation_input_tokens,
        ),
        field("cache_read_input_tokens", usage.cache_read_input_tokens),
        field("total_cost_usd", usage.total_cost_usd),
        // How many bytes of the prompt were context, and how many were runbook; null if nothing was asked.
        field("context", record.prompt),
        field("investigation_duration_ms", record.duration_ms),
        // It can be megabytes long, and is moved here.
        (
            "investigation_summary_text",
            Value::String(summary(&message.content, alert, now)),
        ),
        field("dm_status", dm_status),
        field("autofix_attempted", record.autofix_attempted),
    ];
    let others = [
        field("buffered_consecutive_count", counted),
        field("reasoning_error", &record.error),
        field("reasoning_error_message", &record.error_message),
        field("facts_first", record.facts_first.then_some(true)),
        field("late_diagnosis", record.late_diagnosis.then_some(true)),
        field("digest_size", is_digest.then_some(alerts.len())),
        field("digest_session", session),
    ];
    let others = others.into_iter();
    let applying = others.filter(|(_, value)| !value.is_null());
    let fields = fields.into_iter().chain(applying);
    let id = message.investigation.as_ref();
    row(COMPLETED_SEAM, id, wake, fields, record.ended_at)
}

/// Returns the diagnosis, or else the fallback's text for this wake alone.
fn summary(content: &Content, alert: &Alert, now: Timestamp) -> String {
    match content.outcome() {
        Some(Outcome::Diagnosis { text, .. }) => text.here().to_owned(),
        Some(outcome) => message::of_alert(alert, outcome, now),
        None => String::new(),
    }
}

/// Makes the rows, one per pair, of a message whose first try failed and that was delivered later.
pub fn delivered(message: &Message, now: Timestamp) -> Vec<Row> {
    let fields = [
        field("queued_at", rfc3339(message.queued_at)),
        field("dm_status", "sent"),
    ];
    rows(message, DELIVERED_SEAM, &fields, now)
}

/// Makes the rows, one per pair, of a message that was given up.
pub fn undelivered(message: &Message, reason: &str, now: Timestamp) -> Vec<Row> {
    rows(message, UNDELIVERED_SEAM, &[field("reason", reason)], now)
}

fn rows(message: &Message, seam: &'static str, fields: &[Field], now: Timestamp) -> Vec<Row> {
    let id = message.investigation.as_ref();
    let wakes = message.content.alerts().iter().map(|alert| &alert.wake);
    let rows = wakes.map(|wake| {
        let severity = field("severity", &wake.severity);
        let fields = [severity].into_iter().chain(fields.iter().cloned());
        row(seam, id, wake, fields, now)
    });
    rows.collect()
}

/// Makes the row of a recovery whose message was put into the outbox. `healthy_at`: when the service was seen
/// healthy; `held_back`: what was held back since the last outcome row.
pub fn recovered(
    alert: &Alert,
    id: Option<&String>,
    healthy_at: Timestamp,
    held_back: HeldCounts,
    now: Timestamp,
) -> Row {
    let fields = [
        field("healthy_at", rfc3339(healthy_at)),
        field("first_wake_at", rfc3339(alert.dispatch.since)),
        field("held_back", held_back),
    ];
    row(RECOVERED_SEAM, id, &alert.wake, fields, now)
}

/// Makes the row of a silence that is over.
pub fn silence_over(silence: &Silence, wakes: u64, now: Timestamp) -> Row {
    let (probe, category) = match &silence.scope {
        Scope::All => (None, None),
        Scope::Probe(probe) => (Some(probe), None),
        Scope::Pair(pair) => (Some(&pair.probe), Some(&pair.category)),
    };
    Row {
        emitted_at: rfc3339(now),
        seam: SILENCE_OVER_SEAM,
        caller_session_id: None,
        details: vec![
            // As it was typed.
            field("pair", silence.scope.to_string()),
            field("probe", probe),
            field("issue_category", category),
            field("from", rfc3339(silence.since)),
            field("until", rfc3339(silence.until)),
            field("reason", &silence.reason),
            field("wakes", wakes),
        ],
        source: "reasoning",
    }
}

/// Makes a row about a wake. `id`: of the investigation.
fn row(
    seam: &'static str,
    id: Option<&String>,
    wake: &Wake,
    fields: impl IntoIterator<Item = Field>,
    now: Timestamp,
) -> Row {
    let mut details = vec![
        field("id", id),
        field("probe", &wake.probe),
        field("issue_category", &wake.category),
    ];
    details.extend(fields);
    Row {
        emitted_at: rfc3339(now),
        seam,
        caller_session_id: Some(wake.caller_session_id()),
        details,
        source: "reasoning",
    }
}

/// Appends the row to the file in the state folder, and to the named file if its seam is one that others
/// know: Kora's readers warn of unknown seams. Returns whether the named file got it.
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
