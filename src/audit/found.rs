//! The files beside the log, told apart by their content. They are looked at one after the other,
//! and each is closed again: there may be more of them than a process can hold open.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use log::debug;

use super::checkpoint::Checkpoint;
use super::generation::{Generation, Integrity};
use super::identity::{Identity, modified};
use super::known::{Index, Known, KnownFile, Novelty};
use super::plan::{Search, Unreadable};
use super::siblings::siblings;

/// How long after its last change a compressed file is taken for one that is still being written.
const BEING_WRITTEN: SignedDuration = SignedDuration::from_mins(10);
/// How often the files beside the log are listed anew because they were renamed meanwhile.
const MOST_LISTINGS: usize = 10;

/// The files beside the log that matter.
#[derive(Default)]
pub(super) struct Found {
    /// Generations that were left, each with its number.
    pub retired: Vec<(usize, Generation)>,
    /// They hold the position. Where that is ambiguous, they may be of several generations.
    pub holders: Vec<Generation>,
    /// They begin as the position's generation does and end before the position.
    pub copies: Vec<Generation>,
    pub new: Vec<New>,
    pub unreadable: Vec<Unreadable>,
    pub known: Known,
    /// Why one of them could not be looked at, where that may pass.
    pub failure: Option<io::Error>,
}

/// A generation that was not read yet, or not to its end.
pub(super) struct New {
    pub generation: Generation,
    pub from: u64,
}

impl New {
    pub fn whole(generation: Generation) -> Self {
        let from = 0;
        Self { generation, from }
    }
}

/// Lists the files beside the log and tells them apart.
pub(super) fn look_around(search: &Search) -> Found {
    let list = || siblings(search.log, &search.checkpoint.position.file);
    let mut listed = list();
    for _ in 1..MOST_LISTINGS {
        let found = Look::over(search, &listed.paths);
        // A file that was renamed meanwhile may have been passed over under both its names.
        let again = list();
        if again == listed {
            return found;
        }
        listed = again;
    }
    Look::over(search, &listed.paths)
}

/// Whether a file that was changed then may still be written by what compresses it. A time in the
/// future is a clock that was set back: it must not hold up the rows for long.
pub(super) fn is_fresh(modified: Timestamp, now: Timestamp) -> bool {
    now.duration_since(modified).abs() < BEING_WRITTEN
}

struct Look<'a> {
    checkpoint: &'a Checkpoint,
    now: Timestamp,
    paths: &'a BTreeSet<PathBuf>,
    known: Index<'a>,
    /// Device and inode of each file that was looked at: there may be more names of one file.
    seen: HashSet<(u64, u64)>,
    /// When the plain files that are there were last written to.
    plain_times: HashSet<Timestamp>,
    /// Files in a compression that cannot be read.
    compressed: Vec<Generation>,
    found: Found,
}

impl<'a> Look<'a> {
    fn over(search: &Search<'a>, paths: &'a BTreeSet<PathBuf>) -> Found {
        let current = search.current.map(|log| key(&log.identity));
        let mut look = Self {
            checkpoint: search.checkpoint,
            now: search.now,
            paths,
            known: search.checkpoint.known.index(),
            seen: current.into_iter().collect(),
            plain_times: HashSet::new(),
            compressed: Vec::new(),
            found: Found::default(),
        };
        for path in paths {
            if let Err(error) = look.sort_out(path) {
                look.note_unreadable(path, error);
            }
        }
        look.judge_compressed();
        look.found
    }

    fn sort_out(&mut self, path: &Path) -> io::Result<()> {
        let file = Generation::open(path)?;
        if !self.seen.insert(key(&file.identity)) {
            return Ok(());
        }
        if file.unreadable_compression().is_some() {
            self.compressed.push(file.closed());
            return Ok(());
        }
        if file.is_plain() {
            self.plain_times.insert(file.modified);
        }
        let position = &self.checkpoint.position;
        if position.is_in(&file)? {
            self.found.holders.push(file.closed());
        } else if let Some(number) = self.retired_as(&file)? {
            self.found.known.add(&file);
            self.found.retired.push((number, file.closed()));
        } else {
            self.sort_out_other(file)?;
        }
        Ok(())
    }

    fn sort_out_other(&mut self, file: Generation) -> io::Result<()> {
        let position = &self.checkpoint.position;
        let from = match self.known.novelty(&file) {
            Novelty::Known => {
                self.found.known.add(&file);
                return Ok(());
            }
            Novelty::Grown(known) => known,
            Novelty::New if position.is_ambiguous && position.holds_in(&file)? => {
                self.found.holders.push(file.closed());
                return Ok(());
            }
            Novelty::New => 0,
        };
        if file.is_empty() || self.is_made_of_plain_file(&file)? {
            return Ok(());
        }
        if file.head.is_empty() && file.integrity()? == Integrity::Whole {
            self.found.known.add(&file);
            return Ok(());
        }
        let is_copy = position.offset > 0 && position.is_ahead_of_copy(&file)?;
        let generation = file.closed();
        if is_copy {
            self.found.copies.push(generation);
        } else {
            self.found.new.push(New { generation, from });
        }
        Ok(())
    }

    /// The number of the generation that was left and is this file. One that was read to its end when
    /// it was compressed is not looked for, since nothing follows in it. In one that was left empty every
    /// row is new.
    fn retired_as(&self, file: &Generation) -> io::Result<Option<usize>> {
        for (number, retired) in self.checkpoint.previous.iter().enumerate() {
            if !retired.is_compressed && retired.position.is_in(file)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The plain file that this one may be compressed from, as `.1` is for `.1.gz`.
    fn plain_twin(&self, file: &Generation) -> Option<PathBuf> {
        let twin = file.path.with_extension("");
        self.paths.contains(&twin).then_some(twin)
    }

    /// `.1` beside `.1.gz`: the plain one counts, unless the other one is whole and another
    /// generation.
    fn is_made_of_plain_file(&self, file: &Generation) -> io::Result<bool> {
        let twin = self.plain_twin(file).filter(|_| file.is_gzip());
        match twin.map(|twin| Generation::open(&twin)) {
            Some(Ok(plain)) => {
                Ok(file.integrity()? != Integrity::Whole || file.is_part_of(&plain)?)
            }
            _ => Ok(false),
        }
    }

    /// A file in a compression that cannot be read is passed over in silence where it is known,
    /// where its time is that of a known plain file that is gone, or where it is being made of the
    /// plain file beside it.
    fn judge_compressed(&mut self) {
        for file in mem::take(&mut self.compressed) {
            let known = KnownFile::whole(&file);
            let is_known =
                self.known.holds(&known) || self.known.holds_time(file.modified, &self.plain_times);
            if !is_known && self.is_being_made(&file) {
                continue;
            }
            self.found.known.push(known.clone());
            if let (false, Some(name)) = (is_known, file.unreadable_compression()) {
                let path = file.path.display();
                self.found.unreadable.push(Unreadable {
                    what: format!(
                        "{path}: it is compressed with {name}, and only gzip can be read"
                    ),
                    known: Some(known),
                });
            }
        }
    }

    fn is_being_made(&self, file: &Generation) -> bool {
        let twin = self.plain_twin(file);
        let meta = twin.and_then(|twin| fs::metadata(twin).ok());
        meta.is_some_and(|meta| {
            let is_done = modified(&meta).as_second() == file.modified.as_second();
            is_done || is_fresh(file.modified, self.now)
        })
    }

    /// A file without permission stays known by what the folder tells of it; of others the next
    /// look may read more.
    fn note_unreadable(&mut self, path: &Path, error: io::Error) {
        debug!("passed over {}: {error}", path.display());
        let Some(known) = KnownFile::unread(path) else {
            return;
        };
        let is_forbidden = error.kind() == io::ErrorKind::PermissionDenied;
        if is_forbidden {
            self.found.known.push(known.clone());
        }
        if !self.known.holds(&known) {
            self.found.unreadable.push(Unreadable {
                what: format!("{}: {error}", path.display()),
                known: is_forbidden.then_some(known),
            });
        }
        if !is_forbidden {
            let what = format!("{}: {error}", path.display());
            let failure = io::Error::new(error.kind(), what);
            self.found.failure.get_or_insert(failure);
        }
    }
}

fn key(identity: &Identity) -> (u64, u64) {
    (identity.device, identity.inode)
}
