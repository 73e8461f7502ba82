//! What is remembered between runs, and the one function that commits it. The state is versioned
//! JSON that a person can read, and is always replaced whole: a new file, fsync, rename, fsync of
//! the folder. A state that cannot be read stops the run: rewinding would replay history, and
//! starting over would lose rows.

mod counters;
mod episodes;
pub mod lock;
pub mod outbox;
pub mod queue;
mod store;
pub mod undelivered;
mod version1;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::generations::Checkpoint;
use crate::audit::names::{known_key, log_key};
use crate::debounce::Stamps;
pub use counters::Counters;
pub use episodes::{Episode, Episodes};
use outbox::Outbox;
use queue::Queue;
pub use store::{Durability, FILE, Store};

const PROGRAM: &str = "probe-wake";
const VERSION: u32 = 2;

/// All that is remembered. A missing field has its default, so that one can be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    program: String,
    version: u32,
    /// By the audit log's path.
    #[serde(default)]
    pub logs: BTreeMap<String, LogState>,
    /// Investigations of all logs.
    #[serde(default)]
    pub queue: Queue,
    #[serde(default)]
    pub outbox: Outbox,
    /// When the engine was asked within the last hour, where that is limited.
    #[serde(
        default,
        alias = "investigations",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub questions: Vec<Timestamp>,
    /// The last question that brought no diagnosis, until one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<EngineFailure>,
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
    #[serde(default, skip_serializing_if = "Episodes::is_empty")]
    pub episodes: Episodes,
}

/// Why the engine gave no diagnosis, for `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineFailure {
    pub at: Timestamp,
    pub caller_session_id: String,
    pub reason: String,
    /// The peer's own words, or what the connection died of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl LogState {
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self {
            checkpoint,
            stamps: Stamps::default(),
            episodes: Episodes::default(),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            program: PROGRAM.to_owned(),
            version: VERSION,
            logs: BTreeMap::new(),
            queue: Queue::new(),
            outbox: Outbox::new(),
            questions: Vec::new(),
            last_failure: None,
            counters: Counters::default(),
        }
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
    match origin.version {
        1 => version1::parse(bytes),
        VERSION => Ok(serde_json::from_slice(bytes)?),
        other => bail!("its version {other} is not known to this program, which knows {VERSION}"),
    }
}

impl State {
    /// The part of the state that belongs to one audit log; `None` before its first run.
    pub fn log(&self, log: &Path) -> Option<&LogState> {
        self.logs.get(&self.log_key(log))
    }

    pub fn log_mut(&mut self, log: &Path) -> Option<&mut LogState> {
        self.logs.get_mut(&self.log_key(log))
    }

    /// Stamps a log that has no position yet.
    pub fn begin(&mut self, log: &Path, checkpoint: Checkpoint) {
        self.logs
            .insert(self.log_key(log), LogState::new(checkpoint));
    }

    /// The name under which a log is kept, perhaps by another spelling of its path.
    pub fn log_key(&self, log: &Path) -> String {
        let logs = self.logs.iter().map(|(key, kept)| (key, &kept.checkpoint));
        known_key(log, logs)
            .cloned()
            .unwrap_or_else(|| log_key(log))
    }
}

/// A log's path as text: the name under which its state is kept.
pub fn log_name(log: &Path) -> String {
    log_key(log)
}
