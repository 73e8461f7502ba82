//! Prometheus text for node_exporter's textfile collector. The counters live in the state and in its lock, so
//! they only ever grow, although each run is a new process; the gauges describe the run that writes them.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use jiff::Timestamp;

use crate::exit::Exit;
use crate::files::{self, check_is_regular, read_own};
use crate::state::lock::Note;
use crate::state::{LogState, State};

/// The prefix of the metrics that say how the last run ended.
const LAST_RUN: &str = "probe_wake_last_run_";

/// How a run ended, and what is known then.
pub struct RunEnd<'a> {
    pub now: Timestamp,
    pub exit: Exit,
    pub state: &'a State,
    pub runs: &'a Note,
    /// The audit log's part of the state.
    pub log: Option<&'a LogState>,
    /// `None` if the log cannot be read.
    pub lag_bytes: Option<u64>,
}

pub fn write(path: &Path, end: &RunEnd<'_>) -> io::Result<()> {
    replace(path, &text(end))
}

/// Writes that a run ended before it knew its state: everything else stays as the run before wrote it.
pub fn write_failure(path: &Path, now: Timestamp, exit: Exit) -> io::Result<()> {
    let old = read_own(path).unwrap_or_default();
    let old = String::from_utf8_lossy(&old);
    let kept = old.lines().filter(|line| !line.contains(LAST_RUN));
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    add(&mut text, last_run(now, exit));
    replace(path, &text)
}

/// Replaces the whole file, readable by all: the collector runs as another user. Each run writes its new
/// version under a name of its own. A device, such as `/dev/null`, is written to directly.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_char_device() => return fs::write(path, text),
        Ok(meta) => check_is_regular(&meta)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // The collector reads only files that end in .prom.
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    files::replace(path, &new, 0o644, |file| {
        // Whatever the umask is.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())
    })
}

fn text(end: &RunEnd<'_>) -> String {
    let counters = &end.state.counters;
    let totals = [
        ("runs_total", end.runs.runs),
        ("rows_total", counters.rows),
        ("wakes_total", counters.wakes),
        ("dispatched_total", counters.dispatched),
        ("held_back_total", counters.held_back),
        ("dms_delivered_total", counters.delivered),
        ("dms_failed_total", counters.failed),
        ("dms_undelivered_total", counters.undelivered),
    ];
    let mut text = String::new();
    add(&mut text, totals.map(|(name, total)| (name, total as f64)));
    let calls = "probe_wake_engine_calls_total";
    let _ = writeln!(text, "# HELP {calls} Investigations by what came of them");
    let _ = writeln!(text, "# TYPE {calls} counter");
    for (outcome, value) in &counters.engine_calls {
        let _ = writeln!(text, "{calls}{{outcome=\"{outcome}\"}} {value}");
    }
    add(&mut text, last_run(end.now, end.exit));
    let lag_bytes = end.lag_bytes.map_or(f64::NAN, |bytes| bytes as f64);
    let last_row = end.log.map(|log| seconds(log.quiet.since.min(end.now)));
    let outbox = &end.state.outbox;
    let oldest = outbox.iter().map(|one| seconds(one.queued_at));
    let oldest_age = oldest.map(|at| seconds(end.now) - at).fold(0.0, f64::max);
    let success = end.runs.last_success.map_or(0.0, seconds);
    let gauges = [
        ("last_success_timestamp_seconds", success),
        ("lag_bytes", lag_bytes),
        ("last_row_timestamp_seconds", last_row.unwrap_or(f64::NAN)),
        ("outbox_dms", outbox.len() as f64),
        ("investigations_owed", end.state.queue.len() as f64),
        ("outbox_oldest_age_seconds", oldest_age),
    ];
    add(&mut text, gauges);
    text
}

fn help(name: &str) -> &'static str {
    match name {
        "runs_total" => "Runs that were ended",
        "rows_total" => "Complete lines of the audit log that were read",
        "wakes_total" => "Wake rows",
        "dispatched_total" => "Wakes that were dispatched",
        "held_back_total" => "Wakes that were held back",
        "dms_delivered_total" => "Messages that Slack took",
        "dms_failed_total" => "Tries that left a message queued",
        "dms_undelivered_total" => "Messages that went to undelivered/",
        "last_run_timestamp_seconds" => "When the last run ended",
        "last_run_exit_code" => "The exit code of the last run",
        "last_success_timestamp_seconds" => "When a run last ended with exit 0",
        "lag_bytes" => "Bytes of the audit log that are unread; NaN if it cannot be read",
        "last_row_timestamp_seconds" => {
            "When the audit log last had a new row, or since when one is awaited"
        }
        "outbox_dms" => "Messages in the outbox",
        "investigations_owed" => "Investigations left to later runs",
        "outbox_oldest_age_seconds" => "Age of the oldest message in the outbox",
        _ => "",
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1_000.0
}

fn last_run(now: Timestamp, exit: Exit) -> [(&'static str, f64); 2] {
    [
        ("last_run_timestamp_seconds", seconds(now)),
        ("last_run_exit_code", f64::from(exit as u8)),
    ]
}

fn add(text: &mut String, metrics: impl IntoIterator<Item = (&'static str, f64)>) {
    for (name, value) in metrics {
        let help = help(name);
        let name = format!("probe_wake_{name}");
        let is_counter = name.ends_with("_total");
        let kind = if is_counter { "counter" } else { "gauge" };
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        let _ = writeln!(text, "{name} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_gauges_have_help_type_and_value() {
        let mut state = State::default();
        let calls = ["answered", "engine_error"].map(|call| (call.to_owned(), 1));
        state.counters.engine_calls = calls.into();
        let text = text(&RunEnd {
            now: Timestamp::UNIX_EPOCH,
            exit: Exit::Unfinished,
            state: &state,
            runs: &Note {
                runs: 3,
                ..Note::default()
            },
            log: None,
            lag_bytes: Some(7),
        });
        assert!(text.contains(
            "# HELP probe_wake_runs_total Runs that were ended\n\
             # TYPE probe_wake_runs_total counter\nprobe_wake_runs_total 3\n"
        ));
        assert!(text.contains("probe_wake_engine_calls_total{outcome=\"answered\"} 1\n"));
        assert!(text.contains("probe_wake_engine_calls_total{outcome=\"engine_error\"} 1\n"));
        assert!(text.contains("probe_wake_lag_bytes 7\n"));
        assert!(
            text.lines().all(|line| !line.ends_with(' ')),
            "each has a help text"
        );
    }
}
