//! A folder beside the state with a file for each item: created, read and removed one by one, each
//! atomically, and never rewritten.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::files::{read_own, replace, sync_folder};

/// The ending of a file's name while it is being written.
const NEW: &str = ".new";

#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn new(state_dir: &Path, name: &str) -> Self {
        Self {
            path: state_dir.join(name),
        }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// Writes a file whole, and creates the folder if it is missing. When this returns, the file is on
    /// disk; its name is once the folder is synced.
    pub fn write(&self, file: &str, bytes: &[u8]) -> io::Result<()> {
        if !self.path.exists() {
            let mut builder = DirBuilder::new();
            builder.mode(0o700).create(&self.path)?;
            self.path.parent().map(sync_folder).transpose()?;
        }
        let new = self.path(&format!("{file}{NEW}"));
        replace(&self.path(file), &new, 0o600, |out| {
            out.write_all(bytes)?;
            out.sync_all()
        })
    }

    /// Syncs the names to disk.
    pub fn sync(&self) -> io::Result<()> {
        sync_folder(&self.path).map(drop)
    }

    pub fn read(&self, file: &str) -> io::Result<Vec<u8>> {
        read_own(&self.path(file))
    }

    /// Returns the names of all files, sorted; none if there is no folder.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            if let Ok(name) = entry?.file_name().into_string()
                && !name.ends_with(NEW)
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes a file; it is no error if the file is already gone.
    pub fn remove(&self, file: &str) -> io::Result<()> {
        match fs::remove_file(self.path(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}
