//! One look at the log and the files beside it: what to read, and the table as it is then.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::io::Errno;

use super::compression::Compression;
use super::file::{End, LogFile};
use super::generations::{Checkpoint, Generation, Status, WHOLE, open_log};
use super::matching::{Fate, Found, match_files};
use super::names::{age, list, path_of};
use super::stat::{Stat, is_racy, modified};

/// How long to wait for a rotation to end before looking again, and how many looks there are at most.
const ROTATING: Duration = Duration::from_millis(5);
const MOST_LOOKS: usize = 10;
/// How many generations are kept whose file is gone, so that a restored file is not read again.
const MOST_GONE: usize = 64;

/// The result of one look at the log.
#[derive(Debug, Default)]
pub struct Summary {
    /// Complete lines that were read.
    pub rows: u64,
    /// Rows that were skipped because they are not JSON; a wake may have been in each.
    pub malformed: u64,
    /// Other places where a wake may have been missed.
    pub missed: u64,
    /// The file that was at the log's path is somewhere else now.
    pub rotated: bool,
    /// Rows may have been missed: what was read last is in no file any more, or a file cannot be
    /// read.
    pub gap: bool,
    /// There is no file at the log's path, and nothing unread elsewhere.
    pub missing: bool,
    /// The checkpoint has changed.
    pub moved: bool,
    /// Warnings about the files, a line each; the next look may repeat them.
    pub warnings: Vec<String>,
}

/// What a look found.
#[derive(Default)]
pub(super) struct View {
    /// The table as it is now; `None` if it has not changed.
    pub checkpoint: Option<Checkpoint>,
    /// What to read, in this order.
    pub segments: VecDeque<Segment>,
    /// There is a file at the log's path.
    pub has_log: bool,
    /// A file that is perhaps still being written, or that could not be examined.
    pub waiting: Option<PathBuf>,
    /// The size of all such files on disk, in bytes.
    pub waiting_bytes: u64,
    /// What is known before anything is read.
    pub summary: Summary,
}

/// A part of a generation that is to be read.
pub(super) struct Segment {
    /// Its number in the table.
    pub generation: usize,
    pub path: PathBuf,
    pub is_current: bool,
}

/// Looks at no more than it takes to find what is new.
pub(super) fn view(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Result<View> {
    if let Some(view) = quick_view(log, checkpoint, now) {
        return Ok(view);
    }
    let (mut view, mut is_of_one_moment) = full_view(log, checkpoint, now)?;
    for _ in 1..MOST_LOOKS {
        if is_of_one_moment {
            break;
        }
        thread::sleep(ROTATING);
        (view, is_of_one_moment) = full_view(log, checkpoint, now)?;
    }
    Ok(view)
}

/// Returns what is new if the file at the path has only grown and nothing was rotated; otherwise `None`.
fn quick_view(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Option<View> {
    let (current, others) = checkpoint.generations.split_last()?;
    let is_unread = |one: &Generation| one.status == Status::Unread;
    if current.status == Status::Gone || others.iter().any(is_unread) {
        return None;
    }
    let mut view = View {
        has_log: true,
        ..View::default()
    };
    // A copy between the previous generation and the current one may turn out to be the previous one.
    let previous = others.iter().rposition(Generation::is_followed);
    let is_watched = |number: usize, one: &Generation| {
        let is_near = Some(number) >= previous || one.was_left_lately(now);
        is_near && one.status != Status::Gone && (one.is_followed() || one.is_copy())
    };
    let mut has_grown = false;
    for (number, one) in checkpoint.generations.iter().enumerate() {
        let is_current = number == others.len();
        let path = match is_current {
            true => log.to_owned(),
            false => path_of(&one.path),
        };
        has_grown = (is_current || is_watched(number, one)) && grows(one, &path, is_current)?;
        if has_grown {
            view.segments.push_back(Segment {
                generation: number,
                path,
                is_current,
            });
        }
    }
    // The current one came last, so `has_grown` is about it. A generation that is in no file may come back.
    if has_grown || previous.is_some_and(|number| others[number].status == Status::Gone) {
        let folders = &checkpoint.folders;
        let is_unchanged = |(path, time): &(String, Timestamp)| {
            fs::metadata(path_of(path)).is_ok_and(|meta| modified(&meta) == *time)
        };
        if folders.is_empty() || !folders.iter().all(is_unchanged) {
            return None;
        }
    }
    Some(view)
}

/// Returns whether the generation's file, which is still at this path, has more to read; `None` if
/// there is more to find out.
fn grows(generation: &Generation, path: &Path, is_current: bool) -> Option<bool> {
    let is_read = generation.status == Status::Read;
    if is_read && (!generation.is_racy || generation.is_copy()) {
        let stat = fs::metadata(path).ok().map(|meta| Stat::of(&meta));
        if stat.as_ref() == Some(&generation.stat) {
            return Some(false);
        }
    }
    let file = LogFile::open_as(path, is_current).ok()?;
    // What was added to a copy may be new, and compressed files do not grow.
    if generation.is_copy() || !file.is_plain() {
        return None;
    }
    let goes_on = generation.goes_on_in(&file).unwrap_or(false);
    goes_on.then_some(!is_read || file.stat != generation.stat)
}

/// Examines all files of the log that have changed. Also returns whether nothing was renamed or
/// changed in the meantime.
fn full_view(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Result<(View, bool)> {
    let failed = || format!("cannot read {}", log.display());
    let table = &checkpoint.generations;
    let old_target = table.last().map(|last| path_of(&last.path));
    let listing = list(log, old_target.as_deref()).with_context(failed)?;
    let mut found = find(log, &listing.files, table);
    let unchanged: HashSet<_> = found.iter().filter_map(|file| file.unchanged).collect();
    // The file at the path is examined last: a copy that was made of it before is then part of it.
    let changed = found.iter_mut().filter(|file| file.unchanged.is_none());
    for file in changed.rev() {
        if !file.is_current {
            let opened = LogFile::open(&file.path);
            let examined = opened.and_then(|opened| file.examine(&opened, table, &unchanged));
            file.failure = examined.err();
        } else if let Some(opened) = open_log(log)? {
            file.examine(&opened, table, &unchanged)
                .with_context(failed)?;
        } else {
            file.is_current = false;
        }
    }
    let is_part = |part: &Found, whole: &Found| match part.is_part_of(whole) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        is_part if !table.is_empty() => is_part,
        _ => Ok(false),
    };
    let fates = match_files(table, &found, now, &is_part).with_context(failed)?;
    let is_of_one_moment = list(log, old_target.as_deref()).with_context(failed)?.files
        == listing.files
        && found.iter().all(|file| file.is_still_there(log));
    let mut view = renew(checkpoint, &found, &fates, now);
    if let Some(renewed) = &mut view.checkpoint {
        // Empty if one of them could have changed since without its time changing.
        let is_racy = |(_, modified): &(String, Timestamp)| is_racy(*modified, now);
        let is_racy = listing.folders.iter().any(is_racy);
        renewed.folders = if is_racy { Vec::new() } else { listing.folders };
    }
    Ok((view, is_of_one_moment))
}

/// Returns the files to look at, the one at the log's path first, with the generations whose files
/// are unchanged.
fn find(log: &Path, listed: &BTreeSet<(PathBuf, u64)>, table: &[Generation]) -> Vec<Found> {
    let is_known = |(_, one): &(usize, &Generation)| match one.status {
        Status::Read => !one.is_racy || !one.is_followed(),
        Status::Unread => !one.is_racy && !one.is_blank(),
        Status::Gone => false,
    };
    let numbered = || table.iter().enumerate();
    // Nothing is known about a file that could not be looked at, not even that it is the same one.
    let is_known = |one: &(usize, &Generation)| is_known(one) && one.1.stat != Stat::default();
    let known = numbered().filter(is_known);
    let known: HashMap<_, _> = known.map(|(number, one)| (&one.stat, number)).collect();
    let listed = listed.iter().map(|(path, _)| path.clone());
    let named = listed.chain(table.iter().map(|one| path_of(&one.path)));
    let others: BTreeSet<_> = named.map(|path| (path, false)).collect();
    let real_path = fs::canonicalize(log).unwrap_or_else(|_| log.to_owned());
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (path, is_current) in [(real_path, true)].into_iter().chain(others) {
        let stat = match fs::metadata(&path) {
            Ok(meta) if is_current || meta.is_file() => Stat::of(&meta),
            Ok(_) => continue,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => continue,
                // There can be no file at this path, for example at a link to itself.
                Some(Errno::NOTDIR | Errno::LOOP) if !is_current => continue,
                // Opening it will say what is wrong.
                _ => Stat::default(),
            },
        };
        // One file may have several names.
        if seen.insert(stat.key()) {
            found.push(Found {
                path,
                unchanged: known.get(&stat).copied(),
                stat,
                is_current,
                length: WHOLE,
                ..Found::default()
            });
        }
    }
    // A copy may be all that is left of its original.
    let kept: HashSet<_> = found.iter().filter_map(|file| file.unchanged).collect();
    let lost =
        numbered().filter(|(number, one)| one.status != Status::Gone && !kept.contains(number));
    let lost: HashSet<_> = lost.filter_map(|(_, one)| one.key.as_ref()).collect();
    for file in &mut found {
        file.unchanged = file.unchanged.filter(|number| {
            let one = &table[*number];
            !one.is_copy() || one.key.as_ref().is_none_or(|key| !lost.contains(key))
        });
    }
    found
}

impl Found {
    /// Finds out how the file begins and ends, and which generations it holds, apart from those
    /// whose own files are unchanged.
    fn examine(
        &mut self,
        file: &LogFile,
        table: &[Generation],
        unchanged: &HashSet<usize>,
    ) -> io::Result<()> {
        self.stat = file.stat.clone();
        self.compression = file.compression;
        self.key = file.key();
        self.head = file.head().to_vec();
        let mut beginnings = HashMap::new();
        let mut rows = Vec::new();
        for (number, one) in table.iter().enumerate() {
            let Some(key) = &one.key else {
                continue;
            };
            let begin = beginnings
                .entry(key.end)
                .or_insert_with(|| file.beginning_to(key.end));
            if begin.as_ref() != Some(key) {
                continue;
            }
            self.alike.push(number);
            match &one.last_row {
                _ if unchanged.contains(&number) => {}
                Some(row) => rows.push((number, row)),
                None if one.is_followed() => self.holds.push(number),
                None => {}
            }
        }
        // The first run does not need to know how long the content of a gzip file is.
        if !table.is_empty() || !file.is_gzip() {
            let (length, end, holds) = file.examine(&rows)?;
            (self.length, self.end) = (length, end);
            self.holds.extend(holds);
        }
        Ok(())
    }

    /// Returns whether the content is a prefix of the other file's.
    fn is_part_of(&self, whole: &Self) -> io::Result<bool> {
        let is_alike = whole.unchanged.is_some() || whole.head.starts_with(&self.head);
        if self.head.is_empty() || !is_alike {
            return Ok(false);
        }
        let open = |file: &Self| LogFile::open_as(&file.path, file.is_current);
        open(self)?.is_part_of(&open(whole)?)
    }

    /// Returns whether the file is as it was found; the log may have grown.
    fn is_still_there(&self, log: &Path) -> bool {
        let path = if self.is_current { log } else { &self.path };
        self.unchanged.is_some()
            || fs::metadata(path).is_ok_and(|meta| {
                let now = Stat::of(&meta);
                let is_same = now.is_same_file(&self.stat) && now.size >= self.stat.size;
                now == self.stat || self.is_current && is_same
            })
    }
}

/// Makes the new table, and determines what to read.
fn renew(checkpoint: &Checkpoint, found: &[Found], fates: &[Fate], now: Timestamp) -> View {
    let table = &checkpoint.generations;
    let is_new = |(file, fate): (&Found, &Fate)| *fate == Fate::New && !file.is_current;
    let has_new = found.iter().zip(fates).any(is_new);
    let is_cut = !found.iter().all(Found::is_plain);
    let mut view = View {
        has_log: found.iter().any(|file| file.is_current),
        ..View::default()
    };
    let mut place: Vec<Option<&Found>> = vec![None; table.len()];
    let mut entries = Vec::new();
    for (file, &fate) in found.iter().zip(fates) {
        view.note(file, fate);
        let (mut number, mut one, mut was_last) = (table.len(), Generation::default(), false);
        if let Fate::GoesOn {
            generation,
            is_proven,
        } = fate
        {
            place[generation] = Some(file);
            one = table[generation].clone();
            was_last = generation + 1 == table.len();
            number = if is_proven { generation } else { number };
        }
        let is_left =
            !file.is_current && (fate == Fate::New || was_last && (view.has_log || has_new));
        let is_to_read = one.take_over(file, fate, is_left, now);
        // What is known goes before what is new, and the current file last.
        let order = (file.is_current, number, age(&file.path, &file.stat, is_cut));
        entries.push((order, one, is_to_read.then_some(file)));
    }
    for (number, one) in table.iter().enumerate() {
        let is_replaced = || found.iter().any(|file| file.stat.is_same_file(&one.stat));
        if place[number].is_some() || one.is_blank() || !one.is_followed() && is_replaced() {
            continue;
        }
        let mut one = one.clone();
        let path = path_of(&one.path);
        one.left_at = one.left_at.or(view.has_log.then_some(now));
        let is_last = number + 1 == table.len() && one.status != Status::Gone;
        let is_missed = is_last || one.status == Status::Unread;
        one.status = match view.waiting {
            Some(_) if is_missed => Status::Unread,
            _ => Status::Gone,
        };
        let is_copied = fates.contains(&Fate::Copy { of: Some(number) });
        if is_missed && one.status == Status::Gone && !is_copied {
            view.summary.gap = true;
            view.summary.warnings.push(format!(
                "{}: what was read last (up to byte {}, {}) is in no file any more: rows may have \
                 been missed",
                path.display(),
                one.offset,
                checkpoint.seen_at
            ));
        }
        entries.push(((false, number, age(&path, &one.stat, is_cut)), one, None));
    }
    entries.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let gone = entries
        .iter()
        .filter(|(_, one, _)| one.status == Status::Gone);
    let mut surplus = gone.count().saturating_sub(MOST_GONE);
    let mut generations = Vec::new();
    for (_, one, to_read) in entries {
        if one.status == Status::Gone && surplus > 0 {
            surplus -= 1;
            continue;
        }
        view.segments.extend(to_read.map(|file| Segment {
            generation: generations.len(),
            path: file.path.clone(),
            is_current: file.is_current,
        }));
        generations.push(one);
    }
    let last_place = place.last().copied().flatten();
    view.summary.rotated = match (last_place, table.last()) {
        (Some(file), _) => !file.is_current || has_new,
        (None, Some(last)) => !view.summary.gap && (has_new || last.status != Status::Gone),
        (None, None) => false,
    };
    let is_idle = view.segments.is_empty() && view.waiting.is_none() && view.summary.missed == 0;
    if is_idle && !view.has_log {
        let mut idle = View::default();
        idle.summary.rotated = last_place.is_some();
        return idle;
    }
    view.checkpoint = Some(Checkpoint {
        generations,
        ..checkpoint.clone()
    });
    view
}

impl View {
    /// Notes a file that cannot be read, or not yet.
    fn note(&mut self, file: &Found, fate: Fate) {
        if fate == Fate::Waits {
            self.waiting.get_or_insert_with(|| file.path.clone());
            self.waiting_bytes += file.stat.size;
        }
        let why = match (&file.failure, file.compression) {
            (Some(failure), _) => failure.to_string(),
            (None, Compression::Unreadable(name)) if fate == Fate::Unreadable => {
                format!("it is compressed with {name}, and only gzip can be read")
            }
            _ => return,
        };
        self.summary.gap |= fate == Fate::Unreadable;
        self.summary.missed += 1;
        let path = file.path.display();
        self.summary.warnings.push(format!(
            "cannot read {path}: {why}: rows may have been missed"
        ));
    }
}

impl Generation {
    /// Takes over what was found out about its file. Returns whether there is something to read in it.
    fn take_over(&mut self, file: &Found, fate: Fate, is_left: bool, now: Timestamp) -> bool {
        let is_copy = matches!(fate, Fate::Copy { .. });
        if is_copy || fate == Fate::Unreadable {
            (self.offset, self.judged) = (WHOLE, file.length);
        }
        let has_grown = file.unchanged.is_none() && file.length > self.judged;
        if self.is_copy() && has_grown && fate != Fate::Waits {
            // What was added to a copy is new.
            self.offset = self.judged;
        }
        let is_left_now = is_left && self.left_at.is_none();
        let is_unread = file.is_current || is_left_now || self.status == Status::Unread;
        let judged = if is_unread { 0 } else { self.judged };
        let is_as_read = file.unchanged.is_some() && self.status == Status::Read && !is_left_now;
        let is_to_read = match fate {
            Fate::GoesOn { .. } => {
                let is_readable = !matches!(file.compression, Compression::Unreadable(_));
                is_readable && !is_as_read && file.length > self.offset.max(judged)
            }
            Fate::New => file.length > 0 || file.end != End::Whole,
            _ => false,
        };
        if fate != Fate::Waits {
            self.key = file.key.clone().or(self.key.take());
        }
        self.see(&file.path, &file.stat, file.is_plain(), now);
        self.status = match is_to_read || fate == Fate::Waits {
            true => Status::Unread,
            false => Status::Read,
        };
        let left_at = self.left_at.or((is_left || is_copy).then_some(now));
        self.left_at = left_at.filter(|_| !file.is_current);
        is_to_read
    }
}
