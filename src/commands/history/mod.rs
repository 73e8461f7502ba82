//! `history`: the past investigations, for an operator who was away. Outcome rows are joined with the
//! wakes and the tool calls of the audit log and shown as a table, as JSON or as a page. With
//! `--session`, all rows of one session are shown.

mod read;
mod session;
mod table;

use std::collections::BTreeSet;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::audit::wake::caller_session_id;
use crate::cli::{Global, HistoryArgs, RecordFormat};
use crate::config::Config;
use crate::exit::{Ended, Exit, Problem};
use crate::incident::Pair;
use crate::page;
use crate::record::{Investigation, PairRecord, Record, Resolution, Totals, WakeDecision, pairs};
use crate::report::{print_json, print_lines};
use crate::snapshot::Snapshot;
use crate::terminal::Painter;
use session::Event;

/// The JSON object of `history`: its fields are the program's interface.
#[derive(Debug, Serialize)]
struct History<'a> {
    version: u32,
    investigations: &'a [&'a Investigation],
    pairs: Vec<PairSummary>,
    totals: Totals,
    /// With `--session`: all that happened in it, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<&'a [Event]>,
}

/// One pair in JSON.
#[derive(Debug, Serialize)]
struct PairSummary {
    #[serde(flatten)]
    pair: Pair,
    resolution: Resolution,
    severity: String,
    first_wake_at: Timestamp,
    last_wake_at: Timestamp,
    dispatched: usize,
    held_back: usize,
    bad_seconds: i64,
}

pub fn history(flags: &Global, args: &HistoryArgs) -> Ended {
    let config = Config::load(flags)?;
    let now = Timestamp::now();
    let since = args.since.as_deref();
    let since = since.map(|text| point_in_time(text, now)).transpose()?;
    let session = args.session.as_deref();
    let mut found = read::read(&config, since, session)?;
    pick(&mut found.record, since, args);
    if let Some(snapshot) = Snapshot::read(&config.paths.snapshot_path, now) {
        found.record.resolve(&snapshot);
    }
    if args.failed {
        for one in &mut found.record.investigations {
            one.tools.sort_by_key(|tool| !tool.is_failed());
        }
    }
    let record = &found.record;
    let shown = shown(record, args);
    let painter = Painter::for_stdout(config.paths.no_color);
    let events = session.map(|session| session::events(session, since, &found, &config));
    match (args.format.format, &events) {
        (RecordFormat::Json, events) => print_json(&History {
            version: 1,
            investigations: &shown,
            pairs: summaries(record),
            totals: record.totals(),
            events: events.as_deref(),
        }),
        (RecordFormat::Text, Some(events)) => {
            print_lines(&session::lines(events, &record.totals(), painter))
        }
        (RecordFormat::Text, None) => print_lines(&table::lines(&shown, record, painter)),
        (RecordFormat::Html, _) => page::print(&page::Page {
            title: "History".to_owned(),
            log: &config.paths.audit_log,
            record,
            shown: &shown,
            policy: &config.debounce,
            since,
            now: Some(now),
        }),
    }
    .context("cannot print the history")?;
    Ok(Exit::Done)
}

/// Removes from the record what was not asked for.
fn pick(record: &mut Record, since: Option<Timestamp>, args: &HistoryArgs) {
    if let Some(session) = &args.session {
        record.investigations.retain(|one| one.is_in(session));
        let told = record.investigations.iter();
        let told: BTreeSet<_> = told.map(|one| (&one.pair, one.raised_at)).collect();
        let is_of_session =
            |pair: &Pair| caller_session_id(&pair.probe, &pair.category) == *session;
        record.wakes.retain(|one| {
            let pair = one.pair();
            let is_told =
                one.decision == WakeDecision::Dispatched && told.contains(&(&pair, Some(one.at)));
            is_told || is_of_session(&pair)
        });
        record.owed.retain(|one| is_of_session(&one.pair));
        record.recoveries.retain(|one| is_of_session(&one.pair));
    }
    let is_asked_for = |probe: &str| args.probe.as_deref().is_none_or(|asked| asked == probe);
    record.retain(|pair, at| is_asked_for(&pair.probe) && since.is_none_or(|since| at >= since));
}

/// The investigations to list, the newest last. With `--failed`, those that failed come first, then
/// those with a failed tool.
fn shown<'a>(record: &'a Record, args: &HistoryArgs) -> Vec<&'a Investigation> {
    let rank = |one: &&Investigation| match one.failed || !args.failed {
        true => 0,
        false if one.tools.iter().any(|tool| tool.is_failed()) => 1,
        false => 2,
    };
    // The limit keeps the first ranks and the newest of a rank. Then each rank is put in the order
    // of time.
    let mut shown: Vec<_> = record.investigations.iter().rev().collect();
    shown.sort_by_key(rank);
    shown.truncate(args.limit.unwrap_or(usize::MAX));
    shown.reverse();
    shown.sort_by_key(rank);
    shown
}

fn summaries(record: &Record) -> Vec<PairSummary> {
    let summary = |one: PairRecord<'_>| PairSummary {
        resolution: one.resolution,
        severity: one.severity().to_owned(),
        first_wake_at: one.first_wake(),
        last_wake_at: one.last_wake(),
        dispatched: one.dispatches().len(),
        held_back: one.count(WakeDecision::HeldBack),
        bad_seconds: one.bad_for().as_secs(),
        pair: one.pair,
    };
    pairs(record).into_iter().map(summary).collect()
}

/// The time that `--since` names: a length before now, as in `24h`, or a date or a time.
fn point_in_time(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let written_out = [text, &format!("{text}T00:00:00Z")].map(|text| text.parse().ok());
    let before_now = || {
        let units = [
            ("s", 1),
            ("m", 60),
            ("h", 3_600),
            ("d", 86_400),
            ("w", 604_800),
        ];
        let length = units.iter().find_map(|(unit, seconds)| {
            let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(*seconds)
        });
        let length = SignedDuration::from_secs(length.filter(|length| *length >= 0)?);
        now.checked_sub(length).ok()
    };
    let time = written_out.into_iter().flatten().next().or_else(before_now);
    time.ok_or_else(|| {
        Problem::usage(format!("--since '{text}' is no time"))
            .with_next_step("write 30m, 24h, 7d, 2026-05-24 or 2026-05-24T14:00:00Z")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn since_takes_lengths_and_times() {
        let now: Timestamp = "2026-05-24T14:00:00Z".parse().unwrap();
        let at = |text| point_in_time(text, now).unwrap().to_string();
        assert_eq!(at("30m"), "2026-05-24T13:30:00Z");
        assert_eq!(at("24h"), "2026-05-23T14:00:00Z");
        assert_eq!(at("7d"), "2026-05-17T14:00:00Z");
        assert_eq!(at("2026-05-01T00:00:00Z"), "2026-05-01T00:00:00Z");
        assert_eq!(at("2026-05-01"), "2026-05-01T00:00:00Z");
        for wrong in [
            "",
            "h",
            "-1h",
            "24",
            "1y",
            "yesterday",
            "99999999999999999999d",
        ] {
            assert!(point_in_time(wrong, now).is_err(), "{wrong}");
        }
    }
}
