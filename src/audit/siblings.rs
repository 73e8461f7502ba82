//! The files that the log may have been rotated into: which there are, and which of them are older
//! than others.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::generation::Generation;

/// Orders files by their age, the oldest first, by the time of the last row. Within a second the
/// names come before the time's fraction, since that is lost where a file was compressed
/// (`is_cut`): `.2` is older than `.1`, and names with a date are older the smaller they are.
pub(super) fn age(file: &Generation, is_cut: bool) -> (i64, Reverse<u64>, i32, String) {
    let name = file.path.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let fraction = match is_cut {
        true => 0,
        false => file.modified.subsec_nanosecond(),
    };
    let second = file.modified.as_second();
    (second, Reverse(number_of(&name)), fraction, name)
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
pub(super) struct Listing {
    pub paths: BTreeSet<PathBuf>,
    /// Each with its inode: a name that means another file is another listing.
    entries: BTreeSet<(PathBuf, u64)>,
}

/// The files that the log may have been rotated into: beside the log (beside the link and beside
/// its target, where the path is a symbolic link), in the folders directly below, with names that
/// begin with the log's; and the file last read.
pub(super) fn siblings(log: &Path, last_read: &str) -> Listing {
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
    // Where it is gone, there may still be what it was compressed to.
    if Path::new(last_read).exists() {
        paths.insert(PathBuf::from(last_read));
    }
    paths.retain(|path| path != log && *path != target);
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
}
