//! `run --dry-run`: what the next run would do, as a person reads it or as JSON.

use anyhow::Context;

use super::one_run;
use crate::cli::{RunArgs, To};
use crate::commands::print_as;
use crate::config::Config;
use crate::effects::DryRun;
use crate::exit::Ended;
use crate::report::{Report, WakeReport, count};
use crate::session::Session;
use crate::state::{Store, log_name};
use crate::text::{for_terminal, on_one_line};

/// The next run, told and not done: nothing is written, asked or sent, and no lock is taken.
pub(super) fn dry_run(config: &Config, args: &RunArgs) -> Ended {
    let state = Store::at(&config.paths.state_dir).load()?;
    let queued = state.outbox.len() as u64;
    let report = Report::new(log_name(&config.paths.audit_log), true);
    let mut session = Session::new(config, state, DryRun, report).keeping_wakes(true);
    one_run(&mut session, config)?;
    let mut report = session.report;
    report.outbox.pending = queued;
    print_as(args.format.format, &report, &lines(&report, args.to))
        .context("cannot print the report")?;
    Ok(report.exit())
}

fn lines(report: &Report, to: To) -> Vec<String> {
    let log = on_one_line(&report.audit_log);
    let (before, after) = (report.position.before, report.position.after);
    if report.first_run {
        return vec![
            format!("{log}: the next run is a first run"),
            format!("It stamps the position at byte {after} and reads no history."),
        ];
    }
    let rows = count(report.rows.read, "new row", "new rows");
    let wakes = count(report.tally.wakes, "wake", "wakes");
    let mut lines = vec![format!("{log}: bytes {before} to {after}, {rows}, {wakes}")];
    if report.outbox.pending > 0 && to == To::Slack {
        let queued = count(report.outbox.pending, "queued DM", "queued DMs");
        lines.push(format!("First, {queued} would be delivered."));
    }
    for wake in &report.wakes {
        add_wake(&mut lines, wake);
    }
    if report.left_for_next_run > 0 {
        let left = count(report.left_for_next_run, "wake", "wakes");
        lines.push(format!("\n{left} would be left for the run after."));
    }
    lines
}

fn add_wake(lines: &mut Vec<String>, wake: &WakeReport) {
    let decision = match (wake.dispatched, wake.debounce_skipped) {
        (true, _) => "would be dispatched",
        (false, true) => "would be held back: it repeats one inside the window",
        (false, false) => "would be held back: too few in a row so far",
    };
    let name = on_one_line(&wake.caller_session_id);
    let severity = on_one_line(&wake.severity);
    lines.push(format!("\n{name} ({severity}): {decision}"));
    for (title, text) in [
        ("The engine would be asked", &wake.prompt),
        ("The DM", &wake.dm_text),
    ] {
        if let Some(text) = text {
            lines.push(format!("  {title}:"));
            let text = for_terminal(text);
            lines.extend(text.lines().map(|line| format!("  | {line}")));
        }
    }
}
