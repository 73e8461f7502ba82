//! One look at the log: the rows that are new since the checkpoint go to a sink, wake by wake, in the
//! order in which they were written, and the checkpoint moves behind what was read. The caller
//! commits both together.

use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;

use super::checkpoint::Checkpoint;
use super::generation::Generation;
use super::identity::Identity;
use super::lines::{Line, Lines, Overlong, Unfinished};
use super::plan::{Kind, Plan, Segment};
use super::position::{Position, RowProof};
use super::rotation;
use super::row::{Rows, SEAM, is_whole, read_rows};
use super::source::UpToDamage;
use super::wake::Wake;

/// What takes the wakes of a look.
pub trait WakeSink {
    fn take(&mut self, wake: Wake);
    /// A row that could not be read, told at once: there may be any number of them.
    fn warn(&mut self, warning: &str);
    /// Whether reading stops here. It is asked behind each row with wakes.
    fn is_full(&self) -> bool;
}

/// What one look at the log came to.
#[derive(Debug, Default)]
pub struct Look {
    /// Complete lines that were read.
    pub rows: u64,
    /// Rows that were passed over since they are not JSON; a wake may have been in each.
    pub malformed: u64,
    /// Other places where a wake may have been missed.
    pub missed: u64,
    pub rotated: bool,
    /// Nothing held the position any more.
    pub gap: bool,
    /// There was no log, and nothing that held the position.
    pub missing: bool,
    /// The checkpoint is another one now.
    pub moved: bool,
    /// What has to be told of the files, a line each; the same in the next look.
    pub warnings: Vec<String>,
    /// Why reading broke off. The checkpoint stands behind the last row that was read.
    pub problem: Option<anyhow::Error>,
}

/// Looks once at the log at this path. The checkpoint moves as far as the sink took rows.
pub fn look(
    log: &Path,
    checkpoint: &mut Checkpoint,
    now: Timestamp,
    sink: &mut dyn WakeSink,
) -> Look {
    let plan = match rotation::plan(log, checkpoint, now) {
        Ok(plan) => plan,
        Err(problem) => {
            return Look {
                problem: Some(problem),
                ..Look::default()
            };
        }
    };
    let mut reader = Reader::new(checkpoint, now, sink);
    reader.judge(log, &plan);
    reader.read(plan, true);
    reader.look
}

/// Reads one file from its start to its end, as a replay does.
pub fn read_file(
    path: &Path,
    checkpoint: &mut Checkpoint,
    now: Timestamp,
    sink: &mut dyn WakeSink,
) -> Look {
    let generation = match Generation::open(path) {
        Ok(generation) => generation,
        Err(error) => {
            let error =
                anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
            return Look {
                problem: Some(error),
                ..Look::default()
            };
        }
    };
    let from = checkpoint.position.offset;
    let segment = Segment {
        generation,
        from,
        // Nobody appends to it any more: a last row without its line end counts.
        kind: Kind::Finished,
    };
    let mut reader = Reader::new(checkpoint, now, sink);
    let plan = Plan {
        segments: vec![segment],
        ..Plan::default()
    };
    reader.read(plan, false);
    reader.look
}

struct Reader<'a> {
    checkpoint: &'a mut Checkpoint,
    sink: &'a mut dyn WakeSink,
    look: Look,
    now: Timestamp,
    /// A file was renamed or compressed since the plan was made: the next look finds it.
    is_outdated: bool,
}

impl<'a> Reader<'a> {
    fn new(checkpoint: &'a mut Checkpoint, now: Timestamp, sink: &'a mut dyn WakeSink) -> Self {
        Self {
            checkpoint,
            sink,
            look: Look::default(),
            now,
            is_outdated: false,
        }
    }

    /// Takes over what the plan says of rows that cannot be read.
    fn judge(&mut self, log: &Path, plan: &Plan) {
        let path = log.display();
        let Position {
            offset, seen_at, ..
        } = &self.checkpoint.position;
        self.look.rotated = plan.rotated;
        self.look.gap = plan.has_gap();
        self.look.missing = plan.is_without_log();
        if plan.gap {
            self.look.warnings.push(format!(
                "{path}: nothing holds the position any more (byte {offset}, of {seen_at}): rows \
                 may have been missed; it is read from its start"
            ));
        } else if self.look.missing {
            self.look.warnings.push(format!(
                "{path} does not exist: its position stays at byte {offset}"
            ));
        }
        for file in &plan.unreadable {
            let warning = format!("cannot read {}: rows may have been missed", file.what);
            self.look.warnings.push(warning);
            self.look.missed += 1;
            if let Some(known) = &file.known {
                self.checkpoint.known.push(known.clone());
                self.look.moved = true;
            }
        }
        self.checkpoint.note_done(&plan.done);
    }

    fn has_stopped(&self) -> bool {
        self.look.problem.is_some() || self.is_outdated || self.sink.is_full()
    }

    /// `goes_on`: a later look reads on behind the last segment.
    fn read(&mut self, plan: Plan, goes_on: bool) {
        // The first segment goes on from the position, unless nothing holds it any more.
        let mut is_continued = !plan.gap;
        let mut known = Some(plan.known);
        let mut last: Option<&Generation> = None;
        for (index, segment) in plan.segments.iter().enumerate() {
            if self.has_stopped() {
                return;
            }
            let ahead = &plan.segments[index..];
            let is_late = matches!(segment.kind, Kind::Late(_));
            if segment.kind == Kind::Late(self.checkpoint.previous.len()) {
                let start = Position::start_of(&segment.generation, self.now);
                self.checkpoint.retire(start, None, self.now);
            }
            if !is_late {
                let continues = std::mem::take(&mut is_continued);
                if !continues || self.begins_another_file(segment) {
                    if let Some(known) = known.take() {
                        self.checkpoint.known.renew(known);
                    }
                    self.enter(ahead, plan.gap, last);
                }
            }
            if segment.has_bytes() {
                self.read_segment(segment, goes_on && ahead.len() == 1);
            }
            if !is_late {
                last = Some(&segment.generation);
            }
        }
    }

    /// At offset 0 only the identity can tell that the file is another one. One in whose first line
    /// reading stopped goes on, also where it was rotated since.
    fn begins_another_file(&self, segment: &Segment) -> bool {
        let position = &self.checkpoint.position;
        let is_done = segment.kind == Kind::Finished && position.wakes_done == 0;
        position.offset == 0 && (is_done || !position.was_in(&segment.generation))
    }

    /// Leaves the generation that the position is in, `last` where any of it was read, for the
    /// start of the next one.
    fn enter(&mut self, ahead: &[Segment], gap: bool, last: Option<&Generation>) {
        let seen_at = self.seen_at(&ahead[0]);
        let start = Position::start_of(&ahead[0].generation, seen_at);
        let position = std::mem::replace(&mut self.checkpoint.position, start);
        last.into_iter()
            .for_each(|last| self.checkpoint.known.add(last));
        let is_ahead = |identity: &Identity| {
            let same = |segment: &Segment| segment.generation.is_same_file(identity);
            ahead.iter().any(same)
        };
        // What is still to be read is not watched yet.
        if !gap && !position.identity.as_ref().is_none_or(is_ahead) {
            self.checkpoint.retire(position, last, self.now);
            self.checkpoint.forget_oldest();
        }
        self.look.moved = true;
    }

    /// The time up to which a position in this segment has seen what was rotated after it: only the
    /// file at the log's path says that nothing has been.
    fn seen_at(&self, segment: &Segment) -> Timestamp {
        match segment.kind {
            Kind::Current => self.now,
            Kind::Finished | Kind::Late(_) => self.checkpoint.position.seen_at,
        }
    }

    fn read_segment(&mut self, segment: &Segment, goes_on: bool) {
        let generation = &segment.generation;
        let is_over = match segment.kind {
            Kind::Late(_) => true,
            Kind::Finished => !goes_on,
            Kind::Current => false,
        };
        let mut damage = None;
        let source = match generation.read_from(segment.from) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.is_outdated = true;
                return;
            }
            Err(error) => return self.break_off(segment, error),
        };
        let source = UpToDamage {
            source,
            damage: &mut damage,
        };
        let mut lines = Lines::new(source, segment.from);
        let done = self.read_lines(segment, &mut lines);
        let mut end = match done {
            0 => lines.last_row(),
            _ => lines.row_before_line(),
        };
        if !self.has_stopped() {
            end = self.read_unfinished(segment, &lines, is_over).or(end);
            self.note_late(segment);
        }
        self.look.rows += lines.read() - u64::from(done > 0);
        self.move_behind(segment, end);
        if done > 0 {
            self.position_in(segment).wakes_done = done;
            self.look.moved = true;
        }
        drop(lines);
        if let Some(damage) = damage.filter(|_| is_over) {
            self.look.missed += 1;
            let path = generation.path.display();
            self.sink.warn(&format!(
                "{path} is damaged ({damage}): rows behind that point may have been missed"
            ));
        }
    }

    /// Hands on the wakes of all lines, until the sink is full. Gives how many wakes of the last line
    /// were handed on, where that has more.
    fn read_lines(&mut self, segment: &Segment, lines: &mut Lines<impl Read>) -> usize {
        let mut done = std::mem::take(&mut self.position_in(segment).wakes_done);
        loop {
            match lines.next() {
                Ok(Some(Line {
                    start,
                    bytes,
                    overlong,
                    ..
                })) => {
                    let rows = match overlong {
                        Some(_) => Rows::default(),
                        None => read_rows(bytes),
                    };
                    let count = rows.wakes.len();
                    let before = std::mem::take(&mut done);
                    for (number, wake) in rows.wakes.into_iter().enumerate().skip(before) {
                        self.sink.take(wake);
                        if self.sink.is_full() && number + 1 < count {
                            return number + 1;
                        }
                    }
                    self.note_unreadable(segment, start, overlong, rows.malformed);
                    if self.sink.is_full() {
                        return 0;
                    }
                }
                Ok(None) => return 0,
                Err(error) => {
                    self.break_off(segment, error);
                    return 0;
                }
            }
        }
    }

    fn break_off(&mut self, segment: &Segment, error: io::Error) {
        let path = segment.generation.path.display();
        self.look.problem = Some(anyhow::Error::new(error).context(format!("cannot read {path}")));
    }

    /// Where nobody appends to it any more, a last row without its line end is read as well, if it
    /// is whole. Gives that row.
    fn read_unfinished(
        &mut self,
        segment: &Segment,
        lines: &Lines<impl Read>,
        is_over: bool,
    ) -> Option<RowProof> {
        let Unfinished {
            start,
            bytes,
            overlong,
        } = lines.unfinished();
        if segment.kind != Kind::Current && is_whole(bytes) {
            let wakes = read_rows(bytes).wakes.into_iter();
            wakes.for_each(|wake| self.sink.take(wake));
            self.look.rows += 1;
            return Some(RowProof::of(start, bytes));
        }
        if is_over {
            let malformed = memchr::memmem::find(bytes, SEAM.as_bytes()).map(|_| 0);
            self.note_unreadable(segment, start, overlong, malformed);
        }
        None
    }

    fn move_behind(&mut self, segment: &Segment, row: Option<RowProof>) {
        if let Some(row) = row {
            let seen_at = self.seen_at(segment);
            *self.position_in(segment) = Position::behind(&segment.generation, row, seen_at);
            self.look.moved = true;
        }
    }

    fn position_in(&mut self, segment: &Segment) -> &mut Position {
        match segment.kind {
            Kind::Late(number) => &mut self.checkpoint.previous[number].position,
            _ => &mut self.checkpoint.position,
        }
    }

    /// What was looked at of a generation that was left is not looked at again.
    fn note_late(&mut self, segment: &Segment) {
        if let Kind::Late(number) = segment.kind {
            let generation = &segment.generation;
            self.checkpoint.previous[number].note_read(generation, self.now);
            self.checkpoint.known.add(generation);
            self.look.moved = true;
        }
    }

    fn note_unreadable(
        &mut self,
        segment: &Segment,
        start: u64,
        overlong: Option<Overlong>,
        malformed: Option<u64>,
    ) {
        let path = segment.generation.path.display();
        if let Some(Overlong { holds_seam }) = overlong {
            let wake = match holds_seam {
                true => ": a wake may have been in it",
                false => "",
            };
            self.sink.warn(&format!(
                "{path}: the line at byte {start} is over 4 MiB and was passed over{wake}"
            ));
            self.look.missed += u64::from(holds_seam);
        }
        if let Some(at) = malformed {
            let at = start + at;
            self.sink.warn(&format!(
                "{path}: malformed row at byte {at} was passed over: a wake may have been in it"
            ));
            self.look.malformed += 1;
        }
    }
}
