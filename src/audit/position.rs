//! The position: how far the audit log was read, and the proof of it. An offset alone says nothing
//! about a file that was rotated, truncated or written anew, so the position also holds a hash of
//! the file's head and one of the last row before the offset. Where both hold, reading goes on.

use std::io::{self, Read};

use anyhow::{Context, Result};
use jiff::Timestamp;
use memchr::memrchr;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::generation::Generation;
use super::hash::{hex, sha256};
use super::identity::Identity;
use super::source::is_damage;
use crate::json::{self, is_default};

/// The first stamp looks for the last line end in steps of this size.
const BACKWARD_CHUNK: u64 = 64 * 1024;

/// In bytes; rows that are shorter are told apart together.
const SHORTEST_ROW: u64 = 64;

/// The first `length` bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    pub length: u64,
    pub sha256: String,
}

/// A complete row as a later run can know it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowProof {
    pub start: u64,
    pub end: u64,
    /// In hex, over the bytes from `start` to `end`, the `\n` included.
    pub sha256: String,
    /// Whether it is known not to say when it was written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_undated: bool,
}

impl RowProof {
    /// Of a row that begins at this offset, with its `\n`.
    pub fn of(start: u64, row: &[u8]) -> Self {
        Self {
            start,
            end: start + row.len() as u64,
            sha256: sha256(row),
            is_undated: !tells_time(row),
        }
    }
}

/// How far a log was read. Content proves it; the file's name and identity only help to find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// In (decompressed) bytes; behind the last row that is done with.
    pub offset: u64,
    /// The file's first `HEAD_BYTES` bytes, or as many as lie below the offset. Missing at offset
    /// 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Prefix>,
    /// Up to row ends within the head, from the first one on: they tell a copy that is shorter than
    /// the head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beginnings: Vec<Prefix>,
    /// Whether neither the head nor the last row tells a time: other generations may have both, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_ambiguous: bool,
    /// The last row before the offset. Missing at offset 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_row: Option<RowProof>,
    /// Wakes of the line at the offset that are done with already: many rows can share a line.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wakes_done: usize,
    /// The file last read, by its real path.
    pub file: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// When the file at the log's path was looked at last. It is told with a gap and decides
    /// nothing.
    pub seen_at: Timestamp,
}

impl Position {
    /// The start of a log, or of one that does not exist yet.
    pub fn start(file: String, identity: Option<Identity>, seen_at: Timestamp) -> Self {
        Self {
            offset: 0,
            head: None,
            beginnings: Vec::new(),
            is_ambiguous: false,
            last_row: None,
            wakes_done: 0,
            file,
            identity,
            seen_at,
        }
    }

    /// The start of a log that nothing is known of.
    #[cfg(test)]
    pub fn start_of_nothing() -> Self {
        Self::start(String::new(), None, Timestamp::UNIX_EPOCH)
    }

    /// The start of this generation.
    pub fn start_of(generation: &Generation, seen_at: Timestamp) -> Self {
        Self::start(
            real_path(generation),
            Some(generation.identity.clone()),
            seen_at,
        )
    }

    /// Behind a row of this generation.
    pub fn behind(generation: &Generation, row: RowProof, seen_at: Timestamp) -> Self {
        let below = row.end.saturating_sub(generation.head_start);
        let length = usize::try_from(below).unwrap_or(usize::MAX);
        let head = &generation.head[..length.min(generation.head.len())];
        Self {
            offset: row.end,
            head: Some(prefix(head)),
            beginnings: beginnings(head),
            is_ambiguous: row.is_undated && !tells_time(head),
            last_row: Some(row),
            ..Self::start_of(generation, seen_at)
        }
    }

    /// Whether this is the generation of the position, or a copy of it. What many generations may
    /// begin with proves that of none but the file last read.
    pub fn is_in(&self, generation: &Generation) -> io::Result<bool> {
        let may_be = !self.is_ambiguous || self.was_in(generation);
        Ok(self.offset > 0 && may_be && self.holds_in(generation)?)
    }

    /// Whether head and last row stand in this generation where the position says.
    pub fn holds_in(&self, generation: &Generation) -> io::Result<bool> {
        if self.offset == 0 {
            return Ok(true);
        }
        if !self.head_matches(generation) {
            return Ok(false);
        }
        let Some(row) = &self.last_row else {
            return Ok(false);
        };
        if !generation.is_gzip() && generation.length < row.end {
            return Ok(false);
        }
        let length = row.end - row.start;
        let mut hash = Sha256::new();
        let mut bytes = generation.read_unwatched_from(row.start)?.take(length);
        match io::copy(&mut bytes, &mut hash) {
            Ok(copied) => Ok(copied == length && hex(hash) == row.sha256),
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether this is the file last read, as far as its identity tells.
    pub fn was_in(&self, file: &Generation) -> bool {
        let identity = self.identity.as_ref();
        identity.is_some_and(|identity| file.is_same_file(identity))
    }

    /// Whether the generation begins as the one of the position does.
    fn head_matches(&self, generation: &Generation) -> bool {
        self.head
            .as_ref()
            .is_some_and(|head| starts_with(generation, head))
    }

    /// Whether the generation is a copy that was made of this one's before the offset was reached:
    /// it begins alike, as far as it reaches, and is shorter.
    pub fn is_ahead_of_copy(&self, generation: &Generation) -> io::Result<bool> {
        let length = generation.head.len() as u64;
        let mut beginnings = self.beginnings.iter().chain(&self.head).rev();
        let longest = beginnings.find(|beginning| beginning.length <= length);
        let alike = longest.is_some_and(|beginning| starts_with(generation, beginning));
        Ok(alike && generation.content_length(self.offset)? < self.offset)
    }
}

fn real_path(generation: &Generation) -> String {
    let path = &generation.path;
    std::fs::canonicalize(path)
        .unwrap_or_else(|_| path.clone())
        .to_string_lossy()
        .into_owned()
}

fn prefix(bytes: &[u8]) -> Prefix {
    Prefix {
        length: bytes.len() as u64,
        sha256: sha256(bytes),
    }
}

/// Whether one of these rows says when it was written.
fn tells_time(rows: &[u8]) -> bool {
    rows.split(|byte| *byte == b'\n').any(|row| {
        let [time] = json::last_of(row, ["emitted_at"]);
        let time = time.and_then(json::string);
        time.is_some_and(|time| time.parse::<Timestamp>().is_ok())
    })
}

/// Up to each row end, but for rows so short that there are very many of them.
fn beginnings(head: &[u8]) -> Vec<Prefix> {
    let mut beginnings: Vec<Prefix> = Vec::new();
    for end in memchr::memchr_iter(b'\n', head) {
        let last = beginnings.last().map_or(0, |last| last.length);
        if last == 0 || end as u64 >= last + SHORTEST_ROW {
            beginnings.push(prefix(&head[..=end]));
        }
    }
    beginnings
}

fn starts_with(generation: &Generation, prefix: &Prefix) -> bool {
    let start = usize::try_from(prefix.length)
        .ok()
        .and_then(|length| generation.head.get(..length));
    start.is_some_and(|start| sha256(start) == prefix.sha256)
}

/// The position behind the last complete line of the log, found from its end: what it costs does
/// not depend on the log's length.
pub fn behind_last_line(log: &Generation, seen_at: Timestamp) -> Result<Position> {
    let failed = || format!("cannot read {}", log.path.display());
    let Some(end) = line_end_before(log, log.length).with_context(failed)? else {
        return Ok(Position::start_of(log, seen_at));
    };
    let start = line_end_before(log, end - 1)
        .with_context(failed)?
        .unwrap_or(0);
    let mut hash = Sha256::new();
    let row = log.read_from(start).with_context(failed)?;
    io::copy(&mut row.take(end - start), &mut hash).with_context(failed)?;
    let begin = log.read_range(start, end.min(start + BACKWARD_CHUNK));
    let row = RowProof {
        start,
        end,
        sha256: hex(hash),
        is_undated: !tells_time(&begin.with_context(failed)?),
    };
    Ok(Position::behind(log, row, seen_at))
}

/// Behind the last `\n` that lies below `before`.
fn line_end_before(log: &Generation, before: u64) -> io::Result<Option<u64>> {
    let mut end = before;
    while end > 0 {
        let start = end.saturating_sub(BACKWARD_CHUNK);
        let chunk = log.read_range(start, end)?;
        if let Some(found) = memrchr(b'\n', &chunk) {
            return Ok(Some(start + found as u64 + 1));
        }
        end = start;
    }
    Ok(None)
}
