//! The audit log: is it there, does it hold JSON rows, how old is the last one, how many wakes are
//! in it? Of a long log only the end is read.

use std::path::Path;

use jiff::Timestamp;
use memchr::{memchr, memmem};

use crate::audit::generations::open_log;
use crate::audit::row::{SEAM, is_whole, read_rows};
use crate::commands::finding::{Finding, failed, ok};
use crate::json;
use crate::report::count;
use crate::time::span;

/// How much of the log's end is read.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A file without a JSON row in this many lines at its end is not an audit log.
const LINES_JUDGED: usize = 1_000;

pub(super) fn audit_log(log: &Path, now: Timestamp) -> Finding {
    let shown = log.display();
    let other_file = "name the right file with KORA_AUDIT_LOG_PATH";
    let log = match open_log(log) {
        Ok(Some(log)) => log,
        Ok(None) => {
            let next = format!("{other_file}, or write its first row: probe-wake raise");
            return failed(format!("{shown} does not exist"), next);
        }
        Err(problem) => {
            let next = format!("let the user of the runs read it (chmod, chown), or {other_file}");
            return failed(format!("{problem:#}"), next);
        }
    };
    let start = log.stat.size.saturating_sub(MAX_BYTES);
    let end = match log.read_range(start, log.stat.size) {
        Ok(end) => end,
        Err(error) => return failed(format!("{shown}: {error}"), other_file),
    };
    if end.iter().all(u8::is_ascii_whitespace) {
        return ok(format!("{shown} is empty: no row yet"));
    }
    let Some(row) = last_row(&end) else {
        return failed(format!("{shown} holds no JSON rows"), other_file);
    };
    let part = match start {
        0 => "it".to_owned(),
        _ => format!("its last {} MiB", MAX_BYTES / 1024 / 1024),
    };
    let found = describe(&end, row, now);
    ok(format!("{shown}: {found} in {part}"))
}

/// Returns the last line that is a whole JSON object.
fn last_row(end: &[u8]) -> Option<&[u8]> {
    let lines = end.rsplit(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines.take(LINES_JUDGED).find(|line| is_whole(line))
}

fn describe(end: &[u8], last_row: &[u8], now: Timestamp) -> String {
    let age = emitted_at(last_row).map_or("its last row has no time".to_owned(), |at| {
        format!("its last row is {} old", span(now.duration_since(at)))
    });
    let seam = memmem::Finder::new(SEAM);
    let lines = end.split(|byte| *byte == b'\n');
    let hits = lines.filter(|line| seam.find(line).is_some());
    let wakes: usize = hits.map(|line| read_rows(line).wakes().count()).sum();
    format!("{age}; {}", count(wakes as u64, "wake", "wakes"))
}

/// Returns a row's time. Padding may come before it, and its values may be nested to any depth.
fn emitted_at(row: &[u8]) -> Option<Timestamp> {
    let start = memchr(b'{', row)?;
    let [time] = json::last_of(&row[start..], ["emitted_at"]);
    json::string(time?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_is_looked_for_in_the_last_lines_only() {
        let row = |text: &str| last_row(text.as_bytes()).map(<[u8]>::to_vec);
        let some = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(row("root:x:0:0:root:/root:/bin/bash\n"), None);
        assert_eq!(row("{\"a\":1}\n{\"b\":2}\n\n"), some("{\"b\":2}"));
        assert_eq!(row("{\"a\":NaN}\n{\"b\":\n"), some("{\"a\":NaN}"));
        let far = format!("{{}}\n{}", "x\n".repeat(LINES_JUDGED));
        assert_eq!(row(&far), None);
    }

    #[test]
    fn the_age_of_the_last_row_and_the_number_of_wakes_are_said() {
        let log = "{\"seam\":\"probe.wake_requested\"}\n{\"seam\":\"x\",\"text\":\"probe.wake_requested\"}\n\
             {\"emitted_at\":\"2026-05-24T14:32:00Z\"}\n";
        let now = "2026-05-24T14:35:00Z".parse().unwrap_or_default();
        let said = |end: &str| {
            let end = end.as_bytes();
            describe(end, last_row(end).unwrap_or_default(), now)
        };
        assert_eq!(said(log), "its last row is 3 min old; 1 wake");
        assert_eq!(said("{}\n"), "its last row has no time; 0 wakes");
        // As a run reads them: after the hole of a crash, and at any depth.
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for row in [
            "\0\0{\"emitted_at\":\"2026-05-24T14:32:00Z\"}\n".to_owned(),
            format!("{{\"emitted_at\":\"2026-05-24T14:32:00Z\",\"details\":{deep}}}\n"),
        ] {
            assert_eq!(said(&row), "its last row is 3 min old; 0 wakes");
        }
    }
}
