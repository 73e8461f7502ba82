//! Prometheus text for node_exporter's textfile collector. The counters live in the state, so that
//! they only ever grow although each run is a new process; the gauges are of the run that writes.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;

use crate::exit::Exit;
use crate::files::create_anew;
use crate::state::Counters;

/// What is true when the run ends.
pub struct Gauges {
    pub now: Timestamp,
    pub exit: Exit,
    pub lag_bytes: u64,
    pub outbox: usize,
    /// Investigations that are left to later runs.
    pub owed: usize,
    /// When the oldest DM in the outbox was queued.
    pub oldest: Option<Timestamp>,
}

/// Replaces the file whole, readable by all: the collector runs as another user.
pub fn write(path: &Path, counters: &Counters, gauges: &Gauges) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // The collector reads what ends in .prom and nothing else.
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = create_anew(&new, 0o644)?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text(counters, gauges).as_bytes())?;
    fs::rename(&new, path)
}

fn text(counters: &Counters, gauges: &Gauges) -> String {
    let mut text = String::new();
    for (name, help, total) in totals(counters) {
        let name = format!("{name}_total");
        metric(&mut text, &name, "counter", help, total as f64);
    }
    let calls = "probe_wake_engine_calls_total";
    let _ = writeln!(text, "# HELP {calls} Investigations by what came of them");
    let _ = writeln!(text, "# TYPE {calls} counter");
    for (outcome, value) in &counters.engine_calls {
        let _ = writeln!(text, "{calls}{{outcome=\"{outcome}\"}} {value}");
    }
    for (name, help, value) in values(counters, gauges) {
        metric(&mut text, name, "gauge", help, value);
    }
    text
}

/// The counters without a label: name, help and value.
fn totals(counters: &Counters) -> [(&'static str, &'static str, u64); 8] {
    let Counters {
        runs,
        rows,
        wakes,
        dispatched,
        held_back,
        delivered,
        failed,
        undelivered,
        ..
    } = *counters;
    [
        ("runs", "Runs that were ended", runs),
        (
            "rows",
            "Complete lines of the audit log that were read",
            rows,
        ),
        ("wakes", "Wake rows", wakes),
        (
            "dispatched",
            "Wakes that were investigated and told",
            dispatched,
        ),
        ("held_back", "Wakes that the debounce held back", held_back),
        ("dms_delivered", "DMs that Slack took", delivered),
        ("dms_failed", "Deliveries that left the DM queued", failed),
        (
            "dms_undelivered",
            "DMs that went to undelivered.jsonl",
            undelivered,
        ),
    ]
}

/// The gauges: name, help and value.
fn values(counters: &Counters, gauges: &Gauges) -> [(&'static str, &'static str, f64); 7] {
    let seconds = |time: Timestamp| time.as_millisecond() as f64 / 1_000.0;
    let now = seconds(gauges.now);
    let success = counters.last_success.map_or(0.0, seconds);
    let age = |oldest| (now - seconds(oldest)).max(0.0);
    [
        ("last_run_timestamp_seconds", "When the last run ended", now),
        (
            "last_success_timestamp_seconds",
            "When a run last ended with exit 0",
            success,
        ),
        (
            "last_run_exit_code",
            "The exit code of the last run",
            f64::from(gauges.exit as u8),
        ),
        (
            "lag_bytes",
            "Bytes of the audit log behind the position",
            gauges.lag_bytes as f64,
        ),
        ("outbox_dms", "DMs in the outbox", gauges.outbox as f64),
        (
            "investigations_owed",
            "Investigations left to later runs",
            gauges.owed as f64,
        ),
        (
            "outbox_oldest_age_seconds",
            "Age of the oldest DM in the outbox",
            gauges.oldest.map_or(0.0, age),
        ),
    ]
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    let name = format!("probe_wake_{name}");
    let _ = writeln!(
        text,
        "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_gauges_have_help_type_and_value() {
        let mut counters = Counters {
            runs: 3,
            ..Counters::default()
        };
        counters.note_engine_call("answered");
        counters.note_engine_call("engine_error");
        let now = Timestamp::UNIX_EPOCH;
        let text = text(
            &counters,
            &Gauges {
                now,
                exit: Exit::Unfinished,
                lag_bytes: 7,
                outbox: 0,
                owed: 0,
                oldest: None,
            },
        );
        assert!(text.contains(
            "# HELP probe_wake_runs_total Runs that were ended\n\
             # TYPE probe_wake_runs_total counter\nprobe_wake_runs_total 3\n"
        ));
        assert!(text.contains("probe_wake_engine_calls_total{outcome=\"answered\"} 1\n"));
        assert!(text.contains("probe_wake_engine_calls_total{outcome=\"engine_error\"} 1\n"));
        assert!(text.contains("probe_wake_lag_bytes 7\n"));
    }
}
