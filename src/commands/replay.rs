//! `replay LOG`: does over a whole log what runs would have done, by the times of its rows. It prints
//! to stdout and uses no Slack and no state. The page shows what other settings would have done.

use std::io;

use anyhow::{Context, anyhow};
use jiff::Timestamp;

use crate::audit::file::LogFile;
use crate::audit::generations::Checkpoint;
use crate::audit::seams::Row;
use crate::audit::wake::Wake;
use crate::cli::{Global, RecordFormat, ReplayArgs};
use crate::config::Config;
use crate::effects::Replay;
use crate::exit::{Ended, Exit, Problem};
use crate::outcome;
use crate::page;
use crate::record::{Record, WakeDecision, investigation, link_in_order, with_times};
use crate::report::{Report, WakeReport, print_json};
use crate::session::Session;
use crate::state::{State, log_name};

/// Malformed rows do not change the exit code 0: a replay cannot miss an alert.
pub fn replay(flags: &Global, args: &ReplayArgs) -> Ended {
    let mut config = Config::for_replay(flags, &args.log)?;
    config.max_runtime = None;
    if args.no_engine {
        config.engine = None;
    }
    let log = &config.paths.audit_log;
    LogFile::open(log).map_err(|error| {
        let error = anyhow!("cannot read the audit log {}: {error}", log.display());
        Problem::new(Exit::Failed, error).with_next_step("name a JSONL file, plain or gzip")
    })?;
    let format = args.format.format;
    let is_text = format == RecordFormat::Text;
    let mut state = State::default();
    state.begin(log, Checkpoint::of_one_file());
    let effects = Replay::new(&config, !is_text).keeping_rows(format == RecordFormat::Html);
    let report = Report::new(log_name(log), false);
    let mut session = Session::new(&config, state, effects, report).keeping_wakes(!is_text);
    session.replay()?;
    match format {
        RecordFormat::Text => Ok(()),
        RecordFormat::Json => print_json(&session.report),
        RecordFormat::Html => {
            let rows = session.effects.rows.unwrap_or_default();
            print_page(&config, session.report.wakes, &rows)
        }
    }
    .context("cannot print the report")?;
    Ok(Exit::Done)
}

fn print_page(config: &Config, wakes: Vec<WakeReport>, rows: &[outcome::Row]) -> io::Result<()> {
    let log = &config.paths.audit_log;
    let record = record(wakes, rows);
    let shown: Vec<_> = record.investigations.iter().collect();
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    page::print(&page::Page {
        title: format!("Replay of {name}"),
        log,
        record: &record,
        shown: &shown,
        policy: &config.debounce,
        since: None,
        now: None,
    })
}

/// The record of the replay. What happened before the first wake that has a time gets its time.
fn record(wakes: Vec<WakeReport>, rows: &[outcome::Row]) -> Record {
    let rows = rows.iter().filter_map(|row| serde_json::to_value(row).ok());
    let investigations = rows.filter_map(|row| investigation(&Row::of(row)));
    let mut record = Record {
        wakes: with_times(wakes.into_iter().map(raised).collect()),
        investigations: investigations.collect(),
        ..Record::default()
    };
    if let Some(first) = record.wakes.first() {
        let investigations = record.investigations.iter_mut();
        investigations.for_each(|one| one.at = one.at.max(first.at));
    }
    record.wakes.sort_by_key(|one| one.at);
    record.investigations.sort_by_key(|one| one.at);
    link_in_order(&mut record);
    record
}

fn raised(wake: WakeReport) -> (Option<Timestamp>, Wake, WakeDecision) {
    let decision = match wake.dispatched {
        true => WakeDecision::Dispatched,
        false => WakeDecision::HeldBack,
    };
    let wake = Wake {
        probe: wake.probe,
        category: wake.category,
        severity: wake.severity,
        title: wake.title,
        emitted_at: wake.emitted_at,
        ..Wake::default()
    };
    (wake.raised_at(), wake, decision)
}
