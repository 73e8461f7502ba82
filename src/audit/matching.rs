//! Which generation is in which file: a pure function over the table and what was found.

use std::io;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::compression::Compression;
use super::file::End;
use super::generations::{Generation, Status};
use super::proof::Proof;
use super::stat::Stat;

/// How long after its last change a compressed file is taken for one that is still being written.
const BEING_WRITTEN: SignedDuration = SignedDuration::from_mins(10);

/// A file of the log as it was found. Generations go by their number in the table.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub path: PathBuf,
    pub stat: Stat,
    pub is_current: bool,
    /// The generation whose file this is, unchanged since that was read. Then the file was not
    /// examined.
    pub unchanged: Option<usize>,
    pub compression: Compression,
    pub key: Option<Proof>,
    /// The first bytes of the content.
    pub head: Vec<u8>,
    /// Of the content, in bytes; `WHOLE` where it is not known.
    pub length: u64,
    pub end: End,
    /// The generations that begin as this file does.
    pub alike: Vec<usize>,
    /// Those whose last row is there, too.
    pub holds: Vec<usize>,
    /// Why it could not be examined.
    pub failure: Option<io::Error>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The file of this generation. `is_proven`: no other file could be it.
    GoesOn {
        generation: usize,
        is_proven: bool,
    },
    New,
    /// A copy of what is in another file, or was when it was in the file of this generation.
    Copy {
        of: Option<usize>,
    },
    /// It is not complete, or could not be examined. It is looked at again.
    Waits,
    /// It cannot be read, and may hold new rows.
    Unreadable,
}

impl Fate {
    fn is_file_of(generation: usize) -> Self {
        let is_proven = true;
        Self::GoesOn {
            generation,
            is_proven,
        }
    }
}

/// What is found out so far.
struct Matching<'a> {
    table: &'a [Generation],
    found: &'a [Found],
    now: Timestamp,
    fates: Vec<Option<Fate>>,
    /// Which generations were not found yet.
    is_free: Vec<bool>,
}

/// Finds out what each file is. `is_part` compares the content of two: is the first a prefix of the
/// second?
pub(super) fn match_files<E>(
    table: &[Generation],
    found: &[Found],
    now: Timestamp,
    is_part: impl Fn(&Found, &Found) -> Result<bool, E>,
) -> Result<Vec<Fate>, E> {
    let mut matching = Matching {
        table,
        found,
        now,
        fates: found.iter().map(|file| file.fate_alone(now)).collect(),
        is_free: vec![true; table.len()],
    };
    for generation in found.iter().filter_map(|file| file.unchanged) {
        matching.is_free[generation] = false;
    }
    matching.match_content();
    for (number, file) in found.iter().enumerate() {
        if matching.fates[number].is_none() {
            let fate = if let Compression::Unreadable(_) = file.compression {
                matching.judge_unreadable(file)
            } else if let (Some(of), false) = (matching.consumed(number), file.is_current) {
                Fate::Copy { of: Some(of) }
            } else if !file.is_current && matching.is_copy(number, &is_part)? {
                Fate::Copy { of: None }
            } else {
                matching.judge_new(file)
            };
            matching.fates[number] = Some(fate);
        }
    }
    Ok(matching.fates.into_iter().flatten().collect())
}

impl Found {
    /// What it is, where that can be said of it alone.
    fn fate_alone(&self, now: Timestamp) -> Option<Fate> {
        if let Some(generation) = self.unchanged {
            return Some(Fate::is_file_of(generation));
        }
        match self.failure.as_ref().map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => Some(Fate::Unreadable),
            Some(_) => Some(Fate::Waits),
            None => (self.end == End::Early && self.is_fresh(now)).then_some(Fate::Waits),
        }
    }

    /// Whether it may still be written by what compresses it. A time in the future is a clock that
    /// was set back: it must not hold up the rows for long.
    fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.stat.modified).abs() < BEING_WRITTEN
    }

    /// Whether it has the time of another one: a compression keeps it. Some tools cut it to the
    /// second.
    fn has_time(&self, time: Timestamp) -> bool {
        let own = self.stat.modified;
        let is_cut = own.subsec_nanosecond() == 0;
        own == time || is_cut && own.as_second() == time.as_second()
    }

    /// Whether it was certainly not changed since then.
    fn is_older_than(&self, time: Timestamp) -> bool {
        let own = self.stat.modified;
        let is_cut = own.subsec_nanosecond() == 0;
        own <= time && (!is_cut || own.as_second() < time.as_second())
    }

    fn is_plain(&self) -> bool {
        self.compression == Compression::None
    }
}

impl Matching<'_> {
    /// Finds generations by their content. Where several files could be one, that with its identity
    /// is it, then the one that holds most; and a file is the generation of which it holds most.
    fn match_content(&mut self) {
        let mut pairs = Vec::new();
        let open = (0..self.found.len()).filter(|number| self.fates[*number].is_none());
        for (number, file) in open.map(|number| (number, &self.found[number])) {
            for &generation in file.holds.iter().filter(|one| self.is_free[**one]) {
                let Generation { offset, stat, .. } = &self.table[generation];
                let is_own = stat.is_same_file(&file.stat);
                let rank = (*offset, file.length, file.is_current, file.is_plain());
                pairs.push((is_own, rank, generation, number));
            }
        }
        pairs.sort_unstable_by(|one, other| other.cmp(one));
        for &(is_own, _, generation, number) in &pairs {
            if self.is_free[generation] && self.fates[number].is_none() {
                let files = pairs.iter().filter(|pair| pair.2 == generation).count();
                let is_proven = is_own || files == 1;
                self.fates[number] = Some(Fate::GoesOn {
                    generation,
                    is_proven,
                });
                self.is_free[generation] = false;
            }
        }
        // What counts as read whole is known by its file alone.
        for number in 0..self.found.len() {
            let stat = &self.found[number].stat;
            let is_own = |one: &Generation| !one.is_followed() && one.stat.is_same_file(stat);
            let own = self.free().find(|(_, one)| is_own(one));
            let own = own.map(|(generation, _)| generation);
            if let (None, Some(generation)) = (self.fates[number], own) {
                self.fates[number] = Some(Fate::is_file_of(generation));
                self.is_free[generation] = false;
            }
        }
    }

    fn free(&self) -> impl Iterator<Item = (usize, &Generation)> {
        let table = self.table.iter().enumerate();
        table.filter(|(number, _)| self.is_free[*number])
    }

    /// The generation of which the file is a copy that was made before its offset was reached, and
    /// of which nothing else is left. Where another generation or file begins alike, too, that alone
    /// is no proof: then the file must not have changed since the generation was read.
    fn consumed(&self, number: usize) -> Option<usize> {
        let file = &self.found[number];
        let is_alone = |generation: usize| {
            let mut others = self
                .found
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != number);
            file.alike.len() == 1 && !others.any(|(_, other)| other.alike.contains(&generation))
        };
        let mut free = self.free();
        let found = free.find(|(generation, one)| {
            file.end == End::Whole
                && file.length < one.offset
                && file.alike.contains(generation)
                && !one.stat.is_same_file(&file.stat)
                && (file.is_older_than(one.stat.modified) || is_alone(*generation))
        });
        found.map(|(generation, _)| generation)
    }

    /// Whether the content is a prefix of another file's. Of files with the same content one is
    /// read.
    fn is_copy<E>(
        &self,
        number: usize,
        is_part: impl Fn(&Found, &Found) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let file = &self.found[number];
        for (other_number, other) in self.found.iter().enumerate() {
            let is_read = match self.fates[other_number] {
                // What was not examined is compared where it begins alike.
                Some(Fate::GoesOn { generation, .. }) => {
                    other.unchanged.is_none() || file.alike.contains(&generation)
                }
                Some(Fate::New) | None => true,
                _ => false,
            };
            let is_matched = matches!(self.fates[other_number], Some(Fate::GoesOn { .. }));
            let rank = (file.length, false, file.is_plain(), number);
            let is_certain = is_matched || other.is_current;
            let other_rank = (other.length, is_certain, other.is_plain(), other_number);
            if is_read && rank < other_rank && is_part(file, other)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A file in a compression that cannot be read: it is known by its time, and nothing is said of
    /// one that is still being made of the file beside it.
    fn judge_unreadable(&mut self, file: &Found) -> Fate {
        let mut free = self.free().filter(|(_, one)| one.status != Status::Unread);
        let read = free.find(|(_, one)| file.has_time(one.stat.modified));
        let read = read.map(|(generation, _)| generation);
        drop(free);
        if let Some(generation) = read {
            self.is_free[generation] = false;
            return Fate::is_file_of(generation);
        }
        let plain = file.path.with_extension("");
        let mut made_of = self.found.iter().filter(|other| other.path == plain);
        let is_being_made =
            made_of.any(|other| file.is_fresh(self.now) || file.has_time(other.stat.modified));
        if is_being_made {
            Fate::Copy { of: None }
        } else {
            Fate::Unreadable
        }
    }

    /// A generation that was empty is known by its file alone.
    fn judge_new(&mut self, file: &Found) -> Fate {
        let own = self.free().find(|(_, one)| {
            let was_empty = one.is_blank() && one.status == Status::Read && one.stat.size == 0;
            was_empty && one.stat.is_same_file(&file.stat)
        });
        let own = own.map(|(generation, _)| generation);
        own.map_or(Fate::New, |generation| {
            self.is_free[generation] = false;
            Fate::is_file_of(generation)
        })
    }
}
