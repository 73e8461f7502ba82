//! Which files belong to a log, by the names that rotation gives them, and in what order; and the
//! name under which the state keeps a log.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirEntryExt;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

use super::compression::ENDINGS;
use super::generations::Checkpoint;
use super::stat::{Stat, modified};

/// Errors that mean a folder holds nothing for us.
const CLOSED: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];

/// The files beside a log at one moment.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Each with its inode: if a name now means another file, the listing differs.
    pub files: BTreeSet<(PathBuf, u64)>,
    /// The log's own folder and those that hold files of it, each with the time of its last change.
    pub folders: Vec<(String, Timestamp)>,
}

/// Lists the files that the log may have been rotated into: beside the log (beside the link and
/// beside its target, if the path is a symbolic link) and in the folders directly below. If the
/// link led to `old_target` before, also lists the files whose names fall between those of the two
/// targets. A folder that we have no permission to read holds nothing for us.
pub(super) fn list(log: &Path, old_target: Option<&Path>) -> io::Result<Listing> {
    let target = fs::canonicalize(log).unwrap_or_else(|_| log.to_owned());
    let mut listing = Listing::default();
    for path in BTreeSet::from([log, &target]) {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let old_name = old_target.and_then(Path::file_name);
        let old_name = old_name.filter(|old| path == target && path != log && *old != name);
        let is_of_log = |other: &OsStr| {
            is_rotated(name.as_bytes(), other.as_bytes())
                || old_name.is_some_and(|old| is_between(old, name, other))
        };
        let mut folders = vec![folder.to_owned()];
        while let Some(path) = folders.pop() {
            let opened = fs::metadata(&path).and_then(|meta| Ok((meta, fs::read_dir(&path)?)));
            let (meta, entries) = match opened {
                Err(error) if CLOSED.contains(&error.kind()) => continue,
                opened => opened?,
            };
            let before = listing.files.len();
            for entry in entries {
                let entry = entry?;
                if is_folder(&entry) {
                    folders.extend((path == folder).then(|| entry.path()));
                } else if is_of_log(&entry.file_name()) {
                    listing.files.insert((entry.path(), entry.ino()));
                }
            }
            if path == folder || listing.files.len() > before {
                listing.folders.push((text_of(&path), modified(&meta)));
            }
        }
    }
    let is_rotated = |(path, _): &(PathBuf, u64)| path != log && *path != target;
    listing.files.retain(is_rotated);
    Ok(listing)
}

/// Returns whether this is a folder or a link to one.
fn is_folder(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        kind => kind.is_ok_and(|kind| kind.is_dir()),
    }
}

/// Returns whether a log of that name is rotated to this name.
fn is_rotated(log: &[u8], name: &[u8]) -> bool {
    let name = without_ending(name);
    let stem = Path::new(OsStr::from_bytes(log)).file_stem();
    let (stem, extension) = log.split_at(stem.map_or(0, OsStr::len));
    let after = name.strip_prefix(log);
    let inside = name.strip_prefix(stem);
    let inside = inside.and_then(|rest| rest.strip_suffix(extension));
    after == Some(b".old") || after.into_iter().chain(inside).any(is_stamp)
}

/// Returns whether this is a separator and a number or timestamp.
fn is_stamp(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"-_.:+TZ".contains(byte);
    matches!(text, [b'.' | b'-' | b'_', b'0'..=b'9', rest @ ..] if rest.iter().all(is_part))
}

/// Returns whether a name shares the common beginning of the two names and sorts between them: what
/// sorts before both was there before the log was first read.
fn is_between(old: &OsStr, new: &OsStr, name: &OsStr) -> bool {
    let [old, new, name] = [old, new, name].map(|name| without_ending(name.as_bytes()));
    let both = old.iter().zip(new);
    let shared = both.take_while(|(old, new)| old == new).count();
    // By length first, since numbers may be unpadded.
    let order = |name: &[u8]| (name.len(), name.to_vec());
    let is_between = order(old) < order(name) && order(name) < order(new);
    shared > 0 && name.starts_with(&old[..shared]) && is_between
}

/// Returns the name without a compression's ending.
fn without_ending(name: &[u8]) -> &[u8] {
    let mut endings = ENDINGS.iter();
    let plain = endings.find_map(|ending| name.strip_suffix(ending.as_bytes()));
    plain.unwrap_or(name)
}

/// Returns a key that sorts files by age, the oldest first, by the time of the last row. Within a
/// second the names come before the time's fraction, since compressing a file loses the fraction
/// (`is_cut`): `.2` is older than `.1`, and of two names with a date the smaller is older.
pub(super) fn age(path: &Path, stat: &Stat, is_cut: bool) -> (i64, Reverse<u64>, i32, OsString) {
    let name = path.file_name().unwrap_or_default();
    let fraction = stat.modified.subsec_nanosecond() * i32::from(!is_cut);
    let number = Reverse(number_in(&name.to_string_lossy()));
    (stat.modified.as_second(), number, fraction, name.to_owned())
}

/// Returns how often a file was rotated, according to its name; 0 if that has a date or no number.
fn number_in(name: &str) -> u64 {
    let mut before = name;
    while let Some((rest, part)) = before.rsplit_once('.') {
        let digits = rest.bytes().filter(u8::is_ascii_digit).count();
        if let Ok(number) = part.parse() {
            let is_number = digits < 8 && part.len() < 6;
            return if is_number { number } else { 0 };
        }
        before = rest;
    }
    0
}

/// Returns the name under which the state keeps a log: its path, absolute and without `.` and `..`,
/// with no links resolved. See [`text_of`] for bytes that are not UTF-8.
pub fn log_key(log: &Path) -> String {
    let mut path = PathBuf::new();
    let absolute = std::path::absolute(log).unwrap_or_else(|_| log.to_owned());
    for part in absolute.components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    text_of(&path)
}

/// Returns a path as text, different for each path. A path that is not UTF-8 becomes `//` and its
/// bytes in hex: no clean path begins that way.
pub fn text_of(path: &Path) -> String {
    let in_hex = || {
        let bytes = path.as_os_str().as_bytes().iter();
        "//".to_owned() + &bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    path.to_str().map_or_else(in_hex, str::to_owned)
}

/// Returns the path that a text from [`text_of`] or [`log_key`] stands for.
pub fn path_of(text: &str) -> PathBuf {
    let Some(digits) = text.strip_prefix("//") else {
        return PathBuf::from(text);
    };
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.as_bytes().chunks(2).filter_map(byte);
    OsString::from_vec(bytes.collect()).into()
}

/// Returns the key under which a log is already known, perhaps by another spelling of its path;
/// `None` if the log is new.
pub fn known_key<'a>(
    log: &Path,
    logs: impl Iterator<Item = (&'a String, &'a Checkpoint)> + Clone,
) -> Option<&'a String> {
    let key = log_key(log);
    if let Some((known, _)) = logs.clone().find(|(known, _)| **known == key) {
        return Some(known);
    }
    let stat_of = |path: &Path| fs::metadata(path).ok().map(|meta| Stat::of(&meta));
    // A log that does not exist now is recognised by its folder.
    let place_of = |path: &Path| {
        let folder = fs::canonicalize(path.parent()?).ok()?;
        Some(folder.join(path.file_name()?))
    };
    let (stat, place) = (stat_of(log), place_of(log));
    let is_same = |other: &Stat| stat.as_ref().is_some_and(|stat| stat.is_same_file(other));
    let mut logs = logs.filter(|(known, checkpoint)| {
        let path = path_of(known);
        stat_of(&path).as_ref().is_some_and(is_same)
            || checkpoint.current().is_some_and(is_same)
            || place.is_some() && place_of(&path) == place
    });
    logs.next().map(|(known, _)| known)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_has_the_logs_name_and_a_number_or_a_timestamp() {
        for (log, name, expected) in [
            ("kora.jsonl", "kora.jsonl.1", true),
            ("kora.jsonl", "kora.jsonl.12.gz", true),
            ("kora.jsonl", "kora.jsonl-20260524", true),
            ("kora.jsonl", "kora.jsonl_20260524T140000Z.zst", true),
            (
                "kora.jsonl",
                "kora.jsonl.2026-05-24T14:00:00+02:00.xz",
                true,
            ),
            ("kora.jsonl", "kora.jsonl.old", true),
            ("kora.jsonl", "kora.jsonl.old.gz", true),
            ("kora.jsonl", "kora.1.jsonl", true),
            ("kora.jsonl", "kora-2026-05-24T14-00-00.000.jsonl.gz", true),
            ("kora", "kora.1", true),
            (".kora", ".kora.1", true),
            ("kora.jsonl", "kora.jsonl", false),
            ("kora.jsonl", "kora.jsonl.gz", false),
            ("kora.jsonl", "kora.jsonl.bak", false),
            ("kora.jsonl", "kora.jsonl.1.bak", false),
            ("kora.jsonl", "kora.jsonl1", false),
            ("kora.jsonl", "kora.jsonl..1", false),
            ("kora.jsonl", "kora.old.jsonl", false),
            ("kora.jsonl", "kora2.jsonl", false),
            ("kora.jsonl", "kora.1.json", false),
        ] {
            assert_eq!(
                is_rotated(log.as_bytes(), name.as_bytes()),
                expected,
                "{log} {name}"
            );
        }
    }

    #[test]
    fn older_files_come_first_and_a_cut_time_is_compared_by_whole_seconds() {
        let file = |name: &str, millis: i64, is_cut: bool| {
            let stat = Stat {
                modified: Timestamp::from_millisecond(millis).unwrap(),
                ..Stat::default()
            };
            age(Path::new(name), &stat, is_cut)
        };
        for (older, newer) in [
            (file("a.1", 1_000, false), file("a.2", 2_000, false)),
            (file("a.2", 1_900, false), file("a.1", 1_100, false)),
            (file("a.x", 1_100, false), file("a.b", 1_900, false)),
            // Compression keeps whole seconds only.
            (file("a.x.gz", 1_900, true), file("a.y", 1_100, false)),
            (
                file("a-20260523", 1_000, true),
                file("a-20260524", 1_000, true),
            ),
        ] {
            assert!(older < newer, "{older:?} {newer:?}");
        }
    }

    #[test]
    fn the_files_between_two_targets_of_a_link_are_found_by_their_names() {
        let between =
            |old, new, name| is_between(OsStr::new(old), OsStr::new(new), OsStr::new(name));
        for (old, new, name, expected) in [
            ("k-24.jsonl", "k-26.jsonl", "k-25.jsonl", true),
            ("k-24.jsonl", "k-26.jsonl", "k-25.jsonl.gz", true),
            ("k-9", "k-11", "k-10", true),
            ("k-24.jsonl", "k-26.jsonl", "k-23.jsonl", false),
            ("k-24.jsonl", "k-26.jsonl", "k-27.jsonl", false),
            ("k-24.jsonl", "k-26.jsonl", "k-24.jsonl", false),
            ("first.jsonl", "second.jsonl", "other.jsonl", false),
        ] {
            assert_eq!(between(old, new, name), expected, "{old} {new} {name}");
        }
    }

    #[test]
    fn a_number_of_rotations_is_told_from_a_date() {
        for (name, number) in [
            ("kora.jsonl.1", 1),
            ("kora.jsonl.12.gz", 12),
            ("kora.3.jsonl", 3),
            ("kora.jsonl-20260524", 0),
            ("kora.jsonl.20260524", 0),
            ("kora-2026-05-24T14-00-00.123.jsonl", 0),
            ("kora.jsonl.old", 0),
        ] {
            assert_eq!(number_in(name), number, "{name}");
        }
    }

    #[test]
    fn no_two_paths_have_one_text() {
        let paths = [
            &b"/a/b"[..],
            b"/a/\xff",
            b"/a/\xfe",
            b"/a//ff",
            "/a/\u{fffd}".as_bytes(),
        ];
        let paths = paths.map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)));
        let texts: BTreeSet<_> = paths.iter().map(|path| text_of(path)).collect();
        assert_eq!(texts.len(), paths.len());
        for path in paths {
            assert_eq!(path_of(&text_of(&path)).as_os_str(), path.as_os_str());
        }
    }

    #[test]
    fn a_key_is_absolute_and_has_no_dots() {
        assert_eq!(log_key(Path::new("/a/./b/../c.jsonl")), "/a/c.jsonl");
        assert_eq!(log_key(Path::new("/../c.jsonl")), "/c.jsonl");
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            path_of(&log_key(Path::new("c.jsonl"))),
            here.join("c.jsonl")
        );
    }
}
