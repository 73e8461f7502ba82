//! Where the old content went. Given the position and what lies beside the log now, this room says
//! which stretches of which files are new, in the order in which they were written. It reads only
//! heads and last rows, and decides nothing by a name or an inode alone.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use log::{debug, info};
use serde::{Deserialize, Serialize};

use super::generation::{Generation, Integrity};
use super::position::{KnownFile, Position};
use crate::exit::{Exit, Problem};

/// How long rows are still looked for in the generation that was left last.
const LATE_ROWS: SignedDuration = SignedDuration::from_mins(10);
/// How long a gzip file that ends early is taken for one that is still being written.
const GZIP_PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// The kernel stamps files with the time of its last tick, which is up to 10 ms (at 100 Hz) ago.
const TICK: SignedDuration = SignedDuration::from_millis(10);

/// How far one audit log was read: the part of the state that moves with every row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    pub position: Position,
    /// The generation before, in which late rows may still appear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Left>,
}

impl Tail {
    pub fn new(position: Position) -> Self {
        Self {
            position,
            previous: None,
        }
    }

    /// Drops what late rows are not looked for in any more.
    pub fn forget_left(&mut self, now: Timestamp) {
        let is_over = |left: &mut Left| now.duration_since(left.left_at) >= LATE_ROWS;
        self.previous.take_if(is_over);
    }
}

/// A generation that was read to its end and left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Left {
    pub position: Position,
    pub left_at: Timestamp,
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
    /// Rows that were written into the generation before after it was left.
    Late,
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
    /// What lay beside the log, for a position at offset 0.
    pub known: Vec<KnownFile>,
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

/// The files that lie beside the log, for a first stamp at offset 0.
pub fn known_files(log: &Path) -> Vec<KnownFile> {
    siblings(log, "", None).iter().map(KnownFile::of).collect()
}

/// Plans what is to be read from the position on.
pub fn plan(log: &Path, tail: &Tail, now: Timestamp) -> Result<Plan, Problem> {
    let first = plan_once(log, tail, now)?;
    if !first.gap {
        return Ok(first);
    }
    // A rotation between opening the log and listing its folder looks like a gap: look again.
    plan_once(log, tail, now)
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
        anyhow::Error::new(error).context(format!("cannot follow {}", log.display()))
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

impl Search<'_> {
    /// Everything that is read before the current file.
    fn plan(&self) -> io::Result<Plan> {
        let position = &self.tail.position;
        let mut plan = Plan {
            stretches: self.late_rows()?,
            ..Plan::default()
        };
        if position.offset == 0 {
            self.add_changed(&mut plan, self.siblings());
            plan.rotated = plan
                .stretches
                .iter()
                .any(|stretch| stretch.kind == Kind::Finished);
            return Ok(plan);
        }
        if self
            .current
            .map_or(Ok(false), |current| position.holds_in(current))?
        {
            return Ok(plan);
        }
        self.follow(&mut plan);
        Ok(plan)
    }

    fn siblings(&self) -> Vec<Generation> {
        siblings(self.log, &self.tail.position.file, self.current)
    }

    /// Finds the holder of the position, and after it the generations that came later.
    fn follow(&self, plan: &mut Plan) {
        let siblings = self.siblings();
        let (holder, others) = self.take_holder(siblings);
        plan.known = others.iter().chain(&holder).map(KnownFile::of).collect();
        if let Some(holder) = holder {
            plan.rotated = true;
            let later: Vec<Generation> = self.later_than(&holder, others).collect();
            let from = self
                .tail
                .position
                .offset
                .min(consumed(&holder, &self.tail.position));
            self.add(
                plan,
                std::iter::once((holder, from)).chain(later.into_iter().map(|file| (file, 0))),
            );
        } else if let Some(unfinished) = others.iter().find(|file| self.is_being_written(file)) {
            // The holder may be the one that is not readable yet.
            plan.waiting_for = Some(unfinished.path.clone());
        } else if self.current.is_some() {
            plan.gap = true;
            self.add_changed(plan, others);
        }
    }

    /// Takes out the file that the position's rows lie in: one that holds the position, or else a
    /// copy that was made before the offset was reached and so was wholly consumed.
    fn take_holder(&self, mut siblings: Vec<Generation>) -> (Option<Generation>, Vec<Generation>) {
        let position = &self.tail.position;
        let is_holder = |file: &Generation| position.holds_in(file).unwrap_or(false);
        let is_copy = |file: &Generation| position.is_ahead_of_copy(file).unwrap_or(false);
        let best = best_of(&siblings, is_holder, |file| {
            let same = position
                .identity
                .as_ref()
                .is_some_and(|same| file.is_same_file(same));
            (same, !file.is_gzip(), file.length, file.modified)
        });
        let best = best.or_else(|| best_of(&siblings, is_copy, |file| file.modified));
        (best.map(|index| siblings.remove(index)), siblings)
    }

    /// The generations that were rotated after the holder, oldest first.
    fn later_than(
        &self,
        holder: &Generation,
        mut others: Vec<Generation>,
    ) -> impl Iterator<Item = Generation> {
        let after = age(holder);
        others.retain(|file| age(file) > after && !file.begins_like(&holder.head));
        self.in_order(others)
    }

    /// The files that changed since the position was stamped, oldest first.
    fn add_changed(&self, plan: &mut Plan, mut siblings: Vec<Generation>) {
        plan.known = siblings.iter().map(KnownFile::of).collect();
        let position = &self.tail.position;
        let previous = self.tail.previous.as_ref().map(|left| &left.position);
        let since = position.seen_at - TICK;
        siblings.retain(|file| {
            file.modified >= since
                && !position.known.contains(&KnownFile::of(file))
                && !previous.is_some_and(|previous| previous.head_matches(file))
        });
        let changed = self.in_order(siblings);
        self.add(plan, changed.map(|file| (file, 0)));
    }

    fn in_order(&self, mut files: Vec<Generation>) -> impl Iterator<Item = Generation> + use<> {
        if let Some(current) = self.current {
            files.retain(|file| !file.begins_like(&current.head));
        }
        files.sort_by_key(age);
        files.into_iter()
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
        file.is_gzip()
            && self.now.duration_since(file.modified) < GZIP_PATIENCE
            && file.integrity() == Integrity::EndsEarly
    }

    /// Rows behind the end of the generation that was left less than ten minutes ago. Only a plain
    /// file can get any: a writer holds the descriptor of the file, not of its compressed copy.
    fn late_rows(&self) -> io::Result<Vec<Stretch>> {
        let Some(left) = &self.tail.previous else {
            return Ok(Vec::new());
        };
        if self.now.duration_since(left.left_at) >= LATE_ROWS {
            return Ok(Vec::new());
        }
        let is_current = |file: &Generation| {
            self.current
                .is_some_and(|current| current.is_same_file(&file.identity))
        };
        let holds = |file: &Generation| {
            !file.is_gzip() && !is_current(file) && left.position.holds_in(file).unwrap_or(false)
        };
        let known = Generation::open_plain(Path::new(&left.position.file))
            .ok()
            .filter(holds);
        let holder = known.or_else(|| {
            let siblings = siblings(self.log, &left.position.file, self.current);
            siblings.into_iter().find(holds)
        });
        let from = left.position.offset;
        let longer = holder.filter(|file| file.length > from);
        Ok(longer
            .map(|generation| Stretch {
                generation,
                from,
                kind: Kind::Late,
            })
            .into_iter()
            .collect())
    }
}

/// Where reading goes on in the holder: the offset, or its end where it is a shorter copy.
fn consumed(holder: &Generation, position: &Position) -> u64 {
    if holder.is_gzip() {
        position.offset
    } else {
        holder.length.min(position.offset)
    }
}

fn best_of<K: Ord>(
    files: &[Generation],
    fits: impl Fn(&Generation) -> bool,
    rank: impl Fn(&Generation) -> K,
) -> Option<usize> {
    let fitting = files.iter().enumerate().filter(|(_, file)| fits(file));
    fitting
        .max_by_key(|(_, file)| rank(file))
        .map(|(index, _)| index)
}

/// What finished generations are ordered by: the time of their last row, and where a rotation was
/// too quick for the clock (logrotate cuts a compressed file's time to the second), by their names.
/// `.2` is older than `.1`; names with a date are older the smaller they are.
fn age(file: &Generation) -> (Timestamp, std::cmp::Reverse<u64>, PathBuf) {
    let name = file
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let number = stem
        .rsplit_once('.')
        .and_then(|(_, number)| number.parse().ok());
    // A number this large is a date, which the path orders.
    let number = number.filter(|number| *number < 100_000).unwrap_or(0);
    (file.modified, std::cmp::Reverse(number), file.path.clone())
}

/// The files that the log may have been rotated into: beside the log (beside the link and beside
/// its target, where the path is a symbolic link), in the folders directly below, with names that
/// begin with the log's; and the file last read.
fn siblings(log: &Path, last_read: &str, current: Option<&Generation>) -> Vec<Generation> {
    let target = fs::canonicalize(log).unwrap_or_else(|_| log.to_owned());
    let mut paths = Vec::new();
    for path in [log, target.as_path()] {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            for folder in folders_of(folder) {
                paths.extend(files_named_like(&folder, name));
            }
        }
    }
    if !last_read.is_empty() {
        paths.push(PathBuf::from(last_read));
    }
    paths.retain(|path| path != log && *path != target);
    open_each_once(drop_compressed_twins(paths), current)
}

fn folders_of(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    folders.extend(
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir()),
    );
    folders
}

fn files_named_like(folder: &Path, name: &OsStr) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let like = entries.filter(|entry| entry.file_name().as_bytes().starts_with(name.as_bytes()));
    like.map(|entry| entry.path()).collect()
}

/// `.1` beside `.1.gz`: the plain one counts, the other is its copy or on the way to be one.
fn drop_compressed_twins(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let all: HashSet<PathBuf> = paths.iter().cloned().collect();
    let has_plain_twin = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "gz")
            && all.contains(&path.with_extension(""))
    };
    paths
        .into_iter()
        .filter(|path| !has_plain_twin(path))
        .collect()
}

fn open_each_once(paths: Vec<PathBuf>, current: Option<&Generation>) -> Vec<Generation> {
    let mut seen = HashSet::new();
    if let Some(current) = current {
        seen.insert((current.identity.device, current.identity.inode));
    }
    let mut files = Vec::new();
    for path in paths {
        match Generation::open(&path) {
            Ok(file) if seen.insert((file.identity.device, file.identity.inode)) => {
                files.push(file)
            }
            Ok(_) => {}
            Err(error) => debug!("passed over {}: {error}", path.display()),
        }
    }
    files
}
