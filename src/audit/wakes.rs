//! The events of the new rows, in the order in which they were written. The caller pulls them one
//! by one, may stop at any of them, and commits the checkpoint, which is then right after the last
//! event pulled.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::vec;

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::warn;
use memchr::{memmem, memrchr_iter};

use super::file::{Content, LogFile};
use super::generations::{Checkpoint, Generation, Status, WHOLE};
use super::lines::{Line, Lines};
use super::look::{Segment, Summary, View, view};
use super::names::text_of;
use super::proof::Proof;
use super::row::{Event, Rows, SEAM, is_whole, read_rows};
use super::stat::Stat;

/// The first run searches backwards for the last row in steps of this many bytes.
const BACKWARD_CHUNK: u64 = 64 * 1024;

/// The new events, to be pulled.
pub struct Wakes<'a> {
    checkpoint: &'a mut Checkpoint,
    now: Timestamp,
    /// The generations as they were before the look.
    before: Vec<Generation>,
    /// What the look still has to read.
    view: View,
    reading: Option<Reading>,
    is_quiet: bool,
}

/// A segment that is being read.
struct Reading {
    segment: Segment,
    file: LogFile,
    lines: Lines<Content>,
    /// Nobody will complete its last row any more.
    is_finished: bool,
    /// Events of the line found last that were not pulled yet, and the position in that line of the
    /// event pulled last.
    events: vec::IntoIter<(Event, Range<usize>)>,
    pulled: Range<usize>,
}

/// Looks at the log and returns the new events.
pub fn look<'a>(log: &Path, checkpoint: &'a mut Checkpoint, now: Timestamp) -> Result<Wakes<'a>> {
    let view = view(log, checkpoint, now)?;
    Ok(Wakes::new(checkpoint, view, now))
}

/// Reads one file whole, as a replay does.
pub fn read_file<'a>(path: &Path, checkpoint: &'a mut Checkpoint) -> Wakes<'a> {
    checkpoint.generations = vec![Generation::default()];
    // Nobody appends to it any more: a last row without its line end counts.
    let segment = Segment {
        generation: 0,
        path: path.to_owned(),
        is_current: false,
    };
    let view = View {
        segments: [segment].into(),
        has_log: true,
        ..View::default()
    };
    Wakes::new(checkpoint, view, Timestamp::now())
}

impl Checkpoint {
    /// Begins a log: every file that exists counts as read whole, except the one at the log's path
    /// if that is to be read. Each is read from its last row on; for a compressed file, the length
    /// need not be known.
    pub fn begin(log: &Path, reads_current: bool, now: Timestamp) -> Result<Self> {
        let mut view = view(log, &Self::default(), now)?;
        let mut checkpoint = view.checkpoint.take().unwrap_or_default();
        view.segments
            .retain(|one| !(one.is_current && reads_current));
        for segment in &view.segments {
            let start = last_row_in(segment).with_context(|| cannot_read(&segment.path))?;
            let generation = &mut checkpoint.generations[segment.generation];
            (generation.offset, generation.status) = (start, Status::Read);
        }
        let is_plain = |one: &Segment| checkpoint.generations[one.generation].is_followed();
        view.segments.retain(is_plain);
        // It is not known when these were left.
        let others = checkpoint.generations.iter_mut();
        others.for_each(|generation| generation.left_at = None);
        if !view.has_log {
            checkpoint.generations.push(Generation {
                path: text_of(log),
                status: Status::Gone,
                ..Generation::default()
            });
        }
        let mut passed = Wakes::new(&mut checkpoint, view, now).quietly();
        passed.try_for_each(|event| event.map(drop))?;
        drop(passed);
        checkpoint.seen_at = now;
        Ok(checkpoint)
    }
}

/// Returns the offset of the last line that ends in `\n`, or 0. A compressed file counts as read whole.
fn last_row_in(segment: &Segment) -> io::Result<u64> {
    let file = LogFile::open_as(&segment.path, segment.is_current)?;
    if !file.is_plain() {
        return Ok(WHOLE);
    }
    let mut ends = Vec::new();
    let mut end = file.stat.size;
    while end > 0 && ends.len() < 2 {
        let start = end.saturating_sub(BACKWARD_CHUNK);
        let chunk = file.read_range(start, end)?;
        ends.extend(memrchr_iter(b'\n', &chunk).map(|at| start + at as u64 + 1));
        end = start;
    }
    Ok(ends.get(1).copied().unwrap_or(0))
}

impl Segment {
    /// Opens the file and its unread lines. Fails with `NotFound` if another file has its name now.
    pub(super) fn open(&self, table: &[Generation]) -> io::Result<(LogFile, Lines<Content>)> {
        let generation = &table[self.generation];
        let file = LogFile::open_as(&self.path, self.is_current)?;
        let is_own = match file.is_plain() {
            true => generation.goes_on_in(&file)?,
            false => file.stat == generation.stat,
        };
        // A replay begins with a generation about which nothing is known.
        if !is_own && generation.stat != Stat::default() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let lines = Lines::new(file.read_from(generation.offset)?, generation.offset);
        Ok((file, lines))
    }
}

impl<'a> Wakes<'a> {
    fn new(checkpoint: &'a mut Checkpoint, mut view: View, now: Timestamp) -> Self {
        let before = checkpoint.generations.clone();
        if let Some(renewed) = view.checkpoint.take() {
            *checkpoint = renewed;
        }
        view.summary.missing = !view.has_log && view.waiting.is_none();
        Self {
            checkpoint,
            now,
            before,
            view,
            reading: None,
            is_quiet: false,
        }
    }

    /// Turns off the warnings about rows that are malformed or may have been missed.
    pub fn quietly(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Returns the summary of the look, up to the last event pulled.
    pub fn finish(mut self) -> Summary {
        self.settle();
        let mut summary = std::mem::take(&mut self.view.summary);
        summary.moved = self.before != self.checkpoint.generations;
        summary.missing &= summary.rows == 0;
        if summary.moved {
            self.checkpoint.seen_at = self.now;
        }
        summary
    }

    /// Moves the checkpoint to right after what was pulled.
    fn settle(&mut self) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        let (segment, file, lines) = (&reading.segment, &reading.file, &reading.lines);
        let generation = &mut self.checkpoint.generations[segment.generation];
        let (line, is_cut) = (lines.line(), reading.events.len() > 0);
        let is_row = is_row(segment, &line);
        let Range { start, end } = reading.pulled;
        let row = match is_cut || is_row && !line.is_complete {
            true => {
                let end = if is_cut { end } else { line.bytes.len() };
                let row = &line.bytes[start..end];
                Some(Proof::of(line.start + start as u64, row))
            }
            false => lines.last_row(),
        };
        if let Some(row) = row {
            generation.offset = row.end;
            generation.last_row = Some(row);
            generation.key = file.key().or(generation.key.take());
        }
        if !line.is_complete && !is_cut {
            generation.see(&file.path, &file.stat, file.is_plain(), self.now);
            let is_torn = !is_row && (line.overlong.is_some() || holds_seam(line.bytes));
            // It is judged once nobody will complete it any more.
            let is_unjudged = is_torn && !reading.is_finished && generation.left_at.is_some();
            generation.status = match is_unjudged {
                true => Status::Unread,
                false => Status::Read,
            };
            let read = line.start + line.bytes.len() as u64;
            let end = if file.is_gzip() { read } else { file.stat.size };
            generation.judged = if reading.is_finished { end } else { 0 };
        }
        self.view.summary.rows += lines.read - u64::from(is_cut);
    }

    fn pull(&mut self) -> Result<Option<Event>> {
        loop {
            let Some(reading) = &mut self.reading else {
                let Some(segment) = self.view.segments.pop_front() else {
                    return Ok(None);
                };
                let opened = segment.open(&self.checkpoint.generations);
                let (file, lines) = opened.with_context(|| cannot_read(&segment.path))?;
                let generation = &self.checkpoint.generations[segment.generation];
                let was_left = self.view.has_log || generation.left_at.is_some();
                let is_late = segment.is_current || generation.was_left_lately(self.now);
                self.reading = Some(Reading {
                    is_finished: file.is_gzip() || was_left && !is_late,
                    segment,
                    file,
                    lines,
                    events: Vec::new().into_iter(),
                    pulled: 0..0,
                });
                continue;
            };
            if let Some((event, range)) = reading.events.next() {
                reading.pulled = range;
                return Ok(Some(event));
            }
            let read = reading.lines.advance();
            if read.with_context(|| cannot_read(&reading.segment.path))? {
                let rows = self.view.summary.judge(reading, self.is_quiet);
                (reading.events, reading.pulled) = (rows.events.into_iter(), 0..0);
            } else {
                self.settle();
            }
        }
    }
}

impl Summary {
    /// Reads the line found last, and counts and warns about what is wrong with it.
    fn judge(&mut self, reading: &Reading, is_quiet: bool) -> Rows {
        let (segment, line) = (&reading.segment, reading.lines.line());
        let warn = |warning: String| {
            if !is_quiet {
                warn!("{}{warning}", segment.path.display());
            }
        };
        let mut rows = Rows::default();
        if is_row(segment, &line) {
            rows = read_rows(line.bytes);
            self.rows += u64::from(!line.is_complete);
        } else if reading.is_finished {
            rows.malformed = holds_seam(line.bytes).then_some(0);
        }
        if let (Some(overlong), true) = (line.overlong, line.is_complete || reading.is_finished) {
            let wake = match overlong.holds_seam {
                true => ": a wake may have been in it",
                false => "",
            };
            self.missed += u64::from(overlong.holds_seam);
            let start = line.start;
            warn(format!(
                ": the line at byte {start} is over 4 MiB and was passed over{wake}"
            ));
        }
        if let Some(at) = rows.malformed {
            let at = line.start + at;
            self.malformed += 1;
            warn(format!(
                ": malformed row at byte {at} was passed over: a wake may have been in it"
            ));
        }
        if let (Some(damage), false) = (&reading.lines.source.damage, line.is_complete) {
            self.missed += 1;
            warn(format!(
                " is damaged ({damage}): rows after that point may have been missed"
            ));
        }
        rows
    }
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn holds_seam(line: &[u8]) -> bool {
    memmem::find(line, SEAM.as_bytes()).is_some()
}

/// Returns whether the line counts. A last row without its line end does if nobody will complete it.
fn is_row(segment: &Segment, line: &Line) -> bool {
    line.is_complete || !segment.is_current && is_whole(line.bytes)
}

impl Iterator for Wakes<'_> {
    type Item = Result<Event>;

    /// Ends at an error. The checkpoint does not move past what was returned before it.
    fn next(&mut self) -> Option<Self::Item> {
        self.pull().map_or_else(
            |error| {
                self.settle();
                self.view.segments.clear();
                // A file that was moved in the meantime is no error: the next look finds it.
                let cause = error.downcast_ref::<io::Error>().map(io::Error::kind);
                (cause != Some(io::ErrorKind::NotFound)).then_some(Err(error))
            },
            |event| event.map(Ok),
        )
    }
}

impl Drop for Wakes<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}
