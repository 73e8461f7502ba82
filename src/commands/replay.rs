//! `replay LOG`: does over a whole log what runs would have done, by the times of its rows. It prints
//! to stdout and uses no Slack and no state. The page shows what other settings would have done.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use anyhow::{Context, anyhow};
use jiff::Timestamp;

use super::check::SET_ENGINE;
use crate::audit::file::LogFile;
use crate::audit::generations::Checkpoint;
use crate::audit::row::Event;
use crate::audit::seams::{Row, for_each_row};
use crate::audit::wakes;
use crate::cli::{Global, RecordFormat, ReplayArgs};
use crate::config::Config;
use crate::exit::{Ended, Exit, Problem};
use crate::incident::{Decision, Incidents, Pair, Rules};
use crate::outcome;
use crate::page;
use crate::record::{Filter, Incident, Sources};
use crate::report::{Report, count, print_json, print_lines};
use crate::run::Run;
use crate::run::effects::{Replay, Route};
use crate::state::State;
use crate::time::{self, DURATIONS, TIMES, span};

/// What a replay counts for its summary.
#[derive(Default)]
struct Counts {
    pairs: BTreeSet<Pair>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// Which wakes are replayed.
struct Only {
    since: Option<Timestamp>,
    probe: Option<String>,
}

impl Only {
    fn keeps(&self, event: &Event) -> bool {
        let (probe, at) = match event {
            Event::Wake(wake) => (&wake.probe, wake.raised_at()),
            Event::Recovery(row) => {
                let at = row.emitted_at.as_ref().and_then(|at| at.parse().ok());
                (&row.probe, at)
            }
        };
        self.probe.as_ref().is_none_or(|only| only == probe)
            && self
                .since
                .is_none_or(|since| at.is_none_or(|at| at >= since))
    }
}

/// Malformed rows do not change the exit code 0: a replay cannot miss an alert.
pub fn replay(flags: &Global, args: &ReplayArgs) -> Ended {
    let mut config = Config::for_replay(flags, &args.log)?;
    config.max_runtime = None;
    if !args.ask_engine {
        config.engine = None;
    } else if config.engine.is_none() {
        let problem = Problem::usage("--ask-engine: no engine is configured");
        return Err(problem.with_next_step(SET_ENGINE));
    }
    let now = Timestamp::now();
    let only = Only {
        since: args
            .since
            .as_deref()
            .map(|text| since(text, now))
            .transpose()?,
        probe: args.probe.clone(),
    };
    let log = &config.paths.audit_log;
    let file = LogFile::open(log).map_err(|error| {
        let error = anyhow!("cannot read the audit log {}: {error}", log.display());
        Problem::new(Exit::Failed, error).with_next_step("name a JSONL file, plain or gzip")
    })?;
    let format = args.format.format;
    let is_text = format == RecordFormat::Text;
    let mut state = State::default();
    state.begin(log, Checkpoint::of_one_file(), now);
    let mut effects = Replay::new(&config, !is_text, format == RecordFormat::Html);
    let mut run = Run::new(&config, state, &mut effects, Route::Stdout);
    run.keeps_wakes = !is_text;
    let mut checkpoint = Checkpoint::of_one_file();
    let mut counts = Counts::default();
    let mut events = wakes::read_file(log, &mut checkpoint)?;
    let counted = events.by_ref().filter(|event| match event {
        Ok(event) => only.keeps(event) && counts.note(event),
        Err(_) => true,
    });
    run.replay(counted)?;
    let read = events.finish();
    if counts.pairs.is_empty() && file.is_plain() && read.rows > 0 && !holds_json(log) {
        let error = anyhow!("{} has no line that is JSON", log.display());
        return Err(Problem::new(Exit::Failed, error).with_next_step("name an audit log in JSONL"));
    }
    run.report.rows.read = read.rows;
    run.report.rows.malformed = read.malformed;
    match format {
        RecordFormat::Text => print_lines(&summary(&config, &only, &run.report, &counts)?),
        RecordFormat::Json => print_json(&run.report),
        RecordFormat::Html => {
            let log = run.state.log(log);
            let clock = run.clock.unwrap_or_default();
            let parts = log
                .into_iter()
                .flat_map(|log| Incident::of_state(log, &config.debounce, clock));
            let sources = Sources::new(parts.collect(), Vec::new());
            print_page(&config, sources, &effects.rows.unwrap_or_default())
        }
    }
    .context("cannot print the report")?;
    Ok(Exit::Done)
}

fn holds_json(log: &Path) -> bool {
    let mut holds = false;
    let read = for_each_row(log, 0, "{", |_| holds = true);
    holds || read.is_err()
}

fn since(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let since = time::since(text, now);
    since.ok_or_else(|| Problem::usage(format!("--since {text}: give {DURATIONS}, or {TIMES}")))
}

impl Counts {
    fn note(&mut self, event: &Event) -> bool {
        if let Event::Wake(wake) = event {
            self.pairs.insert(Pair::of(wake));
            let at = wake.raised_at();
            self.first = self.first.or(at);
            self.last = at.or(self.last);
        }
        true
    }
}

/// Returns the last lines: what there was, and what another setting would have saved.
fn summary(
    config: &Config,
    only: &Only,
    report: &Report,
    counts: &Counts,
) -> anyhow::Result<Vec<String>> {
    let tally = &report.tally;
    let wakes = count(tally.wakes, "wake", "wakes");
    let pairs = count(counts.pairs.len() as u64, "pair", "pairs");
    let length = counts
        .first
        .zip(counts.last)
        .map(|(first, last)| last.duration_since(first));
    let length = length
        .map(|length| format!(", {}", span(length)))
        .unwrap_or_default();
    let messages = count(tally.sent_messages, "message", "messages");
    let window = span(config.debounce.window);
    let malformed = match report.rows.malformed {
        0 => String::new(),
        number => format!(", {}", count(number, "malformed row", "malformed rows")),
    };
    let mut lines = vec![
        String::new(),
        format!(
            "{wakes} of {pairs}{length}: {messages}, {} held back (window {window}){malformed}.",
            tally.held_back
        ),
    ];
    if config.digest_wakes.is_none() && config.debounce.backoff_factor <= 1.0 {
        let rules = Rules {
            backoff_factor: 2.0,
            ..config.debounce.clone()
        };
        let fewer = messages_with(config, only, &rules)?;
        if fewer < tally.dispatched {
            let fewer = count(fewer, "message", "messages");
            lines.push(format!(
                "with KORA_PROBE_DEBOUNCE_BACKOFF_FACTOR=2: {fewer}"
            ));
        }
    }
    Ok(lines)
}

/// Returns how many wakes other rules would have dispatched.
fn messages_with(config: &Config, only: &Only, rules: &Rules) -> anyhow::Result<u64> {
    let mut checkpoint = Checkpoint::of_one_file();
    let mut incidents = Incidents::default();
    let mut clock = Timestamp::UNIX_EPOCH;
    let mut dispatched = 0;
    let events = wakes::read_file(&config.paths.audit_log, &mut checkpoint)?;
    for event in events.quietly() {
        let event = event?;
        let Event::Wake(wake) = &event else {
            continue;
        };
        if only.keeps(&event) {
            clock = wake.raised_at().unwrap_or(clock);
            dispatched += count_due(&mut incidents, rules, clock);
            let decision = incidents.decide(wake, rules, &[], clock);
            dispatched += u64::from(matches!(decision, Decision::Dispatch(_)));
        }
    }
    Ok(dispatched + count_due(&mut incidents, rules, Timestamp::MAX))
}

/// Dispatches what was held back and is due until then, each when its window ends.
fn count_due(incidents: &mut Incidents, rules: &Rules, until: Timestamp) -> u64 {
    let mut dispatched = 0;
    while let Some(due) = incidents.iter().filter_map(|one| one.due_at(rules)).min() {
        if due > until {
            break;
        }
        for held in incidents.take_due(rules, &[], due) {
            if let Some(incident) = incidents.get_mut(&Pair::of(&held.wake)) {
                let decision = incident.decide_again(&held, rules, &[], due);
                dispatched += u64::from(matches!(decision, Decision::Dispatch(_)));
            }
        }
    }
    dispatched
}

fn print_page(config: &Config, mut sources: Sources, rows: &[outcome::Row]) -> io::Result<()> {
    let log = &config.paths.audit_log;
    let rows = rows.iter().filter_map(|row| serde_json::to_value(row).ok());
    rows.for_each(|row| sources.take(&Row::of(row)));
    let record = sources.record(None);
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    page::print(&page::Page {
        title: format!("Replay of {name}"),
        log,
        record: &record,
        shown: &record.select(&Filter::default()),
        policy: &config.debounce,
        since: None,
        now: None,
    })
}
