//! Which generation is in which file: a pure function over the table and what was found.

use std::io;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::compression::Compression;
use super::file::{End, LogFile};
use super::generations::{Generation, Status, WHOLE};
use super::stat::Stat;

/// How long after its last change a compressed file is taken for one that is still being written.
const BEING_WRITTEN: SignedDuration = SignedDuration::from_mins(10);

/// A file of the log as it was found. Generations go by their number in the table.
#[derive(Debug)]
pub(super) struct Found {
    pub path: PathBuf,
    pub stat: Stat,
    pub is_current: bool,
    pub compression: Compression,
    /// Of the content, in bytes; [`WHOLE`] where it is not known.
    pub length: u64,
    pub end: End,
    /// The generation whose file this is, unchanged since that was read.
    pub unchanged: Option<usize>,
    /// Those that begin as this file does.
    pub alike: Vec<usize>,
    /// Those whose last row is there, too.
    pub holds: Vec<usize>,
    /// Why it could not be examined.
    pub failure: Option<io::Error>,
    /// What it is read by, where it was examined.
    pub file: Option<LogFile>,
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
    /// Content that is read in another file, or was when it was in the file of a generation that is
    /// gone.
    Copy {
        of: Option<usize>,
    },
    /// It is not complete, or could not be examined. It is looked at again.
    Waits,
    /// It cannot be read, and may hold new rows.
    Unreadable,
}

impl Found {
    pub fn new(path: PathBuf, stat: Stat, is_current: bool, unchanged: Option<usize>) -> Self {
        Self {
            path,
            stat,
            is_current,
            compression: Compression::None,
            length: WHOLE,
            end: End::Whole,
            unchanged,
            alike: Vec::new(),
            holds: Vec::new(),
            failure: None,
            file: None,
        }
    }

    /// Whether the content is a prefix of the other one's.
    pub fn is_part_of(&self, whole: &Self) -> io::Result<bool> {
        match (&self.file, &whole.file) {
            (Some(part), Some(whole)) => part.is_part_of(whole),
            (Some(part), None) => part.is_part_of(&LogFile::open(&whole.path)?),
            (None, _) => Ok(false),
        }
    }

    /// Whether it may still be written by what compresses it. A time in the future is a clock that
    /// was set back: it must not hold up the rows for long.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.stat.modified).abs() < BEING_WRITTEN
    }

    fn is_plain(&self) -> bool {
        self.compression == Compression::None
    }
}

/// Finds out what each file is. `is_part` compares the content of two: is the first a prefix of the
/// second?
pub(super) fn match_files<E>(
    table: &[Generation],
    found: &[Found],
    now: Timestamp,
    mut is_part: impl FnMut(usize, usize) -> Result<bool, E>,
) -> Result<Vec<Fate>, E> {
    let mut fates: Vec<Option<Fate>> = Vec::new();
    let mut is_free = vec![true; table.len()];
    for file in found {
        let unchanged = file.unchanged.filter(|generation| is_free[*generation]);
        fates.push(if let Some(generation) = unchanged {
            is_free[generation] = false;
            Some(Fate::GoesOn {
                generation,
                is_proven: true,
            })
        } else if let Some(failure) = &file.failure {
            Some(match failure.kind() {
                io::ErrorKind::PermissionDenied => Fate::Unreadable,
                _ => Fate::Waits,
            })
        } else if file.end == End::Early && file.is_fresh(now) {
            Some(Fate::Waits)
        } else {
            None
        });
    }
    // Where several files could be a generation, the one with its identity is it, then the one that
    // holds most; and a file is the generation of which it holds most.
    let mut pairs = Vec::new();
    for (number, file) in found
        .iter()
        .enumerate()
        .filter(|(number, _)| fates[*number].is_none())
    {
        for &generation in &file.holds {
            let Generation { offset, stat, .. } = &table[generation];
            let is_own = stat.is_same_file(&file.stat);
            let rank = (
                is_own,
                *offset,
                file.length,
                file.is_current,
                file.is_plain(),
            );
            pairs.push((rank, generation, number));
        }
    }
    pairs.sort_by(|(one, ..), (other, ..)| other.cmp(one));
    for &((is_own, ..), generation, number) in &pairs {
        if is_free[generation] && fates[number].is_none() {
            let others = pairs
                .iter()
                .filter(|(_, other, _)| *other == generation)
                .count();
            let is_proven = is_own || others == 1;
            fates[number] = Some(Fate::GoesOn {
                generation,
                is_proven,
            });
            is_free[generation] = false;
        }
    }
    for (number, file) in found.iter().enumerate() {
        if fates[number].is_none() {
            fates[number] = Some(if let Compression::Unreadable(_) = file.compression {
                judge_unreadable(table, &mut is_free, found, number, now)
            } else if file.is_current {
                Fate::New
            } else if let Some(of) = consumed(table, &is_free, found, number) {
                Fate::Copy { of: Some(of) }
            } else if is_copy(found, &fates, number, &mut is_part)? {
                Fate::Copy { of: None }
            } else {
                Fate::New
            });
        }
        // A generation that was empty is known by its file alone.
        let is_own = |one: &Generation| one.is_blank() && one.stat.is_same_file(&file.stat);
        let is_empty = |one: &Generation| one.status == Status::Read && one.stat.size == 0;
        let own = (0..table.len()).find(|one| is_own(&table[*one]) && is_empty(&table[*one]));
        if let (Some(Fate::New), Some(generation)) = (fates[number], own) {
            fates[number] = Some(Fate::GoesOn {
                generation,
                is_proven: true,
            });
        }
    }
    Ok(fates
        .into_iter()
        .map(|fate| fate.unwrap_or(Fate::New))
        .collect())
}

/// The generation of which the file is a copy that was made before its offset was reached, and of
/// which nothing else is left. Where another generation or file begins alike, too, that alone is no
/// proof: then the file must not have changed since the generation was read.
fn consumed(
    table: &[Generation],
    is_free: &[bool],
    found: &[Found],
    number: usize,
) -> Option<usize> {
    let file = &found[number];
    let is_alone = |generation: &usize| {
        let mut others = found
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != number);
        file.alike.len() == 1 && others.all(|(_, other)| !other.alike.contains(generation))
    };
    let free = file
        .alike
        .iter()
        .copied()
        .filter(|generation| is_free[*generation]);
    { free }.find(|generation| {
        let Generation { offset, stat, .. } = &table[*generation];
        let is_older = file.stat.modified <= stat.modified;
        file.end == End::Whole
            && file.length < *offset
            && (*offset == WHOLE || !stat.is_same_file(&file.stat))
            && (is_older || is_alone(generation))
    })
}

/// Whether the content is a prefix of another file's. Of files with the same content one is read.
fn is_copy<E>(
    found: &[Found],
    fates: &[Option<Fate>],
    number: usize,
    is_part: &mut impl FnMut(usize, usize) -> Result<bool, E>,
) -> Result<bool, E> {
    let file = &found[number];
    for (other_number, other) in found.iter().enumerate() {
        let is_matched = match fates[other_number] {
            Some(Fate::GoesOn { generation, .. }) => {
                // What was not opened is compared where it begins alike.
                if other.unchanged.is_some() && !file.alike.contains(&generation) {
                    continue;
                }
                true
            }
            Some(Fate::New) | None => other.is_current,
            _ => continue,
        };
        let rank = (file.length, false, file.is_plain(), number);
        let other_rank = (other.length, is_matched, other.is_plain(), other_number);
        if other_number != number && rank < other_rank && is_part(number, other_number)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A compression keeps the time of the file that it was made of. Some tools cut it to the second.
/// Nothing is said of one that is still being made of the file beside it.
fn judge_unreadable(
    table: &[Generation],
    is_free: &mut [bool],
    found: &[Found],
    number: usize,
    now: Timestamp,
) -> Fate {
    let file = &found[number];
    let time = file.stat.modified;
    let is_time = |other: Timestamp| {
        let is_cut = time.subsec_nanosecond() == 0 && time.as_second() == other.as_second();
        time == other || is_cut
    };
    let mut read =
        (0..table.len()).filter(|one| is_free[*one] && table[*one].status != Status::Unread);
    if let Some(generation) = read.find(|one| is_time(table[*one].stat.modified)) {
        is_free[generation] = false;
        return Fate::GoesOn {
            generation,
            is_proven: true,
        };
    }
    let plain = file.path.with_extension("");
    let is_being_made =
        |other: &Found| other.path == plain && (file.is_fresh(now) || is_time(other.stat.modified));
    match found.iter().any(is_being_made) {
        true => Fate::Copy { of: None },
        false => Fate::Unreadable,
    }
}
