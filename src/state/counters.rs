//! What happened to rows, wakes and messages since the state was made, for the metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Questions to the engine, by a closed set of words for what came of them.
    pub engine_calls: BTreeMap<String, u64>,
}

impl Counters {
    pub fn note_engine_call(&mut self, outcome: &str) {
        *self.engine_calls.entry(outcome.to_owned()).or_default() += 1;
    }
}
