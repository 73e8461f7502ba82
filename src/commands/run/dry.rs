//! `run --dry-run`: what the next run would do, as a person reads it or as JSON.

use std::io::{self, Write};

use anyhow::Context;

use super::one_run;
use crate::cli::{Format, RunArgs, To};
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
    match args.format.format {
        Format::Json => report.print_json(),
        Format::Text => print(&report, args.to),
    }
    .context("cannot print the report")?;
    Ok(report.exit())
}

fn print(report: &Report, to: To) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let log = on_one_line(&report.audit_log);
    if report.first_run {
        writeln!(out, "{log}: the next run is a first run")?;
        writeln!(
            out,
            "It stamps the position at byte {} and reads no history.",
            report.position.after
        )?;
        return Ok(());
    }
    let (position, rows) = (&report.position, &report.rows);
    writeln!(
        out,
        "{log}: bytes {} to {}, {}, {}",
        position.before,
        position.after,
        count(rows.read, "new row", "new rows"),
        count(report.tally.wakes, "wake", "wakes")
    )?;
    if report.outbox.pending > 0 && to == To::Slack {
        writeln!(
            out,
            "First, {} would be delivered.",
            count(report.outbox.pending, "queued DM", "queued DMs")
        )?;
    }
    for wake in &report.wakes {
        print_wake(&mut out, wake)?;
    }
    if report.left_for_next_run > 0 {
        writeln!(
            out,
            "\n{} would be left for the run after.",
            count(report.left_for_next_run, "wake", "wakes")
        )?;
    }
    out.flush()
}

fn print_wake(out: &mut impl Write, wake: &WakeReport) -> io::Result<()> {
    let decision = match (wake.dispatched, wake.debounce_skipped) {
        (true, _) => "would be dispatched",
        (false, true) => "would be held back: it repeats one inside the window",
        (false, false) => "would be held back: too few in a row so far",
    };
    let name = on_one_line(&wake.caller_session_id);
    writeln!(
        out,
        "\n{name} ({}): {decision}",
        on_one_line(&wake.severity)
    )?;
    for (title, text) in [
        ("The engine would be asked", &wake.prompt),
        ("The DM", &wake.dm_text),
    ] {
        if let Some(text) = text {
            writeln!(out, "  {title}:")?;
            for line in for_terminal(text).lines() {
                writeln!(out, "  | {line}")?;
            }
        }
    }
    Ok(())
}
