//! States of version 1, which kept the one wake under investigation as a mark beside the position.

use anyhow::Result;
use jiff::Timestamp;
use serde::Deserialize;

use super::queue::{Alert, Investigation};
use super::{State, VERSION};
use crate::audit::generations::Checkpoint;
use crate::audit::wake::Wake;
use crate::debounce::{Before, HeldBack};

#[derive(Deserialize)]
struct Marked {
    mark: Option<Mark>,
}

#[derive(Deserialize)]
struct Mark {
    wake: Wake,
    dispatched_at: Timestamp,
    attempts: u32,
    held_back: Option<HeldBack>,
    key: String,
    log: String,
    /// The checkpoint behind the wake's row.
    after: Checkpoint,
}

/// Reads a state of version 1 as one of this version: the marked wake is first in the queue.
pub(super) fn parse(bytes: &[u8]) -> Result<State> {
    let mut state: State = serde_json::from_slice(bytes)?;
    state.version = VERSION;
    let Marked { mark } = serde_json::from_slice(bytes)?;
    if let Some(mark) = mark {
        if let Some(log) = state.logs.get_mut(&mark.log) {
            log.checkpoint = mark.after;
        }
        state.queue.push_front(Investigation {
            id: mark.key,
            log: mark.log,
            queued_at: mark.dispatched_at,
            attempts: mark.attempts,
            alert: Alert {
                wake: mark.wake,
                before: Before {
                    repeats: mark.held_back,
                    raised: None,
                },
            },
            others: Vec::new(),
            told: None,
            late: None,
        });
    }
    Ok(state)
}
