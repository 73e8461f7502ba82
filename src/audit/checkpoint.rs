//! How far one audit log was read, and what was learned of the files around it on the way: the part
//! of the state that moves with every row.

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

    /// Leaves the generation of this position, which was read to its end in `last`, if at all.
    pub fn retire(&mut self, position: Position, last: Option<&Generation>, now: Timestamp) {
        self.previous.push(Retired {
            position,
            length: last.map_or(0, |last| last.length),
            is_compressed: last.is_some_and(Generation::is_gzip),
            left_at: now,
            is_done: false,
        });
    }

    /// Forgets the oldest generations where there are very many. All that was left was read to its
    /// end.
    pub fn forget_oldest(&mut self) {
        let forgotten = self.previous.len().saturating_sub(MOST_RETIRED);
        self.previous.drain(..forgotten);
    }

    /// Notes in which of the generations before, by their number, no late rows are to come any
    /// more.
    pub fn note_done(&mut self, done: &[usize]) {
        for (number, retired) in self.previous.iter_mut().enumerate() {
            retired.is_done = done.contains(&number);
        }
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
    /// It was read to its end when it was compressed: no writer holds it any more.
    #[serde(default)]
    pub is_compressed: bool,
    pub left_at: Timestamp,
    /// It was looked at when the time for late rows was over. It is forgotten with the next commit.
    #[serde(skip)]
    is_done: bool,
}

impl Retired {
    /// Whether the time for late rows is over. A time in the future is a clock that was set back.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.left_at).abs() >= LATE_ROWS
    }

    /// Notes that it was read to its end in this file.
    pub fn note_read(&mut self, file: &Generation, now: Timestamp) {
        self.length = file.length;
        self.is_compressed = file.is_gzip();
        self.is_done = self.is_over(now);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn left(minutes: i64) -> (Checkpoint, Timestamp) {
        let now = Timestamp::now();
        let start = Position::start_of_nothing;
        let mut checkpoint = Checkpoint::new(start());
        checkpoint.retire(start(), None, now - SignedDuration::from_mins(minutes));
        (checkpoint, now)
    }

    #[test]
    fn the_time_for_late_rows_is_ten_minutes_by_any_clock() {
        for (minutes, is_over) in [(0, false), (9, false), (10, true), (-9, false), (-11, true)] {
            let (checkpoint, now) = left(minutes);
            assert_eq!(checkpoint.previous[0].is_over(now), is_over, "{minutes}");
        }
    }

    #[test]
    fn what_was_done_and_grew_again_is_not_forgotten() {
        let (mut checkpoint, _) = left(10);
        checkpoint.note_done(&[0]);
        checkpoint.note_done(&[]);
        checkpoint.forget_done();
        assert_eq!(checkpoint.previous.len(), 1);
        checkpoint.note_done(&[0]);
        checkpoint.forget_done();
        assert_eq!(checkpoint.previous, []);
    }

    #[test]
    fn late_rows_are_looked_for_in_few_generations() {
        let (mut checkpoint, now) = left(0);
        for number in 1..=20 {
            let file = format!("{number}");
            checkpoint.retire(Position::start(file, None, now), None, now);
            checkpoint.forget_oldest();
        }
        let oldest = &checkpoint.previous[0].position.file;
        assert_eq!((oldest.as_str(), checkpoint.previous.len()), ("5", 16));
    }

    #[test]
    fn a_checkpoint_of_version_1_is_read() {
        let position = r#"{"offset":9,"head":{"length":9,"sha256":"aa"},
            "last_row":{"start":0,"end":9,"sha256":"bb"},"wakes_done":1,"file":"/a.jsonl",
            "identity":{"device":1,"inode":2},"seen_at":"2026-05-24T14:32:00Z"}"#;
        let text = format!(
            r#"{{"position":{position},"known":["cc"],"previous":[{{"position":{position},
                "length":9,"left_at":"2026-05-24T14:32:00Z","closed":true}}]}}"#
        );
        let checkpoint: Checkpoint = serde_json::from_str(&text).unwrap();
        assert_eq!(checkpoint.position, checkpoint.previous[0].position);
        let kept = serde_json::to_value(&checkpoint).unwrap();
        assert_eq!(kept["known"], serde_json::json!(["cc"]));
        assert_eq!(kept["previous"][0]["left_at"], "2026-05-24T14:32:00Z");
    }
}
