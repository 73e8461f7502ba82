//! New rows, in the order in which they were written, and a decision for each wake. A wake that is
//! held back only moves the position; one that is dispatched takes the position with it.

use std::io::{self, Read};

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::{info, warn};

use super::context::{ReadContext, WakeRow, seen_at};
use super::{Session, Unsaved};
use crate::audit::generation::Generation;
use crate::audit::hash::sha256;
use crate::audit::identity::Identity;
use crate::audit::lines::{Line, Lines, Overlong, Unfinished};
use crate::audit::plan::{Kind, Plan, Segment};
use crate::audit::position::{Position, RowProof};
use crate::audit::row::{Rows, SEAM, is_whole, read_rows};
use crate::audit::source::UpToDamage;
use crate::audit::wake::Wake;
use crate::debounce::Decision;
use crate::effects::Effects;
use crate::report::WakeReport;

impl<E: Effects> Session<'_, E> {
    /// Reads what the plan names. `now` is when the plan was made.
    pub fn read_rows(&mut self, mut plan: Plan, now: Timestamp) -> Result<()> {
        // The first segment goes on from the position, unless nothing holds it any more.
        let mut goes_on = !plan.gap;
        let mut last = None;
        self.checkpoint().note_done(&plan.done);
        for known in plan.unreadable.iter().filter_map(|file| file.known.clone()) {
            self.checkpoint().known.push(known);
            self.unsaved = self.unsaved.max(Unsaved::Position);
        }
        let segments = std::mem::take(&mut plan.segments);
        for (index, segment) in segments.iter().enumerate() {
            let is_late = matches!(segment.kind, Kind::Late(_));
            let position = &self.checkpoint().position;
            let identity = position.identity.as_ref();
            let is_same = identity.is_some_and(|same| segment.generation.is_same_file(same));
            // At offset 0 only the inode can tell that the file is another one.
            let is_new = position.offset == 0 && (segment.kind == Kind::Finished || !is_same);
            if !is_late && (!std::mem::take(&mut goes_on) || is_new) && !self.has_stopped() {
                self.enter(&segments[index..], &plan, last, now);
            }
            let is_last = index + 1 == segments.len();
            if segment.has_bytes() {
                self.read_segment(segment, is_last, now)?;
            }
            if !is_late {
                last = Some(&segment.generation);
                plan.known.add(&segment.generation);
            }
        }
        Ok(())
    }

    /// Leaves the generation that the position is in, `last` where any of it was read, for the
    /// start of the next one.
    fn enter(&mut self, ahead: &[Segment], plan: &Plan, last: Option<&Generation>, now: Timestamp) {
        let checkpoint = self.checkpoint();
        let seen_at = seen_at(&ahead[0], &checkpoint.position, now);
        let start = Position::start_of(&ahead[0].generation, seen_at);
        let position = std::mem::replace(&mut checkpoint.position, start);
        checkpoint.known.renew(&plan.known);
        let is_ahead = |identity: &Identity| {
            let same = |segment: &Segment| segment.generation.is_same_file(identity);
            ahead.iter().any(same)
        };
        // Into a compressed file no writer writes, nor is one watched that is still to be read.
        let is_over = plan.gap || last.is_some_and(Generation::is_gzip);
        if !is_over && !position.identity.as_ref().is_none_or(is_ahead) {
            checkpoint.retire(position, last.map_or(0, |last| last.length), now);
        }
        self.unsaved = self.unsaved.max(Unsaved::Position);
    }

    /// Whether the run's time is over and what follows is only counted.
    fn has_stopped(&self) -> bool {
        self.report.left_for_next_run > 0
    }

    fn read_segment(&mut self, segment: &Segment, is_last: bool, now: Timestamp) -> Result<()> {
        let Segment {
            generation, from, ..
        } = segment;
        let failed = || format!("cannot read {}", generation.path.display());
        let place = ReadContext::of(segment, self.checkpoint(), is_last, now);
        let mut damage = None;
        let source = UpToDamage {
            source: generation.read_from(*from).with_context(failed)?,
            damage: &mut damage,
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
            let row = WakeRow {
                wakes: rows.wakes,
                done: std::mem::take(&mut done),
                read_before: lines.read() - 1,
                before: lines.row_before(),
                behind: lines.last_row(),
            };
            self.take_wakes(&place, row)?;
        }
        if !self.has_stopped() {
            self.end_segment(&place, &lines, now)?;
        }
        self.note_damage(&place, damage);
        Ok(())
    }

    fn note_damage(&mut self, place: &ReadContext, damage: Option<io::Error>) {
        if let Some(damage) = damage.filter(|_| place.is_left) {
            self.report.tally.missed += 1;
            let path = place.generation.path.display();
            warn!("{path} is damaged ({damage}): rows behind that point may have been missed");
        }
    }

    /// Moves the checkpoint behind the last row of the segment. Where nobody appends to it any more, a
    /// last row without its line end is read as well, if it is whole.
    fn end_segment<R: Read>(
        &mut self,
        place: &ReadContext,
        lines: &Lines<R>,
        now: Timestamp,
    ) -> Result<()> {
        let mut end = lines.last_row();
        let Unfinished {
            start,
            bytes,
            overlong,
        } = lines.unfinished();
        if place.kind != Kind::Current && is_whole(bytes) {
            let row = RowProof {
                start,
                end: start + bytes.len() as u64,
                sha256: sha256(bytes),
            };
            let before = end.replace(row.clone());
            let read_before = lines.read();
            let wakes = read_rows(bytes).wakes;
            self.take_wakes(
                place,
                WakeRow {
                    wakes,
                    done: 0,
                    read_before,
                    before,
                    behind: Some(row),
                },
            )?;
            self.report.rows.read += 1;
        } else if place.is_left {
            let malformed = holds_seam(bytes).then_some(0);
            self.pass_over_unreadable(place.generation, start, overlong, malformed);
        }
        if self.has_stopped() {
            return Ok(());
        }
        self.report.rows.read += lines.read();
        if end.is_some() {
            *self.checkpoint() = place.checkpoint_behind(end, 0);
            self.unsaved = self.unsaved.max(Unsaved::Position);
        }
        self.note_late(place, now);
        Ok(())
    }

    /// What was looked at of a generation that was left is not looked at again.
    fn note_late(&mut self, place: &ReadContext, now: Timestamp) {
        if let Kind::Late(number) = place.kind {
            let checkpoint = self.checkpoint();
            checkpoint.previous[number].note_read(place.generation, now);
            checkpoint.known.add(place.generation);
            self.unsaved = self.unsaved.max(Unsaved::Position);
        }
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
    fn take_wakes(&mut self, place: &ReadContext, row: WakeRow) -> Result<()> {
        let count = row.wakes.len();
        for (index, wake) in row.wakes.into_iter().enumerate().skip(row.done) {
            let now = self.effects.now(Some(&wake));
            if self.is_past_its_time() && self.would_dispatch(&wake, now) {
                info!("the run's time is over: what is left stays for the next run");
                *self.checkpoint() = place.checkpoint_behind(row.before, index);
                self.unsaved = self.unsaved.max(Unsaved::Position);
                self.report.rows.read += row.read_before;
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
                        place.checkpoint_behind(row.behind.clone(), 0)
                    } else {
                        place.checkpoint_behind(row.before.clone(), index + 1)
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
                    self.keep(|| WakeReport::new(&wake, &decision));
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
