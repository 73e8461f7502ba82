//! Reads rows of the outcome log, and the tool calls of the audit log. A field that is missing or of
//! another type is left out; a row without a time is none.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{HeldCounts, Investigation, Silence, Tool};
use crate::audit::seams::Row;
use crate::incident::Pair;
use crate::text::quote;

pub const UNDELIVERED_SEAM: &str = "probe.dm_undelivered";
pub const RECOVERY_SEAM: &str = "probe.recovery_told";
pub const SILENCE_SEAM: &str = "probe.silence_over";

/// A row of `probe.recovery_told`.
#[derive(Debug)]
pub struct Recovery {
    /// Of the incident's first investigation.
    pub id: Option<String>,
    pub pair: Pair,
    pub healthy_at: Timestamp,
    pub first_wake_at: Option<Timestamp>,
    pub held_back: HeldCounts,
    pub wakes: u64,
}

fn time(row: &Row, field: &str) -> Option<Timestamp> {
    row.detail(field)?.parse().ok()
}

fn pair(row: &Row) -> Option<Pair> {
    Some(Pair {
        probe: row.detail("probe")?,
        category: row.detail("issue_category")?,
    })
}

/// From a row of `probe.investigation_completed`. One without a session is none of ours.
pub fn investigation(row: &Row) -> Option<Investigation> {
    let named = |field| row.detail(field).unwrap_or_default();
    let flag = |field: &str| row.details()[field] == true;
    let filled = |field| row.detail(field).filter(|text| !text.is_empty());
    // A late diagnosis counts nothing anew.
    let counts = Some(&row.details()["held_back"]).filter(|_| !flag("late_diagnosis"));
    let held_back = counts.and_then(|counts| HeldCounts::deserialize(counts).ok());
    Some(Investigation {
        at: row.emitted_at()?,
        id: filled("id"),
        pair: Pair {
            probe: named("probe"),
            category: named("issue_category"),
        },
        severity: named("severity"),
        title: filled("title"),
        raised_at: time(row, "raised_at"),
        dispatched_at: time(row, "dispatched_at"),
        first_wake_at: time(row, "first_wake_at"),
        last_wake_at: time(row, "last_wake_at"),
        held_back: held_back.unwrap_or_default(),
        caller_session_id: row.text("caller_session_id")?,
        dm_status: named("dm_status"),
        duration_ms: row.number("investigation_duration_ms").unwrap_or(0),
        model_used: row.detail("model_used"),
        input_tokens: row.number("input_tokens"),
        output_tokens: row.number("output_tokens"),
        total_cost_usd: row.details()["total_cost_usd"].as_f64(),
        error: row.detail("reasoning_error"),
        reasoning_error_message: row.detail("reasoning_error_message"),
        summary: filled("investigation_summary_text"),
        autofix_attempted: flag("autofix_attempted"),
        facts_first: flag("facts_first"),
        late_diagnosis: flag("late_diagnosis"),
        buffered_consecutive_count: row.number("buffered_consecutive_count"),
        digest_size: row.number("digest_size"),
        digest_session: row.detail("digest_session"),
        ..Investigation::default()
    })
}

/// From a row of `probe.dm_delivered`: the investigation and the pair, and when that was.
pub fn delivery(row: &Row) -> Option<(String, Pair, Timestamp)> {
    Some((row.detail("id")?, pair(row)?, row.emitted_at()?))
}

pub fn recovery(row: &Row) -> Option<Recovery> {
    Some(Recovery {
        id: row.detail("id"),
        pair: pair(row)?,
        healthy_at: time(row, "healthy_at").or(row.emitted_at())?,
        first_wake_at: time(row, "first_wake_at"),
        held_back: HeldCounts::deserialize(&row.details()["held_back"]).unwrap_or_default(),
        wakes: row.number("wakes").unwrap_or(0),
    })
}

/// From a row of `probe.silence_over`, which names what was silenced as `pair`, or else by probe and
/// category.
pub fn silence(row: &Row) -> Option<Silence> {
    let named = || {
        let probe = row.detail("probe")?;
        let category = row.detail("issue_category").filter(|name| !name.is_empty());
        Some(category.map_or(probe.clone(), |category| format!("{probe}:{category}")))
    };
    Some(Silence {
        of: row.detail("pair").or_else(named)?,
        from: time(row, "from")?,
        until: time(row, "until").or(row.emitted_at())?,
        reason: row.detail("reason").filter(|text| !text.is_empty()),
        wakes: row.number("wakes").unwrap_or(0),
    })
}

/// From a row of seam `reasoning.tool_called`. Kora names the fields `tool_name`, `tool_status`,
/// `exc_type` and `tool_duration_ms`; other engines write `tool` and `ok`.
pub fn tool(row: &Row) -> Option<Tool> {
    let first = |fields: &[&str]| fields.iter().find_map(|field| row.detail(field));
    let details = row.details();
    let status = first(&["tool_status", "status"]).unwrap_or_else(|| {
        let status = match details["ok"] {
            Value::Bool(true) => "ok",
            Value::Bool(false) => "failed",
            _ => "called",
        };
        status.to_owned()
    });
    let mut tool = Tool {
        session: row.text("caller_session_id")?,
        at: row.emitted_at(),
        tool: first(&["tool", "tool_name", "name"]).unwrap_or_else(|| "?".to_owned()),
        status,
        exception: None,
        duration_ms: row
            .number("tool_duration_ms")
            .or_else(|| row.number("duration_ms")),
    };
    if tool.is_failed() {
        let exception = first(&["exc_type", "exception", "error", "result_summary"]);
        tool.exception = exception.map(|text| quote(&text));
    }
    Some(tool)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tools_status_is_read_from_whatever_shape_its_row_has() {
        let read = |details: Value| {
            let row = Row(json!({"caller_session_id": "s", "details": details}));
            let tool = tool(&row).unwrap();
            (
                tool.tool.clone(),
                tool.status.clone(),
                tool.exception.clone(),
                tool.is_failed(),
            )
        };
        let expected = |tool: &str, status: &str, exception: Option<&str>, failed| {
            let exception = exception.map(str::to_owned);
            (tool.to_owned(), status.to_owned(), exception, failed)
        };
        let kora = json!({"tool_name": "fly_logs", "tool_status": "execution_error", "exc_type": "HTTPError"});
        let failed = expected("fly_logs", "execution_error", Some("HTTPError"), true);
        assert_eq!(read(kora), failed);
        let ok = json!({"tool_name": "fly_logs", "tool_status": "ok"});
        assert_eq!(read(ok), expected("fly_logs", "ok", None, false));
        let other =
            json!({"tool": "a", "name": "b", "ok": false, "result_summary": "HTTP 401\nno"});
        assert_eq!(
            read(other),
            expected("a", "failed", Some("HTTP 401 no"), true)
        );
        assert_eq!(
            read(json!({"ok": true, "tool": "a"})),
            expected("a", "ok", None, false)
        );
        assert_eq!(read(json!(null)), expected("?", "called", None, false));
    }
}
