//! `replay LOG`: a rehearsal over a whole log to stdout, by the rows' own clock: the same logic as
//! a run, with no Slack and no state.

use anyhow::{Context, anyhow};
use jiff::Timestamp;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::generation::Generation;
use crate::audit::position::Position;
use crate::cli::{Global, RecordFormat, ReplayArgs};
use crate::config::Config;
use crate::effects::Replay;
use crate::exit::{Ended, Exit, Problem};
use crate::report::Report;
use crate::session::Session;
use crate::state::{State, log_name};

/// Ends with 0 also where rows are malformed: a rehearsal misses nothing.
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
    let is_json = args.format.format == RecordFormat::Json;
    let mut state = State::default();
    let seen_at = Timestamp::now();
    state.begin(
        log,
        Checkpoint::new(Position::start_of(&generation, seen_at)),
    );
    let effects = Replay::new(&config, is_json);
    let report = Report::new(log_name(log), false);
    let mut session = Session::new(&config, state, effects, report).keeping_wakes(is_json);
    session.replay()?;
    if is_json {
        session
            .report
            .print_json()
            .context("cannot print the report")?;
    }
    Ok(Exit::Done)
}
