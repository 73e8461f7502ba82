//! The rows that a run leaves behind it, in the audit log's own shape: what became of each
//! dispatch, of DMs delivered later, and which recoveries were told. A person reads them with
//! `history`; other tools read them as they read the audit log.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

use crate::audit::wake::caller_session_id;
use crate::debounce::Pair;
use crate::engine::{Answer, Usage};
use crate::files::{append_own, append_shared};
use crate::json::is_default;
use crate::state::Episode;
use crate::state::outbox::Dm;
use crate::state::queue::{Alert, Investigation};
use crate::text::{rfc3339, serialize_time};

/// The default file, in the state folder, and what it moves to when it grows.
pub const FILE: &str = "outcomes.jsonl";
pub const TURNED_FILE: &str = "outcomes.jsonl.1";
pub const COMPLETED_SEAM: &str = "probe.investigation_completed";
pub const DELIVERED_SEAM: &str = "probe.dm_delivered";
pub const RECOVERED_SEAM: &str = "probe.recovered";

/// The default file is turned over once it is larger.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// A row of the outcome log.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    emitted_at: String,
    seam: &'static str,
    details: Details,
    caller_session_id: String,
    source: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Details {
    probe: String,
    issue_category: String,
    #[serde(flatten)]
    of_seam: OfSeam,
}

/// What the details hold besides the pair.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum OfSeam {
    Completed(Box<Completed>),
    Delivered(Delivered),
    Recovered(Recovered),
}

#[derive(Clone, Debug, Serialize)]
struct Completed {
    severity: String,
    #[serde(flatten)]
    usage: Usage,
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

/// How an investigation ended.
pub struct Outcome<'a> {
    pub investigation: &'a Investigation,
    pub answer: &'a Answer,
    /// The diagnosis, or the fallback's text.
    pub summary: String,
    pub duration_ms: u64,
    /// Whether the DM with the result was delivered.
    pub sent: bool,
    /// Whether the engine's own tools acted meanwhile.
    pub autofix_attempted: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Delivered {
    severity: String,
    #[serde(serialize_with = "serialize_time")]
    queued_at: Timestamp,
    dm_status: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    recovery: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Recovered {
    /// When the snapshot that says so was computed.
    #[serde(serialize_with = "serialize_time")]
    healthy_at: Timestamp,
    #[serde(serialize_with = "serialize_time")]
    first_wake_at: Timestamp,
    wakes: u64,
}

/// A row for each wake of an investigation that ended at `ended_at`. What the engine used stands in
/// the first one alone, and so does the list of a digest without a diagnosis: it has a line for each
/// of the others.
pub fn completed(outcome: &Outcome<'_>, ended_at: Timestamp) -> Vec<Row> {
    let alerts = outcome.investigation.alerts();
    let rows = alerts.enumerate().map(|(number, alert)| {
        let usage = match number {
            0 => outcome.answer.usage.clone(),
            _ => Usage::default(),
        };
        let mut completed = of_alert(outcome, alert, usage);
        if number > 0 && outcome.answer.result.is_err() {
            let lines: Vec<_> = outcome.summary.lines().collect();
            let ends = lines.first().into_iter().chain(lines.last());
            let ends: Vec<_> = ends.copied().collect();
            completed.investigation_summary_text = ends.join("\n");
        }
        let completed = OfSeam::Completed(Box::new(completed));
        row(COMPLETED_SEAM, Pair::of(&alert.wake), completed, ended_at)
    });
    rows.collect()
}

fn of_alert(outcome: &Outcome<'_>, alert: &Alert, usage: Usage) -> Completed {
    let (investigation, answer) = (outcome.investigation, outcome.answer);
    let dm_status = match (&answer.result, outcome.sent) {
        (Ok(_), true) => "sent",
        (Ok(_), false) => "failed_send",
        (Err(_), true) => "engine_unavailable_fallback",
        (Err(_), false) => "engine_unavailable_failed_send",
    };
    let failure = answer.result.as_ref().err();
    let digest = investigation.is_digest().then_some(investigation);
    Completed {
        severity: alert.wake.severity.clone(),
        usage,
        investigation_duration_ms: outcome.duration_ms,
        investigation_summary_text: outcome.summary.clone(),
        dm_status,
        autofix_attempted: outcome.autofix_attempted,
        buffered_consecutive_count: alert.before.raised.map(|raised| raised.count),
        reasoning_error: failure.map(|failure| failure.reason.to_string()),
        reasoning_error_message: failure.and_then(|failure| failure.message.clone()),
        facts_first: investigation.told.is_some() && investigation.late.is_none(),
        late_diagnosis: investigation.late.is_some(),
        digest_size: digest.map(|digest| digest.count()),
        digest_session: digest.map(|digest| digest.caller_session_id()),
    }
}

/// A DM of an earlier run was delivered.
pub fn delivered(dm: &Dm, now: Timestamp) -> Row {
    let pair = Pair {
        probe: dm.probe.clone(),
        category: dm.category.clone(),
    };
    let delivered = OfSeam::Delivered(Delivered {
        severity: dm.severity.clone(),
        queued_at: dm.first_queued_at.unwrap_or(dm.queued_at),
        dm_status: "sent",
        recovery: dm.is_recovery,
    });
    row(DELIVERED_SEAM, pair, delivered, now)
}

/// It was put into the outbox that a pair is well again.
pub fn recovered(episode: &Episode, healthy_at: Timestamp, now: Timestamp) -> Row {
    let recovered = OfSeam::Recovered(Recovered {
        healthy_at,
        first_wake_at: episode.first,
        wakes: episode.count,
    });
    row(RECOVERED_SEAM, episode.pair.clone(), recovered, now)
}

fn row(seam: &'static str, pair: Pair, of_seam: OfSeam, now: Timestamp) -> Row {
    Row {
        emitted_at: rfc3339(now),
        seam,
        caller_session_id: caller_session_id(&pair.probe, &pair.category),
        details: Details {
            probe: pair.probe,
            issue_category: pair.category,
            of_seam,
        },
        source: "reasoning",
    }
}

/// Appends to the file that was asked for, or to the default one in the state folder. Kora's readers
/// warn of seams that they do not know, so that those of this program stay in its own file.
pub fn append(named: Option<&Path>, state_dir: &Path, row: &Row) -> Result<()> {
    let named = named.filter(|_| row.seam == COMPLETED_SEAM);
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
