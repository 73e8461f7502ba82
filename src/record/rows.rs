//! Reads rows of the outcome log and the audit log.

use jiff::Timestamp;
use serde_json::Value;

use super::{Investigation, Recovery, Tool};
use crate::audit::seams::Row;
use crate::incident::Pair;
use crate::text::quote;

/// A DM that a later run delivered.
#[derive(Debug)]
pub struct Delivery {
    at: Timestamp,
    session: String,
    queued_at: Option<Timestamp>,
}

/// From a row of seam `probe.investigation_completed`. `None` without a time or a session.
pub fn investigation(row: &Row) -> Option<Investigation> {
    let named = |field| row.detail(field).unwrap_or_default();
    let flag = |field: &str| row.details()[field] == true;
    let mut one = Investigation {
        at: row.emitted_at()?,
        pair: Pair {
            probe: named("probe"),
            category: named("issue_category"),
        },
        severity: named("severity"),
        caller_session_id: row.text("caller_session_id")?,
        dm_status: named("dm_status"),
        duration_ms: row.number("investigation_duration_ms").unwrap_or(0),
        model_used: row.detail("model_used"),
        input_tokens: row.number("input_tokens"),
        output_tokens: row.number("output_tokens"),
        total_cost_usd: row.details()["total_cost_usd"].as_f64(),
        error: row.detail("reasoning_error"),
        reasoning_error_message: row.detail("reasoning_error_message"),
        summary: row
            .detail("investigation_summary_text")
            .filter(|text| !text.is_empty()),
        autofix_attempted: flag("autofix_attempted"),
        facts_first: flag("facts_first"),
        late_diagnosis: flag("late_diagnosis"),
        buffered_consecutive_count: row.number("buffered_consecutive_count"),
        digest_size: row.number("digest_size"),
        digest_session: row.detail("digest_session"),
        ..Investigation::default()
    };
    one.failed = one.error.is_some() || !one.is_delivered();
    Some(one)
}

/// From a row of seam `probe.dm_delivered`. Those of recoveries are left out: `recovery` has them.
pub fn delivery(row: &Row) -> Option<Delivery> {
    let is_recovery = row.details()["recovery"] == true;
    let queued_at = row.detail("queued_at");
    (!is_recovery).then_some(Delivery {
        at: row.emitted_at()?,
        session: row.text("caller_session_id")?,
        queued_at: queued_at.and_then(|text| text.parse().ok()).map(to_micros),
    })
}

/// Cut to microseconds, as the times of rows are.
fn to_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

impl Delivery {
    /// Marks the DM as delivered in the oldest investigation of its session that has no delivery yet,
    /// and in all investigations of the same digest.
    pub fn note_in(&self, investigations: &mut [Investigation]) {
        let is_open = |one: &&mut Investigation| {
            one.is_in(&self.session)
                && !one.is_delivered()
                && self.queued_at.is_none_or(|queued| one.at >= queued)
        };
        let Some(at) = investigations.iter_mut().find(is_open).map(|one| one.at) else {
            return;
        };
        for one in investigations.iter_mut().filter(is_open) {
            if one.at == at {
                one.delivered_at = Some(self.at);
                one.failed = one.error.is_some();
            }
        }
    }
}

/// From a row of seam `probe.recovered`.
pub fn recovery(row: &Row) -> Option<Recovery> {
    let at = row.emitted_at()?;
    let healthy_at = row.detail("healthy_at");
    Some(Recovery {
        at,
        healthy_at: healthy_at.and_then(|text| text.parse().ok()).unwrap_or(at),
        pair: Pair {
            probe: row.detail("probe")?,
            category: row.detail("issue_category")?,
        },
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
            let row = Row::of(json!({"caller_session_id": "s", "details": details}));
            let tool = tool(&row).unwrap();
            (
                tool.tool.clone(),
                tool.status.clone(),
                tool.exception.clone(),
                tool.is_failed(),
            )
        };
        let told = |tool: &str, status: &str, exception: Option<&str>, failed| {
            let exception = exception.map(str::to_owned);
            (tool.to_owned(), status.to_owned(), exception, failed)
        };
        let kora = json!({"tool_name": "fly_logs", "tool_status": "execution_error", "exc_type": "HTTPError"});
        let failed = told("fly_logs", "execution_error", Some("HTTPError"), true);
        assert_eq!(read(kora), failed);
        let ok = json!({"tool_name": "fly_logs", "tool_status": "ok"});
        assert_eq!(read(ok), told("fly_logs", "ok", None, false));
        let other =
            json!({"tool": "a", "name": "b", "ok": false, "result_summary": "HTTP 401\nno"});
        assert_eq!(read(other), told("a", "failed", Some("HTTP 401 no"), true));
        assert_eq!(
            read(json!({"ok": true, "tool": "a"})),
            told("a", "ok", None, false)
        );
        assert_eq!(read(json!(null)), told("?", "called", None, false));
    }
}
