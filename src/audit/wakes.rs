//! The events of the rows that are new, in the order in which they were written. The caller pulls
//! them one by one, may stop at any of them, and commits the checkpoint, which then stands right
//! after the last one that was pulled.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::vec;

use anyhow::{Context, Error, Result};
use jiff::Timestamp;
use log::warn;
use memchr::memmem;

use super::file::{Content, LogFile};
use super::generations::{Checkpoint, Generation, Status};
use super::lines::{Line, Lines};
use super::look::{Segment, View, view};
use super::proof::Proof;
use super::row::{Event, Rows, SEAM, is_whole, read_rows};
use super::stat::Stat;

/// What one look at the log came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Complete lines that were read.
    pub rows: u64,
    /// Rows that were passed over since they are not JSON; a wake may have been in each.
    pub malformed: u64,
    /// Other places where a wake may have been missed.
    pub missed: u64,
    /// The file that was at the log's path has another place now.
    pub rotated: bool,
    /// Rows may have been missed: what was read last is in no file any more, or a file cannot be
    /// read.
    pub gap: bool,
    /// There is no file at the log's path, and nothing that was not read elsewhere.
    pub missing: bool,
    /// The checkpoint is another one now.
    pub moved: bool,
    /// What there is to say of the files, a line each; perhaps the same in the next look.
    pub warnings: Vec<String>,
}

/// The new events, to be pulled.
pub struct Wakes<'a> {
    checkpoint: &'a mut Checkpoint,
    now: Timestamp,
    /// As they were before the look, where that changed the table.
    before: Option<Vec<Generation>>,
    segments: vec::IntoIter<Segment>,
    reading: Option<Reading>,
    summary: Summary,
    is_quiet: bool,
}

/// A segment that is being read.
struct Reading {
    segment: Segment,
    file: LogFile,
    lines: Lines<Content>,
    /// Events of the line found last that were not pulled yet, and where in it the one is that was
    /// pulled last.
    events: vec::IntoIter<(Event, Range<usize>)>,
    pulled: Range<usize>,
    is_over: bool,
}

/// Looks at the log, and returns the events that are new.
pub fn look<'a>(log: &Path, checkpoint: &'a mut Checkpoint, now: Timestamp) -> Result<Wakes<'a>> {
    let view = view(log, checkpoint, now)?;
    Ok(Wakes::new(checkpoint, view, now))
}

/// Reads one file from where the checkpoint stands to its end, as a replay does.
pub fn read_file<'a>(path: &Path, checkpoint: &'a mut Checkpoint) -> Result<Wakes<'a>> {
    let opened = LogFile::open(path);
    let file = opened.with_context(|| format!("cannot read {}", path.display()))?;
    // Nobody appends to it any more: a last row without its line end counts.
    let segments = vec![Segment::of(file, 0, false)];
    let has_log = true;
    let view = View {
        segments,
        has_log,
        ..View::default()
    };
    Ok(Wakes::new(checkpoint, view, Timestamp::now()))
}

impl Segment {
    /// Opens the file, if it was not open yet, and its lines that were not read. Fails with
    /// `NotFound` where another file has its name now.
    pub(super) fn open(&mut self, table: &[Generation]) -> io::Result<(LogFile, Lines<Content>)> {
        let generation = &table[self.generation];
        let file = match (self.file.take(), self.is_current) {
            (Some(file), _) => file,
            (None, true) => LogFile::open_plain(&self.path)?,
            (None, false) => LogFile::open(&self.path)?,
        };
        let is_own = match file.is_plain() {
            true => generation.goes_on_in(&file)?,
            false => file.stat == generation.stat,
        };
        // A replay begins with a generation that nothing is known of.
        if !is_own && generation.stat != Stat::default() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let lines = Lines::new(file.read_from(generation.offset)?, generation.offset);
        Ok((file, lines))
    }
}

impl<'a> Wakes<'a> {
    fn new(checkpoint: &'a mut Checkpoint, view: View, now: Timestamp) -> Self {
        let renewed = view.checkpoint;
        let before = renewed.map(|renewed| std::mem::replace(checkpoint, renewed).generations);
        Self {
            checkpoint,
            now,
            before,
            segments: view.segments.into_iter(),
            reading: None,
            summary: Summary {
                missed: view.missed,
                rotated: view.rotated,
                gap: view.gap,
                missing: !view.has_log && view.waiting.is_none(),
                warnings: view.warnings,
                ..Summary::default()
            },
            is_quiet: false,
        }
    }

    /// Warns of no malformed rows.
    pub fn quietly(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// What the look came to, up to the last event that was pulled.
    pub fn finish(mut self) -> Summary {
        self.settle();
        let generations = &self.checkpoint.generations;
        if let Some(before) = &self.before {
            self.summary.moved = before != generations;
        }
        self.summary.missing &= self.summary.rows == 0;
        if self.summary.moved {
            self.checkpoint.seen_at = self.now;
        }
        std::mem::take(&mut self.summary)
    }

    /// Puts the checkpoint after what was pulled.
    fn settle(&mut self) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        let (segment, file, lines) = (&reading.segment, &reading.file, &reading.lines);
        let generation = &mut self.checkpoint.generations[segment.generation];
        let before = generation.clone();
        let (line, is_cut) = (lines.line(), reading.events.len() > 0);
        let row = match is_cut || !line.is_complete && is_row(segment, &line) {
            true => {
                let Range { start, end } = reading.pulled;
                let end = if is_cut { end } else { line.bytes.len() };
                Some(Proof::of(
                    line.start + start as u64,
                    &line.bytes[start..end],
                ))
            }
            false => lines.last_row(),
        };
        if let Some(row) = row {
            generation.move_after(row);
            generation.key = file.key().or(generation.key.take());
        }
        if reading.is_over {
            generation.see(&file.path, &file.stat, file.is_plain(), self.now);
            let is_row = line.is_complete || is_row(segment, &line);
            let is_torn = !is_row && (line.overlong.is_some() || holds_seam(line.bytes));
            // It is judged once nobody is to complete it any more.
            let is_unjudged = is_torn && !segment.is_finished && generation.left_at.is_some();
            generation.status = match is_unjudged {
                true => Status::Unread,
                false => Status::Read,
            };
            let read = line.start + line.bytes.len() as u64;
            let end = if file.is_gzip() { read } else { file.stat.size };
            generation.judged = if segment.is_finished { end } else { 0 };
        }
        self.summary.moved |= before != *generation;
        self.summary.rows += lines.read() - u64::from(is_cut);
    }

    /// Reads the next line. Returns whether there was one.
    fn read_line(&mut self, reading: &mut Reading) -> io::Result<bool> {
        if !reading.lines.advance()? {
            reading.is_over = true;
            return Ok(false);
        }
        let (segment, line) = (&reading.segment, reading.lines.line());
        let mut rows = Rows::default();
        if line.is_complete || is_row(segment, &line) {
            rows = read_rows(line.bytes);
            self.summary.rows += u64::from(!line.is_complete);
        } else if segment.is_finished {
            rows.malformed = holds_seam(line.bytes).then_some(0);
        }
        let (path, start) = (segment.path.display(), line.start);
        if let (Some(overlong), true) = (line.overlong, line.is_complete || segment.is_finished) {
            let wake = if overlong.holds_seam {
                ": a wake may have been in it"
            } else {
                ""
            };
            self.summary.missed += u64::from(overlong.holds_seam);
            self.warn(format!(
                "{path}: the line at byte {start} is over 4 MiB and was passed over{wake}"
            ));
        }
        if let Some(at) = rows.malformed {
            let at = start + at;
            self.summary.malformed += 1;
            self.warn(format!(
                "{path}: malformed row at byte {at} was passed over: a wake may have been in it"
            ));
        }
        if let (Some(damage), false) = (&reading.lines.source().damage, line.is_complete) {
            self.summary.missed += 1;
            self.warn(format!(
                "{path} is damaged ({damage}): rows after that point may have been missed"
            ));
        }
        (reading.events, reading.pulled) = (rows.events.into_iter(), 0..0);
        Ok(true)
    }

    fn warn(&self, warning: String) {
        if !self.is_quiet {
            warn!("{warning}");
        }
    }

    /// Ends it. What was moved meanwhile is no error: the next look finds it.
    fn break_off(&mut self, path: &Path, error: io::Error) -> Option<Result<Event>> {
        self.settle();
        self.segments = Vec::new().into_iter();
        let is_moved = error.kind() == io::ErrorKind::NotFound;
        let error = Error::new(error).context(format!("cannot read {}", path.display()));
        (!is_moved).then_some(Err(error))
    }
}

fn holds_seam(line: &[u8]) -> bool {
    memmem::find(line, SEAM.as_bytes()).is_some()
}

/// Whether a last row without its line end counts: nobody is to complete it.
fn is_row(segment: &Segment, line: &Line) -> bool {
    !segment.is_current && is_whole(line.bytes)
}

impl Iterator for Wakes<'_> {
    type Item = Result<Event>;

    /// An error ends it. Nothing is moved past what was returned before.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(mut reading) = self.reading.take() else {
                let mut segment = self.segments.next()?;
                let (file, lines) = match segment.open(&self.checkpoint.generations) {
                    Ok(opened) => opened,
                    Err(error) => return self.break_off(&segment.path, error),
                };
                self.reading = Some(Reading {
                    segment,
                    file,
                    lines,
                    events: Vec::new().into_iter(),
                    pulled: 0..0,
                    is_over: false,
                });
                continue;
            };
            if let Some((event, range)) = reading.events.next() {
                reading.pulled = range;
                self.reading = Some(reading);
                return Some(Ok(event));
            }
            let read = self.read_line(&mut reading);
            let path = reading.segment.path.clone();
            self.reading = Some(reading);
            match read {
                Ok(true) => {}
                Ok(false) => self.settle(),
                Err(error) => return self.break_off(&path, error),
            }
        }
    }
}

impl Drop for Wakes<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}
