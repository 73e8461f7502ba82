//! The exclusive lock beside the state file. `state.lock` is never replaced or removed, so that two
//! runs can never hold locks on two files of that name; its modification time tells the last run.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use jiff::Timestamp;

use crate::exit::{Exit, Problem};

pub const FILE: &str = "state.lock";

const POLL: Duration = Duration::from_millis(50);

/// Held until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// When the run before this one ended.
    pub last_run: Option<Timestamp>,
}

impl Lock {
    /// Takes the lock, waiting for at most `patience` for another run to end.
    pub fn take(state_dir: &Path, patience: Duration) -> Result<Self, Problem> {
        let path = state_dir.join(FILE);
        let new = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let begun = Instant::now();
        while !is_free(&file).with_context(|| format!("cannot lock {}", path.display()))? {
            if begun.elapsed() >= patience {
                let error = anyhow!("another run holds the lock {}", path.display());
                return Err(Problem::new(Exit::Locked, error));
            }
            std::thread::sleep(POLL.min(patience - begun.elapsed().min(patience)));
        }
        let last_run = if new { None } else { last_run(&file) };
        Ok(Self { file, last_run })
    }

    /// Notes that a run ended now.
    pub fn note_run(&self) -> io::Result<()> {
        self.file.set_modified(SystemTime::now())
    }
}

/// Takes the lock unless it is held. `File` has methods of these names itself, so that fs2's are
/// called by their full name.
fn is_free(file: &File) -> io::Result<bool> {
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn last_run(file: &File) -> Option<Timestamp> {
    Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok()
}
