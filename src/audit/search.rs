//! The search for the position's content among the files beside the log. It reads only heads and
//! last rows, and decides nothing by a name or an inode alone.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use log::{debug, info};

use super::checkpoint::Checkpoint;
use super::generation::{Generation, Integrity};
use super::rotation::{Kind, Plan, Segment};
use super::siblings::{siblings, sort_by_age};

/// How long a gzip file that ends early is taken for one that is still being written.
const GZIP_PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// A file's time may lie so long before its last write: the kernel stamps with the time of its last
/// tick, and logrotate and gzip cut a compressed file's time to the second.
const TIME_GRAIN: SignedDuration = SignedDuration::from_secs(2);
/// How often the files beside the log are listed anew because they were renamed meanwhile.
const MOST_LISTINGS: usize = 10;

/// What is searched for, among what: the checkpoint, and the file at the log's path, as it was opened.
pub(super) struct Search<'a> {
    pub log: &'a Path,
    pub checkpoint: &'a Checkpoint,
    pub now: Timestamp,
    pub current: Option<&'a Generation>,
}

/// The files beside the log that matter, sorted out while they are opened one after the other:
/// there may be more of them than a process can hold open.
#[derive(Default)]
struct Found {
    /// Each with the number of the generation that it is.
    left: Vec<(usize, Generation)>,
    holders: Vec<Generation>,
    copies: Vec<Generation>,
    changed: Vec<Generation>,
    /// Seen for the first time, though last changed before the position was reached.
    unseen: Vec<Generation>,
    unreadable: Vec<String>,
    known: BTreeSet<String>,
}

impl Search<'_> {
    /// Everything that is read before the current file.
    pub fn plan(&self) -> io::Result<Plan> {
        let position = &self.checkpoint.position;
        let is_at_start = position.offset == 0;
        let holds = |current: &Generation| position.holds_in(current);
        let goes_on = !is_at_start && self.current.map_or(Ok(false), holds)?;
        let is_watching = self
            .checkpoint
            .previous
            .iter()
            .any(|left| left.is_watched(self.now));
        if goes_on && !is_watching {
            return Ok(Plan::default());
        }
        let mut found = self.look_around();
        let mut plan = Plan {
            segments: self.late_rows(std::mem::take(&mut found.left)),
            ..Plan::default()
        };
        if goes_on {
            return Ok(plan);
        }
        plan.known = std::mem::take(&mut found.known);
        plan.unreadable = std::mem::take(&mut found.unreadable);
        if is_at_start {
            plan.known.extend(fingerprints(&found.unseen));
            let changed = self.in_order(found.changed, None);
            plan.rotated = !changed.is_empty();
            self.add(&mut plan, changed.into_iter().map(|file| (file, 0)));
        } else {
            self.follow(&mut plan, found);
        }
        Ok(plan)
    }

    fn look_around(&self) -> Found {
        let mut found = Found::default();
        for _ in 0..MOST_LISTINGS {
            found = Found::default();
            let listed = siblings(self.log, &self.checkpoint.position.file);
            let mut seen = HashSet::new();
            if let Some(current) = self.current {
                seen.insert((current.identity.device, current.identity.inode));
            }
            for path in &listed.paths {
                self.sort_out(path, &mut seen, &mut found);
            }
            // A file that was renamed meanwhile may have been passed over under both its names.
            if siblings(self.log, &self.checkpoint.position.file) == listed {
                break;
            }
        }
        found
    }

    fn sort_out(&self, path: &Path, seen: &mut HashSet<(u64, u64)>, found: &mut Found) {
        let file = match Generation::open(path) {
            Ok(file) => file,
            Err(error) => {
                debug!("passed over {}: {error}", path.display());
                if self.may_hold_new_rows(path) {
                    let reason = format!("{}: {error}", path.display());
                    found.unreadable.push(reason);
                }
                return;
            }
        };
        if !seen.insert((file.identity.device, file.identity.inode)) {
            return;
        }
        let (position, fingerprint) = (&self.checkpoint.position, file.fingerprint());
        let is_known = fingerprint
            .as_ref()
            .is_some_and(|print| self.checkpoint.known.contains(print));
        let left = self
            .checkpoint
            .previous
            .iter()
            .position(|left| left.is(&file));
        let group = if position.offset > 0 && position.holds_in(&file).unwrap_or(false) {
            &mut found.holders
        } else if let Some(left) = left {
            found.known.extend(fingerprint);
            return found.left.push((left, file));
        } else if !is_known && position.offset > 0 && position.is_ahead_of_copy(&file) {
            &mut found.copies
        } else if !is_known && self.is_new(file.modified) {
            &mut found.changed
        } else if !is_known {
            &mut found.unseen
        } else {
            return found.known.extend(fingerprint);
        };
        group.push(file);
    }

    /// Of a file that cannot be opened, by what the folder tells of it.
    fn may_hold_new_rows(&self, path: &Path) -> bool {
        let meta = fs::metadata(path).ok().filter(Metadata::is_file);
        let modified = meta.and_then(|meta| meta.modified().ok());
        let modified = modified.and_then(|time| Timestamp::try_from(time).ok());
        modified.is_some_and(|at| self.is_new(at))
    }

    /// Whether a file that was changed then may hold rows that were written after the position.
    fn is_new(&self, modified: Timestamp) -> bool {
        let seen_at = self.checkpoint.position.seen_at;
        modified >= seen_at.saturating_sub(TIME_GRAIN).unwrap_or_default()
    }

    /// Finds the holder of the position, and after it the generations that came later.
    fn follow(&self, plan: &mut Plan, found: Found) {
        let offset = self.checkpoint.position.offset;
        let Found {
            holders,
            copies,
            mut changed,
            mut unseen,
            ..
        } = found;
        plan.known.extend(fingerprints(&holders));
        let holder = match self.longest(holders) {
            Some(holder) => {
                // What is no part of the holder only begins like it.
                changed.extend(copies);
                Some(holder)
            }
            // A copy that is shorter than the offset was made before the offset was reached, and so
            // was wholly consumed.
            None => {
                plan.known.extend(fingerprints(&copies));
                self.longest(copies)
            }
        };
        if let Some(holder) = &holder {
            changed.extend(take_later(&mut unseen, holder));
        }
        plan.known.extend(fingerprints(&unseen));
        if let Some(holder) = holder {
            plan.rotated = true;
            let from = match holder.is_gzip() {
                true => offset,
                false => holder.length.min(offset),
            };
            let later = self.in_order(changed, Some(&holder));
            let later = later.into_iter().map(|file| (file, 0));
            self.add(plan, std::iter::once((holder, from)).chain(later));
        } else if let Some(unfinished) = changed.iter().find(|file| self.is_being_written(file)) {
            // The holder may be the one that is not readable yet.
            plan.waiting_for = Some(unfinished.path.clone());
        } else if self.current.is_some() {
            plan.gap = true;
            let changed = self.in_order(changed, None);
            self.add(plan, changed.into_iter().map(|file| (file, 0)));
        }
    }

    /// Of several copies of one generation the one that has most of it.
    fn longest(&self, mut files: Vec<Generation>) -> Option<Generation> {
        if files.len() > 1 {
            let identity = self.checkpoint.position.identity.as_ref();
            files.sort_by_cached_key(|file| {
                let is_same = identity.is_some_and(|identity| file.is_same_file(identity));
                (file.content_length(u64::MAX), is_same, !file.is_gzip())
            });
        }
        files.pop()
    }

    /// Oldest first, without those that are read as part of another one.
    fn in_order(&self, mut files: Vec<Generation>, holder: Option<&Generation>) -> Vec<Generation> {
        sort_by_age(&mut files);
        let mut kept = Vec::new();
        while let Some(file) = files.pop() {
            let mut others = kept.iter().chain(&files).chain(self.current).chain(holder);
            if !others.any(|other| file.is_part_of(other)) {
                kept.push(file);
            }
        }
        kept.reverse();
        kept
    }

    /// Adds finished generations up to the first that is perhaps still being written.
    fn add(&self, plan: &mut Plan, files: impl Iterator<Item = (Generation, u64)>) {
        for (generation, from) in files {
            if self.is_being_written(&generation) {
                info!(
                    "{} ends early: it is looked at again",
                    generation.path.display()
                );
                plan.waiting_for = Some(generation.path);
                return;
            }
            plan.segments.push(Segment {
                generation,
                from,
                kind: Kind::Finished,
            });
        }
    }

    fn is_being_written(&self, file: &Generation) -> bool {
        // A time in the future is a clock that was set back: it must not hold up the rows for long.
        file.is_gzip()
            && self.now.duration_since(file.modified).abs() < GZIP_PATIENCE
            && file.integrity() == Integrity::EndsEarly
    }

    /// Rows behind the end of the generations that were left less than ten minutes ago: in the
    /// plain file, to which a writer may hold the descriptor, and once in what that was compressed
    /// to.
    fn late_rows(&self, mut found: Vec<(usize, Generation)>) -> Vec<Segment> {
        let watched = self.checkpoint.previous.iter().enumerate();
        let watched = watched.filter(|(_, left)| left.is_watched(self.now));
        let segments = watched.filter_map(|(number, left)| {
            let files = found.extract_if(.., |(of, _)| *of == number);
            let generation = files.map(|(_, file)| file).max_by_key(|file| {
                let is_same = left.position.identity.as_ref() == Some(&file.identity);
                (is_same, !file.is_gzip(), file.length)
            })?;
            let has_more = if generation.is_gzip() {
                !self.is_being_written(&generation)
            } else {
                generation.length > left.length
            };
            has_more.then_some(Segment {
                generation,
                from: left.position.offset,
                kind: Kind::Late(number),
            })
        });
        segments.collect()
    }
}

/// A file's time may have been set back (restored, copied from a machine with another clock); behind
/// the holder's it says all the same that the file was rotated after it.
fn take_later<'a>(
    unseen: &'a mut Vec<Generation>,
    holder: &'a Generation,
) -> impl Iterator<Item = Generation> + 'a {
    unseen.extract_if(.., |file| {
        file.modified.as_second() >= holder.modified.as_second()
    })
}

fn fingerprints(files: &[Generation]) -> impl Iterator<Item = String> {
    files.iter().filter_map(Generation::fingerprint)
}
