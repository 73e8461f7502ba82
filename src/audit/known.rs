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
const MOST_ABSENT: usize = 128;

/// Files that are not to be read, those known longest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Known(Vec<KnownFile>);

/// What a file is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct KnownFile {
    /// In hex, of the head; of the first bytes as they lie on the disk where the content cannot be
    /// read; of its metadata where there is nothing else.
    sha256: String,
    /// The head's length, where it ends with a whole row before [`HEAD_BYTES`]: what begins with
    /// these bytes is the same file, and what follows them is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
    /// When a plain file was last written to. A compressed file keeps the time of the plain one.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<Timestamp>,
}

/// A version 1 state holds the hash alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Version1(String),
    File {
        sha256: String,
        #[serde(default)]
        length: Option<usize>,
        #[serde(default)]
        modified: Option<Timestamp>,
    },
}

impl From<Stored> for KnownFile {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Version1(sha256) => Self {
                sha256,
                length: None,
                modified: None,
            },
            Stored::File {
                sha256,
                length,
                modified,
            } => Self {
                sha256,
                length,
                modified,
            },
        }
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
    pub fn renew(&mut self, present: &Self) {
        let mut seen = HashSet::new();
        let mut is_first = |file: &&KnownFile| seen.insert((file.sha256.clone(), file.length));
        let present: Vec<_> = present.0.iter().filter(&mut is_first).cloned().collect();
        let absent = self.0.iter().rev().filter(is_first).take(MOST_ABSENT);
        let mut files: Vec<_> = absent.cloned().collect();
        files.reverse();
        files.extend(present);
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
