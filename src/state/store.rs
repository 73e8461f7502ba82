//! The state folder: reads and commits the state, and appends to the files beside it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use super::{State, parse};
use crate::exit::{Exit, Problem};
use crate::files::{append_own, check_writers, create_anew, read_own};

pub const FILE: &str = "state.json";
/// The state before the last reset.
const OLD_FILE: &str = "state.json.old";

/// Large enough that the state of an ordinary day is one write.
const WRITE_BUFFER: usize = 64 * 1024;

/// What a file is written anew with.
type Writer = BufWriter<File>;

/// What a commit must outlive, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Only the position moved: if that is lost, rows that needed nothing are read again.
    PositionOnly,
    /// The machine's power going off.
    Full,
}

/// The state folder: reads and commits the state, and appends to the files beside it.
#[derive(Debug)]
pub struct Store {
    pub dir: PathBuf,
}

impl Store {
    /// The folder as it is; for commands that only look.
    pub fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Makes the folder where it is missing, for its owner alone.
    pub fn create(dir: &Path) -> Result<Self, Problem> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make the state folder {}", dir.display()))?;
        let store = Self::at(dir);
        store.check()?;
        Ok(store)
    }

    /// Whether the folder is this user's and nobody else can write it; one that is not there is fine.
    pub fn check(&self) -> Result<(), Problem> {
        let checked = match fs::metadata(&self.dir) {
            Ok(meta) => check_writers(&self.dir, &meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        checked.map_err(|error| {
            let error = anyhow!(error).context("cannot use the state folder");
            Problem::new(Exit::Failed, error).with_next_step(
                "make it yours alone (chown, chmod 700), or name another with --state-dir",
            )
        })
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The state, or a new one where there is none yet.
    pub fn load(&self) -> Result<State, Problem> {
        self.check()?;
        let path = self.path(FILE);
        let read = match read_own(&path) {
            Ok(bytes) => parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => Err(error.into()),
        };
        read.map_err(|error| {
            let error = error.context(format!("cannot use the state file {}", path.display()));
            Problem::new(Exit::Failed, error).with_next_step(
                "nothing was touched; 'probe-wake state reset' sets it aside and starts anew",
            )
        })
    }

    /// Replaces the state file whole. When this returns, the state is on the disk; when it fails,
    /// the old one still is.
    pub fn commit(&self, state: &State, durability: Durability) -> Result<()> {
        let write = |out: &mut Writer| {
            serde_json::to_writer_pretty(&mut *out, state)?;
            out.write_all(b"\n")
        };
        self.replace_new(FILE, write)
            .and_then(|()| match durability {
                Durability::Full => self.sync_dir(),
                Durability::PositionOnly => Ok(()),
            })
            .with_context(|| format!("cannot commit {}", self.path(FILE).display()))
    }

    /// Keeps the state file as it is beside the one that a reset makes.
    pub fn keep_old(&self) -> Result<()> {
        let old = self.path(OLD_FILE);
        match read_own(&self.path(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(bytes) => self.replace(OLD_FILE, |out| out.write_all(&bytes)),
        }
        .with_context(|| format!("cannot write {}", old.display()))
    }

    /// Replaces a file whole: it is the old one or the new one, whatever happens.
    pub fn replace(
        &self,
        file: &str,
        write: impl FnOnce(&mut Writer) -> io::Result<()>,
    ) -> io::Result<()> {
        self.replace_new(file, write)?;
        self.sync_dir()
    }

    fn replace_new(
        &self,
        file: &str,
        write: impl FnOnce(&mut Writer) -> io::Result<()>,
    ) -> io::Result<()> {
        let new = self.path(&format!("{file}.new"));
        let replaced = write_new(&new, write).and_then(|()| fs::rename(&new, self.path(file)));
        if replaced.is_err() {
            // A full disk is not helped by a half-written file; what cannot be removed now is by
            // the next commit.
            let _ = fs::remove_file(&new);
        }
        replaced
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Appends a line and brings it to the disk.
    pub fn append(&self, file: &str, line: &impl Serialize) -> Result<()> {
        let path = self.path(file);
        append_own(&path, line)
            .and_then(|file| file.sync_all())
            .with_context(|| format!("cannot append to {}", path.display()))
    }
}

fn write_new(path: &Path, write: impl FnOnce(&mut Writer) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(WRITE_BUFFER, create_anew(path, 0o600)?);
    write(&mut writer)?;
    writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}
