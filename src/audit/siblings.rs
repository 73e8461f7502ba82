//! The files that the log may have been rotated into: which there are, and which of them are older
//! than others.

use std::cmp::Reverse;
use std::collections::BTreeSet;
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
    for path in BTreeSet::from([log, &target]) {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            let (folders, files): (Vec<_>, Vec<_>) = entries_of(folder).partition(is_folder);
            let below = folders.iter().flat_map(|folder| entries_of(&folder.path()));
            let files = files
                .into_iter()
                .chain(below.filter(|entry| !is_folder(entry)));
            let name = name.as_bytes();
            let like = files.filter(|file| file.file_name().as_bytes().starts_with(name));
            entries.extend(like.map(|file| (file.path(), file.ino())));
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

fn entries_of(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    // The folder of a bare file name.
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// A folder, or a link to one.
fn is_folder(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        kind => kind.is_ok_and(|kind| kind.is_dir()),
    }
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
