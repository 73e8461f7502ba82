//! The table of generations: for each file that the log has been, how it begins and how far it was
//! read. Content proves both; identity and times make the common case quick, and decide between
//! files whose content agrees.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use memchr::memrchr;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::LogFile;
use super::names::{self, age};
use super::proof::Proof;
use super::row::is_whole;
use super::stat::{Stat, is_racy};
use crate::json::is_default;

/// How long rows are still looked for in each generation that was left.
const LATE_ROWS: SignedDuration = SignedDuration::from_mins(10);
/// How many generations are kept whose file is gone: one that is restored is not read again.
pub(super) const MOST_GONE: usize = 64;
/// The first run looks for the last line end in steps of this size.
const BACKWARD_CHUNK: u64 = 64 * 1024;
/// The offset of a generation that counts as read whole, however long it is.
pub(super) const WHOLE: u64 = u64::MAX;

/// How far one audit log was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// In the order in which they are read; the one at the log's path last.
    pub(super) generations: Vec<Generation>,
    /// The folders of the log's files, as they were listed last.
    #[serde(default)]
    pub(super) folders: Vec<Folder>,
    /// When something new was found last, or the first run was.
    pub seen_at: Timestamp,
}

/// A folder that changes when a file in it is renamed, made or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Folder {
    #[serde(with = "path_text")]
    pub path: PathBuf,
    pub modified: Timestamp,
}

/// The life of one file of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Generation {
    /// Where it was seen last.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// How it begins. Missing where it had no whole row yet, or cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Proof>,
    /// It was read up to here. Missing where it counts as read whole, however long it is.
    #[serde(default = "whole", skip_serializing_if = "is_read_whole")]
    pub offset: u64,
    /// The last row before the offset. Missing at offset 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_row: Option<Proof>,
    /// What stands between the offset and here was seen to be no whole row, and said so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub judged: u64,
    #[serde(rename = "file")]
    pub stat: Stat,
    /// Whether the file could have changed since without a change of its time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_racy: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: Status,
    /// Since when another file has been at the log's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_at: Option<Timestamp>,
}

/// What is known of the rest of a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// It was read to the end that the file had.
    #[default]
    Read,
    /// Something is still to be read, now or when the file can be read.
    Unread,
    /// It is in no file any more.
    Gone,
}

fn whole() -> u64 {
    WHOLE
}

fn is_read_whole(offset: &u64) -> bool {
    *offset == WHOLE
}

impl Generation {
    /// Of this file, with nothing read.
    pub fn unread(file: &LogFile) -> Self {
        Self {
            path: file.path.clone(),
            key: file.key.clone(),
            stat: file.stat.clone(),
            status: Status::Unread,
            ..Self::default()
        }
    }

    /// Of this file, which counts as read whole.
    pub fn read_whole(file: &LogFile, now: Timestamp) -> Self {
        let mut generation = Self {
            offset: WHOLE,
            ..Self::unread(file)
        };
        generation.note_read(file, now);
        generation
    }

    /// Of this plain file, read up to its last row; one without its line end counts where nobody is
    /// to write it.
    fn read_to_end(file: &LogFile, is_finished: bool, now: Timestamp) -> Result<Self> {
        let mut generation = Self::unread(file);
        let end = line_end_before(file, file.stat.size)?.unwrap_or(0);
        let mut row = (end, file.stat.size);
        let tail = row.1 - row.0;
        if !(is_finished && tail < BACKWARD_CHUNK && is_whole(&file.read_range(row.0, row.1)?)) {
            let start = line_end_before(file, end.saturating_sub(1))?;
            row = (start.unwrap_or(0), end);
        }
        if row.1 > 0 {
            let mut hash = Sha256::new();
            let mut bytes = std::io::Read::take(file.read_from(row.0)?, row.1 - row.0);
            std::io::copy(&mut bytes, &mut hash)?;
            generation.last_row = Some(Proof::hashed(row.0, row.1, hash));
            generation.offset = row.1;
        }
        generation.note_read(file, now);
        Ok(generation)
    }

    /// Notes that it was read to the end of this file.
    pub fn note_read(&mut self, file: &LogFile, now: Timestamp) {
        self.key = file.key.clone().or(self.key.take());
        self.stat = file.stat.clone();
        self.is_racy = file.is_plain() && is_racy(self.stat.modified, now);
        self.status = Status::Read;
    }

    /// Whether nothing is known of it but its file.
    pub fn is_blank(&self) -> bool {
        self.key.is_none() && self.last_row.is_none()
    }

    /// Whether it is read on where its file grows.
    pub fn is_followed(&self) -> bool {
        self.offset != WHOLE
    }

    /// Whether late rows are looked for at any time. A time in the future is a clock that was set
    /// back.
    pub fn was_left_lately(&self, now: Timestamp) -> bool {
        self.left_at
            .is_some_and(|left_at| now.duration_since(left_at).abs() < LATE_ROWS)
    }
}

impl Checkpoint {
    /// Begins a log at its end: every file that is there counts as read whole.
    pub fn at_end(log: &Path, now: Timestamp) -> Result<Self> {
        let mut checkpoint = Self::beside(log, now)?;
        let current = match open_log(log)? {
            Some(file) => Generation::read_to_end(&file, false, now)
                .with_context(|| format!("cannot read {}", log.display()))?,
            None => Self::no_file(log),
        };
        checkpoint.generations.push(current);
        Ok(checkpoint)
    }

    /// Begins a log at the start of the file at its path. The files beside it count as read whole.
    pub fn at_start(log: &Path, now: Timestamp) -> Result<Self> {
        let mut checkpoint = Self::beside(log, now)?;
        let current = open_log(log)?.map(|file| Generation::unread(&file));
        checkpoint
            .generations
            .push(current.unwrap_or_else(|| Self::no_file(log)));
        Ok(checkpoint)
    }

    /// Begins to read a single file, as a replay does.
    pub fn of_file(file: &LogFile) -> Self {
        Self {
            generations: vec![Generation::unread(file)],
            ..Self::default()
        }
    }

    fn no_file(log: &Path) -> Generation {
        Generation {
            path: log.to_owned(),
            status: Status::Gone,
            ..Generation::default()
        }
    }

    fn beside(log: &Path, now: Timestamp) -> Result<Self> {
        let failed = || format!("cannot list the files beside {}", log.display());
        let listing = names::list(log, None).with_context(failed)?;
        let mut generations = Vec::new();
        for (path, _) in listing.files {
            let Ok(file) = LogFile::open(&path) else {
                continue;
            };
            let generation = match file.is_plain() {
                true => Generation::read_to_end(&file, true, now).with_context(failed)?,
                false => Generation::read_whole(&file, now),
            };
            let left_at = Some(file.stat.modified.min(now)).filter(|_| generation.is_followed());
            generations.push(Generation {
                left_at,
                ..generation
            });
        }
        generations.sort_by_cached_key(|one| age(&one.path, &one.stat, true));
        let mut checkpoint = Self {
            generations,
            folders: Vec::new(),
            seen_at: now,
        };
        checkpoint.note_folders(listing.folders, now);
        Ok(checkpoint)
    }

    /// Notes the folders as they were listed; not those that could have changed since without a
    /// change of their time.
    pub(super) fn note_folders(&mut self, folders: Vec<Folder>, now: Timestamp) {
        let is_racy = folders.iter().any(|folder| is_racy(folder.modified, now));
        self.folders = if is_racy { Vec::new() } else { folders };
    }

    /// The position in the file at the log's path, or in the one that was there last.
    pub fn offset(&self) -> u64 {
        self.generations.last().map_or(0, |current| current.offset)
    }

    /// The file at the log's path, as it was seen last; `None` where there was none.
    pub fn current(&self) -> Option<&Stat> {
        let current = self.generations.last();
        let current = current.filter(|current| current.status != Status::Gone);
        current.map(|current| &current.stat)
    }
}

/// Opens the file at the log's path. `None`: there is none.
pub fn open_log(log: &Path) -> Result<Option<LogFile>> {
    match LogFile::open_plain(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(|error| {
            anyhow::anyhow!(
                "cannot read the audit log {}: {error}; name the right file with --audit-log or \
                 KORA_AUDIT_LOG_PATH",
                log.display()
            )
        }),
    }
}

/// The offset after the last `\n` below `before`.
fn line_end_before(file: &LogFile, before: u64) -> std::io::Result<Option<u64>> {
    let mut end = before;
    while end > 0 {
        let start = end.saturating_sub(BACKWARD_CHUNK);
        if let Some(found) = memrchr(b'\n', &file.read_range(start, end)?) {
            return Ok(Some(start + found as u64 + 1));
        }
        end = start;
    }
    Ok(None)
}

/// Paths in the state, whatever their bytes are.
mod path_text {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    use super::names::{path_of, text_of};

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text_of(path))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        String::deserialize(from).map(|text| path_of(&text))
    }
}
