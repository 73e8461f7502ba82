//! Where the old content went. Given the position and what lies beside the log now, this room says
//! which segments of which files are new, in the order in which they were written. The files are
//! found by `siblings` and told apart by `search`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;

use super::checkpoint::Checkpoint;
use super::generation::Generation;
use super::search::Search;
use crate::exit::{Exit, Problem};

/// How long a rotation is given to end before the files are looked for again.
const RENAMING: Duration = Duration::from_millis(5);
/// How often the plan is made anew because the log was rotated meanwhile.
const MOST_PLANS: usize = 10;

/// A part of a generation that is to be read.
#[derive(Debug)]
pub struct Segment {
    pub generation: Generation,
    pub from: u64,
    pub kind: Kind,
}

/// Whose end a segment reaches to, and so what may still come behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows that were written into a generation after it was left: the one of this number.
    Late(usize),
    /// A generation that nobody appends to any more.
    Finished,
    /// The file at the log's path.
    Current,
}

impl Segment {
    /// Whether there may be anything to read: in an idle run there is not.
    pub fn has_bytes(&self) -> bool {
        self.generation.is_gzip() || self.generation.length > self.from
    }
}

/// What is to be read, and what that says of the rows in between.
#[derive(Debug, Default)]
pub struct Plan {
    pub segments: Vec<Segment>,
    /// The position's content lies in another file than the one at the log's path.
    pub rotated: bool,
    /// Nothing holds the position any more: rows may have been missed.
    pub gap: bool,
    /// There is no file at the log's path.
    pub missing: bool,
    /// A gzip file that is perhaps being written; nothing behind it is read yet.
    pub waiting_for: Option<PathBuf>,
    /// Files that may hold new rows and cannot be read, each with the reason.
    pub unreadable: Vec<String>,
    /// Fingerprints of the files beside the log that are not to be read.
    pub known: BTreeSet<String>,
}

/// Opens the file at the log's path. `None`: there is none.
pub fn open_log(log: &Path) -> Result<Option<Generation>, Problem> {
    match Generation::open_plain(log) {
        Ok(generation) => Ok(Some(generation)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let error = anyhow!("cannot read the audit log {}: {error}", log.display());
            Err(Problem::new(Exit::Failed, error)
                .with_next_step("name the right file with --audit-log or KORA_AUDIT_LOG_PATH"))
        }
    }
}

/// Plans what is to be read from the position on. A rotation between opening the log and listing
/// its folder looks like a gap, or puts a younger file before the one that was opened: look again.
pub fn plan(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Result<Plan, Problem> {
    let mut plan = plan_once(log, checkpoint, now)?;
    for _ in 1..MOST_PLANS {
        if !plan.gap && !plan.is_overtaken(log) {
            break;
        }
        thread::sleep(RENAMING);
        plan = plan_once(log, checkpoint, now)?;
    }
    Ok(plan)
}

impl Plan {
    /// Whether the log was rotated once more while the plan was made.
    fn is_overtaken(&self, log: &Path) -> bool {
        let of_kind = |kind| {
            self.segments
                .iter()
                .rfind(move |segment| segment.kind == kind)
        };
        let current = of_kind(Kind::Current).map(|segment| segment.generation.identity.inode);
        let there = fs::metadata(log).ok().map(|meta| meta.ino());
        self.waiting_for.is_none() && of_kind(Kind::Finished).is_some() && current != there
    }
}

fn plan_once(log: &Path, checkpoint: &Checkpoint, now: Timestamp) -> Result<Plan, Problem> {
    let current = open_log(log)?;
    let search = Search {
        log,
        checkpoint,
        now,
        current: current.as_ref(),
    };
    let mut plan = search.plan().map_err(|error| {
        anyhow::Error::new(error).context(format!("cannot read {}", log.display()))
    })?;
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
