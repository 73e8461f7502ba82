//! The exclusive lock beside the state file. `state.lock` is never replaced or removed, so that two
//! runs can never hold locks on two files of that name; its modification time tells the last
//! run.

use std::fs::{File, FileTimes, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use jiff::{SignedDuration, Timestamp};

use crate::exit::{Exit, Problem};
use crate::terminal::Waiting;

pub const FILE: &str = "state.lock";

/// An access time behind this one, the year 2100's first, is a length and not a time. It lies in
/// the future because a mere reader (a backup) moves a past one: see relatime in mount(8).
const LENGTHS_FROM: Duration = Duration::from_secs(4_102_444_800);

const POLL: Duration = Duration::from_millis(50);

/// Held until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    file: File,
    is_new: bool,
}

impl Lock {
    /// Takes the lock, waiting for at most `patience` for another run to end.
    pub fn take(state_dir: &Path, patience: Duration) -> Result<Self, Problem> {
        let path = state_dir.join(FILE);
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let begun = Instant::now();
        let _waiting = Waiting::for_what("waiting for another run to end");
        while !is_free(&file).with_context(|| format!("cannot lock {}", path.display()))? {
            if begun.elapsed() >= patience {
                let error = anyhow!("another run holds the lock {}", path.display());
                return Err(Problem::new(Exit::Locked, error));
            }
            std::thread::sleep(POLL.min(patience - begun.elapsed().min(patience)));
        }
        Ok(Self { file, is_new })
    }

    /// For how long there was no run, where that is longer than `patience` or no DM has told it
    /// yet.
    pub fn unwatched(&self, patience: SignedDuration, now: Timestamp) -> SignedDuration {
        let Some((last_run, untold)) = self.times().filter(|_| !self.is_new) else {
            return SignedDuration::ZERO;
        };
        let since = now.duration_since(last_run);
        untold
            + if since > patience {
                since
            } else {
                SignedDuration::ZERO
            }
    }

    /// Notes that a run ended now, and for how long nothing was watched before that no DM has told.
    /// An idle run writes nothing but this file's times, so that the access time, which nothing
    /// else needs, carries the length: it is set to so long after `LENGTHS_FROM`.
    pub fn note_run(&self, untold: SignedDuration) -> io::Result<()> {
        let now = SystemTime::now();
        let length = Duration::try_from(untold).unwrap_or_default();
        let accessed = if length.is_zero() {
            now
        } else {
            SystemTime::UNIX_EPOCH + LENGTHS_FROM + length
        };
        self.file
            .set_times(FileTimes::new().set_modified(now).set_accessed(accessed))
    }

    fn times(&self) -> Option<(Timestamp, SignedDuration)> {
        let meta = self.file.metadata().ok()?;
        let last_run = Timestamp::try_from(meta.modified().ok()?).ok()?;
        let lengths_from = SystemTime::UNIX_EPOCH + LENGTHS_FROM;
        let untold = meta.accessed().ok()?.duration_since(lengths_from);
        let untold = SignedDuration::try_from(untold.unwrap_or_default()).ok()?;
        Some((last_run, untold))
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
