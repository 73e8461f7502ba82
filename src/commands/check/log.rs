//! The audit log: is it there, does it hold JSON rows, how old is the last one, how many wakes are
//! in it? Of a long log only the end is read.

use std::path::Path;

use jiff::Timestamp;
use memchr::{memchr, memmem};

use crate::audit::file::LogFile;
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
    let end = match open_log(log) {
        Ok(Some(file)) => End::of(&file),
        Ok(None) => {
            let next = format!("{other_file}, or wait until the first row is written");
            return failed(format!("{shown} does not exist"), next);
        }
        Err(problem) => {
            let next = format!("let the runs' user read it, or {other_file}");
            return failed(format!("{problem:#}"), next);
        }
    };
    match end {
        Err(error) => failed(format!("{shown}: {error}"), other_file),
        Ok(end) if end.is_empty() => ok(format!("{shown} is empty: no row yet")),
        Ok(end) => match end.last_row() {
            None => failed(format!("{shown} holds no JSON rows"), other_file),
            Some(row) => ok(format!("{shown}: {}", end.describe(row, now))),
        },
    }
}

/// The end of a log, or the whole of a short one.
struct End {
    bytes: Vec<u8>,
    is_whole_log: bool,
}

impl End {
    fn of(log: &LogFile) -> std::io::Result<Self> {
        let start = log.stat.size.saturating_sub(MAX_BYTES);
        let mut bytes = log.read_range(start, log.stat.size)?;
        if start > 0 {
            // The first line is most likely cut.
            let first = memchr(b'\n', &bytes).map_or(0, |end| end + 1);
            bytes.drain(..first);
        }
        Ok(Self {
            bytes,
            is_whole_log: start == 0,
        })
    }

    fn is_empty(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }

    /// Returns the last line that is a whole JSON object.
    fn last_row(&self) -> Option<&[u8]> {
        let lines = self.bytes.rsplit(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines.take(LINES_JUDGED).find(|line| is_whole(line))
    }

    fn wakes(&self) -> usize {
        let seam = memmem::Finder::new(SEAM);
        let lines = self.bytes.split(|byte| *byte == b'\n');
        let hits = lines.filter(|line| seam.find(line).is_some());
        hits.map(|line| read_rows(line).wakes().count()).sum()
    }

    fn describe(&self, last_row: &[u8], now: Timestamp) -> String {
        let age = emitted_at(last_row).map(|at| now.duration_since(at));
        let age = age.map_or("its last row has no time".to_owned(), |age| {
            format!("its last row is {} old", span(age))
        });
        let wakes = count(self.wakes() as u64, "wake", "wakes");
        let part = match self.is_whole_log {
            true => "it".to_owned(),
            false => format!("its last {} MiB", MAX_BYTES / 1024 / 1024),
        };
        format!("{age}; {wakes} in {part}")
    }
}

fn emitted_at(row: &[u8]) -> Option<Timestamp> {
    let start = memchr(b'{', row)?;
    let [raw] = json::last_of(&row[start..], ["emitted_at"]);
    json::string(raw?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> End {
        End {
            bytes: text.as_bytes().to_vec(),
            is_whole_log: true,
        }
    }

    #[test]
    fn the_last_row_is_looked_for_in_the_last_lines_only() {
        let row = |text| end(text).last_row().map(<[u8]>::to_vec);
        let some = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(row("root:x:0:0:root:/root:/bin/bash\n"), None);
        assert_eq!(row("{\"a\":1}\n{\"b\":2}\n\n"), some("{\"b\":2}"));
        assert_eq!(row("{\"a\":NaN}\n{\"b\":\n"), some("{\"a\":NaN}"));
        let far = format!("{{}}\n{}", "x\n".repeat(LINES_JUDGED));
        assert_eq!(row(&far), None);
    }

    #[test]
    fn the_age_of_the_last_row_and_the_number_of_wakes_are_said() {
        let log = end(
            "{\"seam\":\"probe.wake_requested\"}\n{\"seam\":\"x\",\"text\":\"probe.wake_requested\"}\n\
             {\"emitted_at\":\"2026-05-24T14:32:00Z\"}\n",
        );
        let now = "2026-05-24T14:35:00Z".parse().unwrap_or_default();
        let said = |end: &End| end.describe(end.last_row().unwrap_or_default(), now);
        assert_eq!(said(&log), "its last row is 3 min old; 1 wake in it");
        assert_eq!(
            said(&end("{}\n")),
            "its last row has no time; 0 wakes in it"
        );
    }
}
