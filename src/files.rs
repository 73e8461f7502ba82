//! Files that are read or appended to as they are: opening what others name, and adding a line to
//! what only grows.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use serde::Serialize;

/// Opens a file to be read. A FIFO that nobody writes to does not make it wait, as it would without
/// `O_NONBLOCK`.
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}

/// Appends one JSON line to a file that others write too: a single write, so that lines do not mix,
/// and nothing else.
pub fn append_shared(path: &Path, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    open_to_append(path)?.write_all(&bytes)
}

/// Appends one JSON line to a file of which the lock's holder is the only writer. No half line
/// spoils the next one: what cannot be written whole is cut off again, and behind what a crash left
/// without its line end a new line is begun.
pub fn append_own(path: &Path, line: &impl Serialize) -> io::Result<File> {
    let mut file = open_to_append(path)?;
    let end = file.metadata()?.len();
    let mut bytes = Vec::new();
    if end > 0 && last_byte(path, end)? != b'\n' {
        bytes.push(b'\n');
    }
    serde_json::to_writer(&mut bytes, line)?;
    bytes.push(b'\n');
    match file.write_all(&bytes) {
        Ok(()) => Ok(file),
        Err(error) => {
            let _ = file.set_len(end);
            Err(error)
        }
    }
}

fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn last_byte(path: &Path, end: u64) -> io::Result<u8> {
    let mut byte = [0];
    File::open(path)?.read_exact_at(&mut byte, end - 1)?;
    Ok(byte[0])
}
