//! How much of the audit log is unread.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use serde::Serialize;

use crate::audit::plan::Plan;
use crate::audit::rotation;
use crate::state::LogState;

#[derive(Debug, Default, Serialize)]
pub(super) struct Lag {
    pub bytes: u64,
    pub rows: u64,
    pub gap: bool,
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
        let log = rotation::open_log(log)?;
        return log.map(|_| None).ok_or_else(missing);
    };
    let plan = rotation::plan(log, &kept.checkpoint, now)?;
    if plan.is_without_log() {
        return Err(missing());
    }
    let lag = lag(&plan).with_context(|| format!("cannot read {shown}"));
    lag.map(Some)
}

fn lag(plan: &Plan) -> io::Result<Lag> {
    let mut lag = Lag {
        gap: plan.has_gap(),
        ..Lag::default()
    };
    for segment in &plan.segments {
        let (bytes, rows) = count_lines(segment.generation.read_from(segment.from)?)?;
        lag.bytes += bytes;
        lag.rows += rows;
    }
    Ok(lag)
}

/// Counts bytes and line ends. In a damaged gzip file it counts up to the damage.
fn count_lines(mut source: impl Read) -> io::Result<(u64, u64)> {
    let (mut bytes, mut rows) = (0, 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok((bytes, rows)),
            Ok(read) => {
                bytes += read as u64;
                rows += memchr::memchr_iter(b'\n', &buffer[..read]).count() as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error().is_none() => return Ok((bytes, rows)),
            Err(error) => return Err(error),
        }
    }
}
