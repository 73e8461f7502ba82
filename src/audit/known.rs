//! The files beside the log that are not to be read: they were there before the position's file was
//! begun, or were read since. Each is known by its content; what is not known is new, whatever its
//! name and its time say.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::path::Path;

use jiff::Timestamp;
use memchr::memrchr;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::generation::Generation;
use super::hash::{hex, sha256};
use super::identity::{Identity, modified};
use super::row::is_whole;
use super::source::HEAD_BYTES;

/// How many files are kept in mind that are no longer there: one that is restored is not read again.
const MOST_ABSENT: usize = 64;

/// Files that are not to be read, those known longest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Known(Vec<KnownFile>);

/// What a file is known by. In the state it is one text: the hash, and behind it length and time,
/// where there are any. A state of version 1 has the hash alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct KnownFile {
    /// In hex, of the head; of the first bytes as they lie on the disk where the content cannot be
    /// read; of its metadata where there is nothing else.
    sha256: String,
    /// The head's length, where it ends with a whole row before [`HEAD_BYTES`]: what begins with
    /// these bytes is the same file, and what follows them is new.
    length: Option<usize>,
    /// When a plain file was last written to. A compressed file keeps the time of the plain one.
    modified: Option<Timestamp>,
}

impl From<String> for KnownFile {
    fn from(text: String) -> Self {
        let mut parts = text.split(' ');
        let mut known = Self {
            sha256: parts.next().unwrap_or_default().to_owned(),
            length: None,
            modified: None,
        };
        for part in parts {
            match part.parse() {
                Ok(length) => known.length = Some(length),
                Err(_) => known.modified = part.parse().ok(),
            }
        }
        known
    }
}

impl From<KnownFile> for String {
    fn from(known: KnownFile) -> Self {
        let length = known.length.map(|length| format!(" {length}"));
        let modified = known.modified.map(|time| format!(" {time}"));
        known.sha256 + &length.unwrap_or_default() + &modified.unwrap_or_default()
    }
}

impl KnownFile {
    fn new(told_by: &[u8]) -> Self {
        Self {
            sha256: sha256(told_by),
            length: None,
            modified: None,
        }
    }

    /// The whole of the file as it is.
    pub(super) fn whole(file: &Generation) -> Self {
        if !file.head.is_empty() {
            return Self::new(&file.head);
        }
        match file.raw_head.as_slice() {
            [] => Self::by_metadata(&file.identity, file.length, file.modified),
            raw => Self::new(raw),
        }
    }

    /// A file that cannot be opened; `None` where it is no file.
    pub(super) fn unread(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok().filter(Metadata::is_file)?;
        let identity = Identity::of(&meta);
        Some(Self::by_metadata(&identity, meta.len(), modified(&meta)))
    }

    fn by_metadata(identity: &Identity, length: u64, modified: Timestamp) -> Self {
        let Identity { device, inode, .. } = identity;
        Self::new(format!("{device} {inode} {length} {modified}").as_bytes())
    }
}

impl Known {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what the file is known by from now on. One without content is nothing to know.
    pub fn add(&mut self, file: &Generation) {
        if file.is_empty() {
            return;
        }
        let mut whole = KnownFile::whole(file);
        whole.modified = file.is_plain().then_some(file.modified);
        if file.head.len() < HEAD_BYTES {
            match rows_end(&file.head) {
                0 => {}
                end if end == file.head.len() => whole.length = Some(end),
                end => self.push(KnownFile {
                    length: Some(end),
                    ..KnownFile::new(&file.head[..end])
                }),
            }
        }
        self.push(whole);
    }

    pub fn push(&mut self, file: KnownFile) {
        self.0.push(file);
    }

    /// Takes over the files that are there now. Of the others the last ones stay known.
    pub fn renew(&mut self, present: Self) {
        let mut seen = HashSet::new();
        let mut is_first = |file: &KnownFile| seen.insert((file.sha256.clone(), file.length));
        let mut files: Vec<_> = present.0.into_iter().rev().filter(&mut is_first).collect();
        let absent = self.0.drain(..).rev().filter(is_first);
        files.extend(absent.take(MOST_ABSENT));
        files.reverse();
        self.0 = files;
    }

    pub(super) fn index(&self) -> Index<'_> {
        let files = self.0.iter();
        Index {
            lengths: files.clone().filter_map(|file| file.length).collect(),
            files: files.map(|file| (file.sha256.as_str(), file)).collect(),
        }
    }
}

/// The known files, to be looked up in.
pub(super) struct Index<'a> {
    files: HashMap<&'a str, &'a KnownFile>,
    lengths: BTreeSet<usize>,
}

/// What of a file is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    Known,
    /// A known file that was shorter: what begins at this offset is new.
    Grown(u64),
    New,
}

impl Index<'_> {
    pub fn holds(&self, file: &KnownFile) -> bool {
        self.files.contains_key(file.sha256.as_str())
    }

    pub fn novelty(&self, file: &Generation) -> Novelty {
        if self.holds(&KnownFile::whole(file)) {
            return Novelty::Known;
        }
        let (mut hash, mut hashed, mut known) = (Sha256::new(), 0, 0);
        for &length in self.lengths.range(..file.head.len()) {
            hash.update(&file.head[hashed..length]);
            hashed = length;
            let found = self.files.get(hex(hash.clone()).as_str());
            if found.is_some_and(|found| found.length == Some(length)) {
                known = length;
            }
        }
        match known {
            0 => Novelty::New,
            known => Novelty::Grown(file.head_start + known as u64),
        }
    }

    /// Whether a file of this time may be what one of the known plain files was compressed to. Some
    /// tools cut the time to the second. `present` are the times of the plain files that are there.
    pub fn holds_time(&self, time: Timestamp, present: &HashSet<Timestamp>) -> bool {
        let is_cut = time.subsec_nanosecond() == 0;
        let is_same =
            |known: Timestamp| known == time || is_cut && known.as_second() == time.as_second();
        let mut times = self.files.values().filter_map(|file| file.modified);
        times.any(|known| is_same(known) && !present.contains(&known))
    }
}

/// Where the rows end that are whole; the rest may still be completed.
fn rows_end(content: &[u8]) -> usize {
    let end = memrchr(b'\n', content).map_or(0, |newline| newline + 1);
    match is_whole(&content[end..]) {
        true => content.len(),
        false => end,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_known_file_is_one_text_in_the_state() {
        let modified = Some(Timestamp::UNIX_EPOCH);
        for (length, modified, text) in [
            (None, None, "\"ab\""),
            (Some(300), None, "\"ab 300\""),
            (None, modified, "\"ab 1970-01-01T00:00:00Z\""),
            (Some(300), modified, "\"ab 300 1970-01-01T00:00:00Z\""),
        ] {
            let known = KnownFile {
                sha256: "ab".to_owned(),
                length,
                modified,
            };
            assert_eq!(serde_json::to_string(&known).unwrap(), text);
            assert_eq!(serde_json::from_str::<KnownFile>(text).unwrap(), known);
        }
    }

    #[test]
    fn the_last_files_that_are_gone_stay_known() {
        let file = |number: usize| KnownFile::new(&number.to_le_bytes());
        let mut known = Known((0..100).map(file).collect());
        let present = Known(vec![file(7), file(100), file(7)]);
        known.renew(present.clone());
        let expected = (100 - MOST_ABSENT..100).chain([100, 7]);
        assert_eq!(known, Known(expected.map(file).collect()));
        known.renew(present);
        assert_eq!(known.0.len(), MOST_ABSENT + 2);
    }

    #[test]
    fn rows_end_where_the_last_whole_one_does() {
        for (content, end) in [
            ("", 0),
            ("{}\n", 3),
            ("{}\n{}", 5),
            ("{}\n{\"a", 3),
            ("{\"a", 0),
            ("4711", 0),
        ] {
            assert_eq!(rows_end(content.as_bytes()), end, "{content:?}");
        }
    }

    #[test]
    fn a_time_that_was_cut_to_the_second_is_the_same() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let time = at("2026-05-24T14:32:00.5Z");
        let known = KnownFile {
            modified: Some(time),
            ..KnownFile::new(b"")
        };
        let known = Known(vec![known]);
        let none = HashSet::new();
        for (text, is_known) in [
            ("2026-05-24T14:32:00.5Z", true),
            ("2026-05-24T14:32:00Z", true),
            ("2026-05-24T14:32:00.4Z", false),
            ("2026-05-24T14:32:01Z", false),
        ] {
            let index = known.index();
            assert_eq!(index.holds_time(at(text), &none), is_known, "{text}");
            assert!(!index.holds_time(at(text), &HashSet::from([time])));
        }
    }
}
