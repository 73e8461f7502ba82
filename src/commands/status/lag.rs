//! How much of the audit log is unread.

use std::path::Path;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde::Serialize;

use crate::audit::generations::open_log;
use crate::audit::lag::lag;
use crate::state::LogState;

#[derive(Debug, Default, Serialize)]
pub(super) struct Lag {
    pub bytes: u64,
    pub rows: u64,
    pub gap: bool,
    /// A file that is perhaps being written: what it holds is read later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// `None` before the first run. The error says why the lag is not known.
pub(super) fn look(log: &Path, kept: Option<&LogState>, now: Timestamp) -> Result<Option<Lag>> {
    let shown = log.display();
    let missing = || {
        anyhow!(
            "the audit log {shown} does not exist; name the right file with KORA_AUDIT_LOG_PATH"
        )
    };
    let Some(kept) = kept else {
        return open_log(log)?.map(|_| None).ok_or_else(missing);
    };
    let lag = lag(log, &kept.checkpoint, now)?;
    if lag.missing {
        return Err(missing());
    }
    Ok(Some(Lag {
        bytes: lag.bytes,
        rows: lag.rows,
        gap: lag.gap,
        waiting: lag.waiting.map(|path| path.display().to_string()),
    }))
}
