//! Where the old content went. Given the position and what lies beside the log now, this room says
//! which stretches of which files are new, in the order in which they were written. It reads only
//! heads and last rows, and decides nothing by a name or an inode alone.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use log::{debug, info};
use serde::{Deserialize, Serialize};

use super::generation::{Generation, Integrity};
use super::position::Position;
use crate::exit::{Exit, Problem};

/// How long rows are still looked for in a generation that was left.
const LATE_ROWS: SignedDuration = SignedDuration::from_mins(10);
/// How long a gzip file that ends early is taken for one that is still being written.
const GZIP_PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// A file's time may lie so long before its last write: the kernel stamps with the time of its last
/// tick, and logrotate and gzip cut a compressed file's time to the second.
const TIME_GRAIN: SignedDuration = SignedDuration::from_secs(2);
/// How long a rotation is given to end before the files are looked for again.
const RENAMING: Duration = Duration::from_millis(5);
/// How often the files beside the log are listed anew because they were renamed meanwhile.
const MOST_LISTINGS: usize = 10;

/// How far one audit log was read: the part of the state that moves with every row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    pub position: Position,
    /// Fingerprints of the files that lay beside the log when the position's file was begun: none
    /// of them was rotated after it, whatever they are called by now.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub known: BTreeSet<String>,
    /// The generations before, in which late rows may still appear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Left>,
}

impl Tail {
    /// A tail that knows of no other file.
    pub fn new(position: Position) -> Self {
        Self {
            position,
            known: BTreeSet::new(),
            previous: Vec::new(),
        }
    }

    /// The first tail of a log: what lies beside it was there before.
    pub fn first(log: &Path, position: Position) -> Self {
        let mut known = BTreeSet::new();
        let mut note = |file: Generation| known.extend(file.fingerprint());
        for path in siblings(log, "").paths {
            let _ = Generation::open(&path).map(&mut note);
        }
        Self {
            known,
            ..Self::new(position)
        }
    }

    /// Drops what late rows are not looked for in any more.
    pub fn forget_left(&mut self, now: Timestamp) {
        self.previous.retain(|left| left.is_watched(now));
    }
}

/// A generation that was read to its end and left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Left {
    pub position: Position,
    /// How far it was looked at; behind the offset lies what is not a whole row.
    pub length: u64,
    pub left_at: Timestamp,
    /// It was read once more after it was compressed: no writer holds it any longer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub closed: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Left {
    fn is_watched(&self, now: Timestamp) -> bool {
        !self.closed && now.duration_since(self.left_at) < LATE_ROWS
    }

    /// Whether this is the generation. One that was left empty has nothing but its inode to tell.
    fn is(&self, file: &Generation) -> bool {
        if self.position.offset > 0 {
            return self.position.holds_in(file).unwrap_or(false);
        }
        self.position.identity.as_ref() == Some(&file.identity)
    }
}

/// A part of a generation that is to be read.
#[derive(Debug)]
pub struct Stretch {
    pub generation: Generation,
    pub from: u64,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows that were written into a generation after it was left: the one of this number.
    Late(usize),
    /// A generation that nobody appends to any more.
    Finished,
    /// The file at the log's path.
    Current,
}

impl Stretch {
    /// Whether there may be anything to read: in an idle run there is not.
    pub fn has_bytes(&self) -> bool {
        self.generation.is_gzip() || self.generation.length > self.from
    }
}

/// What is to be read, and what that says of the rows in between.
#[derive(Debug, Default)]
pub struct Plan {
    pub stretches: Vec<Stretch>,
    /// The position's content lies in another file than the one at the log's path.
    pub rotated: bool,
    /// Nothing holds the position any more: rows may have been missed.
    pub gap: bool,
    /// There is no file at the log's path.
    pub missing: bool,
    /// A gzip file that is perhaps being written; nothing behind it is read yet.
    pub waiting_for: Option<PathBuf>,
    /// Files that may hold new rows and cannot be read, each with the reason.
    pub unreadable: Vec<String>,
    /// Fingerprints of the files beside the log that are not to be read.
    pub known: BTreeSet<String>,
}

/// Opens the file at the log's path. `None`: there is none.
pub fn open_log(log: &Path) -> Result<Option<Generation>, Problem> {
    match Generation::open_plain(log) {
        Ok(generation) => Ok(Some(generation)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let error = anyhow!("cannot read the audit log {}: {error}", log.display());
            Err(Problem::new(Exit::Failed, error)
                .with_next_step("name the right file with --audit-log or KORA_AUDIT_LOG_PATH"))
        }
    }
}

/// Plans what is to be read from the position on. A rotation between opening the log and listing
/// its folder looks like a gap, or puts a younger file before the one that was opened: look again.
pub fn plan(log: &Path, tail: &Tail, now: Timestamp) -> Result<Plan, Problem> {
    let mut plan = plan_once(log, tail, now)?;
    for _ in 1..MOST_LISTINGS {
        if !plan.gap && !plan.is_overtaken(log) {
            break;
        }
        thread::sleep(RENAMING);
        plan = plan_once(log, tail, now)?;
    }
    Ok(plan)
}

impl Plan {
    /// Whether the log was rotated once more while the plan was made.
    fn is_overtaken(&self, log: &Path) -> bool {
        let of_kind = |kind| {
            self.stretches
                .iter()
                .rfind(move |stretch| stretch.kind == kind)
        };
        let current = of_kind(Kind::Current).map(|stretch| stretch.generation.identity.inode);
        let there = fs::metadata(log).ok().map(|meta| meta.ino());
        self.waiting_for.is_none() && of_kind(Kind::Finished).is_some() && current != there
    }
}

fn plan_once(log: &Path, tail: &Tail, now: Timestamp) -> Result<Plan, Problem> {
    let current = open_log(log)?;
    let search = Search {
        log,
        tail,
        now,
        current: current.as_ref(),
    };
    let mut plan = search.plan().map_err(|error| {
        anyhow::Error::new(error).context(format!("cannot read {}", log.display()))
    })?;
    plan.missing = current.is_none();
    let from = match (plan.rotated, plan.gap) {
        (false, false) => tail.position.offset,
        _ => 0,
    };
    if let (Some(generation), None) = (current, &plan.waiting_for) {
        plan.stretches.push(Stretch {
            generation,
            from,
            kind: Kind::Current,
        });
    }
    Ok(plan)
}

struct Search<'a> {
    log: &'a Path,
    tail: &'a Tail,
    now: Timestamp,
    current: Option<&'a Generation>,
}

/// The files beside the log that matter, sorted out while they are opened one after the other: there
/// may be more of them than a process can hold open.
#[derive(Default)]
struct Found {
    /// Each with the number of the generation that it is.
    left: Vec<(usize, Generation)>,
    holders: Vec<Generation>,
    copies: Vec<Generation>,
    changed: Vec<Generation>,
    unreadable: Vec<String>,
    known: BTreeSet<String>,
}

impl Search<'_> {
    /// Everything that is read before the current file.
    fn plan(&self) -> io::Result<Plan> {
        let position = &self.tail.position;
        let is_at_start = position.offset == 0;
        let holds = |current: &Generation| position.holds_in(current);
        let goes_on = !is_at_start && self.current.map_or(Ok(false), holds)?;
        let is_watching = self
            .tail
            .previous
            .iter()
            .any(|left| left.is_watched(self.now));
        if goes_on && !is_watching {
            return Ok(Plan::default());
        }
        let mut found = self.look_around();
        let mut plan = Plan {
            stretches: self.late_rows(std::mem::take(&mut found.left)),
            ..Plan::default()
        };
        if goes_on {
            return Ok(plan);
        }
        plan.known = std::mem::take(&mut found.known);
        plan.unreadable = std::mem::take(&mut found.unreadable);
        if is_at_start {
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
            let listed = siblings(self.log, &self.tail.position.file);
            let mut seen = HashSet::new();
            if let Some(current) = self.current {
                seen.insert((current.identity.device, current.identity.inode));
            }
            for path in &listed.paths {
                self.sort_out(path, &mut seen, &mut found);
            }
            // A file that was renamed meanwhile may have been passed over under both its names.
            if siblings(self.log, &self.tail.position.file) == listed {
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
                let meta = fs::metadata(path).ok().filter(|meta| meta.is_file());
                let modified = meta.and_then(|meta| meta.modified().ok());
                if modified
                    .is_some_and(|time| Timestamp::try_from(time).is_ok_and(|at| self.is_new(at)))
                {
                    found
                        .unreadable
                        .push(format!("{}: {error}", path.display()));
                }
                return;
            }
        };
        if !seen.insert((file.identity.device, file.identity.inode)) {
            return;
        }
        let (position, fingerprint) = (&self.tail.position, file.fingerprint());
        let is_known = fingerprint
            .as_ref()
            .is_some_and(|print| self.tail.known.contains(print));
        let left = self.tail.previous.iter().position(|left| left.is(&file));
        let group = if position.offset > 0 && position.holds_in(&file).unwrap_or(false) {
            &mut found.holders
        } else if let Some(left) = left {
            found.known.extend(fingerprint);
            return found.left.push((left, file));
        } else if !is_known && position.offset > 0 && position.is_ahead_of_copy(&file) {
            &mut found.copies
        } else if !is_known && self.is_new(file.modified) {
            &mut found.changed
        } else {
            return found.known.extend(fingerprint);
        };
        group.push(file);
    }

    /// Whether a file that was changed then may hold rows that were written after the position.
    fn is_new(&self, modified: Timestamp) -> bool {
        modified
            >= self
                .tail
                .position
                .seen_at
                .saturating_sub(TIME_GRAIN)
                .unwrap_or_default()
    }

    /// Finds the holder of the position, and after it the generations that came later.
    fn follow(&self, plan: &mut Plan, found: Found) {
        let offset = self.tail.position.offset;
        let Found {
            holders,
            copies,
            mut changed,
            ..
        } = found;
        let prints = holders.iter().filter_map(Generation::fingerprint);
        plan.known.extend(prints);
        let holder = match self.longest(holders) {
            Some(holder) => {
                // What is no part of the holder only begins like it.
                changed.extend(copies);
                Some(holder)
            }
            // A copy that is shorter than the offset was made before the offset was reached, and so
            // was wholly consumed.
            None => {
                plan.known
                    .extend(copies.iter().filter_map(Generation::fingerprint));
                self.longest(copies)
            }
        };
        if let Some(holder) = holder {
            plan.rotated = true;
            let from = if holder.is_gzip() {
                offset
            } else {
                holder.length.min(offset)
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
            let identity = self.tail.position.identity.as_ref();
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
            plan.stretches.push(Stretch {
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

    /// Rows behind the end of the generations that were left less than ten minutes ago: in the plain
    /// file, to which a writer may hold the descriptor, and once in what that was compressed to.
    fn late_rows(&self, mut found: Vec<(usize, Generation)>) -> Vec<Stretch> {
        let watched = self.tail.previous.iter().enumerate();
        let watched = watched.filter(|(_, left)| left.is_watched(self.now));
        let stretches = watched.filter_map(|(number, left)| {
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
            has_more.then_some(Stretch {
                generation,
                from: left.position.offset,
                kind: Kind::Late(number),
            })
        });
        stretches.collect()
    }
}

/// Oldest first by the time of the last row. Within a second the names come before the time's
/// fraction, since that is lost where a file was compressed: `.2` is older than `.1`, and names with
/// a date are older the smaller they are.
fn sort_by_age(files: &mut [Generation]) {
    let is_cut = files.iter().any(Generation::is_gzip);
    files.sort_by_cached_key(|file| {
        let name = file
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let fraction = if is_cut {
            0
        } else {
            file.modified.subsec_nanosecond()
        };
        (
            file.modified.as_second(),
            Reverse(number_of(&name)),
            fraction,
            name,
        )
    });
}

/// How often a file was rotated, by its name.
fn number_of(name: &str) -> u64 {
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    let number = stem
        .rsplit_once('.')
        .and_then(|(_, number)| number.parse().ok());
    // A number this large is a date, which the name orders.
    number.filter(|number| *number < 100_000).unwrap_or(0)
}

/// Names beside the log, as they were at one moment.
#[derive(PartialEq, Eq)]
struct Listing {
    paths: Vec<PathBuf>,
    /// Each with its inode: a name that means another file is another listing.
    entries: BTreeSet<(PathBuf, u64)>,
}

/// The files that the log may have been rotated into: beside the log (beside the link and beside
/// its target, where the path is a symbolic link), in the folders directly below, with names that
/// begin with the log's; and the file last read.
fn siblings(log: &Path, last_read: &str) -> Listing {
    let target = fs::canonicalize(log).unwrap_or_else(|_| log.to_owned());
    let mut entries = BTreeSet::new();
    for path in [log, target.as_path()] {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            for folder in folders_of(folder) {
                entries.extend(files_named_like(&folder, name));
            }
        }
    }
    let mut paths: BTreeSet<PathBuf> = entries.iter().map(|(path, _)| path.clone()).collect();
    // It may be gone, and then what it was compressed to is no twin.
    if Path::new(last_read).exists() {
        paths.insert(PathBuf::from(last_read));
    }
    paths.retain(|path| path != log && *path != target);
    let paths = drop_compressed_twins(paths);
    Listing { paths, entries }
}

fn folders_of(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let below = entries_of(folder).map(|entry| entry.path());
    folders.extend(below.filter(|path| path.is_dir()));
    folders
}

fn files_named_like(folder: &Path, name: &OsStr) -> impl Iterator<Item = (PathBuf, u64)> {
    let is_like = |entry: &DirEntry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        !is_folder && entry.file_name().as_bytes().starts_with(name.as_bytes())
    };
    entries_of(folder)
        .filter(is_like)
        .map(|entry| (entry.path(), entry.ino()))
}

fn entries_of(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    // The folder of a bare file name.
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// `.1` beside `.1.gz`: the plain one counts, the other is its copy or on the way to be one.
fn drop_compressed_twins(paths: BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let is_gzip = |path: &Path| path.extension().is_some_and(|extension| extension == "gz");
    let has_plain_twin = |path: &Path| is_gzip(path) && paths.contains(&path.with_extension(""));
    paths
        .iter()
        .filter(|path| !has_plain_twin(path))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_files_number_is_told_from_a_date() {
        for (name, number) in [
            ("kora.jsonl.1", 1),
            ("kora.jsonl.12.gz", 12),
            ("kora.jsonl-20260524", 0),
            ("kora.jsonl.20260524", 0),
            ("kora.jsonl.bak", 0),
        ] {
            assert_eq!(number_of(name), number, "{name}");
        }
    }

    #[test]
    fn only_a_compressed_file_beside_its_plain_one_is_left_out() {
        let paths = ["a.1", "a.1.gz", "a.2.gz", "b/a.2"].map(PathBuf::from);
        let kept = drop_compressed_twins(paths.into());
        assert_eq!(kept, ["a.1", "a.2.gz", "b/a.2"].map(PathBuf::from));
    }
}
