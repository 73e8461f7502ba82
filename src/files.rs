//! How this program opens files, by who owns them. Nothing here waits for a FIFO, and every check is made on
//! the file that was opened.
//!
//! | whose file | links | checks | functions |
//! |---|---|---|---|
//! | ours: state folder, metrics | not followed | regular, ours, nobody else can write it | `open_own`, `append_own`, `create_anew` |
//! | the operator's: env file, secrets | followed | as above, and its folder; root's is fine, too, and so is write permission for the owner's own group | `open_trusted`, `read_trusted` |
//! | others': audit log, outcome log | followed | regular | `open_without_waiting`, `open_shared`, `append_shared` |

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::Serialize;

/// The bit of a folder's mode (`/tmp` has 1777) that keeps users from replacing each other's files in it.
const STICKY: u32 = 0o1000;
/// How long another writer may take to finish its line.
const UNFINISHED_LINE: Duration = Duration::from_millis(500);

/// Opens a file of any type for reading. `O_NONBLOCK` keeps a FIFO without a writer from blocking.
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    open(path, File::options().read(true), OFlags::empty())
}

/// Opens a file in a folder that is ours: follows no link, and takes only a regular file that
/// others cannot write. A new file gets mode 0600.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = open(path, options.mode(0o600), OFlags::NOFOLLOW)?;
    let meta = file.metadata()?;
    check_is_regular(&meta)?;
    check_writers(path, &meta)?;
    Ok(file)
}

/// Makes root act as the owner of a folder from now on: new files there belong to the owner, and no link that
/// the owner made can lead root elsewhere.
pub fn become_owner(folder: &Path) -> io::Result<()> {
    let Ok(meta) = std::fs::metadata(folder) else {
        return Ok(());
    };
    if meta.uid() == 0 || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    become_user(meta.uid(), meta.gid())
}

/// Makes root act as another user from now on, in this thread.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[gid])?;
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// Reads a file in a folder that is ours.
pub fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_own(path, File::options().read(true))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Creates a file. A leftover of that name is removed, whoever made it, and never written to.
pub fn create_anew(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(mode);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        created => created,
    }
}

/// Replaces the file at `path`, which stays if that fails. `new`: the new file's name while it is written;
/// `write` also syncs it to disk, if that matters.
pub fn replace(
    path: &Path,
    new: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = create_anew(new, mode)?;
    let replaced = write(&mut file).and_then(|()| fs::rename(new, path));
    if replaced.is_err() {
        // The disk may be full: leave no half-written file on it.
        let _ = fs::remove_file(new);
    }
    replaced
}

/// Syncs a folder, so that a change of its names survives a power cut. Returns false if the file
/// system cannot do that, as some network and FUSE file systems cannot.
pub fn sync_folder(folder: &Path) -> io::Result<bool> {
    match File::open(folder)?.sync_all() {
        Ok(()) => Ok(true),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Opens a file that decides what this program does, or as whom: it and its folder must be ours or
/// root's, and others must not be able to write or replace it. Links are followed, since Kubernetes
/// mounts secrets as links.
pub fn open_trusted(path: &Path) -> io::Result<(File, Metadata)> {
    let file = open_without_waiting(path)?;
    let meta = file.metadata()?;
    check_is_regular(&meta)?;
    check_trusted(path, &meta)?;
    check_folder_of(path)?;
    let entry = fs::symlink_metadata(path)?;
    if entry.is_symlink() {
        check_owner(path, &entry)?;
        check_folder_of(&fs::canonicalize(path)?)?;
    }
    Ok((file, meta))
}

/// Reads a file as [`open_trusted`] opens it. More than `max_bytes` is an error; invalid UTF-8 becomes
/// U+FFFD.
pub fn read_trusted(path: &Path, max_bytes: u64) -> io::Result<(String, Metadata)> {
    let (file, meta) = open_trusted(path)?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let what = format!("it is longer than {max_bytes} bytes");
        return Err(io::Error::other(what));
    }
    Ok((String::from_utf8_lossy(&bytes).into_owned(), meta))
}

/// Fails unless only the owner, who must be this user or root, can write the file. The error says
/// what to do.
pub fn check_writers(path: &Path, meta: &Metadata) -> io::Result<()> {
    check_owner(path, meta)?;
    if meta.mode() & 0o022 == 0 {
        return Ok(());
    }
    let is_program = meta.mode() & 0o111 != 0;
    let (shown, mode) = (path.display(), if is_program { "go-w" } else { "600" });
    Err(io::Error::other(format!(
        "{shown} can be written by others: chmod {mode} {shown}"
    )))
}

/// Like [`check_writers`], but the owner's own group may have write permission.
fn check_trusted(path: &Path, meta: &Metadata) -> io::Result<()> {
    match meta.mode() & 0o022 {
        0o020 if is_own_group(meta) => check_owner(path, meta),
        _ => check_writers(path, meta),
    }
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

/// Returns whether anybody but the owner can read the file.
pub fn is_readable_by_others(meta: &Metadata) -> bool {
    meta.mode() & 0o004 != 0 || (meta.mode() & 0o040 != 0 && !is_own_group(meta))
}

/// Returns whether the file's group is its owner's private group, as Debian and Red Hat create one for every
/// user.
fn is_own_group(meta: &Metadata) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    meta.uid() == meta.gid()
        && is_private_group(meta.gid(), &read("/etc/passwd"), &read("/etc/group"))
}

/// Returns whether the group with this id is named after the user with this id, and has no other member.
fn is_private_group(id: u32, passwd: &str, group: &str) -> bool {
    let id = id.to_string();
    // name:password:uid:gid:... and name:password:gid:members
    let lines = |text| str::lines(text).map(|line| line.split(':').collect::<Vec<_>>());
    let is_of_id = |field: Option<&&str>| field == Some(&&*id);
    let users = lines(passwd).filter(|user| is_of_id(user.get(2)) || is_of_id(user.get(3)));
    let mut names: Vec<_> = users.map(|user| user[0]).collect();
    let mut groups = lines(group).filter(|group| is_of_id(group.get(2)));
    let (false, Some(own), None) = (names.is_empty(), groups.next(), groups.next()) else {
        return false;
    };
    let members = own.get(3).map_or("", |members| members.trim()).split(',');
    names.extend(members.filter(|member| !member.is_empty()));
    names.iter().all(|name| *name == own[0])
}

/// Appends one JSON line to a file that others write, too: in a single write, so that lines do not mix, and
/// never after an unfinished line. A missing file is not created.
pub fn append_shared(path: &Path, line: &impl Serialize) -> io::Result<()> {
    let mut file = open_shared(path, File::options().read(true).append(true))?;
    let begun = Instant::now();
    while !is_at_line_start(&file)? {
        if begun.elapsed() >= UNFINISHED_LINE {
            return Err(io::Error::other("its last line is unfinished"));
        }
        sleep(UNFINISHED_LINE / 20);
    }
    file.write_all(&with_line_end(line)?)
}

/// Opens a file that others write too. Links are followed; anything but a regular file is refused.
pub fn open_shared(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = open(path, options, OFlags::empty())?;
    check_is_regular(&file.metadata()?)?;
    Ok(file)
}

/// Returns whether the last line is finished, or there is none.
pub fn is_at_line_start(file: &File) -> io::Result<bool> {
    let mut last = *b"\n";
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_at(&mut last, at)?;
    }
    Ok(last == *b"\n")
}

/// Appends one JSON line to a file that only the lock's holder writes. No partial line spoils the next one: a
/// line that cannot be written whole is cut off again, and one that a crash left unfinished is ended first.
pub fn append_own(path: &Path, line: &impl Serialize) -> io::Result<File> {
    let mut file = open_own(path, File::options().read(true).append(true).create(true))?;
    let end = file.metadata()?.len();
    let mut bytes = with_line_end(line)?;
    if !is_at_line_start(&file)? {
        bytes.insert(0, b'\n');
    }
    file.write_all(&bytes).inspect_err(|_| {
        let _ = file.set_len(end);
    })?;
    Ok(file)
}

/// Returns whether two paths lead to the same file.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
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
        // A FIFO without a reader.
        Some(Errno::NXIO) => not_regular(),
        _ => error,
    })
}

/// Fails unless this is a regular file, and not a FIFO, link, folder or device.
pub fn check_is_regular(meta: &Metadata) -> io::Result<()> {
    meta.is_file().then_some(()).ok_or_else(not_regular)
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

/// Fails if others can replace a file in the folder of this path.
fn check_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let meta = fs::metadata(folder)?;
    if meta.mode() & STICKY != 0 {
        return check_owner(folder, &meta);
    }
    check_trusted(folder, &meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_group_has_its_owners_name_and_id_and_no_other_member() {
        let users = "root:x:0:0:root:/root:/bin/bash\njoshua:x:1000:1000::/home/joshua:/bin/sh\n";
        let groups = "root:x:0:\nstaff:x:50:\njoshua:x:1000:";
        for (id, more_users, more_groups, expected) in [
            (1000, "", "", true),
            (1000, "", "joshua", true),
            (0, "", "", true),
            (1000, "", "joshua,anna", false),
            (1000, "", "anna", false),
            (1000, "", "\nstaff2:x:1000:", false),
            (1000, "anna:x:1001:1000::/:/bin/sh", "", false),
            (1000, "twin:x:1000:1000::/:/bin/sh", "", false),
            (50, "", "", false),
            (1002, "nameless:x:1002:1002::/:", "", false),
        ] {
            let (users, groups) = (
                format!("{users}{more_users}"),
                format!("{groups}{more_groups}"),
            );
            let found = is_private_group(id, &users, &groups);
            assert_eq!(found, expected, "{id} {more_users} {more_groups}");
        }
    }
}
