//! Rows as the history reads them: of any seam, from an outcome log or from all recent generations
//! of an audit log.

use std::cmp::Reverse;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use jiff::Timestamp;
use memchr::memmem::Finder;
use serde_json::Value;

use super::file::LogFile;
use super::names::{age, list};
use super::stat::modified;
use crate::incident::Pair;
use crate::json;
use crate::secret::{Secret, mask_value};

/// The seam under which an engine notes that it called a tool.
pub const TOOL_SEAM: &str = "reasoning.tool_called";
/// The seam under which Kora notes that its engine ran a fix.
pub const AUTOFIX_SEAM: &str = "tool.probe_autofix_attempted";

/// Longer lines are not ours.
const LONGEST_LINE: u64 = 4 * 1024 * 1024;
/// About how much larger a gzip file's content is than the file.
const GZIP_RATIO: u64 = 16;

/// A row, read as tolerantly as the audit log: a field that is missing or of another type just has
/// no value.
#[derive(Debug)]
pub struct Row(pub Value);

impl Row {
    pub fn parse(line: &[u8]) -> Option<Self> {
        json::parse(line).map(Self)
    }

    /// Masks the tokens that its texts may quote.
    pub fn masked(mut self, secrets: &[Secret]) -> Self {
        if !secrets.is_empty() {
            self.0 = mask_value(self.0, secrets);
        }
        self
    }

    pub fn text(&self, field: &str) -> Option<String> {
        self.0[field].as_str().map(str::to_owned)
    }

    pub fn emitted_at(&self) -> Option<Timestamp> {
        self.0["emitted_at"].as_str()?.parse().ok()
    }

    pub fn details(&self) -> &Value {
        &self.0["details"]
    }

    pub fn detail(&self, field: &str) -> Option<String> {
        self.details()[field].as_str().map(str::to_owned)
    }

    /// Returns the pair that a row about an investigation names.
    pub fn pair(&self) -> Option<Pair> {
        Some(Pair {
            probe: self.detail("probe")?,
            category: self.detail("issue_category")?,
        })
    }

    pub fn is_of(&self, seam: &str) -> bool {
        self.0["seam"] == seam
    }

    /// Returns whether the row belongs to this session.
    pub fn is_in(&self, session: &str) -> bool {
        self.0["caller_session_id"] == session
    }
}

/// Reads the rows of a file, plain or gzip, whose text contains `needle`, from an offset in its
/// content on. A missing file has none; lines that are not rows of ours are skipped.
pub fn for_each_row(
    path: &Path,
    offset: u64,
    needle: &str,
    mut take: impl FnMut(Row),
) -> io::Result<()> {
    let Some(file) = LogFile::find(path, false)? else {
        return Ok(());
    };
    for_each_line(file.read_from(offset)?, &[needle], |line| {
        Row::parse(line).into_iter().for_each(&mut take);
    })
}

/// Calls `take` with each line that contains one of the needles.
pub(super) fn for_each_line(
    source: impl Read,
    needles: &[&str],
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let finders: Vec<_> = needles.iter().map(Finder::new).collect();
    let mut reader = BufReader::with_capacity(256 * 1024, source);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut reader = reader.by_ref().take(LONGEST_LINE);
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if finders.iter().any(|finder| finder.find(&line).is_some()) {
            take(line.strip_suffix(b"\n").unwrap_or(&line));
        }
    }
}

/// At most this many bytes at the end of a log are read. Rotated files count as part of the log.
pub const MOST_BYTES: u64 = 128 * 1024 * 1024;

/// Calls `take` with each line of the log that contains one of the needles, the oldest first. Skips
/// files that were last changed before `since`. Returns whether all others were read whole.
pub fn for_each_line_of_log(
    log: &Path,
    since: Option<Timestamp>,
    needles: &[&str],
    mut take: impl FnMut(&[u8]),
) -> io::Result<bool> {
    let (mut left, mut is_whole) = (MOST_BYTES, true);
    let mut parts = Vec::new();
    for file in files(log, since)? {
        let ratio = if file.is_gzip() { GZIP_RATIO } else { 1 };
        let size = file.stat.size.saturating_mul(ratio);
        is_whole = size <= left;
        if is_whole || file.is_plain() {
            parts.push((file, size.saturating_sub(left)));
        }
        if !is_whole {
            break;
        }
        left -= size;
    }
    for (file, from) in parts.iter().rev() {
        for_each_line(file.read_from(*from)?.take(MOST_BYTES), needles, &mut take)?;
    }
    Ok(is_whole)
}

/// Returns the log and the files it was rotated into, the newest first, without copies and those last
/// changed before `since`. A missing log is left out; one that cannot be read is an error.
pub(super) fn files(log: &Path, since: Option<Timestamp>) -> io::Result<Vec<LogFile>> {
    let current = LogFile::find(log, true)?;
    let listed = list(log, None)?.files;
    let is_near = |path: &Path| {
        let meta = path.metadata().ok();
        meta.is_some_and(|meta| since.is_none_or(|since| modified(&meta) >= since))
    };
    let near = listed.iter().filter(|(path, _)| is_near(path));
    let mut rotated: Vec<LogFile> = near
        .filter_map(|(path, _)| LogFile::open(path).ok())
        .collect();
    rotated.sort_by_cached_key(|file| Reverse(age(&file.path, &file.stat, false)));
    let mut files: Vec<LogFile> = Vec::new();
    for file in current.into_iter().chain(rotated) {
        // Two different files may begin alike.
        let is_part = |part: &LogFile, whole: &LogFile| {
            whole.head().starts_with(part.head()) && part.is_part_of(whole).unwrap_or(false)
        };
        if !file.head().is_empty() && !files.iter().any(|other| is_part(&file, other)) {
            files.retain(|other| !is_part(other, &file));
            files.push(file);
        }
    }
    Ok(files)
}
