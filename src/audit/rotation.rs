//! Where the old content went. Given the checkpoint and what lies beside the log now, `plan` says
//! which segments of which files are new, in the order in which they were written. The files are
//! listed by `siblings`, told apart by `found`, and put in order by `search`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;

use super::checkpoint::Checkpoint;
use super::generation::Generation;
use super::plan::{Kind, Plan, Search, Segment};

/// How long a rotation is given to end before the files are looked for again.
const RENAMING: Duration = Duration::from_millis(5);
/// How often the plan is made anew because the log was rotated meanwhile.
const MOST_PLANS: usize = 10;

/// Opens the file at the log's path. `None`: there is none.
pub fn open_log(log: &Path) -> Result<Option<Generation>> {
    match Generation::open_plain(log) {
        Ok(generation) => Ok(Some(generation)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow!(
            "cannot read the audit log {}: {error}; name the right file with --audit-log or \
             KORA_AUDIT_LOG_PATH",
            log.display()
        )),
    }
}

/// Plans what is to be read from the checkpoint on. A rotation between opening the log and listing
/// its folder looks like a gap, or puts a younger file before the one that was opened: look again.
pub fn plan(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Result<Plan> {
    let mut plan = plan_once(log, checkpoint, now)?;
    for _ in 1..MOST_PLANS {
        if !plan.gap && !is_overtaken(&plan, log) {
            break;
        }
        thread::sleep(RENAMING);
        plan = plan_once(log, checkpoint, now)?;
    }
    Ok(plan)
}

/// Whether the log was rotated once more while the plan was made, or grew and was copied.
fn is_overtaken(plan: &Plan, log: &Path) -> bool {
    let (finished, current): (Vec<_>, Vec<_>) = plan
        .segments
        .iter()
        .filter(|segment| !matches!(segment.kind, Kind::Late(_)))
        .partition(|segment| segment.kind == Kind::Finished);
    if plan.waiting_for.is_some() || finished.is_empty() {
        return false;
    }
    let there = fs::metadata(log).ok().map(|meta| meta.ino());
    let current = current.first().map(|segment| &segment.generation);
    let is_copied = |segment: &&Segment| {
        let current = current.filter(|current| !current.is_empty());
        current.is_some_and(|current| current.is_part_of(&segment.generation).unwrap_or(false))
    };
    current.map(|current| current.identity.inode) != there || finished.iter().any(is_copied)
}

fn plan_once(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Result<Plan> {
    let current = open_log(log)?;
    let search = Search {
        log,
        checkpoint,
        now,
        current: current.as_ref(),
    };
    let mut plan = search
        .plan()
        .with_context(|| format!("cannot read {}", log.display()))?;
    plan.missing = current.is_none();
    let from = match (plan.rotated, plan.gap) {
        (false, false) => checkpoint.position.offset,
        _ => 0,
    };
    if let (Some(generation), None) = (current, &plan.waiting_for) {
        plan.segments.push(Segment {
            generation,
            from,
            kind: Kind::Current,
        });
    }
    Ok(plan)
}
