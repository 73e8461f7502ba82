//! What is remembered between runs, and the one function that commits it. The state is versioned
//! JSON that a person can read, and is always replaced whole: a new file, fsync, rename, fsync of
//! the folder. A state that cannot be read stops the run: rewinding would replay history, and
//! starting over would lose rows.

mod layout;
pub mod lock;
pub mod outbox;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Serializer;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::wake::Wake;
use crate::debounce::{HeldBack, Stamps};
use crate::exit::{Exit, Problem};
use crate::files::append_own;
use crate::metrics::Counters;
use layout::Layout;
use outbox::Outbox;

pub const FILE: &str = "state.json";
pub const UNDELIVERED_FILE: &str = "undelivered.jsonl";

const PROGRAM: &str = "probe-wake";
const VERSION: u32 = 1;
/// Large enough that the state of an ordinary day is one write.
const WRITE_BUFFER: usize = 64 * 1024;
const NEW_FILE: &str = "state.json.new";

/// All that is remembered. A missing field has its default, so that one can be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    program: String,
    version: u32,
    /// By the audit log's path.
    #[serde(default)]
    pub logs: BTreeMap<String, LogState>,
    /// The wake that is being investigated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    #[serde(default)]
    pub outbox: Outbox,
    /// When the engine was asked within the last hour, where that is limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub investigations: Vec<Timestamp>,
    #[serde(default)]
    pub counters: Counters,
}

/// What is remembered of one audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogState {
    #[serde(alias = "tail")]
    pub checkpoint: Checkpoint,
    #[serde(default)]
    pub stamps: Stamps,
}

impl LogState {
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self {
            checkpoint,
            stamps: Stamps::default(),
        }
    }
}

/// A wake between its dispatch and the commit that puts its DM into the outbox. It holds all that
/// is needed to go on with it, even when its row is gone by then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub wake: Wake,
    pub dispatched_at: Timestamp,
    /// How many runs have begun to investigate it.
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBack>,
    /// Names this wake to the engine, the same in each attempt.
    pub key: String,
    /// The log it came from, and the checkpoint behind its row.
    pub log: String,
    pub after: Checkpoint,
}

impl Default for State {
    fn default() -> Self {
        Self {
            program: PROGRAM.to_owned(),
            version: VERSION,
            logs: BTreeMap::new(),
            mark: None,
            outbox: Outbox::new(),
            investigations: Vec::new(),
            counters: Counters::default(),
        }
    }
}

/// What a commit must outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The machine's power going off.
    Full,
    /// Only the position moved: if that is lost, rows that needed nothing are read again.
    PositionOnly,
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
    pub fn create(dir: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make the state folder {}", dir.display()))?;
        Ok(Self::at(dir))
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The state, or a new one where there is none yet.
    pub fn load(&self) -> Result<State, Problem> {
        let path = self.path(FILE);
        let read = match fs::read(&path) {
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
        let new = self.path(NEW_FILE);
        let committed = write_new(&new, state)
            .and_then(|()| fs::rename(&new, self.path(FILE)))
            .and_then(|()| match durability {
                Durability::Full => File::open(&self.dir)?.sync_all(),
                Durability::PositionOnly => Ok(()),
            });
        if committed.is_err() {
            // A full disk is not helped by a half-written file; what cannot be removed is
            // overwritten by the next commit.
            let _ = fs::remove_file(&new);
        }
        committed.with_context(|| format!("cannot commit {}", self.path(FILE).display()))
    }

    /// Appends a line and brings it to the disk.
    pub fn append(&self, file: &str, line: &impl Serialize) -> Result<()> {
        let path = self.path(file);
        append_own(&path, line)
            .and_then(|file| file.sync_all())
            .with_context(|| format!("cannot append to {}", path.display()))
    }
}

fn parse(bytes: &[u8]) -> Result<State> {
    #[derive(Deserialize)]
    struct Origin {
        program: String,
        version: u32,
    }
    let origin: Origin =
        serde_json::from_slice(bytes).context("it is not a state of probe-wake")?;
    if origin.program != PROGRAM {
        bail!("it belongs to another program");
    }
    if origin.version != VERSION {
        bail!(
            "its version {} is not known to this program, which knows {VERSION}",
            origin.version
        );
    }
    serde_json::from_slice(bytes).map_err(|error| anyhow!(error))
}

fn write_new(path: &Path, state: &State) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    let mut writer = BufWriter::with_capacity(WRITE_BUFFER, file);
    state.serialize(&mut Serializer::with_formatter(
        &mut writer,
        Layout::default(),
    ))?;
    writer.write_all(b"\n")?;
    writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}

impl State {
    /// The part of the state that belongs to one audit log; `None` before its first run.
    pub fn log(&self, log: &Path) -> Option<&LogState> {
        self.logs.get(&log_name(log))
    }

    pub fn log_mut(&mut self, log: &Path) -> Option<&mut LogState> {
        self.logs.get_mut(&log_name(log))
    }

    /// Stamps a log that has no position yet.
    pub fn begin(&mut self, log: &Path, checkpoint: Checkpoint) {
        self.logs.insert(log_name(log), LogState::new(checkpoint));
    }
}

/// A log's path as text: the name under which its state is kept.
pub fn log_name(log: &Path) -> String {
    log.to_string_lossy().into_owned()
}
