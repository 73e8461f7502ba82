//! The readers that a generation's bytes come through: by offset, from its middle, for as long as
//! the file stands, up to a damage.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::generation::Generation;

/// Reads a file by offset, so that readers of one descriptor do not move each other.
pub(super) struct FileAt<'a> {
    pub file: &'a File,
    pub offset: u64,
}

impl Read for FileAt<'_> {
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

/// Ends where the file does not begin as it did any more. Checked behind each read, it vouches for
/// the bytes of that read.
pub(super) struct WhileItStands<'a, R> {
    pub generation: &'a Generation,
    pub bytes: R,
}

impl<R: Read> Read for WhileItStands<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        Ok(if self.generation.stands()? { read } else { 0 })
    }
}

/// Ends at the point where a gzip stream is cut or damaged, and keeps what was wrong.
pub struct UpToDamage<'a, R> {
    pub source: R,
    /// `None` where an error of the source is the caller's.
    pub damage: Option<&'a mut Option<io::Error>>,
}

impl<R: Read> Read for UpToDamage<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer);
        match (read, &mut self.damage) {
            (Err(error), Some(damage)) if error.kind() != io::ErrorKind::Interrupted => {
                **damage = Some(error);
                Ok(0)
            }
            (read, _) => read,
        }
    }
}
