//! What is remembered between runs, and the one function that commits it. The state is versioned
//! JSON that a person can read, and is always replaced whole: a new file, fsync, rename, fsync of
//! the folder. A state that cannot be read stops the run: rewinding would replay history, and
//! starting over would lose rows.

mod layout;
pub mod lock;
pub mod outbox;
mod store;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::checkpoint::Checkpoint;
use crate::audit::wake::Wake;
use crate::debounce::{HeldBack, Stamps};
use crate::metrics::Counters;
use outbox::Outbox;
pub use store::{Durability, FILE, Store, UNDELIVERED_FILE};

const PROGRAM: &str = "probe-wake";
const VERSION: u32 = 1;

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
