//! One generation of the audit log: the file at its path, or one that it was rotated into, plain or
//! gzip. It is opened once and everything is asked of that descriptor, so that a rotation between
//! two questions cannot mix two files. Offsets are those of the decompressed bytes.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use rustix::fs::{SeekFrom, seek};
use serde::{Deserialize, Serialize};

use super::hash::sha256;
use super::source::{FileAt, Skipping, WhileItStands};
use crate::files::open_without_waiting;

/// How many bytes of a file's start tell it from other files.
pub const HEAD_BYTES: u64 = 1_024;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER: usize = 64 * 1024;

/// What the file system says of a file. It is kept to choose among files whose content agrees, and
/// proves nothing: inodes are used again, files are restored, copied and remounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<Timestamp>,
}

/// An open file with what was true of it at the opening.
#[derive(Debug)]
pub struct Generation {
    pub path: PathBuf,
    pub identity: Identity,
    /// In bytes as they lie on the disk, when it was opened.
    pub length: u64,
    pub modified: Timestamp,
    /// The first bytes, at most `HEAD_BYTES`, decompressed. They begin behind NUL bytes: a hole, as
    /// a writer leaves it that does not append, tells no file from another.
    pub head: Vec<u8>,
    /// The offset of the head's first byte.
    pub head_start: u64,
    file: File,
    gzip: bool,
}

/// How a gzip file's content ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    Whole,
    /// The file stops within the stream: perhaps it is still being written.
    EndsEarly,
    /// The stream is damaged.
    Broken,
}

impl Generation {
    /// Opens the file as the log itself, which is never compressed.
    pub fn open_plain(path: &Path) -> io::Result<Self> {
        Self::open_as(path, |_| false)
    }

    /// Opens a file that the log may have been rotated into.
    pub fn open(path: &Path) -> io::Result<Self> {
        let named_gzip = path.extension().is_some_and(|extension| extension == "gz");
        // An empty .gz is one that is about to be written, not an empty log.
        Self::open_as(path, |start| {
            start == GZIP_MAGIC || (named_gzip && start.is_empty())
        })
    }

    fn open_as(path: &Path, is_gzip: impl Fn(&[u8]) -> bool) -> io::Result<Self> {
        let file = open_without_waiting(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let mut start = Vec::with_capacity(GZIP_MAGIC.len());
        let bytes = FileAt {
            file: &file,
            offset: 0,
        };
        bytes.take(2).read_to_end(&mut start)?;
        let mut generation = Self {
            path: path.to_owned(),
            identity: identity(&meta),
            length: meta.len(),
            modified: modified(&meta),
            head: Vec::new(),
            head_start: 0,
            gzip: is_gzip(&start),
            file,
        };
        (generation.head_start, generation.head) = generation.read_head();
        Ok(generation)
    }

    /// A gzip file that is cut or damaged within the head gives what there is of it.
    fn read_head(&self) -> (u64, Vec<u8>) {
        let hole = if self.gzip {
            0
        } else {
            // A hole may be gigabytes long; where the file system cannot tell, it is read.
            seek(&self.file, SeekFrom::Data(0)).unwrap_or(0)
        };
        let mut bytes = BufReader::with_capacity(HEAD_BYTES as usize, self.bytes_from(hole));
        let mut head_start = hole;
        let mut head = Vec::new();
        while let Ok(filled @ [_, ..]) = bytes.fill_buf() {
            let nuls = filled.iter().take_while(|byte| **byte == 0).count();
            let is_over = nuls < filled.len();
            bytes.consume(nuls);
            head_start += nuls as u64;
            if is_over {
                let _ = bytes.take(HEAD_BYTES).read_to_end(&mut head);
                break;
            }
        }
        (head_start, head)
    }

    /// All bytes; of a plain file those from `offset` on, to the end as it was at the opening.
    fn bytes_from(&self, offset: u64) -> Box<dyn Read + '_> {
        let file = &self.file;
        if self.gzip {
            let bytes = BufReader::with_capacity(BUFFER, FileAt { file, offset: 0 });
            return Box::new(MultiGzDecoder::new(bytes));
        }
        let rest = self.length.saturating_sub(offset);
        Box::new(FileAt { file, offset }.take(rest))
    }

    /// The bytes from an offset to the end as it was at the opening. A plain file that is truncated
    /// meanwhile ends there: what is written into it then is another generation's.
    pub fn read_from(&self, offset: u64) -> Box<dyn Read + '_> {
        let bytes = self.read_unwatched_from(offset);
        if self.gzip {
            return bytes;
        }
        Box::new(WhileItStands {
            generation: self,
            bytes,
        })
    }

    /// The same where the bytes prove themselves, as the rows of a position do.
    pub(super) fn read_unwatched_from(&self, offset: u64) -> Box<dyn Read + '_> {
        if self.gzip {
            let (bytes, skip) = (self.bytes_from(0), offset);
            return Box::new(Skipping { bytes, skip });
        }
        self.bytes_from(offset)
    }

    /// A range of a plain file, read backwards in chunks by the first stamp.
    pub fn read_range(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(end - start).unwrap_or(0));
        let source = FileAt {
            file: &self.file,
            offset: start,
        };
        source.take(end - start).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether a plain file still begins as it did at the opening.
    pub(super) fn stands(&self) -> io::Result<bool> {
        Ok(
            self.read_range(self.head_start, self.head_start + self.head.len() as u64)?
                == self.head,
        )
    }

    /// Told by the file's first bytes, or by the name of an empty one.
    pub fn is_gzip(&self) -> bool {
        self.gzip
    }

    /// Whether two generations are one file.
    pub fn is_same_file(&self, other: &Identity) -> bool {
        self.identity.device == other.device && self.identity.inode == other.inode
    }

    /// Reads a gzip file through to see how it ends.
    pub fn integrity(&self) -> Integrity {
        if !self.gzip {
            return Integrity::Whole;
        }
        match io::copy(&mut self.bytes_from(0), &mut io::sink()) {
            Ok(_) if self.length == 0 => Integrity::EndsEarly,
            Ok(_) => Integrity::Whole,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Integrity::EndsEarly,
            Err(_) => Integrity::Broken,
        }
    }

    /// Whether this is a copy of the other one, or of an earlier stage of it. Generations may begin
    /// alike and still be two, so heads that agree only say that the rest is worth comparing.
    pub fn is_part_of(&self, whole: &Self) -> bool {
        self.head_start == whole.head_start
            && !self.head.is_empty()
            && whole.head.starts_with(&self.head)
            && begins_with(&mut whole.read_from(0), &mut self.read_from(0))
    }

    /// What a file is known by when it is seen again: its head. One that gives nothing (a broken
    /// gzip file) is known by its raw bytes, and an empty one by nothing.
    pub fn fingerprint(&self) -> Option<String> {
        if !self.head.is_empty() {
            return Some(sha256(&self.head));
        }
        let raw = self.read_range(0, HEAD_BYTES).ok()?;
        (!raw.is_empty()).then(|| sha256(&raw))
    }

    /// How many bytes can be read, decompressed; looked for no further than `most`.
    pub fn content_length(&self, most: u64) -> u64 {
        if !self.gzip {
            return self.length.min(most);
        }
        let mut bytes = self.bytes_from(0).take(most);
        // The count of a copy is lost where it fails.
        let _ = io::copy(&mut bytes, &mut io::sink());
        most - bytes.limit()
    }
}

/// Whether `part` is a prefix of `whole`, as far as it can be read.
fn begins_with(whole: &mut dyn Read, part: &mut dyn Read) -> bool {
    let (mut expected, mut found) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let Ok(read @ 1..) = part.read(&mut expected) else {
            return true;
        };
        let found = &mut found[..read];
        if whole.read_exact(found).is_err() || *found != expected[..read] {
            return false;
        }
    }
}

fn identity(meta: &Metadata) -> Identity {
    let born = meta
        .created()
        .ok()
        .and_then(|time| Timestamp::try_from(time).ok());
    Identity {
        device: meta.dev(),
        inode: meta.ino(),
        born,
    }
}

fn modified(meta: &Metadata) -> Timestamp {
    let time = meta
        .modified()
        .ok()
        .and_then(|time| Timestamp::try_from(time).ok());
    time.unwrap_or(Timestamp::UNIX_EPOCH)
}
