//! Rows of an outcome log or an audit log, as the history reads them.

use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::files::open_without_waiting;
use crate::json;

/// Longer lines are none of ours.
const LONGEST_LINE: u64 = 4 * 1024 * 1024;

/// A row, read as tolerantly as the audit log is: what is missing or of another type is no more
/// than that.
pub struct Row(Value);

impl Row {
    pub fn text(&self, field: &str) -> Option<String> {
        self.0[field].as_str().map(str::to_owned)
    }

    pub fn emitted_at(&self) -> Option<Timestamp> {
        self.0["emitted_at"].as_str()?.parse().ok()
    }

    pub fn detail(&self, field: &str) -> Option<String> {
        self.0["details"][field].as_str().map(str::to_owned)
    }

    pub fn number(&self, field: &str) -> Option<u64> {
        self.0["details"][field].as_u64()
    }

    pub fn is_of(&self, seam: &str) -> bool {
        self.0["seam"] == seam
    }
}

/// Reads the rows whose text holds `needle`, from an offset on. A missing file has none; lines that
/// are no row of ours are passed over.
pub fn for_each_row(
    path: &Path,
    offset: u64,
    needle: &str,
    mut take: impl FnMut(Row),
) -> io::Result<()> {
    let mut file = match open_without_waiting(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let finder = memchr::memmem::Finder::new(needle);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut reader, LONGEST_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if finder.find(&line).is_some()
            && let Some(row) = json::parse(&line)
        {
            take(Row(row));
        }
    }
}
