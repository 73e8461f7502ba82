//! The exclusive lock beside the state file. `state.lock` is never replaced or removed, so that two
//! runs can never hold locks on two files of that name. Its modification time is that of the last
//! run; its content says so too, for how long nothing was watched that no DM has told yet, and what the
//! metrics tell of all runs: a run that finds nothing new writes nothing else.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Problem};
use crate::files::open_own;
use crate::terminal::Waiting;
use crate::text::serialize_time;

pub const FILE: &str = "state.lock";

const POLL: Duration = Duration::from_millis(50);

/// The note is one short line.
const LONGEST_NOTE: usize = 512;

/// Held until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// `None` before the first run.
    last_run: Option<Timestamp>,
    note: Note,
}

/// What the file holds, as a line of JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    #[serde(serialize_with = "serialize_time")]
    last_run: Timestamp,
    /// When the last run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    begun: Option<Timestamp>,
    /// The last run before the first gap that no DM has told yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    unwatched_since: Option<Timestamp>,
    /// The length of all such gaps together.
    #[serde(skip_serializing_if = "Option::is_none")]
    unwatched_seconds: Option<u32>,
    /// When the first run began of those that failed or were killed since one was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<Timestamp>,
    /// How many runs ended since the file was made.
    runs: u64,
    /// When a run last ended with exit 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<Timestamp>,
}

/// What the metrics tell of all runs.
pub struct RunHistory {
    pub ended: u64,
    /// `None` where none ended with exit 0.
    pub last_success: Option<Timestamp>,
}

impl Lock {
    /// Takes the lock, waiting for at most `patience` for another run to end.
    pub fn take(state_dir: &Path, patience: Duration) -> Result<Self, Problem> {
        let path = state_dir.join(FILE);
        let is_new = !path.exists();
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = open_own(&path, &mut options).map_err(|error| {
            let error = anyhow!(error).context(format!("cannot open {}", path.display()));
            Problem::new(Exit::Failed, error)
                .with_next_step("it must be a regular file of this user; see: probe-wake check")
        })?;
        let begun = Instant::now();
        let _waiting = Waiting::for_what("waiting for another run to end");
        while !is_free(&file).with_context(|| format!("cannot lock {}", path.display()))? {
            if begun.elapsed() >= patience {
                let error = anyhow!("another run holds the lock {}", path.display());
                return Err(Problem::new(Exit::Locked, error));
            }
            std::thread::sleep(POLL.min(patience - begun.elapsed().min(patience)));
        }
        let last_run = modified(file.metadata()).filter(|_| !is_new);
        let note = Note::read(&file).unwrap_or_default();
        Ok(Self {
            file,
            last_run,
            note,
        })
    }

    /// For how long there was no run, where that is longer than `patience` or no DM has told it
    /// yet.
    pub fn unwatched(&self, patience: SignedDuration, now: Timestamp) -> SignedDuration {
        let Some(last_run) = self.last_run else {
            return SignedDuration::ZERO;
        };
        let since = now.duration_since(last_run);
        let untold = self.note.unwatched_seconds.unwrap_or_default();
        let untold = SignedDuration::from_secs(untold.into());
        untold
            + if since > patience {
                since
            } else {
                SignedDuration::ZERO
            }
    }

    /// Notes that a run begins now, and for how long nothing was watched before that no DM has told.
    pub fn note_begun(&mut self, untold: SignedDuration) -> io::Result<()> {
        let now = Timestamp::now();
        self.note.begun = Some(now);
        self.write_note(false, untold, now)
    }

    /// Notes that a run ended now, with this exit code where it could be done.
    pub fn note_ended(&mut self, exit: Option<Exit>, untold: SignedDuration) -> io::Result<()> {
        let now = Timestamp::now();
        self.note.runs += 1;
        if exit == Some(Exit::Done) {
            self.note.last_success = Some(now);
        }
        self.write_note(exit.is_some(), untold, now)
    }

    fn write_note(
        &mut self,
        is_done: bool,
        untold: SignedDuration,
        now: Timestamp,
    ) -> io::Result<()> {
        let note = &mut self.note;
        let seconds = u32::try_from(untold.as_secs().max(0)).unwrap_or(u32::MAX);
        note.last_run = now;
        note.unwatched_seconds = Some(seconds).filter(|seconds| *seconds > 0);
        note.unwatched_since = match note.unwatched_seconds {
            Some(_) => note.unwatched_since.or(self.last_run),
            None => None,
        };
        note.failing_since = (!is_done).then(|| note.failing_since.unwrap_or(now));
        note.write(&self.file).or_else(|error| {
            // A full disk takes no content: the time of the run is still told.
            self.file.set_modified(now.into())?;
            Err(error)
        })
    }

    pub fn history(&self) -> RunHistory {
        RunHistory {
            ended: self.note.runs,
            last_success: self.note.last_success,
        }
    }
}

impl Note {
    /// The first line; `None` where it is no note, as it is in a new file.
    fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; LONGEST_NOTE];
        let length = file.read_at(&mut bytes, 0).ok()?;
        let line = bytes[..length].split(|byte| *byte == b'\n').next()?;
        serde_json::from_slice(line).ok()
    }

    /// Writes over the line before, filled up with spaces where that was longer.
    fn write(&self, file: &File) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        let before = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        let before = before.min(LONGEST_NOTE).saturating_sub(1);
        line.resize(line.len().max(before), b' ');
        line.push(b'\n');
        file.write_all_at(&line, 0)
    }
}

/// When the first run began, where the file system tells it.
pub fn first_run(state_dir: &Path) -> Option<Timestamp> {
    let made = fs::metadata(state_dir.join(FILE)).ok()?.created().ok()?;
    Timestamp::try_from(made).ok()
}

/// When the last run began or ended; `None` before the first run.
pub fn last_run(state_dir: &Path) -> Option<Timestamp> {
    modified(fs::metadata(state_dir.join(FILE)))
}

/// Since when every run has failed; `None` where the last one did not.
pub fn failing_since(state_dir: &Path) -> Option<Timestamp> {
    let file = open_own(&state_dir.join(FILE), File::options().read(true));
    Note::read(&file.ok()?)?.failing_since
}

/// Waits until `pace` has passed since the last run began, so that runs that are started by each write
/// to the log do not follow each other without a pause.
pub fn wait_for_pace(state_dir: &Path, pace: Duration) {
    let left = || {
        let file = open_own(&state_dir.join(FILE), File::options().read(true)).ok()?;
        let elapsed = Timestamp::now().duration_since(Note::read(&file)?.begun?);
        // A negative time means that the clock was set back: then nothing is waited for.
        let left = pace.checked_sub(elapsed.try_into().ok()?)?;
        Some(left).filter(|left| !left.is_zero())
    };
    while let Some(left) = left() {
        std::thread::sleep(left);
    }
}

/// Whether a process holds the lock, from Linux's list of locks (proc_locks(5)); `None` if this system
/// has no such list. To try the lock instead could make a run that starts now end with 75.
pub fn is_held(state_dir: &Path) -> Option<bool> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let Ok(meta) = fs::metadata(state_dir.join(FILE)) else {
        return Some(false);
    };
    let inode = format!(":{}", meta.ino());
    let is_ours = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [_, "FLOCK", _, _, _, file, ..] if file.ends_with(&inode))
    };
    Some(locks.lines().any(is_ours))
}

fn modified(meta: io::Result<Metadata>) -> Option<Timestamp> {
    Timestamp::try_from(meta.ok()?.modified().ok()?).ok()
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
