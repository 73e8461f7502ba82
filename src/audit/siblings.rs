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

/// Oldest first by the time of the last row. Within a second the names come before the time's
/// fraction, since that is lost where a file was compressed: `.2` is older than `.1`, and names
/// with a date are older the smaller they are.
pub(super) fn sort_by_age(files: &mut [Generation]) {
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
pub(super) struct Listing {
    pub paths: Vec<PathBuf>,
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
