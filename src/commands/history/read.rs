//! Makes the record from the outcome log, the audit log and the state.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::warn;

use crate::audit::row::{SEAM, read_rows};
use crate::audit::seams::{
    AUTOFIX_SEAM, MOST_BYTES, Row, TOOL_SEAM, for_each_line_of_log, for_each_row,
};
use crate::audit::wake::Wake;
use crate::config::Config;
use crate::debounce::Pair;
use crate::outcome::{COMPLETED_SEAM, DELIVERED_SEAM, FILE, RECOVERED_SEAM, TURNED_FILE};
use crate::record::{
    self, OwedDispatch, Record, Tool, WakeDecision, Watched, find_decisions, join_tools, note_fix,
    with_times,
};
use crate::secret::Secret;
use crate::state::queue::Investigation;
use crate::state::{State, Store, lock};

/// A title is cut to so many characters.
const LONGEST_TITLE: usize = 300;

/// What was found.
pub(super) struct Found {
    pub record: Record,
    /// The audit log's rows of the session that is asked for, without its wakes.
    pub rows: Vec<Row>,
    pub state: State,
}

/// Leaves out files that hold nothing newer than `since`. The texts of wakes are kept for a session.
pub(super) fn read(
    config: &Config,
    since: Option<Timestamp>,
    session: Option<&str>,
) -> Result<Found> {
    let paths = &config.paths;
    let state = Store::at(&paths.state_dir)
        .load()
        .unwrap_or_else(|problem| {
            warn!("what is queued is left out: {problem}");
            State::default()
        });
    let mut record = outcomes(config, since)?;
    record.owed = state.queue.iter().flat_map(owed).collect();
    let mut log = AuditLog {
        session,
        secrets: config.secrets(),
        ..AuditLog::default()
    };
    let mut needles = vec![SEAM, TOOL_SEAM, AUTOFIX_SEAM];
    needles.extend(session.map(plain_part));
    read_log(&paths.audit_log, since, &needles, |line| log.take(line))?;
    record.wakes = with_times(log.wakes);
    record.wakes.sort_by_key(|one| one.at);
    join_tools(&mut record.investigations, log.tools);
    for (session, at) in &log.fixes {
        note_fix(&mut record.investigations, session, *at);
    }
    let kept = state.log(&paths.audit_log);
    let watched = Watched {
        since: lock::first_run(&paths.state_dir),
        until: kept.map(|log| log.checkpoint.seen_at),
    };
    find_decisions(&mut record, &config.debounce, watched);
    Ok(Found {
        record,
        rows: log.rows,
        state,
    })
}

/// The wakes of an investigation that has not ended. One that waits for a late diagnosis has an
/// outcome row already.
fn owed(one: &Investigation) -> impl Iterator<Item = OwedDispatch> {
    let alerts = one.alerts().filter(|_| one.late.is_none());
    alerts.map(|alert| OwedDispatch {
        at: one.queued_at,
        pair: Pair::of(&alert.wake),
        severity: alert.wake.severity.clone(),
    })
}

/// The rows of the outcome log. Rows of the seams that Kora does not know are always in our own file.
fn outcomes(config: &Config, since: Option<Timestamp>) -> Result<Record> {
    let paths = &config.paths;
    let secrets = config.secrets();
    let mut record = Record::default();
    let mut deliveries = Vec::new();
    let mut take = |row: Row| {
        let row = row.masked(&secrets);
        if row.is_of(COMPLETED_SEAM) {
            record.investigations.extend(record::investigation(&row));
        } else if row.is_of(DELIVERED_SEAM) {
            deliveries.extend(record::delivery(&row));
        } else if row.is_of(RECOVERED_SEAM) {
            record.recoveries.extend(record::recovery(&row));
        }
    };
    for file in [TURNED_FILE, FILE].map(|name| paths.state_dir.join(name)) {
        for_each_row(&file, 0, "probe.", &mut take)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    if let Some(named) = &paths.outcome_log {
        let take = |line: &[u8]| Row::parse(line).into_iter().for_each(&mut take);
        read_log(named, since, &[COMPLETED_SEAM], take)?;
    }
    record.investigations.sort_by_key(|one| one.at);
    record.recoveries.sort_by_key(|one| one.at);
    for delivery in deliveries {
        delivery.note_in(&mut record.investigations);
    }
    Ok(record)
}

fn read_log(
    log: &Path,
    since: Option<Timestamp>,
    needles: &[&str],
    take: impl FnMut(&[u8]),
) -> Result<()> {
    let shown = log.display();
    let is_whole = for_each_line_of_log(log, since, needles, take)
        .with_context(|| format!("cannot read {shown}"))?;
    if !is_whole {
        let most = MOST_BYTES / 1024 / 1024;
        warn!("of {shown} and the files it was rotated into only the last {most} MiB are read");
    }
    Ok(())
}

/// What is read from the audit log.
#[derive(Default)]
struct AuditLog<'a> {
    session: Option<&'a str>,
    secrets: Vec<Secret>,
    /// Each with the time of its row, or of the last row before it that has one.
    wakes: Vec<(Option<Timestamp>, Wake, WakeDecision)>,
    tools: Vec<Tool>,
    fixes: Vec<(String, Timestamp)>,
    rows: Vec<Row>,
    clock: Option<Timestamp>,
}

impl AuditLog<'_> {
    fn take(&mut self, line: &[u8]) {
        let wakes: Vec<Wake> = read_rows(line).wakes().cloned().collect();
        if wakes.is_empty() {
            let row = Row::parse(line).map(|row| row.masked(&self.secrets));
            row.into_iter().for_each(|row| self.take_row(row));
        }
        for wake in wakes {
            self.clock = wake.raised_at().or(self.clock);
            let mut wake = wake.masked(&self.secrets);
            if self.session.is_none() {
                (wake.detail, wake.snapshot_details) = (String::new(), String::new());
                wake.title = wake.title.chars().take(LONGEST_TITLE).collect();
            }
            self.wakes.push((self.clock, wake, WakeDecision::Unknown));
        }
    }

    fn take_row(&mut self, row: Row) {
        self.clock = row.emitted_at().or(self.clock);
        if row.is_of(TOOL_SEAM) {
            self.tools.extend(record::tool(&row));
        } else if row.is_of(AUTOFIX_SEAM) {
            let session = row.text("caller_session_id");
            self.fixes.extend(session.zip(row.emitted_at()));
        }
        if self.session.is_some_and(|session| row.is_in(session)) {
            self.rows.push(row);
        }
    }
}

/// The longest part of a session's name that JSON never escapes, to find its rows by.
fn plain_part(session: &str) -> &str {
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '/');
    let parts = session.split(|c| !is_plain(c));
    parts.max_by_key(|part| part.len()).unwrap_or(session)
}
