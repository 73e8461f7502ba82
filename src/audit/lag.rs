//! How much of the log is unread.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

use super::generations::Checkpoint;
use super::look::view;

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// A file that waits counts with its length on disk, since no more is known about it.
    pub bytes: u64,
    pub rows: u64,
    /// The next look will report a gap.
    pub gap: bool,
    /// There is no file at the log's path, and nothing unread elsewhere.
    #[serde(skip)]
    pub missing: bool,
    /// A file that is perhaps still being written: its content is read later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// Measures what a look would read.
pub fn lag(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Result<Lag> {
    let view = view(log, checkpoint, now)?;
    let table = &view.checkpoint.as_ref().unwrap_or(checkpoint).generations;
    let mut lag = Lag {
        gap: view.summary.gap,
        missing: !view.has_log && view.segments.is_empty() && view.waiting.is_none(),
        waiting: view.waiting.map(|path| path.display().to_string()),
        bytes: view.waiting_bytes,
        ..Lag::default()
    };
    for segment in view.segments {
        let counted = segment.open(table).and_then(|(_, mut lines)| {
            let start = lines.line().start;
            while lines.advance()? {}
            let end = lines.line();
            Ok((end.start + end.bytes.len() as u64 - start, lines.read))
        });
        let (bytes, rows) =
            counted.with_context(|| format!("cannot read {}", segment.path.display()))?;
        lag.bytes += bytes;
        lag.rows += rows;
    }
    Ok(lag)
}
