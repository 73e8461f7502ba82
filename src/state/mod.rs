//! What is remembered between runs, and the one function that commits it. The state is versioned
//! JSON that a person can read, and is always replaced whole: a new file, fsync, rename, fsync of
//! the folder. A state that cannot be read stops the run: rewinding would replay history, and
//! starting over would lose rows.

mod folder;
pub mod lock;
pub mod outbox;
pub mod queue;
pub mod silences;
mod store;
pub mod text;
pub mod undelivered;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::generations::Checkpoint;
use crate::audit::names::{known_key, log_key};
use crate::incident::{Incident, Incidents, MessageRef};
use crate::json::is_default;
pub use folder::Folder;
use outbox::{Message, Outbox, Pause, Place};
use queue::{Queue, Stage};
use silences::HeldBackBy;
pub use store::{Durability, FILE, Store};
use text::{LONGEST, LONGEST_HELD, Long};

const PROGRAM: &str = "probe-wake";
const VERSION: u32 = 3;

/// Everything that is remembered. A missing field takes its default, so that fields can be added.
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
    #[serde(default)]
    pub slack: SlackState,
    /// The fallback command has failed, and is not run again until this pause ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Pause>,
    /// When the engine was asked within the last hour, if that is limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Timestamp>,
    /// The last question that got no diagnosis, until one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<EngineFailure>,
    #[serde(default)]
    pub counters: Counters,
}

/// What is remembered about one audit log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogState {
    pub checkpoint: Checkpoint,
    #[serde(default)]
    pub incidents: Incidents,
    /// How many wakes each silence held back, by the silence's file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    silenced: BTreeMap<String, HeldBackBy>,
    #[serde(default)]
    pub quiet: Quiet,
}

/// When the log last had new rows, by the run's clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quiet {
    /// When a row was last read, or since when one has been awaited.
    pub since: Timestamp,
    /// Whether a row was read at that time.
    pub is_row: bool,
    /// How many of our own rows in the log have not been read yet.
    #[serde(skip_serializing_if = "is_default")]
    pub own_rows: u64,
    /// The notice that nothing was heard, and when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<MessageRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noticed_at: Option<Timestamp>,
}

/// What earlier runs found out about Slack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlackState {
    /// Slack has asked to be left alone until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limited_until: Option<Timestamp>,
    /// Slack or the settings were at fault: until then only messages that were never tried are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Timestamp>,
    /// The message last sent to see whether Slack works after an unknown answer, and when a message that
    /// had never failed was last used for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness_at: Option<Timestamp>,
}

/// Why the engine gave no diagnosis, for `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineFailure {
    pub at: Timestamp,
    pub caller_session_id: String,
    pub reason: String,
    /// The peer's own words, or why the connection failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many questions in a row have failed.
    #[serde(default)]
    pub in_a_row: u64,
}

/// What happened to rows, wakes and messages since the state was made, for the metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    pub rows: u64,
    pub wakes: u64,
    pub dispatched: u64,
    pub held_back: u64,
    pub delivered: u64,
    /// Tries that left a message queued.
    pub failed: u64,
    pub undelivered: u64,
    /// Questions to the engine, by what came of them, in a closed set of words.
    pub engine_calls: BTreeMap<String, u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            program: PROGRAM.to_owned(),
            version: VERSION,
            logs: BTreeMap::new(),
            queue: Queue::new(),
            outbox: Outbox::new(),
            slack: SlackState::default(),
            fallback: None,
            questions: Vec::new(),
            last_failure: None,
            counters: Counters::default(),
        }
    }
}

/// Why a state file cannot be used, and what to do about it.
type Unusable = (Error, &'static str);

const RESET: &str = "nothing was touched; 'probe-wake state reset' sets it aside and starts anew";
const INSTALL: &str = "nothing was touched; install that version";

fn parse(bytes: &[u8]) -> Result<State, Unusable> {
    #[derive(Deserialize)]
    struct Origin {
        program: String,
        version: u32,
    }
    const FOREIGN: &str = "it is not a state of probe-wake";
    let with_reset = |error: Error| (error, RESET);
    let text = str::from_utf8(bytes).context(FOREIGN).map_err(with_reset)?;
    let failure = match serde_json::from_str::<State>(text) {
        Ok(state) if state.program == PROGRAM && state.version == VERSION => return Ok(state),
        read => read.err(),
    };
    let origin = serde_json::from_str(text).context(FOREIGN);
    let Origin { program, version } = origin.map_err(with_reset)?;
    if program != PROGRAM {
        return Err(with_reset(anyhow!("it belongs to another program")));
    }
    if version > VERSION {
        let error = anyhow!("its version {version} was written by a newer probe-wake");
        return Err((error, INSTALL));
    }
    Err(with_reset(match failure {
        Some(error) if version == VERSION => error.into(),
        _ => anyhow!("its version {version} is not known to this program"),
    }))
}

impl State {
    /// Returns the part of the state that belongs to one audit log; `None` before its first run.
    pub fn log(&self, log: &Path) -> Option<&LogState> {
        self.logs.get(&self.log_key(log))
    }

    pub fn log_mut(&mut self, log: &Path) -> Option<&mut LogState> {
        let key = self.log_key(log);
        self.logs.get_mut(&key)
    }

    /// Begins with a log that has no checkpoint yet.
    pub fn begin(&mut self, log: &Path, checkpoint: Checkpoint, now: Timestamp) {
        let mut kept = LogState {
            checkpoint,
            ..LogState::default()
        };
        kept.quiet.since = now;
        self.logs.insert(self.log_key(log), kept);
    }

    /// Returns the name under which a log is kept, perhaps with another spelling of its path.
    pub fn log_key(&self, log: &Path) -> String {
        let logs = self.logs.iter().map(|(key, kept)| (key, &kept.checkpoint));
        known_key(log, logs).map_or_else(|| log_key(log), String::clone)
    }

    /// Returns where a message is in the outbox.
    pub fn position(&self, id: &str) -> Option<usize> {
        self.outbox.iter().position(|message| message.id == id)
    }

    pub fn remove_message(&mut self, id: &str) -> Option<Message> {
        self.outbox.remove(self.position(id)?)
    }

    /// Tells everything that waits for a message where the message is now. `None`: it was given up, and the
    /// caller changes what follows it in the outbox.
    pub fn settle(&mut self, id: &str, place: Option<&Place>) {
        let after = Place::After(id.to_owned());
        if let Some(place) = place {
            let following = self.outbox.iter_mut().filter(|one| one.place == after);
            following.for_each(|one| one.place = place.clone());
        }
        for investigation in &mut self.queue {
            let follows = match &mut investigation.stage {
                Stage::Announced(follows) => follows,
                Stage::Retrying(retry) => &mut retry.place,
                Stage::New => continue,
            };
            if follows.as_ref() == Some(&after) {
                *follows = place.cloned();
            }
        }
        let settled = place.map(|place| MessageRef {
            id: id.to_owned(),
            thread: match place {
                Place::Thread(thread) => Some(thread.clone()),
                _ => None,
            },
            delivered: true,
            has_reaction: false,
        });
        let settle = |message: &mut Option<MessageRef>| {
            if message.as_ref().is_some_and(|one| one.id == id) {
                message.clone_from(&settled);
            }
        };
        for log in self.logs.values_mut() {
            settle(&mut log.quiet.notice);
        }
        let logs = self.logs.values_mut();
        for incident in logs.flat_map(|log| log.incidents.iter_mut()) {
            settle(&mut incident.first_message);
            settle(&mut incident.newest_message);
            if incident.first_message.is_none() {
                incident.first_message.clone_from(&incident.newest_message);
            }
        }
    }

    /// Returns everything that can be too long for the state.
    fn long(&mut self) -> impl Iterator<Item = Long<'_>> {
        let queued = self.queue.iter_mut().flat_map(|one| &mut one.alerts);
        let queued = queued.map(|alert| Long::Wake(&mut alert.wake, LONGEST));
        let logs = self.logs.values_mut();
        let incidents = logs.flat_map(|log| log.incidents.iter_mut());
        let held = incidents.flat_map(Incident::held_mut);
        let held = held.map(|held| Long::Wake(&mut held.wake, LONGEST_HELD));
        let messages = self.outbox.iter_mut().flat_map(Message::long);
        queued.chain(messages).chain(held)
    }

    /// Returns the files of `texts/` that it names.
    fn texts(&mut self) -> HashSet<String> {
        let files = self
            .long()
            .filter_map(|long| long.file().map(str::to_owned));
        files.collect()
    }
}

#[cfg(test)]
mod tests;
