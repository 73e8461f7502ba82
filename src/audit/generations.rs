//! The table of generations: for each file that the log has been, how it begins and how far it was
//! read. Content proves both; identity and times make the common case quick, and decide between
//! files whose content agrees.

use std::io;
use std::path::Path;

use anyhow::{Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::file::LogFile;
use super::names::text_of;
use super::proof::Proof;
use super::stat::{Stat, is_racy};
use crate::json::is_default;

/// How long each generation that was left is still checked for late rows.
const LATE_ROWS: SignedDuration = SignedDuration::from_mins(10);
/// The offset of a generation that counts as read whole, however long it is.
pub(super) const WHOLE: u64 = u64::MAX;

/// How far one audit log was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// In the order in which they are read; the one at the log's path last.
    pub(super) generations: Vec<Generation>,
    /// The folders of the log's files and when each last changed, as of the last listing.
    #[serde(default)]
    pub(super) folders: Vec<(String, Timestamp)>,
    /// When something new was last found, or when the first run was.
    pub seen_at: Timestamp,
}

/// The life of one file of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Generation {
    /// Where it was last seen, as [`text_of`] writes it.
    pub path: String,
    /// How it begins. Missing if it had no whole row yet, or cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Proof>,
    /// It was read up to here. Missing if it counts as read whole, however long it is.
    #[serde(default = "whole", skip_serializing_if = "is_read_whole")]
    pub offset: u64,
    /// The last row before the offset. Missing at offset 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_row: Option<Proof>,
    /// The bytes between the offset and here were reported: they are no whole row.
    #[serde(default, skip_serializing_if = "is_default")]
    pub judged: u64,
    #[serde(rename = "file")]
    pub stat: Stat,
    /// Whether the file could have changed since without its time changing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_racy: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: Status,
    /// When another file was seen at the log's path. Missing if that was before the first run.
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
    /// Notes which file it is in.
    pub fn see(&mut self, path: &Path, stat: &Stat, is_plain: bool, now: Timestamp) {
        self.path = text_of(path);
        if self.stat != *stat {
            self.is_racy = is_plain && is_racy(stat.modified, now);
            self.stat = stat.clone();
        }
    }

    /// Returns whether the file, which is plain, is still its own and has only grown.
    pub fn goes_on_in(&self, file: &LogFile) -> io::Result<bool> {
        let is_own = file.stat.is_same_file(&self.stat) && file.stat.size >= self.stat.size;
        let begins = |key: &Proof| file.beginning_to(key.end).as_ref() == Some(key);
        let holds = |row: &Proof| file.holds(row);
        Ok(is_own
            && self.key.as_ref().is_none_or(begins)
            && self.last_row.as_ref().map_or(Ok(true), holds)?)
    }

    /// Returns whether nothing is known about it but its file.
    pub fn is_blank(&self) -> bool {
        self.key.is_none() && self.last_row.is_none()
    }

    /// Returns whether reading continues when its file grows.
    pub fn is_followed(&self) -> bool {
        self.offset != WHOLE
    }

    /// Returns whether, as far as is known, it is no generation but a copy of what was read in
    /// another file.
    pub fn is_copy(&self) -> bool {
        !self.is_followed() && (1..WHOLE).contains(&self.judged)
    }

    /// Returns whether it was left so recently that every look checks it for late rows. A time in
    /// the future means that the clock was set back.
    pub fn was_left_lately(&self, now: Timestamp) -> bool {
        let is_late = |left_at| now.duration_since(left_at).abs() < LATE_ROWS;
        self.left_at.is_some_and(is_late)
    }
}

impl Checkpoint {
    /// Returns the position in the file at the log's path, or in the one that was there last.
    pub fn offset(&self) -> u64 {
        let current = self.generations.last();
        current.map_or(0, |current| match current.is_followed() {
            true => current.offset,
            false => current.stat.size,
        })
    }

    /// Returns the file at the log's path, as it was last seen; `None` if there was none.
    pub fn current(&self) -> Option<&Stat> {
        let current = self.generations.last();
        let current = current.filter(|current| current.status != Status::Gone);
        current.map(|current| &current.stat)
    }
}

/// Opens the file at the log's path; `None` if there is none.
pub fn open_log(log: &Path) -> Result<Option<LogFile>> {
    LogFile::find(log, true).map_err(|error| {
        anyhow!(
            "cannot read the audit log {}: {error}; name the right file with --audit-log or \
             KORA_AUDIT_LOG_PATH",
            log.display()
        )
    })
}
