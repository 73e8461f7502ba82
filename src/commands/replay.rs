//! `replay LOG`: does over a whole log what runs would have done, by the times of its rows. It prints
//! to stdout and uses no Slack and no state. The page shows what other settings would have done.

use std::io;

use anyhow::{Context, anyhow};
use jiff::Timestamp;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::generation::Generation;
use crate::audit::position::Position;
use crate::audit::reader::{self, WakeSink};
use crate::audit::seams::Row;
use crate::audit::wake::Wake;
use crate::cli::{Global, RecordFormat, ReplayArgs};
use crate::config::Config;
use crate::exit::{Ended, Exit, Problem};
use crate::outcome;
use crate::page;
use crate::record::{Filter, Sources};
use crate::report::{Report, print_json};
use crate::run::Run;
use crate::run::effects::Replay;
use crate::state::{State, log_name};

/// Malformed rows do not change the exit code 0: a replay cannot miss an alert.
pub fn replay(flags: &Global, args: &ReplayArgs) -> Ended {
    let mut config = Config::for_replay(flags, &args.log)?;
    config.max_runtime = None;
    if args.no_engine {
        config.engine = None;
    }
    let log = &config.paths.audit_log;
    let generation = Generation::open(log).map_err(|error| {
        let error = anyhow!("cannot read the audit log {}: {error}", log.display());
        Problem::new(Exit::Failed, error).with_next_step("name a JSONL file, plain or gzip")
    })?;
    let format = args.format.format;
    let is_text = format == RecordFormat::Text;
    let mut state = State::default();
    let start = Position::start_of(&generation, Timestamp::now());
    state.begin(log, Checkpoint::new(start), Timestamp::now());
    let effects = Replay::new(&config, !is_text, format == RecordFormat::Html);
    let report = Report::new(log_name(log), false);
    let mut run = Run::new(&config, state, effects, report).keeping_wakes(!is_text);
    let wakes = all_wakes(&mut run)?;
    run.replay(wakes.into_iter().map(Ok))?;
    match format {
        RecordFormat::Text => Ok(()),
        RecordFormat::Json => print_json(&run.report),
        RecordFormat::Html => {
            let rows = run.effects.rows.unwrap_or_default();
            print_page(&config, &rows)
        }
    }
    .context("cannot print the report")?;
    Ok(Exit::Done)
}

struct All(Vec<Wake>);

impl WakeSink for All {
    fn take(&mut self, wake: Wake) {
        self.0.push(wake);
    }

    fn warn(&mut self, warning: &str) {
        log::warn!("{warning}");
    }

    fn is_full(&self) -> bool {
        false
    }
}

fn all_wakes(run: &mut Run<Replay>) -> anyhow::Result<Vec<Wake>> {
    let log = std::path::PathBuf::from(&run.report.audit_log);
    let Some(kept) = run.state.log_mut(&log) else {
        return Ok(Vec::new());
    };
    let mut all = All(Vec::new());
    let look = reader::read_file(&log, &mut kept.checkpoint, Timestamp::now(), &mut all);
    for warning in look.warnings {
        log::warn!("{warning}");
    }
    run.report.rows.read = look.rows;
    run.report.rows.malformed = look.malformed;
    match look.problem {
        Some(problem) => Err(problem),
        None => Ok(all.0),
    }
}

fn print_page(config: &Config, rows: &[outcome::Row]) -> io::Result<()> {
    let log = &config.paths.audit_log;
    let mut sources = Sources::default();
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
