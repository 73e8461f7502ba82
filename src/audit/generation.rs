//! One generation of the audit log: the file at its path, or one that it was rotated into, plain or
//! gzip. It is opened once and everything is asked of that descriptor, so that a rotation between
//! two questions cannot mix two files. Offsets are those of the decompressed bytes.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many bytes of a file's start tell it from other files.
pub const HEAD_BYTES: u64 = 1_024;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const GZIP_BUFFER: usize = 64 * 1024;

/// What the file system says of a file. It is kept to choose among files whose content agrees, and
/// proves nothing: inodes are used again, files are restored, copied and remounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<Timestamp>,
}

#[derive(Debug)]
pub struct Generation {
    pub path: PathBuf,
    pub identity: Identity,
    /// In bytes as they lie on the disk, when it was opened.
    pub length: u64,
    pub modified: Timestamp,
    /// The first bytes, at most `HEAD_BYTES`, decompressed.
    pub head: Vec<u8>,
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
        // Without O_NONBLOCK, opening a FIFO that nobody writes to would hang.
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nonblock)
            .open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let mut start = Vec::with_capacity(GZIP_MAGIC.len());
        FileAt {
            file: &file,
            offset: 0,
        }
        .take(2)
        .read_to_end(&mut start)?;
        let mut generation = Self {
            path: path.to_owned(),
            identity: identity(&meta),
            length: meta.len(),
            modified: modified(&meta),
            head: Vec::new(),
            gzip: is_gzip(&start),
            file,
        };
        generation.head = generation.read_head();
        Ok(generation)
    }

    /// A gzip file that is cut or damaged within the head gives what there is of it.
    fn read_head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEAD_BYTES as usize);
        let length = if self.gzip {
            HEAD_BYTES
        } else {
            HEAD_BYTES.min(self.length)
        };
        let _ = self.decompressed().take(length).read_to_end(&mut head);
        head
    }

    fn decompressed(&self) -> Box<dyn Read + '_> {
        let bytes = FileAt {
            file: &self.file,
            offset: 0,
        };
        if self.gzip {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(
                GZIP_BUFFER,
                bytes,
            )))
        } else {
            Box::new(bytes)
        }
    }

    /// The bytes from an offset to the end; of a plain file, to the end as it was at the opening.
    pub fn read_from(&self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        if !self.gzip {
            let rest = self.length.saturating_sub(offset);
            return Ok(Box::new(
                FileAt {
                    file: &self.file,
                    offset,
                }
                .take(rest),
            ));
        }
        let mut bytes = self.decompressed();
        io::copy(&mut bytes.by_ref().take(offset), &mut io::sink())?;
        Ok(bytes)
    }

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
        match io::copy(&mut self.decompressed(), &mut io::sink()) {
            Ok(_) if self.length == 0 => Integrity::EndsEarly,
            Ok(_) => Integrity::Whole,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Integrity::EndsEarly,
            Err(_) => Integrity::Broken,
        }
    }

    /// Whether two generations begin alike, as far as the shorter of the heads goes: one is a copy
    /// of the other, or of an earlier stage of it.
    pub fn begins_like(&self, head: &[u8]) -> bool {
        let common = self.head.len().min(head.len());
        common > 0 && self.head[..common] == head[..common]
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

/// Reads a file by offset, so that readers of one descriptor do not move each other.
pub struct FileAt<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for FileAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl Generation {
    /// A range of a plain file, read backwards in chunks by the first stamp.
    pub fn read_range(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        FileAt {
            file: &self.file,
            offset: start,
        }
        .take(end - start)
        .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
