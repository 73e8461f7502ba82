//! `replay LOG`: does for a whole log what runs would have done, by the times of its rows. It prints to
//! stdout and uses no Slack and no state. The page shows what other settings would have done.

use std::collections::BTreeSet;

use anyhow::Context;
use jiff::Timestamp;
use log::LevelFilter;

use super::check::SET_ENGINE;
use crate::audit::file::LogFile;
use crate::audit::generations::Checkpoint;
use crate::audit::row::Event;
use crate::audit::seams::{Row, for_each_row};
use crate::audit::wakes;
use crate::cli::{Global, RecordFormat, ReplayArgs};
use crate::config::Config;
use crate::exit::{Ended, Exit, Problem};
use crate::incident::Pair;
use crate::page;
use crate::record::{Filter, Incident, Record};
use crate::report::{Report, count, print_json, print_lines};
use crate::run::Run;
use crate::run::effects::{Replay, Route};
use crate::state::State;
use crate::time::{self, DURATIONS, TIMES, span};

/// Which wakes are replayed.
struct Only<'a> {
    since: Option<Timestamp>,
    probe: Option<&'a String>,
}

impl Only<'_> {
    fn keeps(&self, event: &Event) -> bool {
        let (probe, at) = match event {
            Event::Wake(wake) => (&wake.probe, wake.raised_at()),
            Event::Recovery(row) => (&row.probe, row.emitted_at),
        };
        let is_early = self.since.zip(at).is_some_and(|(since, at)| at < since);
        !is_early && self.probe.is_none_or(|only| only == probe)
    }
}

/// What a replay counts for its summary.
#[derive(Default)]
struct Counts {
    pairs: BTreeSet<Pair>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// Replays a log. Malformed rows do not change the exit code 0: a replay cannot miss an alert.
pub fn replay(flags: &Global, args: &ReplayArgs) -> Ended {
    let mut config = Config::for_replay(flags, &args.log)?;
    config.max_runtime = None;
    if !args.ask_engine {
        config.engine = None;
    } else if config.engine.is_none() {
        let problem = Problem::usage("--ask-engine: no engine is configured");
        return Err(problem.with_next_step(SET_ENGINE));
    }
    let since = args.since.as_deref().map(since).transpose()?;
    let probe = args.probe.as_ref();
    let only = Only { since, probe };
    let log = config.paths.audit_log.clone();
    let file = LogFile::open(&log).map_err(|error| {
        let what = format!("cannot read the audit log {}: {error}", log.display());
        Problem::failed(what, "name a JSONL file, plain or gzip")
    })?;
    let format = args.format.format;
    let is_text = format == RecordFormat::Text;
    let mut effects = Replay::new(&config, !is_text, format == RecordFormat::Html);
    let (run, counts) = replayed(&config, &only, &mut effects, !is_text)?;
    let Run {
        report,
        state,
        clock,
        ..
    } = run;
    if report.tally.wakes == 0 && file.is_plain() && report.rows.read > 0 {
        let mut holds_json = false;
        let read = for_each_row(&log, 0, "{", |_| holds_json = true);
        if read.is_ok() && !holds_json {
            let what = format!("{} has no line that is JSON", log.display());
            return Err(Problem::failed(what, "name an audit log in JSONL"));
        }
    }
    match format {
        RecordFormat::Text => {
            let mut lines = vec![String::new(), summary(&config, &report, &counts)];
            lines.extend(with_backoff(config, &only, &report)?);
            print_lines(&lines)
        }
        RecordFormat::Json => print_json(&report),
        RecordFormat::Html => {
            let mut record = Record::default();
            let clock = clock.unwrap_or_default();
            record.parts = Incident::of_state(state.log(&log), &config.debounce, clock);
            let rows = effects.rows.iter().flatten();
            let rows = rows.filter_map(|row| serde_json::to_value(row).ok());
            rows.for_each(|row| record.take(&Row(row)));
            record.join(None);
            let name = log.file_name().unwrap_or_default().to_string_lossy();
            page::print(&page::Page {
                title: format!("Replay of {name}"),
                config: &config,
                shown: &record.select(&Filter::default()),
                since: None,
                now: None,
            })
        }
    }
    .context("cannot print the report")?;
    Ok(Exit::Done)
}

/// Does for the log what runs with these settings would have done.
fn replayed<'a>(
    config: &'a Config,
    only: &Only,
    effects: &'a mut Replay,
    keeps_wakes: bool,
) -> anyhow::Result<(Run<'a>, Counts)> {
    let log = &config.paths.audit_log;
    let mut state = State::default();
    state.begin(log, Checkpoint::default(), Timestamp::now());
    let mut run = Run::new(config, state, effects, Route::Stdout);
    run.keeps_wakes = keeps_wakes;
    let mut checkpoint = Checkpoint::default();
    let mut counts = Counts::default();
    let mut events = wakes::read_file(log, &mut checkpoint);
    let kept = events.by_ref().filter(|event| match event {
        Ok(event) => only.keeps(event),
        Err(_) => true,
    });
    run.replay(kept.inspect(|event| {
        if let Ok(Event::Wake(wake)) = event {
            counts.pairs.insert(Pair::of(wake));
            counts.first = counts.first.or(wake.raised_at());
            counts.last = wake.raised_at().or(counts.last);
        }
    }))?;
    let read = events.finish();
    run.report.rows.read = read.rows;
    run.report.rows.malformed = read.malformed;
    Ok((run, counts))
}

fn since(text: &str) -> Result<Timestamp, Problem> {
    let since = time::since(text, Timestamp::now());
    since.ok_or_else(|| Problem::usage(format!("--since {text}: give {DURATIONS}, or {TIMES}")))
}

/// Returns a line that sums up the replay.
fn summary(config: &Config, report: &Report, counts: &Counts) -> String {
    let tally = &report.tally;
    let wakes = count(tally.wakes, "wake", "wakes");
    let pairs = count(counts.pairs.len() as u64, "pair", "pairs");
    let period = counts.first.zip(counts.last);
    let length = period.map(|(first, last)| format!(", {}", span(last.duration_since(first))));
    let length = length.unwrap_or_default();
    let messages = count(tally.sent_messages, "message", "messages");
    let (held_back, window) = (tally.held_back, span(config.debounce.window));
    let malformed = match report.rows.malformed {
        0 => String::new(),
        number => format!(", {}", count(number, "malformed row", "malformed rows")),
    };
    format!(
        "{wakes} of {pairs}{length}: {messages}, {held_back} held back (window {window}){malformed}."
    )
}

/// Returns a line about what another setting would have saved, if anything.
fn with_backoff(
    mut config: Config,
    only: &Only,
    report: &Report,
) -> anyhow::Result<Option<String>> {
    if config.digest_wakes.is_some() || config.debounce.backoff_factor > 1.0 {
        return Ok(None);
    }
    config.engine = None;
    config.debounce.backoff_factor = 2.0;
    // Warnings about the log were printed the first time.
    let level = log::max_level();
    log::set_max_level(LevelFilter::Off);
    let mut effects = Replay::new(&config, true, false);
    let replayed = replayed(&config, only, &mut effects, false);
    log::set_max_level(level);
    let fewer = replayed?.0.report.tally.dispatched;
    let messages = count(fewer, "message", "messages");
    let line = format!("with KORA_PROBE_DEBOUNCE_BACKOFF_FACTOR=2: {messages}");
    Ok((fewer < report.tally.dispatched).then_some(line))
}
