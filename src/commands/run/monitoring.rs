//! What is told of a run once it is over, to those who watch the runs from outside.

use std::fs::{self, Metadata};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use log::{info, warn};

use super::Told;
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::http::Endpoint;
use crate::metrics::{self, RunEnd};
use crate::report::Report;
use crate::terminal::Waiting;

/// A monitor that does not answer must not hold up the next run.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// Tells a monitor that watches for silence how the run ended. A run that found the lock held is
/// told by the one that holds it.
pub(super) fn beat(config: &Config, url: &Endpoint, ended: &Ended) {
    let url = match ended {
        Ok(Exit::Done) => url.clone(),
        Err(problem) if problem.exit == Exit::Locked => return,
        _ => url.join("/fail"),
    };
    let _waiting = Waiting::for_what("telling the heartbeat");
    match config.http().get(&url, &[], HEARTBEAT_TIMEOUT) {
        Ok(reply) if reply.is_success() => {}
        Ok(reply) => info!("the heartbeat was answered with HTTP {}", reply.status),
        Err(error) => info!("the heartbeat did not arrive: {error}"),
    }
}

/// Writes the metrics; a failure is a warning and no more. Without its report and its state a run
/// tells how it ended. One that found the lock held is told by the one that holds it.
pub(super) fn write_metrics(path: &Path, config: &Config, told: Option<&Told>, ended: &Ended) {
    let now = Timestamp::now();
    let exit = match ended {
        Ok(exit) => *exit,
        Err(problem) => problem.exit,
    };
    let written = match told {
        Some((report, state, runs)) => metrics::write(
            path,
            &RunEnd {
                now,
                exit,
                state,
                runs,
                lag_bytes: lag_bytes(&config.paths.audit_log, report),
            },
        ),
        None if exit == Exit::Locked => Ok(()),
        None => metrics::write_failure(path, now, exit),
    };
    if let Err(error) = written {
        warn!("cannot write the metrics to {}: {error}", path.display());
    }
}

fn lag_bytes(log: &Path, report: &Report) -> Option<u64> {
    let meta = fs::metadata(log).ok().filter(Metadata::is_file)?;
    Some(meta.len().saturating_sub(report.position.after))
}
