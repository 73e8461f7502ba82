//! One generation of the audit log: the file at its path, or one that it was rotated into, plain or
//! gzip. Its content and what is asked about it come from one descriptor, so that a rotation between
//! two questions cannot mix two files. Offsets are those of the decompressed bytes.
//!
//! There may be more generations than a process can hold open. A generation that was looked at is
//! closed: it keeps what was learned, and is opened again for each reading.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use rustix::fs::{SeekFrom, seek};

use super::compression::{Compression, MAGIC_BYTES};
use super::identity::{Identity, modified};
use super::source::{FileAt, HEAD_BYTES, Skipping, WhileUnchanged, is_damage};
use crate::files::open_without_waiting;

const BUFFER: usize = 64 * 1024;

/// A file with what was true of it when it was opened.
#[derive(Debug)]
pub struct Generation {
    pub path: PathBuf,
    pub identity: Identity,
    /// In bytes as they lie on the disk.
    pub length: u64,
    pub modified: Timestamp,
    /// The first bytes, at most [`HEAD_BYTES`], decompressed. They begin behind NUL bytes: a hole,
    /// as a writer leaves it that does not append, tells no file from another. Empty where the
    /// content cannot be read.
    pub head: Vec<u8>,
    /// The offset of the head's first byte.
    pub head_start: u64,
    /// The first bytes as they lie on the disk, where the head is empty.
    pub(super) raw_head: Vec<u8>,
    compression: Compression,
    /// `None` once it is closed.
    file: Option<Arc<File>>,
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
        Self::open_as(path, |_| Compression::None)
    }

    /// Opens a file that the log may have been rotated into.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_as(path, |start| Compression::of(path, start))
    }

    fn open_as(path: &Path, compression: impl Fn(&[u8]) -> Compression) -> io::Result<Self> {
        let file = Arc::new(open_without_waiting(path)?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            let kind = io::ErrorKind::InvalidInput;
            return Err(io::Error::new(kind, "not a regular file"));
        }
        let mut generation = Self {
            path: path.to_owned(),
            identity: Identity::of(&meta),
            length: meta.len(),
            modified: modified(&meta),
            head: Vec::new(),
            head_start: 0,
            raw_head: Vec::new(),
            compression: Compression::None,
            file: Some(file),
        };
        let start = generation.read_range(0, MAGIC_BYTES)?;
        generation.compression = compression(&start);
        generation.read_head()?;
        if generation.head.is_empty() {
            generation.raw_head = generation.read_range(0, HEAD_BYTES as u64)?;
        }
        Ok(generation)
    }

    /// A gzip file that is cut or damaged within the head gives what there is of it.
    fn read_head(&mut self) -> io::Result<()> {
        if matches!(self.compression, Compression::Unreadable(_)) {
            return Ok(());
        }
        let hole = match (&self.file, self.compression) {
            // A hole may be gigabytes long; where the file system cannot tell, it is read.
            (Some(file), Compression::None) => seek(file, SeekFrom::Data(0)).unwrap_or(0),
            _ => 0,
        };
        let mut bytes = BufReader::with_capacity(HEAD_BYTES, self.bytes_from(hole)?);
        let (mut head_start, mut head) = (hole, Vec::new());
        let read = loop {
            let filled = match bytes.fill_buf() {
                Ok([]) => break Ok(()),
                Ok(filled) => filled,
                Err(error) => break Err(error),
            };
            let nuls = filled.iter().take_while(|byte| **byte == 0).count();
            let is_behind_hole = nuls < filled.len();
            bytes.consume(nuls);
            head_start += nuls as u64;
            if is_behind_hole {
                break bytes
                    .take(HEAD_BYTES as u64)
                    .read_to_end(&mut head)
                    .map(drop);
            }
        };
        (self.head_start, self.head) = (head_start, head);
        read.or_else(|error| {
            if is_damage(&error) {
                Ok(())
            } else {
                Err(error)
            }
        })
    }

    /// Gives the descriptor back.
    pub(super) fn closed(mut self) -> Self {
        self.file = None;
        self
    }

    /// The descriptor, or a new one of the same file, which may have another name by now.
    fn file(&self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        if let Some(file) = self.open_again(&self.path) {
            return Ok(file);
        }
        let folder = self.path.parent().map(fs::read_dir);
        let entries = folder.into_iter().flatten().flatten().flatten();
        let mut renamed = entries.filter(|entry| entry.ino() == self.identity.inode);
        let again = renamed.find_map(|entry| self.open_again(&entry.path()));
        again.ok_or_else(|| {
            let kind = io::ErrorKind::NotFound;
            io::Error::new(kind, "it was moved or removed since it was looked at")
        })
    }

    fn open_again(&self, path: &Path) -> Option<Arc<File>> {
        let file = open_without_waiting(path).ok()?;
        let identity = Identity::of(&file.metadata().ok()?);
        (identity == self.identity).then(|| Arc::new(file))
    }

    /// All bytes; of a plain file those from `offset` on, to the end as it was at the opening.
    fn bytes_from(&self, offset: u64) -> io::Result<Box<dyn Read>> {
        let file = self.file()?;
        match self.compression {
            Compression::None => {
                let rest = self.length.saturating_sub(offset);
                Ok(Box::new(FileAt { file, offset }.take(rest)))
            }
            Compression::Gzip => {
                let bytes = BufReader::with_capacity(BUFFER, FileAt { file, offset: 0 });
                Ok(Box::new(MultiGzDecoder::new(bytes)))
            }
            Compression::Unreadable(name) => {
                let why = format!("it is compressed with {name}, and only gzip can be read");
                Err(io::Error::new(io::ErrorKind::Unsupported, why))
            }
        }
    }

    /// The bytes from an offset to the end as it was at the opening. A plain file that is truncated
    /// meanwhile ends there: what is written into it then is another generation's.
    ///
    /// Fails with `NotFound` where the file is no longer there, and with `Unsupported` where its
    /// compression cannot be read.
    pub fn read_from(&self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        let bytes = self.read_unwatched_from(offset)?;
        if self.is_gzip() {
            return Ok(bytes);
        }
        Ok(Box::new(WhileUnchanged {
            bytes,
            file: self.file()?,
            head: &self.head,
            head_start: self.head_start,
        }))
    }

    /// The same where the bytes prove themselves, as the rows of a position do.
    pub(super) fn read_unwatched_from(&self, offset: u64) -> io::Result<Box<dyn Read>> {
        if self.is_gzip() {
            let (bytes, skip) = (self.bytes_from(0)?, offset);
            return Ok(Box::new(Skipping { bytes, skip }));
        }
        self.bytes_from(offset)
    }

    /// A range of the bytes as they lie on the disk, as far as the file goes.
    pub fn read_range(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(end - start).unwrap_or(0));
        let (file, offset) = (self.file()?, start);
        FileAt { file, offset }
            .take(end - start)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Told by the file's first bytes, or by the name of an empty one.
    pub fn is_gzip(&self) -> bool {
        self.compression == Compression::Gzip
    }

    pub(super) fn is_plain(&self) -> bool {
        self.compression == Compression::None
    }

    /// Whether it is plain and there is nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        self.is_plain() && self.length == 0
    }

    /// The compression's name where the content cannot be read.
    pub(super) fn unreadable_compression(&self) -> Option<&'static str> {
        match self.compression {
            Compression::Unreadable(name) => Some(name),
            _ => None,
        }
    }

    /// Whether this is that file, as far as its identity tells.
    pub fn is_same_file(&self, other: &Identity) -> bool {
        self.identity.is_same_file(other)
    }

    /// Reads a gzip file through to see how it ends.
    pub(super) fn integrity(&self) -> io::Result<Integrity> {
        if !self.is_gzip() {
            return Ok(Integrity::Whole);
        }
        match io::copy(&mut self.bytes_from(0)?, &mut io::sink()) {
            Ok(_) if self.length == 0 => Ok(Integrity::EndsEarly),
            Ok(_) => Ok(Integrity::Whole),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Integrity::EndsEarly),
            Err(error) if is_damage(&error) => Ok(Integrity::Broken),
            Err(error) => Err(error),
        }
    }

    /// Whether this is a copy of the other one, or of an earlier stage of it. Generations may begin
    /// alike and still be two, so heads that agree only say that the rest is worth comparing.
    pub(super) fn is_part_of(&self, whole: &Self) -> io::Result<bool> {
        let is_alike = self.head_start == whole.head_start
            && !self.head.is_empty()
            && whole.head.starts_with(&self.head);
        // A shorter head is all there is to read.
        if !is_alike || self.head.len() < HEAD_BYTES {
            return Ok(is_alike);
        }
        let mut whole = whole.read_unwatched_from(self.head_start)?;
        begins_with(&mut whole, &mut self.read_unwatched_from(self.head_start)?)
    }

    /// How many bytes can be read, decompressed; looked for no further than `most`.
    pub(super) fn content_length(&self, most: u64) -> io::Result<u64> {
        if !self.is_gzip() {
            return Ok(self.length.min(most));
        }
        let mut bytes = self.bytes_from(0)?.take(most);
        match io::copy(&mut bytes, &mut io::sink()) {
            // The count of a copy is lost where it fails.
            Err(error) if !is_damage(&error) => Err(error),
            _ => Ok(most - bytes.limit()),
        }
    }
}

/// Whether `part` is a prefix of `whole`, as far as it can be read.
fn begins_with(whole: &mut impl Read, part: &mut impl Read) -> io::Result<bool> {
    let (mut expected, mut found) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let read = match part.read(&mut expected) {
            Ok(0) => return Ok(true),
            Ok(read) => read,
            Err(error) if is_damage(&error) => return Ok(true),
            Err(error) => return Err(error),
        };
        let found = &mut found[..read];
        match whole.read_exact(found) {
            Ok(()) if *found == expected[..read] => {}
            Err(error) if !is_damage(&error) => return Err(error),
            _ => return Ok(false),
        }
    }
}
