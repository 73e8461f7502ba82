//! The ways in which this program opens files, by whom the file belongs to. Nothing here waits for
//! a FIFO, and what is checked is checked on the file that was opened.
//!
//! | whose file | links | checked | with |
//! |---|---|---|---|
//! | ours: state folder, metrics | not followed | ours, a regular file | `open_own`, `append_own`, `create_anew` |
//! | the operator's: env file, secrets | followed | as above, and its folder | `read_trusted` |
//! | others': audit log, outcome log | followed | a regular file | `open_without_waiting`, `open_shared`, `append_shared` |

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::Serialize;

/// In such a folder (mode 1777, as `/tmp` has it) nobody can replace another user's file.
const STICKY: u32 = 0o1000;

/// Opens a file to be read, whatever it is. A FIFO that nobody writes to does not make it wait, as
/// it would without `O_NONBLOCK`.
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    open(path, File::options().read(true), OFlags::empty())
}

/// Opens a file in a folder that is ours: no link is followed, and the file must be a regular one
/// that others cannot write. What is made has mode 0600.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = open(path, options.mode(0o600), OFlags::NOFOLLOW)?;
    let meta = file.metadata()?;
    check_is_regular(&meta)?;
    check_writers(path, &meta)?;
    Ok(file)
}

/// The content of a file in a folder that is ours.
pub fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_own(path, File::options().read(true))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes a file that was not there. A left-over of that name is removed, whoever made it, and is
/// never written to.
pub fn create_anew(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(mode);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        made => made,
    }
}

/// Reads a file that says what this program does, or as whom: it and its folder must be ours or
/// root's, and others must not be able to write or replace it. Links are followed, since Kubernetes
/// mounts secrets as links. More than `most_bytes` is an error.
pub fn read_trusted(path: &Path, most_bytes: u64) -> io::Result<(String, Metadata)> {
    let file = open_without_waiting(path)?;
    let meta = file.metadata()?;
    check_is_regular(&meta)?;
    check_writers(path, &meta)?;
    check_folder_of(path)?;
    let entry = fs::symlink_metadata(path)?;
    if entry.is_symlink() {
        check_owner(path, &entry)?;
        check_folder_of(&fs::canonicalize(path)?)?;
    }
    let mut text = String::new();
    file.take(most_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most_bytes {
        return Err(io::Error::other(format!(
            "it is longer than {most_bytes} bytes"
        )));
    }
    Ok((text, meta))
}

/// Whether nobody but its owner, who is this user or root, can write it. The error says what to do.
pub fn check_writers(path: &Path, meta: &Metadata) -> io::Result<()> {
    check_owner(path, meta)?;
    if meta.mode() & 0o022 == 0 {
        return Ok(());
    }
    let (shown, mode) = (path.display(), if meta.is_dir() { "go-w" } else { "600" });
    Err(io::Error::other(format!(
        "{shown} can be written by others: chmod {mode} {shown}"
    )))
}

fn check_owner(path: &Path, meta: &Metadata) -> io::Result<()> {
    let (shown, owner) = (path.display(), meta.uid());
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{shown} belongs to another user (uid {owner}) and is not trusted"
    )))
}

/// Appends one JSON line to a file that others write too: a single write, so that lines do not mix,
/// and nothing else.
pub fn append_shared(path: &Path, line: &impl Serialize) -> io::Result<()> {
    let mut options = File::options();
    options.append(true).create(true).mode(0o600);
    let mut file = open_shared(path, &mut options)?;
    file.write_all(&with_line_end(line)?)
}

/// Opens a file that others write too. Links are followed; what is not a regular file is refused.
pub fn open_shared(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = open(path, options, OFlags::empty())?;
    check_is_regular(&file.metadata()?)?;
    Ok(file)
}

/// Appends one JSON line to a file of which the lock's holder is the only writer. No half line
/// spoils the next one: what cannot be written whole is cut off again, and behind what a crash left
/// without its line end a new line is begun.
pub fn append_own(path: &Path, line: &impl Serialize) -> io::Result<File> {
    let mut file = open_own(path, File::options().read(true).append(true).create(true))?;
    let end = file.metadata()?.len();
    let mut bytes = with_line_end(line)?;
    let mut last = *b"\n";
    if end > 0 {
        file.read_exact_at(&mut last, end - 1)?;
    }
    if last != *b"\n" {
        bytes.insert(0, b'\n');
    }
    file.write_all(&bytes).inspect_err(|_| {
        let _ = file.set_len(end);
    })?;
    Ok(file)
}

fn with_line_end(line: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn open(path: &Path, options: &mut OpenOptions, flags: OFlags) -> io::Result<File> {
    let follows = !flags.contains(OFlags::NOFOLLOW);
    let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
    let opened = options.custom_flags(flags).open(path);
    opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) if !follows => {
            io::Error::other("it is a symbolic link, which is not followed")
        }
        // A FIFO that nobody reads.
        Some(Errno::NXIO) => not_regular(),
        _ => error,
    })
}

/// Whether it is a file and no FIFO, link, folder or device.
pub fn check_is_regular(meta: &Metadata) -> io::Result<()> {
    meta.is_file().then_some(()).ok_or_else(not_regular)
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

/// Whether others can replace what lies beside this path.
fn check_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let meta = fs::metadata(folder)?;
    if meta.mode() & STICKY != 0 {
        return check_owner(folder, &meta);
    }
    check_writers(folder, &meta)
}
