//! The search for the position's content among the files beside the log, and the order of what is
//! read behind it. Content decides; names and times only order generations that are both new.

use std::io;
use std::iter;
use std::mem;

use log::info;

use super::found::{Found, New, is_fresh, look_around};
use super::generation::{Generation, Integrity};
use super::plan::{Kind, Plan, Search, Segment};
use super::siblings::age;

impl Search<'_> {
    /// Everything that is read before the current file.
    pub fn plan(&self) -> io::Result<Plan> {
        let position = &self.checkpoint.position;
        let goes_on = match self.current {
            Some(current) => position.offset > 0 && position.holds_in(current)?,
            None => false,
        };
        let mut plan = Plan::default();
        if goes_on && self.checkpoint.previous.is_empty() && !position.is_ambiguous {
            return Ok(plan);
        }
        let mut found = look_around(self);
        self.add_late_rows(&mut plan, mem::take(&mut found.retired))?;
        if goes_on && (!position.is_ambiguous || self.are_copies(&found.holders)?) {
            self.add_left_empty(&mut plan, found.new)?;
            return Ok(plan);
        }
        plan.known = mem::take(&mut found.known);
        plan.unreadable = mem::take(&mut found.unreadable);
        if position.offset == 0 {
            // There is nothing to know the position's generation by: all that is new is read.
            let new = self.in_order(&mut plan, found.new, None)?;
            let is_another =
                |log: &Generation| position.identity.is_some() && !position.was_in(log);
            plan.rotated = !new.is_empty() || self.current.is_some_and(is_another);
            self.add(&mut plan, new)?;
        } else {
            self.follow(&mut plan, found)?;
        }
        Ok(plan)
    }

    /// Whether each of these files is a copy of the current one.
    fn are_copies(&self, files: &[Generation]) -> io::Result<bool> {
        for file in files {
            let is_copy = self.current.map(|current| file.is_part_of(current));
            if !is_copy.transpose()?.unwrap_or(false) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Finds the holder of the position, and after it the generations that came later.
    fn follow(&self, plan: &mut Plan, found: Found) -> io::Result<()> {
        let (mut holders, mut copies, mut new) = (found.holders, found.copies, found.new);
        let offset = self.checkpoint.position.offset;
        // What holds the position was read up to it. What only begins like its generation is new.
        let read_up_to = if holders.is_empty() { 0 } else { offset };
        if holders.is_empty() {
            // A copy that ends before the position was made before that was reached, and so was
            // wholly consumed.
            mem::swap(&mut holders, &mut copies);
        }
        let Some(holder) = self.take_holder(&mut holders)? else {
            return self.follow_nothing(plan, new, found.failure);
        };
        for generation in holders {
            match generation.is_part_of(&holder)? {
                true => plan.known.add(&generation),
                false => new.push(New {
                    generation,
                    from: read_up_to,
                }),
            }
        }
        new.extend(copies.into_iter().map(New::whole));
        let later = self.in_order(plan, new, Some(&holder))?;
        let from = match holder.is_gzip() {
            true => offset,
            false => holder.length.min(offset),
        };
        plan.rotated = true;
        let generation = holder;
        self.add(plan, iter::once(New { generation, from }).chain(later))
    }

    /// Nothing holds the position, unless that is in a file that could not be read yet.
    fn follow_nothing(
        &self,
        plan: &mut Plan,
        new: Vec<New>,
        failure: Option<io::Error>,
    ) -> io::Result<()> {
        if let Some(failure) = failure {
            return Err(failure);
        }
        for file in &new {
            if self.is_being_written(&file.generation)? {
                plan.waiting_for = Some(file.generation.path.clone());
                return Ok(());
            }
        }
        if self.current.is_some() {
            plan.gap = true;
            let new = self.in_order(plan, new, None)?;
            self.add(plan, new)?;
        }
        Ok(())
    }

    /// Takes the file last read, or else the one that has most of it; the oldest where that is
    /// ambiguous.
    fn take_holder(&self, files: &mut Vec<Generation>) -> io::Result<Option<Generation>> {
        let position = &self.checkpoint.position;
        let is_cut = files.iter().any(Generation::is_gzip);
        files.sort_by_cached_key(|file| age(file, is_cut));
        let rank = |file: &Generation| {
            let length = file.content_length(u64::MAX)?;
            io::Result::Ok((position.was_in(file), length, !file.is_gzip()))
        };
        let mut first = None;
        if files.len() > 1 && !position.is_ambiguous {
            for (index, file) in files.iter().enumerate() {
                first = first.max(Some((rank(file)?, index)));
            }
        }
        let index = first.map_or(0, |(_, index)| index);
        Ok((!files.is_empty()).then(|| files.remove(index)))
    }

    /// Oldest first, without those that are read as part of another one, which are known from then on.
    fn in_order(
        &self,
        plan: &mut Plan,
        mut files: Vec<New>,
        holder: Option<&Generation>,
    ) -> io::Result<Vec<New>> {
        let is_cut = files.iter().any(|file| file.generation.is_gzip());
        files.sort_by_cached_key(|file| age(&file.generation, is_cut));
        let mut kept: Vec<New> = Vec::new();
        while let Some(file) = files.pop() {
            let others = kept.iter().chain(&files).map(|other| &other.generation);
            let mut is_part = false;
            for other in others.chain(self.current).chain(holder) {
                is_part |= !is_part && file.generation.is_part_of(other)?;
            }
            match is_part {
                true => plan.known.add(&file.generation),
                false => kept.push(file),
            }
        }
        kept.reverse();
        Ok(kept)
    }

    /// Adds finished generations up to the first that is perhaps still being written.
    fn add(&self, plan: &mut Plan, files: impl IntoIterator<Item = New>) -> io::Result<()> {
        for New { generation, from } in files {
            if self.is_being_written(&generation)? {
                let path = generation.path.display();
                info!("{path} ends early: it is looked at again");
                plan.waiting_for = Some(generation.path);
                return Ok(());
            }
            plan.segments.push(Segment {
                generation,
                from,
                kind: Kind::Finished,
            });
        }
        Ok(())
    }

    fn is_being_written(&self, file: &Generation) -> io::Result<bool> {
        Ok(file.is_gzip()
            && is_fresh(file.modified, self.now)
            && file.integrity()? == Integrity::EndsEarly)
    }

    /// What is new beside a log that goes on was left empty, or passed over while it was: all its
    /// rows are late.
    fn add_left_empty(&self, plan: &mut Plan, new: Vec<New>) -> io::Result<()> {
        let mut number = self.checkpoint.previous.len();
        for New { generation, from } in self.in_order(plan, new, None)? {
            if !self.is_being_written(&generation)? {
                let kind = Kind::Late(number);
                plan.segments.push(Segment {
                    generation,
                    from,
                    kind,
                });
                number += 1;
            }
        }
        Ok(())
    }

    /// Rows behind the end of the generations that were left: in the plain file, to which a writer
    /// may hold the descriptor, and once in what that was compressed to.
    fn add_late_rows(
        &self,
        plan: &mut Plan,
        mut found: Vec<(usize, Generation)>,
    ) -> io::Result<()> {
        for (number, retired) in self.checkpoint.previous.iter().enumerate() {
            let files = found.extract_if(.., |(of, _)| *of == number);
            let generation = files.map(|(_, file)| file).max_by_key(|file| {
                let is_same = retired.position.identity.as_ref() == Some(&file.identity);
                (is_same, !file.is_gzip(), file.length)
            });
            match generation {
                Some(gzip) if self.is_being_written(&gzip)? => {}
                Some(file) if file.is_gzip() || file.length > retired.length => {
                    plan.segments.push(Segment {
                        generation: file,
                        from: retired.position.offset,
                        kind: Kind::Late(number),
                    });
                }
                _ if retired.is_over(self.now) => plan.done.push(number),
                _ => {}
            }
        }
        Ok(())
    }
}
