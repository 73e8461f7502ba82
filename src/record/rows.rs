//! Reads rows of the outcome log, and the tool calls of the audit log. A field that is missing or of another
//! type is left out; a row without a time is ignored.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{HeldCounts, Incident, Investigation, Tool};
use crate::audit::seams::Row;
use crate::incident::Pair;
use crate::text::quote;

/// Reads a row's details, without the fields that cannot be read.
fn details<T: DeserializeOwned + Default>(row: &Row) -> T {
    T::deserialize(row.details()).unwrap_or_else(|_| {
        let mut details = row.details().as_object().cloned().unwrap_or_default();
        details.retain(|field, value| T::deserialize(json!({field: value})).is_ok());
        T::deserialize(Value::Object(details)).unwrap_or_default()
    })
}

/// Reads a row of `probe.investigation_completed`. One without a session or a pair is not ours.
pub fn investigation(row: &Row) -> Option<Investigation> {
    let mut one = Investigation {
        at: row.emitted_at()?,
        pair: row.pair()?,
        caller_session_id: row.text("caller_session_id")?,
        ..details(row)
    };
    for text in [&mut one.id, &mut one.title, &mut one.summary] {
        text.take_if(|text| text.is_empty());
    }
    // A late diagnosis must not count anything twice.
    if one.late_diagnosis {
        one.held_back = HeldCounts::default();
    }
    Some(one)
}

/// Reads a row of `probe.dm_delivered`: the investigation, the pair, and when it was delivered.
pub fn delivery(row: &Row) -> Option<(String, Pair, Timestamp)> {
    Some((row.detail("id")?, row.pair()?, row.emitted_at()?))
}

/// Reads a row of `probe.recovery_told`: what it says about an incident.
pub fn recovery(row: &Row) -> Option<Incident> {
    let first_wake_at = row.detail("first_wake_at")?.parse().ok()?;
    Some(Incident {
        pair: row.pair()?,
        first_wake_at,
        last_wake_at: first_wake_at,
        recovered_at: Some(row.detail("healthy_at")?.parse().ok()?),
        held_back: HeldCounts::deserialize(&row.details()["held_back"]).unwrap_or_default(),
        ..Incident::default()
    })
}

/// Reads a row of seam `reasoning.tool_called`. Kora names the fields `tool_name`, `tool_status`, `exc_type`
/// and `tool_duration_ms`; other engines write `tool` and `ok`.
pub fn tool(row: &Row) -> Option<Tool> {
    let first = |fields: &[&str]| fields.iter().find_map(|field| row.detail(field));
    let is_ok = row.details()["ok"].as_bool();
    let status = is_ok.map_or("called", |is_ok| if is_ok { "ok" } else { "failed" });
    let number = |field: &str| row.details()[field].as_u64();
    let mut tool = Tool {
        session: row.text("caller_session_id")?,
        at: row.emitted_at()?,
        tool: first(&["tool", "tool_name", "name"]).unwrap_or("?".to_owned()),
        status: first(&["tool_status", "status"]).unwrap_or(status.to_owned()),
        exception: first(&["exc_type", "exception", "error", "result_summary"]),
        duration_ms: number("tool_duration_ms").or(number("duration_ms")),
    };
    let exception = tool.exception.take().filter(|_| tool.is_failed());
    tool.exception = exception.map(|text| quote(&text));
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
            let row = Row(json!({
                "emitted_at": "2026-05-24T14:32:00Z", "caller_session_id": "s", "details": details,
            }));
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
