//! `history`: what was dispatched, for an operator who was away. Outcome rows are joined with the tool
//! calls of the audit log and shown by incident, as JSON or as a page; with `--session`, all rows of
//! one session.

mod read;
mod session;
mod text;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::{Global, HistoryArgs, RecordFormat};
use crate::config::Config;
use crate::exit::{Ended, Exit, Problem};
use crate::page;
use crate::record::{Filter, Incident, Investigation, Totals};
use crate::report::{print_json, print_lines};
use crate::terminal::Painter;
use crate::time;
use session::Event;

/// The JSON object of `history`: its fields are the program's interface.
#[derive(Debug, Serialize)]
struct History<'a> {
    version: u32,
    investigations: &'a [&'a Investigation],
    incidents: &'a [&'a Incident],
    totals: &'a Totals,
    /// With `--session`: everything that happened in it, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<&'a [Event]>,
}

pub fn history(flags: &Global, args: &HistoryArgs) -> Ended {
    let config = Config::load(flags)?;
    let now = Timestamp::now();
    let since = args.since.as_deref();
    let since = since.map(|text| point_in_time(text, now)).transpose()?;
    let session = args.session.as_deref();
    let (record, events) = read::read(&config, since, session)?;
    let shown = record.select(&Filter {
        since,
        probe: args.probe.as_deref(),
        session,
        failed: args.failed,
        limit: args.limit,
    });
    let painter = Painter::for_stdout(config.paths.no_color);
    let events = session.map(|session| session::add_investigations(events, session, since, &shown));
    let events = events.transpose()?;
    match args.format.format {
        RecordFormat::Json => {
            let most = args.limit.unwrap_or(usize::MAX);
            print_json(&History {
                version: 1,
                investigations: &shown.investigations,
                incidents: &shown.incidents[shown.incidents.len().saturating_sub(most)..],
                totals: &shown.totals,
                events: events.as_deref(),
            })
        }
        RecordFormat::Text => print_lines(&match &events {
            Some(events) => session::lines(events, &shown.totals, painter),
            None => text::lines(&shown, now, painter),
        }),
        RecordFormat::Html => page::print(&page::Page {
            title: "History".to_owned(),
            config: &config,
            shown: &shown,
            since,
            now: Some(now),
        }),
    }
    .context("cannot print the history")?;
    Ok(Exit::Done)
}

fn point_in_time(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    time::since(text, now).ok_or_else(|| {
        let (durations, times) = (time::DURATIONS, time::TIMES);
        Problem::usage(format!("--since '{text}' is neither a duration nor a time"))
            .with_next_step(format!("write {durations}, or {times}"))
    })
}
