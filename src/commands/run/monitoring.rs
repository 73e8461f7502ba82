//! Reports to whoever watches the runs from outside, once a run is over.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use log::{info, warn};

use super::Over;
use crate::audit::lag::lag;
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::http::Endpoint;
use crate::metrics::{self, RunEnd};
use crate::state::lock::Note;
use crate::terminal::Waiting;
use crate::time::within;

/// A monitor that does not answer must not hold up the next run.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns whether the heartbeat URL is asked after a run that ended like this: if the result is the same as
/// last time, at most once a cadence.
pub(super) fn is_beat_due(config: &Config, note: &Note, exit: Exit, now: Timestamp) -> bool {
    let Some((at, was_well)) = note.heartbeat else {
        return true;
    };
    !within(now, at, config.cadence) || was_well != (exit == Exit::Done)
}

/// Reports how a run ended to a monitor that expects to be asked after each run. A run that found the lock
/// held reports nothing: the one that holds it does.
pub(super) fn beat(config: &Config, url: &Endpoint, ended: &Ended) {
    let url = match ended {
        Ok(Exit::Done) => url.clone(),
        Err(problem) if problem.exit == Exit::Locked => return,
        _ => url.join("/fail"),
    };
    let _waiting = Waiting::for_what("asking the heartbeat URL");
    match config.http().get(&url, &[], HEARTBEAT_TIMEOUT) {
        Ok(reply) if reply.is_success() => {}
        Ok(reply) => info!("the heartbeat was answered with HTTP {}", reply.status),
        Err(error) => info!("the heartbeat did not arrive: {error}"),
    }
}

/// Writes the metrics; a failure is only a warning. A run that ended without a report and a state writes only
/// how it ended; one that found the lock held writes nothing.
pub(super) fn write_metrics(path: &Path, config: &Config, over: &Over, ended: &Ended) {
    let now = Timestamp::now();
    let exit = match ended {
        Ok(exit) => *exit,
        Err(problem) => problem.exit,
    };
    let written = match &over.state {
        Some(state) => {
            let path_of_log = &config.paths.audit_log;
            let log = state.log(path_of_log);
            let lag = log.and_then(|log| lag(path_of_log, &log.checkpoint, now).ok());
            let lag = lag.filter(|lag| !lag.missing);
            let end = RunEnd {
                now,
                exit,
                state,
                runs: &over.note,
                log,
                lag_bytes: lag.map(|lag| lag.bytes),
            };
            metrics::write(path, &end)
        }
        None if exit == Exit::Locked => Ok(()),
        None => metrics::write_failure(path, now, exit),
    };
    if let Err(error) = written {
        warn!("cannot write the metrics to {}: {error}", path.display());
    }
}
