//! The exclusive lock beside the state file. `state.lock` is never replaced or removed, so that two
//! runs can never hold locks on two files of that name. It holds what is known about the runs themselves: a
//! run that finds nothing new writes nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Problem};
use crate::files::open_own;
use crate::json::is_default;
use crate::terminal::Waiting;

pub const FILE: &str = "state.lock";

const POLL: Duration = Duration::from_millis(50);
/// In bytes; anything longer is not our note.
const LONGEST_NOTE: usize = 16 * 1024;

/// Held until it is dropped, or the process ends, however that happens.
#[derive(Debug)]
pub struct Lock {
    file: File,
    pub note: Note,
    /// When the run before this one began; `None` before the first run.
    last_run: Option<Timestamp>,
}

/// What the file holds, as a line of JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// When the last run began and ended, and its exit code; `None` if it has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// What that run said went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Since when nothing was watched, and for how long in total, as far as no message has mentioned it
    /// yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unwatched_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_default")]
    pub unwatched_seconds: u32,
    /// How many runs have ended since the file was made.
    pub runs: u64,
    /// When a run last ended with exit 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// When reactions were last asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reactions_at: Option<Timestamp>,
    /// When the heartbeat URL was last requested, and whether the run had ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<(Timestamp, bool)>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub printed: Printed,
}

/// When lasting problems were printed: by kind, and by a number that stands for the cause, which can be long.
pub type Printed = BTreeMap<String, BTreeMap<u64, Timestamp>>;

impl Lock {
    /// Takes the lock, waiting for at most `patience` for another run to end.
    pub fn take(state_dir: &Path, patience: Duration) -> Result<Self, Problem> {
        let path = state_dir.join(FILE);
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
        let note = read(&file).unwrap_or_default();
        let last_run = note.began.max(note.ended);
        Ok(Self {
            file,
            note,
            last_run,
        })
    }

    /// Returns for how long no run took place before this one.
    pub fn gap(&self, now: Timestamp) -> SignedDuration {
        let since = self.last_run.map(|last| now.duration_since(last));
        since.unwrap_or_default()
    }

    /// Returns for how long nothing was watched, as far as no message has mentioned it: a gap longer than
    /// `patience`, and those before it.
    pub fn unwatched(&self, patience: SignedDuration, now: Timestamp) -> SignedDuration {
        let before = SignedDuration::from_secs(self.note.unwatched_seconds.into());
        let gap = Some(self.gap(now)).filter(|gap| *gap > patience);
        before + gap.unwrap_or_default()
    }

    /// Notes that a run begins now.
    pub fn note_begun(&mut self, unwatched: SignedDuration) -> io::Result<()> {
        self.note.began = Some(Timestamp::now());
        self.note.ended = None;
        self.note.exit = None;
        self.note.said = None;
        self.write(unwatched)
    }

    /// Notes that a run ended now, how, and what it said went wrong.
    pub fn note_ended(
        &mut self,
        exit: Exit,
        said: Option<String>,
        unwatched: SignedDuration,
    ) -> io::Result<()> {
        let now = Timestamp::now();
        self.note.ended = Some(now);
        self.note.exit = Some(exit as u8);
        self.note.said = said;
        self.note.runs += 1;
        if exit == Exit::Done {
            self.note.last_success = Some(now);
        }
        self.write(unwatched)
    }

    /// Overwrites the previous line, padded with spaces if that was longer.
    fn write(&mut self, unwatched: SignedDuration) -> io::Result<()> {
        let note = &mut self.note;
        note.unwatched_seconds = u32::try_from(unwatched.as_secs().max(0)).unwrap_or(u32::MAX);
        note.unwatched_since = match note.unwatched_seconds {
            0 => None,
            _ => note.unwatched_since.or(self.last_run),
        };
        let mut line = serde_json::to_vec(note)?;
        let before = usize::try_from(self.file.metadata()?.len()).unwrap_or(0);
        let before = before.min(LONGEST_NOTE).saturating_sub(1);
        line.resize(line.len().max(before), b' ');
        line.push(b'\n');
        self.file.write_all_at(&line, 0)
    }
}

/// Returns what is known about the runs; `None` before the first run.
pub fn note(state_dir: &Path) -> Option<Note> {
    let file = open_own(&state_dir.join(FILE), File::options().read(true));
    read(&file.ok()?)
}

/// Returns the first line; `None` if it is not a note, as in a new file.
fn read(file: &File) -> Option<Note> {
    let mut bytes = vec![0; LONGEST_NOTE];
    let length = file.read_at(&mut bytes, 0).ok()?;
    let line = bytes[..length].split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

/// Waits until `pace` has passed since the last run began, so that runs started by each write to the log do
/// not follow each other without a pause.
pub fn wait_for_pace(state_dir: &Path, pace: Duration) {
    if pace.is_zero() {
        return;
    }
    let left = || {
        let elapsed = Timestamp::now().duration_since(note(state_dir)?.began?);
        // A negative time means that the clock was set back: then there is no wait.
        let left = pace.checked_sub(elapsed.try_into().ok()?)?;
        Some(left).filter(|left| !left.is_zero())
    };
    while let Some(left) = left() {
        std::thread::sleep(left);
    }
}

/// Returns whether a process holds the lock, from Linux's list of locks (proc_locks(5)); `None` if this
/// system has no such list. Trying the lock instead could make a run that starts now exit with 75.
pub fn is_held(state_dir: &Path) -> Option<bool> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let path = state_dir.join(FILE);
    let Ok(meta) = fs::metadata(&path) else {
        return Some(false);
    };
    let device = meta.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let identity = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let inode = format!(":{}", meta.ino());
    let is_ours = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, _, process, file, ..] if file.ends_with(&inode) => {
                // Some file systems show another device number here: then look at the process.
                file == identity || has_open(process, &path)
            }
            _ => false,
        }
    };
    Some(locks.lines().any(is_ours))
}

fn has_open(process: &str, path: &Path) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd"));
    let mut files = files.into_iter().flatten().flatten();
    files.any(|file| fs::read_link(file.path()).is_ok_and(|file| file == path))
}

/// Takes the lock unless it is held. `File` has its own methods of these names, so fs2's are called by
/// their full names.
fn is_free(file: &File) -> io::Result<bool> {
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
