//! What is to be read of an audit log from a position on.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::checkpoint::Checkpoint;
use super::generation::Generation;
use super::known::{Known, KnownFile};

/// What is searched for, among what: the checkpoint, and the file at the log's path as it was
/// opened.
pub(super) struct Search<'a> {
    pub log: &'a Path,
    pub checkpoint: &'a Checkpoint,
    pub now: Timestamp,
    pub current: Option<&'a Generation>,
}

/// What is to be read, in this order, and what that says of the rows in between.
#[derive(Debug, Default)]
pub struct Plan {
    pub segments: Vec<Segment>,
    /// The position's content lies in another file than the one at the log's path.
    pub rotated: bool,
    /// Nothing holds the position any more: rows may have been missed.
    pub gap: bool,
    /// There is no file at the log's path.
    pub missing: bool,
    /// A gzip file that is perhaps being written; nothing behind it is read yet.
    pub waiting_for: Option<PathBuf>,
    pub unreadable: Vec<Unreadable>,
    /// The files beside the log that are not to be read; with those that were read, they are the
    /// known ones of a position in the current file.
    pub known: Known,
    /// Generations that were left, by their number, in which no more late rows are looked for.
    pub done: Vec<usize>,
}

impl Plan {
    /// Whether rows may be missing between the position and the current file.
    pub fn has_gap(&self) -> bool {
        self.gap || !self.unreadable.is_empty()
    }

    /// Whether there is no log, and nothing that holds the position either.
    pub fn is_without_log(&self) -> bool {
        self.missing && !self.rotated && self.waiting_for.is_none()
    }
}

/// A part of a generation that is to be read.
#[derive(Debug)]
pub struct Segment {
    pub generation: Generation,
    pub from: u64,
    pub kind: Kind,
}

/// Whose end a segment reaches to, and so what may still come behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows that were written into a generation after it was left: the one of this number, or the
    /// next one where the checkpoint has no such number yet.
    Late(usize),
    /// A generation that nobody appends to any more.
    Finished,
    /// The file at the log's path.
    Current,
}

impl Segment {
    /// Whether there may be anything to read: in an idle run there is not.
    pub fn has_bytes(&self) -> bool {
        self.generation.is_gzip() || self.generation.length > self.from
    }
}

/// A file that may hold new rows and cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The file and the reason.
    pub what: String,
    /// By what it is known once it was warned of; `None` where the next look may read it.
    pub known: Option<KnownFile>,
}
