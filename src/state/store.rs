//! The state folder: reads and commits the state, and appends to the files beside it.

use std::fs::{self, DirBuilder, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use serde_json::Serializer;

use super::text::Texts;
use super::{Folder, State, parse};
use crate::exit::{Exit, Problem};
use crate::files::{check_writers, read_own, replace, sync_folder};
use crate::json::ByLine;

pub const FILE: &str = "state.json";
/// The folder of the long texts.
const TEXTS: &str = "texts";
/// The state before the last reset.
const OLD_FILE: &str = "state.json.old";

/// What to do if the state cannot be read at all, so that nothing is known about it.
const READ: &str =
    "nothing was touched; once the user of the runs can read it (chown, chmod 600), run again";

/// Large enough that the state of an ordinary day is one write.
const WRITE_BUFFER: usize = 64 * 1024;

/// What a commit must survive, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Only the checkpoint moved: if that is lost, rows that needed nothing are read again.
    CheckpointOnly,
    /// A power failure.
    Full,
}

/// The state folder: reads and commits the state, and keeps the files beside it.
#[derive(Debug)]
pub struct Store {
    pub dir: PathBuf,
    texts: Texts,
}

impl Store {
    /// Takes the folder as it is; for commands that only look.
    pub fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            texts: Texts::new(Folder::new(dir, TEXTS)),
        }
    }

    /// Creates the folder if it is missing, for its owner alone.
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

    /// Checks that the folder and those in it belong to this user and that nobody else can write to them; a
    /// missing folder is fine.
    pub fn check(&self) -> Result<(), Problem> {
        let check = |dir: &Path, meta: io::Result<Metadata>| match meta {
            Ok(meta) if meta.is_symlink() => {
                let error = format!("{} is a symbolic link: remove it", dir.display());
                Err(io::Error::other(error))
            }
            Ok(meta) => check_writers(dir, &meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        let mut checked = check(&self.dir, fs::metadata(&self.dir));
        for name in [TEXTS, super::undelivered::FOLDER, super::silences::FOLDER] {
            let dir = self.path(name);
            // The folders in it must not be links.
            checked = checked.and_then(|()| check(&dir, fs::symlink_metadata(&dir)));
        }
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

    /// Returns the folder of the long texts.
    pub fn texts(&self) -> &Folder {
        &self.texts.folder
    }

    pub fn undelivered(&self) -> Folder {
        Folder::new(&self.dir, super::undelivered::FOLDER)
    }

    /// Returns the state, or a new one if there is none yet.
    pub fn load(&mut self) -> Result<State, Problem> {
        self.check()?;
        let path = self.path(FILE);
        let read = match read_own(&path) {
            Ok(bytes) => parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => Err((error.into(), READ)),
        };
        let mut state = read.map_err(|(error, way_out)| {
            let error = error.context(format!("cannot use the state file {}", path.display()));
            Problem::new(Exit::Failed, error).with_next_step(way_out)
        })?;
        self.texts.files.extend(state.texts());
        Ok(state)
    }

    /// Replaces the state file whole. When this returns, the state is on disk; when it fails, the old one
    /// still is. Long texts are moved into files of their own first, and those that the state no longer
    /// names are removed afterwards.
    pub fn commit(&mut self, state: &mut State, durability: Durability) -> Result<()> {
        let committed = self.try_commit(state, durability);
        committed.with_context(|| format!("cannot commit {}", self.path(FILE).display()))?;
        if !self.texts.files.is_empty() {
            self.texts.remove_all_but(&state.texts());
        }
        Ok(())
    }

    fn try_commit(&mut self, state: &mut State, durability: Durability) -> io::Result<()> {
        state.long().try_for_each(|long| self.texts.store(long))?;
        self.texts.sync()?;
        let path = self.path(FILE);
        replace(&path, &path.with_extension("json.new"), 0o600, |file| {
            let mut out = BufWriter::with_capacity(WRITE_BUFFER, &*file);
            state.serialize(&mut Serializer::with_formatter(&mut out, ByLine))?;
            out.write_all(b"\n")?;
            out.flush()?;
            drop(out);
            file.sync_all()
        })?;
        match durability {
            Durability::Full => sync_folder(&self.dir).map(drop),
            Durability::CheckpointOnly => Ok(()),
        }
    }

    /// Removes long texts that the state does not name, left by a run that was killed before its commit.
    pub fn sweep(&mut self, state: &mut State) {
        let there = self.texts().list().unwrap_or_default();
        self.texts.files.extend(there);
        self.texts.remove_all_but(&state.texts());
    }

    /// Keeps the state file as it is beside the new one that a reset makes.
    pub fn keep_old(&self) -> Result<()> {
        let old = self.path(OLD_FILE);
        match read_own(&self.path(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(bytes) => Folder::new(&self.dir, "").write(OLD_FILE, &bytes),
        }
        .and_then(|()| sync_folder(&self.dir).map(drop))
        .with_context(|| format!("cannot write {}", old.display()))
    }
}
