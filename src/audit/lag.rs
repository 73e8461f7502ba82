//! How much of the log is unread.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::generations::Checkpoint;
use super::look::view;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lag {
    pub bytes: u64,
    pub rows: u64,
    /// The next look will report a gap.
    pub gap: bool,
    /// There is no file at the log's path, and nothing that was not read elsewhere.
    pub missing: bool,
    /// A file that is perhaps being written: what it holds is read later.
    pub waiting: Option<PathBuf>,
}

/// Measures what a look would read.
pub fn lag(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Result<Lag> {
    let view = view(log, checkpoint, now)?;
    let table = &view.checkpoint.as_ref().unwrap_or(checkpoint).generations;
    let mut lag = Lag {
        gap: view.gap,
        missing: !view.has_log && view.segments.is_empty() && view.waiting.is_none(),
        waiting: view.waiting,
        ..Lag::default()
    };
    for segment in &view.segments {
        let content = segment.file.read_from(table[segment.generation].offset);
        let counted = content.and_then(|content| lag.count(content));
        counted.with_context(|| format!("cannot read {}", segment.file.path.display()))?;
    }
    Ok(lag)
}

impl Lag {
    fn count(&mut self, mut content: impl Read) -> io::Result<()> {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => {
                    self.bytes += read as u64;
                    self.rows += bytecount::count(&buffer[..read], b'\n') as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
