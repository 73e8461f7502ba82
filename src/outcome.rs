//! The rows that a run leaves behind it, in the audit log's own shape: what became of each
//! dispatch, and of DMs delivered later. A person reads them with `history`; other tools read them
//! as they read the audit log.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

use crate::audit::wake::Wake;
use crate::engine::Answer;
use crate::files::{append_own, append_shared};
use crate::state::outbox::Dm;
use crate::text::rfc3339;

/// The default file, in the state folder, and what it moves to when it grows.
pub const FILE: &str = "outcomes.jsonl";
pub const TURNED_FILE: &str = "outcomes.jsonl.1";
pub const COMPLETED_SEAM: &str = "probe.investigation_completed";
pub const DELIVERED_SEAM: &str = "probe.dm_delivered";

/// The default file is turned over once it is larger.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// A row of the outcome log.
#[derive(Debug, Serialize)]
pub struct Row {
    emitted_at: String,
    seam: &'static str,
    details: Details,
    caller_session_id: String,
    source: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Details {
    Completed(Box<Completed>),
    Delivered(Delivered),
}

#[derive(Debug, Serialize)]
struct Completed {
    probe: String,
    issue_category: String,
    severity: String,
    model_used: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    investigation_duration_ms: u64,
    investigation_summary_text: String,
    dm_status: &'static str,
    autofix_attempted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Delivered {
    probe: String,
    issue_category: String,
    severity: String,
    queued_at: Timestamp,
    dm_status: &'static str,
}

/// What became of a dispatched wake.
pub fn completed(
    wake: &Wake,
    answer: &Answer,
    duration_ms: u64,
    sent: bool,
    now: Timestamp,
) -> Row {
    let dm_status = match (&answer.result, sent) {
        (Ok(_), true) => "sent",
        (Ok(_), false) => "failed_send",
        (Err(_), true) => "engine_unavailable_fallback",
        (Err(_), false) => "engine_unavailable_failed_send",
    };
    let usage = answer.usage.clone();
    let error = answer.result.as_ref().err();
    let summary = answer
        .result
        .as_ref()
        .map(|diagnosis| diagnosis.text().to_owned());
    let details = Details::Completed(Box::new(Completed {
        probe: wake.probe.clone(),
        issue_category: wake.category.clone(),
        severity: wake.severity.clone(),
        model_used: usage.model_used,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_creation_input_tokens: usage.cache_creation_input_tokens,
        cache_read_input_tokens: usage.cache_read_input_tokens,
        investigation_duration_ms: duration_ms,
        investigation_summary_text: summary.unwrap_or_default(),
        dm_status,
        autofix_attempted: false,
        reasoning_error: error.map(|failure| failure.reason.to_string()),
    }));
    row(COMPLETED_SEAM, details, wake.caller_session_id(), now)
}

/// A DM of an earlier run was delivered.
pub fn delivered(dm: &Dm, now: Timestamp) -> Row {
    let details = Details::Delivered(Delivered {
        probe: dm.probe.clone(),
        issue_category: dm.category.clone(),
        severity: dm.severity.clone(),
        queued_at: dm.queued_at,
        dm_status: "sent",
    });
    row(DELIVERED_SEAM, details, dm.caller_session_id(), now)
}

fn row(seam: &'static str, details: Details, caller_session_id: String, now: Timestamp) -> Row {
    Row {
        emitted_at: rfc3339(now),
        seam,
        details,
        caller_session_id,
        source: "reasoning",
    }
}

/// Appends to the file that was asked for, or to the default one in the state folder.
pub fn append(named: Option<&Path>, state_dir: &Path, row: &Row) -> Result<()> {
    let default = state_dir.join(FILE);
    let path = named.unwrap_or(&default);
    let failed = || format!("cannot append to {}", path.display());
    if named.is_none() && fs::metadata(path).is_ok_and(|meta| meta.len() > MOST_BYTES) {
        fs::rename(path, state_dir.join(TURNED_FILE)).with_context(failed)?;
    }
    match named {
        Some(path) => append_shared(path, row),
        None => append_own(path, row).map(drop),
    }
    .with_context(failed)
}
