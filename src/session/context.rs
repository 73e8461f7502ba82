//! Where in the log the session is, and what that says of the checkpoint behind each row.

use jiff::Timestamp;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::generation::Generation;
use crate::audit::plan::{Kind, Segment};
use crate::audit::position::{Position, RowProof};
use crate::audit::wake::Wake;

/// The segment, and the checkpoint as it was when it was begun.
pub(super) struct ReadContext<'a> {
    pub generation: &'a Generation,
    pub kind: Kind,
    checkpoint: Checkpoint,
    /// Whether nothing more can come behind its end. What was rotated and has nothing behind it yet
    /// may still be written to.
    pub is_left: bool,
    seen_at: Timestamp,
}

/// The time up to which a position in this segment has seen what was rotated after it: only the
/// file at the log's path says that nothing has been.
pub(super) fn seen_at(segment: &Segment, position: &Position, now: Timestamp) -> Timestamp {
    match segment.kind {
        Kind::Current => now,
        Kind::Finished | Kind::Late(_) => position.seen_at,
    }
}

impl<'a> ReadContext<'a> {
    pub fn of(
        segment: &'a Segment,
        checkpoint: &Checkpoint,
        is_last: bool,
        now: Timestamp,
    ) -> Self {
        Self {
            generation: &segment.generation,
            kind: segment.kind,
            checkpoint: checkpoint.clone(),
            is_left: match segment.kind {
                Kind::Late(_) => true,
                Kind::Finished => !is_last,
                Kind::Current => false,
            },
            seen_at: seen_at(segment, &checkpoint.position, now),
        }
    }

    /// Wakes of the first row that are done already.
    pub fn wakes_done(&self) -> usize {
        match self.kind {
            Kind::Late(number) => self.checkpoint.previous[number].position.wakes_done,
            _ => self.checkpoint.position.wakes_done,
        }
    }

    /// The checkpoint behind a row, or before one that has so many of its wakes done.
    pub fn checkpoint_behind(&self, row: Option<RowProof>, wakes_done: usize) -> Checkpoint {
        let mut checkpoint = self.checkpoint.clone();
        let position = match self.kind {
            Kind::Late(number) => &mut checkpoint.previous[number].position,
            _ => &mut checkpoint.position,
        };
        if let Some(row) = row {
            *position = Position::behind(self.generation, row, self.seen_at);
        }
        position.wakes_done = wakes_done;
        checkpoint
    }
}

/// A row's wakes, and the rows that the checkpoint can stand behind.
pub(super) struct WakeRow {
    pub wakes: Vec<Wake>,
    /// Wakes of the row that an earlier run has done.
    pub done: usize,
    /// Complete lines of the segment before this row.
    pub read_before: u64,
    pub before: Option<RowProof>,
    pub behind: Option<RowProof>,
}
