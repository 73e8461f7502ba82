//! A file that holds a generation, or may hold one: the file at the log's path, or one that it was
//! rotated into, plain or gzip. Everything about it is read through one descriptor, so that a
//! rotation between two reads cannot mix two files. Offsets are those of the decompressed bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
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
const SMALL_BUFFER: usize = 4 * 1024;
/// A key covers at most this many bytes.
const KEY_BYTES: usize = 64 * 1024;
/// How many bytes at the start of a file are compared to see whether it is a different one.
const HEAD_BYTES: usize = 1_024;

/// An open file, with what was true of it when it was opened.
#[derive(Debug)]
pub struct LogFile {
    pub path: PathBuf,
    pub stat: Stat,
    pub compression: Compression,
    /// Where the content begins, after NUL bytes: the hole left by a writer that does not append
    /// looks the same in every file.
    start: u64,
    /// The first bytes of the content, at most [`KEY_BYTES`].
    beginning: Vec<u8>,
    file: Arc<File>,
}

/// How a file's content ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Whole,
    /// The file stops within a compressed stream: perhaps it is still being written.
    Early,
    /// The compressed stream is damaged.
    Broken,
}

impl LogFile {
    /// Opens a file that the log may have been rotated into.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_as(path, false)
    }

    /// Opens a file, if there is one.
    pub(super) fn find(path: &Path, is_log: bool) -> io::Result<Option<Self>> {
        match Self::open_as(path, is_log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens a file; the log itself is never compressed.
    pub(super) fn open_as(path: &Path, is_log: bool) -> io::Result<Self> {
        let file = Arc::new(open_without_waiting(path)?);
        let meta = file.metadata()?;
        check_is_regular(&meta)?;
        let mut opened = Self {
            path: path.to_owned(),
            stat: Stat::of(&meta),
            compression: Compression::None,
            start: 0,
            beginning: Vec::new(),
            file,
        };
        if !is_log {
            opened.compression = Compression::of(path, &opened.read_range(0, MAGIC_BYTES)?);
        }
        if let Compression::Unreadable(_) = opened.compression {
            return Ok(opened);
        }
        if opened.is_plain() {
            // A hole may be gigabytes long; if the file system does not report it, it is read.
            opened.start = seek(&opened.file, SeekFrom::Data(0)).unwrap_or(0);
        }
        let mut bytes = BufReader::with_capacity(SMALL_BUFFER, opened.read_from(opened.start)?);
        loop {
            let filled = bytes.fill_buf()?.iter();
            let nuls = filled.take_while(|byte| **byte == 0).count();
            if nuls == 0 {
                break;
            }
            bytes.consume(nuls);
            opened.start += nuls as u64;
        }
        let mut beginning = Vec::new();
        bytes.take(KEY_BYTES as u64).read_to_end(&mut beginning)?;
        opened.beginning = beginning;
        Ok(opened)
    }

    pub fn is_gzip(&self) -> bool {
        self.compression == Compression::Gzip
    }

    pub fn is_plain(&self) -> bool {
        self.compression == Compression::None
    }

    /// Returns the first bytes of the content.
    pub(super) fn head(&self) -> &[u8] {
        &self.beginning[..self.beginning.len().min(HEAD_BYTES)]
    }

    /// Proves the beginning, by which the generation is recognised: up to the end of the first row
    /// that has a time of its own, since in general no other generation has that row. If no such
    /// row is in sight, all whole rows count, and they may become more; if the first row is longer
    /// than a key, its beginning counts. `None` if there is no whole row yet.
    pub(super) fn key(&self) -> Option<Proof> {
        let mut end = 0;
        let rows = self.beginning.split_inclusive(|byte| *byte == b'\n');
        for row in rows.take_while(|row| row.ends_with(b"\n")) {
            end += row.len();
            let [time] = json::last_of(row, ["emitted_at"]);
            let time = time.and_then(json::string);
            if time.is_some_and(|time| time.parse::<Timestamp>().is_ok()) {
                break;
            }
        }
        if end == 0 && self.beginning.len() == KEY_BYTES {
            end = KEY_BYTES;
        }
        (end > 0).then(|| Proof::of(self.start, &self.beginning[..end]))
    }

    /// Proves the beginning up to this offset; `None` if the offset is past it.
    pub(super) fn beginning_to(&self, end: u64) -> Option<Proof> {
        let length = usize::try_from(end.checked_sub(self.start)?).ok()?;
        let begin = self.beginning.get(..length)?;
        Some(Proof::of(self.start, begin))
    }

    /// Returns the content from an offset on, to the end as it was when the file was opened. Fails
    /// with `Unsupported` if its compression cannot be read.
    pub fn read_from(&self, offset: u64) -> io::Result<Content> {
        let file = Arc::clone(&self.file);
        let (bytes, head): (Box<dyn Read>, _) = match self.compression {
            Compression::None => {
                let rest = self.stat.size.saturating_sub(offset);
                let head = (Arc::clone(&file), self.start, self.head().to_vec());
                (Box::new(FileAt { file, offset }.take(rest)), Some(head))
            }
            Compression::Gzip => {
                let bytes = BufReader::with_capacity(BUFFER, FileAt { file, offset: 0 });
                (Box::new(MultiGzDecoder::new(bytes)), None)
            }
            Compression::Unreadable(name) => {
                let why = format!("it is compressed with {name}, and only gzip can be read");
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
        };
        let damage = None;
        let mut content = Content {
            bytes,
            head,
            damage,
        };
        if self.is_gzip() {
            io::copy(&mut content.by_ref().take(offset), &mut io::sink())?;
        }
        Ok(content)
    }

    /// Reads a range of the bytes as they are on disk, as far as the file goes.
    pub fn read_range(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let (file, offset) = (Arc::clone(&self.file), start);
        let mut range = FileAt { file, offset }.take(end - start);
        range.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Returns whether a plain file has these bytes where the proof says.
    pub(super) fn holds(&self, proof: &Proof) -> io::Result<bool> {
        let length = proof.end.saturating_sub(proof.start);
        let mut bytes = self.read_from(proof.start)?.take(length);
        let mut hash = Sha256::new();
        let end = proof.start + io::copy(&mut bytes, &mut hash)?;
        Ok(Proof::hashed(proof.start, end, hash) == *proof)
    }

    /// Returns how long the content is, how it ends, and which of the numbered proofs hold. A gzip
    /// file is read through for that.
    pub(super) fn examine(&self, proofs: &[(usize, &Proof)]) -> io::Result<(u64, End, Vec<usize>)> {
        let mut holds = Vec::new();
        if !self.is_gzip() {
            for (number, proof) in proofs {
                holds.extend(self.holds(proof)?.then_some(*number));
            }
            return Ok((self.stat.size, End::Whole, holds));
        }
        let mut content = self.read_from(0)?;
        let mut hashes = vec![Sha256::new(); proofs.len()];
        let (mut buffer, mut length) = (vec![0; BUFFER], 0);
        loop {
            let read = content.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            let end = length + read as u64;
            for (hash, (_, proof)) in hashes.iter_mut().zip(proofs) {
                let [from, to] = [proof.start, proof.end].map(|at| at.clamp(length, end) - length);
                hash.update(&buffer[from as usize..to as usize]);
            }
            length = end;
        }
        for (hash, (number, proof)) in hashes.into_iter().zip(proofs) {
            let found = Proof::hashed(proof.start, proof.end.min(length), hash);
            holds.extend((found == **proof).then_some(*number));
        }
        let end = match content.damage.map(|damage| damage.kind()) {
            None if self.stat.size > 0 => End::Whole,
            None | Some(io::ErrorKind::UnexpectedEof) => End::Early,
            Some(_) => End::Broken,
        };
        Ok((length, end, holds))
    }

    /// Returns whether this is a copy of the other file, or of an earlier stage of it. Compares all
    /// of it, since two different generations may begin alike.
    pub(super) fn is_part_of(&self, whole: &Self) -> io::Result<bool> {
        let (mut part, mut whole) = (self.read_from(0)?, whole.read_from(0)?);
        let (mut expected, mut found) = (vec![0; BUFFER], vec![0; BUFFER]);
        loop {
            let read = part.read(&mut expected)?;
            match whole.read_exact(&mut found[..read]) {
                Ok(()) if read == 0 => return Ok(true),
                Ok(()) if found[..read] == expected[..read] => {}
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                _ => return Ok(false),
            }
        }
    }
}

/// The content of a file. It ends where a compressed stream is cut or damaged, and as soon as a
/// plain file no longer begins as it did when it was opened: then it was truncated, and what is
/// written into it now belongs to another generation.
pub struct Content {
    bytes: Box<dyn Read>,
    /// The plain file, an offset in it, and the bytes there. They are compared after each read, so
    /// that they prove the bytes of that read.
    head: Option<(Arc<File>, u64, Vec<u8>)>,
    /// What was wrong with a compressed stream. A system error is not the stream's.
    pub(super) damage: Option<io::Error>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.bytes.read(buffer) {
            Err(error) if error.raw_os_error().is_none() && self.head.is_none() => {
                self.damage = Some(error);
                0
            }
            read => read?,
        };
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

/// Reads a file by offset, so that readers of one descriptor do not move each other's position.
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
