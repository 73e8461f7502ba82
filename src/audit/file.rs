//! A file that holds a generation, or may hold one: the file at the log's path, or one that it was
//! rotated into, plain or gzip. What is asked about it comes from one descriptor, so that a rotation
//! between two questions cannot mix two files. Offsets are those of the decompressed bytes.
//!
//! There may be more files than a process can hold open. One that was examined is closed, and opened
//! again to be read.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{DirEntryExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use rustix::fs::{SeekFrom, seek};
use sha2::{Digest, Sha256};

use super::compression::{Compression, MAGIC_BYTES};
use super::proof::Proof;
use super::stat::Stat;
use crate::files::{check_is_regular, open_without_waiting};
use crate::json;

const BUFFER: usize = 64 * 1024;
/// A key covers so many bytes at most.
const KEY_BYTES: u64 = 64 * 1024;
/// So many bytes at the start of a file are kept while it is closed.
const HEAD_BYTES: usize = 1_024;

/// A file with what was true of it when it was opened.
#[derive(Clone, Debug)]
pub struct LogFile {
    pub path: PathBuf,
    pub stat: Stat,
    pub compression: Compression,
    /// By which the generation is known again; `None` where there is no whole row yet.
    pub key: Option<Proof>,
    /// Where the content begins, after NUL bytes: a hole, as a writer leaves it that does not
    /// append, looks the same in every file.
    start: u64,
    /// The first bytes of the content, at most [`KEY_BYTES`], or [`HEAD_BYTES`] once it is closed.
    beginning: Vec<u8>,
    /// `None` once it is closed.
    file: Option<Arc<File>>,
}

/// How a file's content ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// The file stops within a compressed stream: perhaps it is still being written.
    Early,
    /// The compressed stream is damaged.
    Broken,
}

/// What reading a file through showed.
pub(super) struct Examined {
    /// Of the content, in bytes.
    pub length: u64,
    pub end: End,
    /// Whether each of the proofs holds.
    pub holds: Vec<bool>,
}

impl LogFile {
    /// Opens the file as the log itself, which is never compressed.
    pub fn open_plain(path: &Path) -> io::Result<Self> {
        Self::open_as(path, |_| Compression::None)
    }

    /// Opens a file that the log may have been rotated into.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_as(path, |magic| Compression::of(path, magic))
    }

    fn open_as(path: &Path, compression: impl Fn(&[u8]) -> Compression) -> io::Result<Self> {
        let file = Arc::new(open_without_waiting(path)?);
        let meta = file.metadata()?;
        check_is_regular(&meta)?;
        let mut opened = Self {
            path: path.to_owned(),
            stat: Stat::of(&meta),
            compression: Compression::None,
            key: None,
            start: 0,
            beginning: Vec::new(),
            file: Some(Arc::clone(&file)),
        };
        opened.compression = compression(&opened.read_range(0, MAGIC_BYTES)?);
        if let Compression::Unreadable(_) = opened.compression {
            return Ok(opened);
        }
        if opened.is_plain() {
            // A hole may be gigabytes long; where the file system does not know it, it is read.
            opened.start = seek(&file, SeekFrom::Data(0)).unwrap_or(0);
        }
        let mut bytes = BufReader::with_capacity(BUFFER, opened.read_from(opened.start)?);
        loop {
            let filled = bytes.fill_buf()?;
            let nuls = filled.iter().take_while(|byte| **byte == 0).count();
            let is_hole = nuls > 0 && nuls == filled.len();
            bytes.consume(nuls);
            opened.start += nuls as u64;
            if !is_hole {
                break;
            }
        }
        let mut beginning = Vec::new();
        bytes.take(KEY_BYTES).read_to_end(&mut beginning)?;
        opened.beginning = beginning;
        opened.key = key_of(opened.start, &opened.beginning);
        Ok(opened)
    }

    /// Gives the descriptor back.
    pub(super) fn closed(mut self) -> Self {
        self.file = None;
        self.beginning.truncate(HEAD_BYTES);
        self.beginning.shrink_to_fit();
        self
    }

    pub fn is_gzip(&self) -> bool {
        self.compression == Compression::Gzip
    }

    pub(super) fn is_plain(&self) -> bool {
        self.compression == Compression::None
    }

    /// The first bytes of the content.
    pub(super) fn head(&self) -> &[u8] {
        &self.beginning[..self.beginning.len().min(HEAD_BYTES)]
    }

    /// Proves the content up to an offset, of a file that is not closed yet; not past its key.
    pub(super) fn beginning_to(&self, end: u64) -> Option<Proof> {
        let is_within = self.key.as_ref().is_some_and(|key| end <= key.end);
        let length = end.checked_sub(self.start).filter(|_| is_within)?;
        let begin = self.beginning.get(..usize::try_from(length).ok()?)?;
        Some(Proof::of(self.start, begin))
    }

    /// The descriptor, or a new one of the same file, which may have another name by now.
    fn file(&self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let open_again = |path: &Path| {
            let file = open_without_waiting(path).ok()?;
            let stat = Stat::of(&file.metadata().ok()?);
            stat.is_same_file(&self.stat).then(|| Arc::new(file))
        };
        if let Some(file) = open_again(&self.path) {
            return Ok(file);
        }
        let folder = self.path.parent().map(fs::read_dir);
        let entries = folder.into_iter().flatten().flatten().flatten();
        let mut renamed = entries.filter(|entry| entry.ino() == self.stat.inode);
        let again = renamed.find_map(|entry| open_again(&entry.path()));
        again.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it was moved or removed"))
    }

    /// The content from an offset on, to the end as it was at the opening.
    ///
    /// Fails with `NotFound` where the file is no longer there, and with `Unsupported` where its
    /// compression cannot be read.
    pub fn read_from(&self, offset: u64) -> io::Result<Content> {
        let file = self.file()?;
        let mut content = Content {
            bytes: Box::new(io::empty()),
            skip: 0,
            head: None,
            damage: None,
        };
        match self.compression {
            Compression::None => {
                let rest = self.stat.size.saturating_sub(offset);
                let head = (self.start, self.head().to_vec());
                content.head = Some((Arc::clone(&file), head.0, head.1));
                content.bytes = Box::new(FileAt { file, offset }.take(rest));
            }
            Compression::Gzip => {
                let bytes = BufReader::with_capacity(BUFFER, FileAt { file, offset: 0 });
                content.bytes = Box::new(MultiGzDecoder::new(bytes));
                content.skip = offset;
            }
            Compression::Unreadable(name) => {
                let why = format!("it is compressed with {name}, and only gzip can be read");
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
        }
        Ok(content)
    }

    /// A range of the bytes as they lie on the disk, as far as the file goes.
    pub fn read_range(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(end - start).unwrap_or(0));
        let (file, offset) = (self.file()?, start);
        let range = FileAt { file, offset }.take(end - start);
        { range }.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether these bytes stand where the proof says; asked of a plain file.
    pub(super) fn holds(&self, proof: &Proof) -> io::Result<bool> {
        let (file, offset) = (self.file()?, proof.start);
        let (mut bytes, mut hash) = (FileAt { file, offset }.take(proof.length()), Sha256::new());
        let copied = io::copy(&mut bytes, &mut hash)?;
        Ok(copied == proof.length() && Proof::hashed(proof.start, proof.end, hash) == *proof)
    }

    /// Sees how long the content is, how it ends, and which proofs hold. A gzip file is read through
    /// for it.
    pub(super) fn examine(&self, proofs: &[&Proof]) -> io::Result<Examined> {
        if !self.is_gzip() {
            let holds = proofs.iter().map(|proof| self.holds(proof));
            return Ok(Examined {
                length: self.stat.size,
                end: End::Whole,
                holds: holds.collect::<io::Result<_>>()?,
            });
        }
        let mut content = self.read_from(0)?;
        let mut hashes = vec![Sha256::new(); proofs.len()];
        let (mut buffer, mut length) = (vec![0; BUFFER], 0);
        loop {
            let end = match content.read(&mut buffer)? {
                0 => break,
                read => length + read as u64,
            };
            for (hash, proof) in hashes.iter_mut().zip(proofs) {
                let [from, to] = [proof.start, proof.end].map(|at| at.clamp(length, end) - length);
                hash.update(&buffer[from as usize..to as usize]);
            }
            length = end;
        }
        let holds = hashes.into_iter().zip(proofs).map(|(hash, proof)| {
            proof.end <= length && Proof::hashed(proof.start, proof.end, hash) == **proof
        });
        let end = match content.damage.map(|damage| damage.kind()) {
            None if self.stat.size > 0 => End::Whole,
            None | Some(io::ErrorKind::UnexpectedEof) => End::Early,
            Some(_) => End::Broken,
        };
        let holds = holds.collect();
        Ok(Examined { length, end, holds })
    }

    /// Whether this is a copy of the other one, or of an earlier stage of it. Generations may begin
    /// alike and still be two.
    pub(super) fn is_part_of(&self, whole: &Self) -> io::Result<bool> {
        let head = self.head();
        if self.start != whole.start || head.is_empty() || !whole.head().starts_with(head) {
            return Ok(false);
        }
        let (mut part, mut whole) = (self.read_from(self.start)?, whole.read_from(self.start)?);
        let (mut expected, mut found) = (vec![0; BUFFER], vec![0; BUFFER]);
        loop {
            let read = part.read(&mut expected)?;
            if read == 0 {
                return Ok(true);
            }
            match whole.read_exact(&mut found[..read]) {
                Ok(()) if found[..read] == expected[..read] => {}
                Ok(()) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Proves the beginning up to the end of the first row that has a time of its own: in general no
/// other generation has it. Where no such row is in sight, all whole rows count, which may become
/// more; of a row that is longer than a key, its beginning.
fn key_of(start: u64, beginning: &[u8]) -> Option<Proof> {
    let mut end = 0;
    for row in beginning.split_inclusive(|byte| *byte == b'\n') {
        if !row.ends_with(b"\n") {
            break;
        }
        end += row.len();
        let [time] = json::last_of(row, ["emitted_at"]);
        let time = time.and_then(json::string);
        if time.is_some_and(|time| time.parse::<Timestamp>().is_ok()) {
            break;
        }
    }
    if end == 0 && beginning.len() as u64 == KEY_BYTES {
        end = beginning.len();
    }
    (end > 0).then(|| Proof::of(start, &beginning[..end]))
}

/// The content of a file. It ends where a compressed stream is cut or damaged, and where a plain
/// file begins in another way than when it was opened: it was truncated, and what is written into it
/// now is another generation's.
pub struct Content {
    bytes: Box<dyn Read>,
    /// Bytes of a stream that cannot be read from its middle.
    skip: u64,
    /// The plain file, and the bytes that stand at an offset of it. They are compared after each
    /// read, so that they prove the bytes of that read.
    head: Option<(Arc<File>, u64, Vec<u8>)>,
    /// What was wrong with a compressed stream. An error of the system is none of the stream's.
    pub(super) damage: Option<io::Error>,
}

impl Content {
    fn read_bytes(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.skip > 0 {
            io::copy(&mut self.bytes.by_ref().take(self.skip), &mut io::sink())?;
            self.skip = 0;
        }
        let read = self.bytes.read(buffer)?;
        let Some((file, start, head)) = &self.head else {
            return Ok(read);
        };
        let mut now = [0; HEAD_BYTES];
        let now = &mut now[..head.len()];
        match file.read_exact_at(now, *start) {
            Ok(()) if now == head => Ok(read),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(0),
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_bytes(buffer).or_else(|error| {
            if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
                return Err(error);
            }
            self.damage = Some(error);
            Ok(0)
        })
    }
}

/// Reads a file by offset, so that readers of one descriptor do not move each other.
struct FileAt {
    file: Arc<File>,
    offset: u64,
}

impl Read for FileAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
