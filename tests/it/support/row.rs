//! Rows as the probes write them, each with a time of its own.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// The time of the last row, in microseconds.
static LAST: AtomicI64 = AtomicI64::new(0);

#[derive(Clone)]
pub struct Row {
    emitted_at: Value,
    details: Value,
}

/// Returns a critical wake of this probe, raised now.
pub fn wake(probe: &str) -> Row {
    let details = json!({
        "probe": probe, "severity": "critical", "category": "service_unhealthy",
        "title": format!("{probe} unreachable: HTTP 401"),
        "detail": format!("{probe} probe reported status=unhealthy. error='HTTP 401'."),
        "snapshot_details": {"apps_running": 0}, "envelope_enabled": false,
        "envelope_fix_name": "restart_unhealthy_machine",
    });
    Row {
        emitted_at: json!(now()),
        details,
    }
}

/// An outcome row of so many minutes ago, with these further details: an incident of one wake, unless they
/// say otherwise.
pub fn outcome_row(probe: &str, minutes: i64, more: &Value) -> Value {
    let at = Timestamp::now() - SignedDuration::from_mins(minutes);
    let raised = (at - SignedDuration::from_secs(5)).to_string();
    let mut row = json!({
        "emitted_at": at.to_string(), "seam": "probe.investigation_completed", "source": "reasoning",
        "caller_session_id": format!("probe:{probe}:service_unhealthy"),
        "details": {
            "id": format!("{probe}-{minutes}"), "probe": probe, "issue_category": "service_unhealthy",
            "severity": "critical", "title": format!("{probe} unreachable: HTTP 401"),
            "raised_at": raised, "dispatched_at": raised, "first_wake_at": raised, "last_wake_at": raised,
            "held_back": {"repeat": 0, "buffered": 0, "silenced": 0, "acknowledged": 0},
            "model_used": "m", "input_tokens": 800, "output_tokens": 90, "investigation_duration_ms": 4_200,
            "investigation_summary_text": "The token was revoked.", "dm_status": "sent", "autofix_attempted": false,
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        row["details"][field] = value.clone();
    }
    row
}

/// Returns a row of another seam, with this text in its details.
pub fn other_row(text: &str) -> String {
    let details = json!({"tool": "probe_status", "output": text});
    let at = now();
    format!(
        r#"{{"emitted_at":"{at}","seam":"mcp.tool_called","details":{details},"caller_session_id":null}}"#
    )
}

/// Returns the line of a recovery row of this probe, of these further details, raised now.
pub fn recovery(probe: &str, more: &Value) -> String {
    let mut details = json!({"probe": probe, "ends": "probe.wake_requested"});
    for (field, value) in more.as_object().into_iter().flatten() {
        details[field] = value.clone();
    }
    let at = now();
    format!(
        r#"{{"emitted_at":"{at}","seam":"probe.recovered","details":{details},"caller_session_id":null,"source":null}}"#
    ) + "\n"
}

impl Row {
    /// Sets one field of `details`.
    pub fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.details[field] = value.into();
        self
    }

    pub fn without(mut self, field: &str) -> Self {
        self.details.as_object_mut().expect("details").remove(field);
        self
    }

    /// Sets the whole of `details`.
    pub fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    pub fn at(mut self, emitted_at: impl Into<Value>) -> Self {
        self.emitted_at = emitted_at.into();
        self
    }

    /// Sets the time to this many minutes ago.
    pub fn minutes_ago(self, minutes: i64) -> Self {
        let at = Timestamp::now() - SignedDuration::from_mins(minutes);
        self.at(at.to_string())
    }

    /// Returns the line without its line feed, keys in the writer's order.
    pub fn line(&self) -> String {
        format!(
            r#"{{"emitted_at":{},"seam":"probe.wake_requested","details":{},"caller_session_id":null,"source":null}}"#,
            self.emitted_at, self.details
        )
    }

    pub fn probe(&self) -> &str {
        self.details["probe"].as_str().expect("a probe")
    }

    /// The message with this diagnosis.
    pub fn diagnosed(&self, diagnosis: &str) -> String {
        let (headline, status) = (self.headline(), self.status_line());
        format!("{headline}\n{diagnosis}\n\n{}\n{status}", self.fact_line())
    }

    /// The message where there is no diagnosis, for this reason.
    pub fn fallback(&self, reason: &str) -> String {
        self.facts_ending_in(&format!(
            "I was unable to investigate — engine returned: {reason}"
        ))
    }

    /// The message with the facts, which the result follows.
    pub fn facts(&self) -> String {
        self.facts_ending_in("The investigation follows in this thread.")
    }

    fn facts_ending_in(&self, end: &str) -> String {
        let (headline, in_full) = (self.headline(), self.in_full());
        format!("{headline}\n{in_full}\n\n{end}\n\n{}", self.status_line())
    }

    pub fn headline(&self) -> String {
        let sign = match self.text("severity") {
            "critical" => "🚨",
            "warning" => "⚠️",
            "info" => "ℹ️",
            _ => "🔔",
        };
        format!("{sign} Probe alert · {}", self.probe())
    }

    /// From the probe's name to the detail.
    pub fn in_full(&self) -> String {
        format!("{}\n\n{}", self.fact_line(), self.text("detail"))
    }

    pub fn fact_line(&self) -> String {
        let (severity, title) = (self.text("severity"), self.text("title"));
        format!("{} ({severity}): {title}", self.probe())
    }

    /// Where the row is not old and nothing was held back.
    pub fn status_line(&self) -> String {
        format!("{} · raised HH:MM UTC", self.text("category"))
    }

    pub fn text(&self, field: &str) -> &str {
        self.details[field].as_str().expect("a text")
    }
}

/// Returns the time now, or a microsecond after the last row's.
fn now() -> String {
    let clock = Timestamp::now().as_microsecond();
    let after = |last: i64| clock.max(last + 1);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
        Some(after(last))
    });
    let at = Timestamp::from_microsecond(after(last.unwrap())).unwrap();
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
