//! One look at the log and the files beside it: what is to be read, and the table as it is then.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::compression::Compression;
use super::file::{End, Examined, LogFile};
use super::generations::{Checkpoint, Folder, Generation, MOST_GONE, Status, WHOLE, open_log};
use super::matching::{Fate, Found, match_files};
use super::names::{self, Listing, age, folder_time};
use super::stat::{Stat, is_racy};

/// How long a rotation is given to end before the files are looked for again.
const ROTATING: Duration = Duration::from_millis(5);
/// How often that is done.
const MOST_LOOKS: usize = 10;

/// What a look found.
#[derive(Default)]
pub(super) struct View {
    /// The table as it is now; `None` where it is as it was.
    pub checkpoint: Option<Checkpoint>,
    /// What is to be read, in this order.
    pub segments: Vec<Segment>,
    /// The generation that was at the path is not there any more.
    pub rotated: bool,
    /// Rows may have been missed.
    pub gap: bool,
    /// There is a file at the log's path.
    pub has_log: bool,
    /// A file that is perhaps being written, or could not be examined.
    pub waiting: Option<PathBuf>,
    pub warnings: Vec<String>,
    /// Places where a wake may have been missed.
    pub missed: u64,
}

/// A part of a generation that is to be read.
pub(super) struct Segment {
    /// Its number in the table.
    pub generation: usize,
    pub file: LogFile,
    pub is_current: bool,
    /// Nobody is to append to it any more.
    pub is_finished: bool,
}

/// Looks at as little as tells what is new.
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

/// What is new where the file at the path has only grown and nothing was rotated; `None` where that
/// is not so.
fn quick_view(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Option<View> {
    let (current, others) = checkpoint.generations.split_last()?;
    let is_unread = |one: &Generation| one.status == Status::Unread;
    if current.status == Status::Gone || others.iter().any(is_unread) {
        return None;
    }
    let mut segments = Vec::new();
    let previous = others.iter().rposition(Generation::is_followed);
    for (generation, one) in others.iter().enumerate() {
        if Some(generation) == previous || one.is_followed() && one.was_left_lately(now) {
            let grown = growth(one, &one.path)?.map(|file| Segment {
                generation,
                file,
                is_current: false,
                is_finished: true,
            });
            segments.extend(grown);
        }
    }
    if let Some(file) = growth(current, log)? {
        let mut folders = checkpoint.folders.iter();
        let is_same = |folder: &Folder| folder_time(&folder.path) == Some(folder.modified);
        if checkpoint.folders.is_empty() || !folders.all(is_same) {
            return None;
        }
        segments.push(Segment {
            generation: others.len(),
            file,
            is_current: true,
            is_finished: false,
        });
    }
    Some(View {
        segments,
        has_log: true,
        ..View::default()
    })
}

/// The generation's file, if it is still at this path and has more to read: `Some(None)` where it is
/// as it was, `None` where there is more to find out.
fn growth(generation: &Generation, path: &Path) -> Option<Option<LogFile>> {
    let is_own = |stat: &Stat| stat.is_same_file(&generation.stat);
    let stat = fs::metadata(path).ok().map(|meta| Stat::of(&meta));
    let Some(stat) = stat.filter(is_own) else {
        return (generation.status == Status::Gone).then_some(None);
    };
    let is_unchanged = stat == generation.stat && generation.status == Status::Read;
    if is_unchanged && !generation.is_racy {
        return Some(None);
    }
    let file = LogFile::open_plain(path).ok()?;
    let has_grown = is_own(&file.stat) && file.stat.size >= generation.stat.size;
    let proof = generation.last_row.as_ref().or(generation.key.as_ref());
    let holds = proof.is_none_or(|proof| file.holds(proof).unwrap_or(false));
    if !has_grown || !holds {
        return None;
    }
    let is_unchanged = is_unchanged && file.stat == generation.stat;
    Some(Some(file).filter(|_| !is_unchanged))
}

/// Examines all files of the log that are not as they were. Also returns whether nothing was renamed
/// or truncated meanwhile.
fn full_view(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Result<(View, bool)> {
    let failed = || format!("cannot read {}", log.display());
    let table = &checkpoint.generations;
    let current = open_log(log)?;
    let old_target = table.last().map(|last| last.path.as_path());
    let list = || names::list(log, old_target);
    let listing = list().with_context(failed)?;
    let mut found = find(log, current.as_ref(), &listing, table);
    let unchanged: HashSet<_> = found.iter().filter_map(|file| file.unchanged).collect();
    for file in found.iter_mut().filter(|file| file.unchanged.is_none()) {
        let opened = match (file.is_current, &current) {
            (true, Some(current)) => Ok(current.clone()),
            _ => LogFile::open(&file.path),
        };
        let candidates = table.iter().enumerate();
        let candidates = candidates.filter(|(number, _)| !unchanged.contains(number));
        match opened.and_then(|opened| examine(file, opened, candidates)) {
            Err(error) if file.is_current => return Err(error).with_context(failed),
            Err(error) => file.failure = Some(error),
            Ok(()) => {}
        }
    }
    let is_part = |part: usize, whole: usize| match found[part].is_part_of(&found[whole]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        is_part => is_part,
    };
    let fates = match_files(table, &found, now, is_part).with_context(failed)?;
    let is_of_one_moment = list().with_context(failed)?.files == listing.files
        && is_still_there(log, current.as_ref(), &found, &fates);
    let mut view = renew(checkpoint, found, &fates, now);
    if let Some(renewed) = &mut view.checkpoint {
        renewed.note_folders(listing.folders, now);
    }
    Ok((view, is_of_one_moment))
}

/// The files to look at, the one at the log's path first, with the generations whose files are
/// unchanged.
fn find(
    log: &Path,
    current: Option<&LogFile>,
    listing: &Listing,
    table: &[Generation],
) -> Vec<Found> {
    let is_known = |one: &Generation| match one.status {
        Status::Read => !one.is_racy,
        Status::Unread => !one.is_racy && !one.is_blank(),
        Status::Gone => false,
    };
    let known = table.iter().enumerate().filter(|(_, one)| is_known(one));
    let known: HashMap<_, _> = known
        .map(|(number, one)| (one.stat.key(), number))
        .collect();
    let mut seen = HashSet::new();
    let mut find = |path: PathBuf, stat: Stat, is_current: bool| {
        let unchanged = known.get(&stat.key()).copied();
        let unchanged = unchanged.filter(|number| table[*number].stat == stat);
        // There may be more names of one file.
        let is_first = seen.insert(stat.key());
        is_first.then(|| Found::new(path, stat, is_current, unchanged))
    };
    let real_path = || fs::canonicalize(log).unwrap_or_else(|_| log.to_owned());
    let current = current.and_then(|current| find(real_path(), current.stat.clone(), true));
    let mut found = Vec::from_iter(current);
    let listed = listing.files.iter().map(|(path, _)| path);
    let paths: BTreeSet<_> = listed.chain(table.iter().map(|one| &one.path)).collect();
    for path in paths {
        let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        found.extend(meta.and_then(|meta| find(path.clone(), Stat::of(&meta), false)));
    }
    found
}

/// Finds out how a file begins and ends, and which of these generations it holds.
fn examine<'a>(
    found: &mut Found,
    file: LogFile,
    table: impl Iterator<Item = (usize, &'a Generation)>,
) -> io::Result<()> {
    let mut beginnings = HashMap::new();
    let (mut rows, mut numbers) = (Vec::new(), Vec::new());
    for (number, generation) in table {
        let Some(key) = generation.key.as_ref() else {
            continue;
        };
        let begin = beginnings
            .entry(key.end)
            .or_insert_with(|| file.beginning_to(key.end));
        if begin.as_ref() != Some(key) {
            continue;
        }
        found.alike.push(number);
        match &generation.last_row {
            Some(row) => {
                rows.push(row);
                numbers.push(number);
            }
            None if generation.offset == 0 => found.holds.push(number),
            None => {}
        }
    }
    let Examined { length, end, holds } = file.examine(&rows)?;
    let holds = numbers.into_iter().zip(holds);
    found
        .holds
        .extend(holds.filter_map(|(number, holds)| holds.then_some(number)));
    (found.length, found.end) = (length, end);
    (found.stat, found.compression) = (file.stat.clone(), file.compression);
    found.file = Some(if found.is_current {
        file
    } else {
        file.closed()
    });
    Ok(())
}

/// Whether the log was neither rotated nor truncated since it was opened, nor grew and was copied.
fn is_still_there(log: &Path, current: Option<&LogFile>, found: &[Found], fates: &[Fate]) -> bool {
    let now = fs::metadata(log).ok().map(|meta| Stat::of(&meta));
    let (Some(now), Some(current)) = (&now, current) else {
        return now.is_none() && current.is_none();
    };
    let new = found
        .iter()
        .zip(fates)
        .filter(|(file, fate)| **fate == Fate::New && !file.is_current);
    let mut new = new.filter_map(|(file, _)| file.file.as_ref());
    now.is_same_file(&current.stat)
        && now.size >= current.stat.size
        && (now.size == current.stat.size
            || !new.any(|file| current.is_part_of(file).unwrap_or(false)))
}

/// Makes the new table, and says what is to be read.
fn renew(checkpoint: &Checkpoint, found: Vec<Found>, fates: &[Fate], now: Timestamp) -> View {
    let table = &checkpoint.generations;
    let waiting = found
        .iter()
        .zip(fates)
        .find(|(_, fate)| **fate == Fate::Waits);
    let mut view = View {
        has_log: found.iter().any(|file| file.is_current),
        waiting: waiting.map(|(file, _)| file.path.clone()),
        ..View::default()
    };
    let is_cut = found
        .iter()
        .any(|file| file.compression != Compression::None);
    let mut place: Vec<Option<&Found>> = vec![None; table.len()];
    let mut entries = Vec::new();
    for (file, fate) in found.iter().zip(fates) {
        view.warn_of(file, *fate);
        let (mut number, mut generation) = (table.len(), Generation::default());
        if let Fate::GoesOn {
            generation: known,
            is_proven,
        } = *fate
        {
            place[known] = Some(file);
            generation = table[known].clone();
            number = if is_proven { known } else { number };
        }
        let is_to_read = generation.go_on(file, *fate, view.has_log, now);
        // What is known goes before what is new, and the current file last.
        let order = (file.is_current, number, age(&file.path, &file.stat, is_cut));
        entries.push((order, generation, is_to_read.then_some(file)));
    }
    for (number, one) in table.iter().enumerate() {
        let is_other_now = || found.iter().any(|file| file.stat.is_same_file(&one.stat));
        if place[number].is_some() || one.is_blank() || !one.is_followed() && is_other_now() {
            continue;
        }
        let mut one = one.clone();
        one.left_at = one.left_at.or(view.has_log.then_some(now));
        let is_last = number + 1 == table.len();
        let is_missed = is_last && one.status == Status::Read || one.status == Status::Unread;
        one.status = match view.waiting {
            Some(_) if is_missed => Status::Unread,
            _ => Status::Gone,
        };
        let is_copied = fates.contains(&Fate::Copy { of: Some(number) });
        if is_missed && one.status == Status::Gone && !is_copied {
            view.gap = true;
            view.warnings.push(format!(
                "{}: what was read last (up to byte {}, {}) is in no file any more: rows may have \
                 been missed",
                one.path.display(),
                one.offset,
                checkpoint.seen_at
            ));
        }
        let order = (false, number, age(&one.path, &one.stat, is_cut));
        entries.push((order, one, None));
    }
    entries.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let gone = entries
        .iter()
        .filter(|(_, one, _)| one.status == Status::Gone)
        .count();
    let mut surplus = gone.saturating_sub(MOST_GONE);
    let mut generations = Vec::new();
    for (_, generation, to_read) in entries {
        if generation.status == Status::Gone && surplus > 0 {
            surplus -= 1;
            continue;
        }
        let open = |file: &Found| {
            file.file
                .clone()
                .map_or_else(|| LogFile::open(&file.path), Ok)
        };
        // What cannot be opened now stays unread.
        let file = to_read.and_then(|file| open(file).ok());
        view.segments.extend(file.map(|file| Segment {
            generation: generations.len(),
            is_current: generation.left_at.is_none() && view.has_log,
            is_finished: generation.left_at.is_some() || file.is_gzip(),
            file,
        }));
        generations.push(generation);
    }
    let is_idle = view.segments.is_empty() && view.waiting.is_none() && view.missed == 0;
    if is_idle && !view.has_log {
        return View::default();
    }
    view.rotated = match (place.last(), table.last()) {
        (Some(Some(file)), _) => !file.is_current,
        (_, Some(last)) => !view.gap && last.status != Status::Gone,
        _ => false,
    };
    view.checkpoint = Some(Checkpoint {
        generations,
        ..checkpoint.clone()
    });
    view
}

impl View {
    fn warn_of(&mut self, file: &Found, fate: Fate) {
        let why = match (&file.failure, file.compression, fate) {
            (Some(failure), ..) => failure.to_string(),
            (None, Compression::Unreadable(name), Fate::Unreadable) => {
                format!("it is compressed with {name}, and only gzip can be read")
            }
            _ => return,
        };
        let path = file.path.display();
        self.gap |= fate == Fate::Unreadable;
        self.missed += 1;
        self.warnings.push(format!(
            "cannot read {path}: {why}: rows may have been missed"
        ));
    }
}

impl Generation {
    /// Takes over what was found of its file. Returns whether that is to be read.
    fn go_on(&mut self, file: &Found, fate: Fate, has_log: bool, now: Timestamp) -> bool {
        if matches!(fate, Fate::Copy { .. } | Fate::Unreadable) {
            self.offset = WHOLE;
        }
        let is_left_now = has_log && !file.is_current && self.left_at.is_none();
        let is_as_read = file.unchanged.is_some() && self.status == Status::Read;
        let is_judged = !file.is_current && !is_left_now && self.status != Status::Unread;
        let done = if is_judged {
            self.offset.max(self.judged)
        } else {
            self.offset
        };
        let is_to_read = match fate {
            Fate::GoesOn { .. } if matches!(file.compression, Compression::Unreadable(_)) => false,
            Fate::GoesOn { .. } => (is_left_now || !is_as_read) && file.length > done,
            Fate::New => file.length > 0 || file.end != End::Whole,
            _ => false,
        };
        self.path = file.path.clone();
        if let (Some(opened), false) = (&file.file, fate == Fate::Waits) {
            self.key = opened.key.clone().or(self.key.take());
        }
        if file.unchanged.is_none() {
            let is_plain = file.compression == Compression::None;
            self.is_racy = is_plain && is_racy(file.stat.modified, now);
            self.stat = file.stat.clone();
        }
        self.status = match is_to_read || fate == Fate::Waits {
            true => Status::Unread,
            false => Status::Read,
        };
        self.left_at = match (file.is_current, is_left_now) {
            (true, _) => None,
            (_, true) => Some(now),
            _ => self.left_at,
        };
        is_to_read
    }
}
