//! Makes the record from the outcome log, the audit log and the state.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::warn;

use super::session::{self, Event};
use crate::audit::row::{SEAM, read_rows};
use crate::audit::seams::{MOST_BYTES, Row, TOOL_SEAM, for_each_line_of_log, for_each_row};
use crate::config::Config;
use crate::incident::Pair;
use crate::outcome::{COMPLETED_SEAM, FILE, TURNED_FILE};
use crate::record::{Incident, Record, Silence};
use crate::snapshot::Snapshot;
use crate::state::queue::Investigation;
use crate::state::{State, Store, silences};
use crate::text::short;

/// Reads the record, and the events of the session that was asked for, except its completed investigations.
/// Files of the audit log that hold nothing newer than `since` are left out.
pub(super) fn read(
    config: &Config,
    since: Option<Timestamp>,
    session: Option<&str>,
) -> Result<(Record, Vec<Event>)> {
    let paths = &config.paths;
    let secrets = config.secrets();
    let mut record = unrecorded(config);
    let (mut wakes, mut events) = (Vec::new(), Vec::new());
    // Others write the audit log: what it says about our messages and silences does not count.
    let mut take = |row: Row, is_ours: bool| {
        let row = row.masked(secrets);
        if is_ours || row.is_of(TOOL_SEAM) {
            record.take(&row);
        }
        let is_of_session = session.is_some_and(|session| row.is_in(session));
        if is_of_session && !row.is_of(COMPLETED_SEAM) {
            events.extend(session::row(&row));
        }
    };
    for file in [TURNED_FILE, FILE].map(|name| paths.state_dir.join(name)) {
        for_each_row(&file, 0, "probe.", |row| take(row, true))
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    if let Some(named) = &paths.outcome_log {
        read_log(named, since, &[COMPLETED_SEAM], |line| {
            if let Some(row) = Row::parse(line).filter(|row| row.is_of(COMPLETED_SEAM)) {
                take(row, true);
            }
        })?;
    }
    let mut needles = vec![TOOL_SEAM];
    if let Some(session) = session {
        needles.extend([plain_part(session), SEAM]);
    }
    read_log(&paths.audit_log, since, &needles, |line| {
        if let Some(session) = session {
            let read = read_rows(line);
            let raised = read.wakes().map(|wake| wake.clone().masked(secrets));
            let of_session = raised.filter(|wake| wake.caller_session_id() == session);
            wakes.extend(of_session.filter_map(|wake| session::wake(&wake)));
        }
        if let Some(row) = Row::parse(line) {
            take(row, false);
        }
    })?;
    let snapshot = Snapshot::read(&paths.snapshot_path, Timestamp::now()).ok();
    record.join(snapshot.as_ref());
    wakes.append(&mut events);
    Ok((record, wakes))
}

/// Begins the record with what the state holds. If the state cannot be read, the record is made from the rows
/// alone.
fn unrecorded(config: &Config) -> Record {
    let now = Timestamp::now();
    let mut store = Store::at(&config.paths.state_dir);
    let state = store.load().unwrap_or_else(|problem| {
        warn!("what is queued is left out: {problem}");
        State::default()
    });
    let log = state.log(&config.paths.audit_log);
    let mut record = Record::default();
    record.parts = Incident::of_state(log, &config.debounce, now);
    record.parts.extend(state.queue.iter().flat_map(pending));
    let silences = silences::list(&store).into_iter();
    let silences = silences.filter(|one| !one.is_over(now)).map(|one| Silence {
        of: one.scope.to_string(),
        from: one.since,
        until: one.until,
        wakes: log.map_or(0, |log| log.held_back_by(&one)),
        reason: one.reason,
    });
    record.silences = silences.collect();
    record
}

/// Returns the wakes of an investigation that has not ended. One that is retried already has an outcome row.
fn pending(one: &Investigation) -> impl Iterator<Item = Incident> {
    let alerts = one.alerts.iter().filter(|_| one.retry().is_none());
    alerts.map(|alert| Incident {
        pair: Pair::of(&alert.wake),
        severity: alert.wake.severity.clone(),
        title: Some(short(&alert.wake.title).to_owned()),
        first_wake_at: alert.dispatch.since,
        last_wake_at: alert.dispatch.since,
        dispatched: 1,
        pending: 1,
        ..Incident::default()
    })
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

/// Returns the longest part of a session's name that JSON never escapes, to find its rows by.
fn plain_part(session: &str) -> &str {
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '/');
    let parts = session.split(|c| !is_plain(c));
    parts.max_by_key(|part| part.len()).unwrap_or(session)
}
