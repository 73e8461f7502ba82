//! The readers that a generation's bytes come through. They know files and bytes, and nothing of
//! generations.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// How many bytes of a file's start tell it from other files.
pub const HEAD_BYTES: usize = 1_024;

/// Reads a file by offset, so that readers of one descriptor do not move each other.
pub(super) struct FileAt {
    pub file: Arc<File>,
    pub offset: u64,
}

impl Read for FileAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Passes over the first bytes of a stream that cannot be read from its middle.
pub(super) struct Skipping<R> {
    pub bytes: R,
    pub skip: u64,
}

impl<R: Read> Read for Skipping<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.skip > 0 {
            io::copy(&mut self.bytes.by_ref().take(self.skip), &mut io::sink())?;
            self.skip = 0;
        }
        self.bytes.read(buffer)
    }
}

/// Reads a plain file for as long as it begins as it did when it was opened. The beginning is
/// compared after each read, so that it proves the bytes of that read.
pub(super) struct WhileUnchanged<'a, R> {
    pub bytes: R,
    pub file: Arc<File>,
    /// At most [`HEAD_BYTES`].
    pub head: &'a [u8],
    /// The offset of the head's first byte.
    pub head_start: u64,
}

impl<R: Read> Read for WhileUnchanged<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        let mut now = [0; HEAD_BYTES];
        let now = &mut now[..self.head.len()];
        match self.file.read_exact_at(now, self.head_start) {
            Ok(()) if now == self.head => Ok(read),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(0),
        }
    }
}

/// Ends at the point where a compressed stream is cut or damaged, and keeps what was wrong. An error
/// of the system is none of the stream's and stays an error.
pub struct UpToDamage<'a, R> {
    pub source: R,
    pub damage: &'a mut Option<io::Error>,
}

impl<R: Read> Read for UpToDamage<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.source.read(buffer) {
            Err(error) if is_damage(&error) => {
                *self.damage = Some(error);
                Ok(0)
            }
            read => read,
        }
    }
}

/// Whether the error says that the bytes are no whole compressed stream.
pub(super) fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && error.kind() != io::ErrorKind::Interrupted
}
