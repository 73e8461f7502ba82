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
use super::lines::{Line, Lines, Overlong};
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
    /// As they were before the look.
    before: Vec<Generation>,
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
    /// Where the line begins that the events are from.
    line: u64,
    /// Those that were not pulled yet, and where in the line the one is that was pulled last.
    events: vec::IntoIter<(Event, Range<usize>)>,
    pulled: Range<usize>,
    /// Set once all lines were read.
    end: Option<End>,
}

impl Reading {
    fn new(segment: Segment, file: LogFile, lines: Lines<Content>) -> Self {
        Self {
            segment,
            file,
            lines,
            line: 0,
            events: Vec::new().into_iter(),
            pulled: 0..0,
            end: None,
        }
    }
}

/// What stands after the last line end.
struct End {
    /// A whole row, where nobody is to append to it.
    row: Option<Proof>,
    offset: u64,
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
        let before = match view.checkpoint {
            Some(renewed) => std::mem::replace(checkpoint, renewed).generations,
            None if view.segments.is_empty() => Vec::new(),
            None => checkpoint.generations.clone(),
        };
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
        self.summary.moved = !self.before.is_empty() && self.before != *generations;
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
        let Reading {
            segment,
            file,
            lines,
            ..
        } = &reading;
        let generation = &mut self.checkpoint.generations[segment.generation];
        let is_cut = reading.events.len() > 0;
        let row = match &reading.end {
            _ if is_cut => {
                let Range { start, end } = reading.pulled;
                let row = &lines.line()[start..end];
                Some(Proof::of(reading.line + start as u64, row))
            }
            Some(End { row: Some(row), .. }) => Some(row.clone()),
            _ => lines.last_row(),
        };
        if let Some(row) = row {
            generation.move_after(row);
            generation.key = file.key().or(generation.key.take());
        }
        if let (Some(end), false) = (&reading.end, is_cut) {
            generation.see(&file.path, &file.stat, file.is_plain(), self.now);
            generation.status = Status::Read;
            generation.judged = if segment.is_finished { end.offset } else { 0 };
        }
        self.summary.rows += lines.read() - u64::from(is_cut);
    }

    /// Where nobody appends to it any more, a last row without its line end is read as well, if it
    /// is whole.
    fn end(&mut self, reading: &mut Reading) {
        let Reading { segment, file, .. } = &*reading;
        let Line {
            start,
            bytes,
            overlong,
        } = reading.lines.unfinished();
        let is_row = !segment.is_current && is_whole(bytes);
        let length = match file.is_gzip() {
            true => start + bytes.len() as u64,
            false => file.stat.size,
        };
        let row = is_row.then(|| Proof::of(start, bytes));
        let mut events = Vec::new();
        if is_row {
            events = read_rows(bytes).events;
            self.summary.rows += 1;
        } else if segment.is_finished {
            let malformed = memmem::find(bytes, SEAM.as_bytes()).map(|_| 0);
            self.note_unreadable(segment, start, overlong, malformed);
        }
        if let Some(damage) = &reading.lines.source().damage {
            let path = segment.path.display();
            self.summary.missed += 1;
            self.warn(&format!(
                "{path} is damaged ({damage}): rows after that point may have been missed"
            ));
        }
        (reading.line, reading.events) = (start, events.into_iter());
        reading.end = Some(End {
            row,
            offset: length,
        });
    }

    fn note_unreadable(
        &mut self,
        segment: &Segment,
        start: u64,
        overlong: Option<Overlong>,
        malformed: Option<u64>,
    ) {
        let path = segment.path.display();
        if let Some(Overlong { holds_seam }) = overlong {
            let wake = match holds_seam {
                true => ": a wake may have been in it",
                false => "",
            };
            self.warn(&format!(
                "{path}: the line at byte {start} is over 4 MiB and was passed over{wake}"
            ));
            self.summary.missed += u64::from(holds_seam);
        }
        if let Some(at) = malformed {
            let at = start + at;
            self.warn(&format!(
                "{path}: malformed row at byte {at} was passed over: a wake may have been in it"
            ));
            self.summary.malformed += 1;
        }
    }

    fn warn(&self, warning: &str) {
        if !self.is_quiet {
            warn!("{warning}");
        }
    }

    fn break_off(&mut self, path: &Path, error: io::Error) -> Option<Result<Event>> {
        self.segments = Vec::new().into_iter();
        let error = Error::new(error).context(format!("cannot read {}", path.display()));
        Some(Err(error))
    }
}

impl Iterator for Wakes<'_> {
    type Item = Result<Event>;

    /// An error ends it. Nothing is moved past what was returned before.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(mut reading) = self.reading.take() else {
                let mut segment = self.segments.next()?;
                match segment.open(&self.checkpoint.generations) {
                    Ok((file, lines)) => self.reading = Some(Reading::new(segment, file, lines)),
                    // It was moved meanwhile: the next look finds it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        self.segments = Vec::new().into_iter();
                        return None;
                    }
                    Err(error) => return self.break_off(&segment.path, error),
                }
                continue;
            };
            if let Some((event, range)) = reading.events.next() {
                reading.pulled = range;
                self.reading = Some(reading);
                return Some(Ok(event));
            }
            let is_over = reading.end.is_some();
            let mut failure = None;
            if !is_over {
                match reading.lines.next() {
                    Ok(Some(Line {
                        start,
                        bytes,
                        overlong,
                    })) => {
                        let rows = match overlong {
                            Some(_) => Rows::default(),
                            None => read_rows(bytes),
                        };
                        reading.line = start;
                        reading.events = rows.events.into_iter();
                        self.note_unreadable(&reading.segment, start, overlong, rows.malformed);
                    }
                    Ok(None) => self.end(&mut reading),
                    Err(error) => failure = Some(error),
                }
            }
            let path = failure.is_some().then(|| reading.segment.path.clone());
            self.reading = Some(reading);
            if is_over || failure.is_some() {
                self.settle();
            }
            if let Some((path, error)) = path.zip(failure) {
                return self.break_off(&path, error);
            }
        }
    }
}

impl Drop for Wakes<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}
