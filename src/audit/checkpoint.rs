//! How far one audit log was read, and what was learned of the files around it on the way: the part
//! of the state that moves with every row.

use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::generation::Generation;
use super::known::{Known, KnownFile};
use super::position::Position;
use super::siblings::siblings;

/// How long rows are still looked for in a generation that was left.
const LATE_ROWS: SignedDuration = SignedDuration::from_mins(10);
/// In how many generations they are looked for at most.
const MOST_RETIRED: usize = 16;

/// The position in one audit log, and what else is known of its generations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub position: Position,
    /// The files beside the log that are not to be read.
    #[serde(default, skip_serializing_if = "Known::is_empty")]
    pub known: Known,
    /// The generations before, oldest first, in which late rows may still appear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Retired>,
}

impl Checkpoint {
    /// A checkpoint that knows of no other file.
    pub fn new(position: Position) -> Self {
        Self {
            position,
            known: Known::default(),
            previous: Vec::new(),
        }
    }

    /// The first checkpoint of a log: what lies beside it was there before.
    pub fn first(log: &Path, position: Position) -> Self {
        let mut known = Known::default();
        for path in siblings(log, "").paths {
            match Generation::open(&path) {
                Ok(file) => known.add(&file),
                Err(_) => KnownFile::unread(&path)
                    .into_iter()
                    .for_each(|file| known.push(file)),
            }
        }
        Self {
            known,
            ..Self::new(position)
        }
    }

    /// Leaves the generation of this position, which was looked at up to `length`. All that was
    /// left before was read to its end.
    pub fn retire(&mut self, position: Position, length: u64, now: Timestamp) {
        let most = MOST_RETIRED - 1;
        let forgotten = self.previous.len().saturating_sub(most);
        self.previous.drain(..forgotten);
        self.previous.push(Retired {
            position,
            length,
            left_at: now,
            is_done: false,
        });
    }

    /// Forgets the generations in which no late rows are looked for any more.
    pub fn forget_done(&mut self) {
        self.previous.retain(|retired| !retired.is_done);
    }
}

/// A generation that was read to its end and left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retired {
    pub position: Position,
    /// How far it was looked at, in bytes; behind the offset lies what is not a whole row.
    pub length: u64,
    pub left_at: Timestamp,
    /// It was looked at when the time for late rows was over, or when it was compressed, so that no
    /// writer holds it any more. It is forgotten with the next commit.
    #[serde(skip)]
    pub is_done: bool,
}

impl Retired {
    /// Whether the time for late rows is over. A time in the future is a clock that was set back.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.left_at).abs() >= LATE_ROWS
    }

    /// Notes that it was read to its end in this file.
    pub fn note_read(&mut self, file: &Generation, now: Timestamp) {
        self.length = file.length;
        self.is_done = file.is_gzip() || self.is_over(now);
    }

    /// Whether this file is the generation. One that was left empty has nothing but its inode to
    /// tell.
    pub(super) fn is(&self, file: &Generation) -> io::Result<bool> {
        if self.position.offset > 0 {
            return self.position.holds_in(file);
        }
        Ok(self.position.identity.as_ref() == Some(&file.identity))
    }
}
