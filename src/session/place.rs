//! Where in the log the session is, and what that says of the tail behind each row.

use jiff::Timestamp;

use crate::audit::generation::Generation;
use crate::audit::position::{Position, RowProof};
use crate::audit::rotation::{Kind, Stretch};
use crate::audit::tail::Tail;
use crate::audit::wake::Wake;

/// The stretch, and the tail as it was when it was begun.
pub(super) struct Place<'a> {
    pub generation: &'a Generation,
    pub kind: Kind,
    tail: Tail,
    /// Whether nothing more can come behind its end. What was rotated and has nothing behind it yet
    /// may still be written to.
    pub is_left: bool,
    seen_at: Timestamp,
}

/// The time up to which a position in this stretch has seen what was rotated after it: only the
/// file at the log's path says that nothing has been.
pub(super) fn seen_at(stretch: &Stretch, position: &Position, now: Timestamp) -> Timestamp {
    match stretch.kind {
        Kind::Current => now,
        Kind::Finished | Kind::Late(_) => position.seen_at,
    }
}

impl<'a> Place<'a> {
    pub fn of(stretch: &'a Stretch, tail: &Tail, is_last: bool, now: Timestamp) -> Self {
        Self {
            generation: &stretch.generation,
            kind: stretch.kind,
            tail: tail.clone(),
            is_left: match stretch.kind {
                Kind::Late(_) => true,
                Kind::Finished => !is_last,
                Kind::Current => false,
            },
            seen_at: seen_at(stretch, &tail.position, now),
        }
    }

    /// Wakes of the first row that are done already.
    pub fn wakes_done(&self) -> usize {
        match self.kind {
            Kind::Late(number) => self.tail.previous[number].position.wakes_done,
            _ => self.tail.position.wakes_done,
        }
    }

    /// The tail behind a row, or before one that has so many of its wakes done.
    pub fn tail_behind(&self, row: Option<RowProof>, wakes_done: usize) -> Tail {
        let mut tail = self.tail.clone();
        let position = match self.kind {
            Kind::Late(number) => &mut tail.previous[number].position,
            _ => &mut tail.position,
        };
        if let Some(row) = row {
            *position = Position::behind(self.generation, row, self.seen_at);
        }
        position.wakes_done = wakes_done;
        tail
    }
}

/// A row's wakes, and the rows that the tail can stand behind.
pub(super) struct WakeRow {
    pub wakes: Vec<Wake>,
    /// Wakes of the row that an earlier run has done.
    pub done: usize,
    /// Complete lines of the stretch before this row.
    pub read_before: u64,
    pub before: Option<RowProof>,
    pub behind: Option<RowProof>,
}
