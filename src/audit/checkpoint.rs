//! How far one audit log was read, and what was learned of the files around it on the way: the part
//! of the state that moves with every row.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::generation::Generation;
use super::position::Position;
use super::siblings::siblings;

/// How long rows are still looked for in a generation that was left.
const LATE_ROWS: SignedDuration = SignedDuration::from_mins(10);

/// The position in one audit log, and what else is known of its generations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub position: Position,
    /// Fingerprints of the files that lay beside the log when the position's file was begun: none
    /// of them was rotated after it, whatever they are called by now.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub known: BTreeSet<String>,
    /// The generations before, in which late rows may still appear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Retired>,
}

impl Checkpoint {
    /// A checkpoint that knows of no other file.
    pub fn new(position: Position) -> Self {
        Self {
            position,
            known: BTreeSet::new(),
            previous: Vec::new(),
        }
    }

    /// The first checkpoint of a log: what lies beside it was there before.
    pub fn first(log: &Path, position: Position) -> Self {
        let mut known = BTreeSet::new();
        let mut note = |file: Generation| known.extend(file.fingerprint());
        for path in siblings(log, "").paths {
            let _ = Generation::open(&path).map(&mut note);
        }
        Self {
            known,
            ..Self::new(position)
        }
    }

    /// Drops what late rows are not looked for in any more.
    pub fn forget_left(&mut self, now: Timestamp) {
        self.previous.retain(|left| left.is_watched(now));
    }
}

/// A generation that was read to its end and left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retired {
    pub position: Position,
    /// How far it was looked at; behind the offset lies what is not a whole row.
    pub length: u64,
    pub left_at: Timestamp,
    /// It was read once more after it was compressed: no writer holds it any longer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub closed: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Retired {
    /// Whether late rows may still appear in it.
    pub(super) fn is_watched(&self, now: Timestamp) -> bool {
        !self.closed && now.duration_since(self.left_at) < LATE_ROWS
    }

    /// Whether this is the generation. One that was left empty has nothing but its inode to tell.
    pub(super) fn is(&self, file: &Generation) -> bool {
        if self.position.offset > 0 {
            return self.position.holds_in(file).unwrap_or(false);
        }
        self.position.identity.as_ref() == Some(&file.identity)
    }
}
