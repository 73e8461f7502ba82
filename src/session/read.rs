//! New rows, in the order in which they were written, and a decision for each wake. A wake that is
//! held back only moves the position; one that is dispatched takes the position with it.

use std::io::{self, Read};

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::{info, warn};

use super::{Session, Unsaved};
use crate::audit::generation::Generation;
use crate::audit::lines::{Line, Lines, Overlong, RowMark, Unfinished};
use crate::audit::position::{KnownFile, Position, sha256};
use crate::audit::rotation::{Kind, Left, Plan, Stretch, Tail};
use crate::audit::row::{Rows, SEAM, Wake, is_whole, read_rows};
use crate::debounce::Decision;
use crate::effects::Effects;
use crate::report::WakeReport;

/// Where in the log the session is: the stretch, and the tail as it was when it was begun.
struct Place<'a> {
    generation: &'a Generation,
    kind: Kind,
    tail: Tail,
    seen_at: Timestamp,
}

impl Place<'_> {
    /// Wakes of the first row that are done already.
    fn wakes_done(&self) -> usize {
        match (self.kind, &self.tail.previous) {
            (Kind::Late, Some(left)) => left.position.wakes_done,
            (Kind::Late, None) => 0,
            _ => self.tail.position.wakes_done,
        }
    }

    /// The tail behind a row, or before one that has so many of its wakes done.
    fn tail_behind(&self, row: Option<RowMark>, wakes_done: usize) -> Tail {
        let mut tail = self.tail.clone();
        let left = tail.previous.as_mut().filter(|_| self.kind == Kind::Late);
        let position = left.map_or(&mut tail.position, |left| &mut left.position);
        if let Some(row) = row {
            *position = Position::behind(self.generation, row, self.seen_at);
        }
        position.wakes_done = wakes_done;
        tail
    }
}

/// A row's wakes, and the rows that the tail can stand behind.
struct Found {
    wakes: Vec<Wake>,
    /// Wakes of the row that an earlier run has done.
    done: usize,
    /// Complete lines of the stretch before this row.
    read_before: u64,
    before: Option<RowMark>,
    behind: Option<RowMark>,
}

impl<E: Effects> Session<'_, E> {
    /// Reads what the plan names. `now` is when the plan was made.
    pub fn read_rows(&mut self, plan: Plan, now: Timestamp) -> Result<()> {
        // The first stretch goes on from the position, unless nothing holds it any more.
        let mut goes_on = !plan.gap;
        for stretch in plan.stretches {
            if stretch.kind != Kind::Late {
                let is_new = stretch.kind == Kind::Finished && self.tail().position.offset == 0;
                if !std::mem::take(&mut goes_on) || is_new {
                    self.enter(&stretch, &plan.known, plan.gap, now);
                }
            }
            self.read_stretch(&stretch, now)?;
        }
        Ok(())
    }

    /// Leaves the generation that the position is in for the start of the next one.
    fn enter(&mut self, stretch: &Stretch, known: &[KnownFile], gap: bool, now: Timestamp) {
        if self.has_stopped() {
            return;
        }
        let mut start = Position::start_of(&stretch.generation, now);
        start.known = known.to_vec();
        let tail = self.tail();
        let position = std::mem::replace(&mut tail.position, start);
        if gap {
            tail.previous = None;
        } else if position.offset > 0 {
            tail.previous = Some(Left {
                position,
                left_at: now,
            });
        }
        self.unsaved = self.unsaved.max(Unsaved::Position);
    }

    /// Whether the run's time is over and what follows is only counted.
    fn has_stopped(&self) -> bool {
        self.report.left_for_next_run > 0
    }

    fn read_stretch(&mut self, stretch: &Stretch, seen_at: Timestamp) -> Result<()> {
        let Stretch {
            generation,
            from,
            kind,
        } = stretch;
        let failed = || format!("cannot read {}", generation.path.display());
        let place = Place {
            generation,
            kind: *kind,
            tail: self.tail().clone(),
            seen_at,
        };
        let mut damage = None;
        let source = UpToDamage {
            source: generation.read_from(*from).with_context(failed)?,
            damage: generation.is_gzip().then_some(&mut damage),
        };
        let mut lines = Lines::new(source, *from);
        let mut done = place.wakes_done();
        while let Some(line) = lines.next().with_context(failed)? {
            let rows = if line.overlong.is_some() {
                Rows::default()
            } else {
                read_rows(line.bytes)
            };
            let Line {
                start, overlong, ..
            } = line;
            if self.has_stopped() {
                self.report.left_for_next_run += rows.wakes.len() as u64;
                continue;
            }
            self.pass_over_unreadable(generation, start, overlong, rows.malformed);
            let found = Found {
                wakes: rows.wakes,
                done: std::mem::take(&mut done),
                read_before: lines.read() - 1,
                before: lines.mark_before(),
                behind: lines.mark(),
            };
            self.take_wakes(&place, found)?;
        }
        if !self.has_stopped() {
            self.end_stretch(&place, &lines)?;
        }
        if let Some(damage) = damage {
            self.report.tally.missed += 1;
            let path = generation.path.display();
            warn!("{path} is damaged ({damage}): rows behind that point may have been missed");
        }
        Ok(())
    }

    /// Moves the tail behind the last row of the stretch. Where nobody appends to it any more, a
    /// last row without its line end is read as well, if it is whole.
    fn end_stretch<R: Read>(&mut self, place: &Place, lines: &Lines<R>) -> Result<()> {
        let mut end = lines.mark();
        let Unfinished {
            start,
            bytes,
            overlong,
        } = lines.unfinished();
        if place.kind != Kind::Current && is_whole(bytes) {
            let row = RowMark {
                start,
                end: start + bytes.len() as u64,
                sha256: sha256(bytes),
            };
            let before = end.replace(row.clone());
            let read_before = lines.read();
            let wakes = read_rows(bytes).wakes;
            self.take_wakes(
                place,
                Found {
                    wakes,
                    done: 0,
                    read_before,
                    before,
                    behind: Some(row),
                },
            )?;
            self.report.rows.read += 1;
        } else if place.kind != Kind::Current && holds_seam(bytes) {
            self.pass_over_unreadable(place.generation, start, overlong, Some(0));
        } else if place.kind != Kind::Current {
            self.pass_over_unreadable(place.generation, start, overlong, None);
        }
        if self.has_stopped() {
            return Ok(());
        }
        self.report.rows.read += lines.read();
        if end.is_some() {
            *self.tail() = place.tail_behind(end, 0);
            self.unsaved = self.unsaved.max(Unsaved::Position);
        }
        Ok(())
    }

    fn pass_over_unreadable(
        &mut self,
        generation: &Generation,
        start: u64,
        overlong: Option<Overlong>,
        malformed: Option<u64>,
    ) {
        let path = generation.path.display();
        if let Some(overlong) = overlong {
            let wake = if overlong.holds_seam {
                ": a wake may have been in it"
            } else {
                ""
            };
            warn!("{path}: the line at byte {start} is over 4 MiB and was passed over{wake}");
            self.report.tally.missed += u64::from(overlong.holds_seam);
        }
        if let Some(at) = malformed {
            let at = start + at;
            warn!("{path}: malformed row at byte {at} was passed over: a wake may have been in it");
            self.report.rows.malformed += 1;
        }
    }

    /// Decides on each wake of a row, and dispatches.
    fn take_wakes(&mut self, place: &Place, found: Found) -> Result<()> {
        let count = found.wakes.len();
        for (index, wake) in found.wakes.into_iter().enumerate().skip(found.done) {
            let now = self.effects.now(Some(&wake));
            if self.is_past_its_time() && self.would_dispatch(&wake, now) {
                info!("the run's time is over: what is left stays for the next run");
                *self.tail() = place.tail_behind(found.before, index);
                self.unsaved = self.unsaved.max(Unsaved::Position);
                self.report.rows.read += found.read_before;
                self.report.left_for_next_run += (count - index) as u64;
                return Ok(());
            }
            self.report.tally.wakes += 1;
            self.state.counters.wakes += 1;
            self.unsaved = Unsaved::Stamps;
            let policy = &self.config.debounce;
            let decision = self.log().stamps.decide(&wake, policy, now);
            match decision {
                Decision::Dispatch(held_back) => {
                    let after = if index + 1 == count {
                        place.tail_behind(found.behind.clone(), 0)
                    } else {
                        place.tail_behind(found.before.clone(), index + 1)
                    };
                    self.dispatch(wake, held_back, now, after)?;
                }
                Decision::Debounced | Decision::Buffered => {
                    self.state.counters.held_back += 1;
                    self.report.tally.held_back += 1;
                    info!(
                        "held back: {} ({})",
                        wake.caller_session_id(),
                        wake.severity
                    );
                    self.keep(WakeReport::new(&wake, &decision));
                }
            }
        }
        Ok(())
    }

    fn would_dispatch(&mut self, wake: &Wake, now: Timestamp) -> bool {
        let policy = &self.config.debounce;
        let decision = self.log().stamps.would_decide(wake, policy, now);
        matches!(decision, Decision::Dispatch(_))
    }
}

fn holds_seam(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, SEAM.as_bytes()).is_some()
}

/// Ends at the point where a gzip stream is cut or damaged, and keeps what was wrong.
struct UpToDamage<'a, R> {
    source: R,
    /// `None` where an error of the source is the caller's.
    damage: Option<&'a mut Option<io::Error>>,
}

impl<R: Read> Read for UpToDamage<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer);
        match (read, &mut self.damage) {
            (Err(error), Some(damage)) if error.kind() != io::ErrorKind::Interrupted => {
                **damage = Some(error);
                Ok(0)
            }
            (read, _) => read,
        }
    }
}
