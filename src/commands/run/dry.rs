//! `run --dry-run`: what the next run would do, for a person or as JSON.

use jiff::Timestamp;

use super::one_run;
use crate::cli::{RunArgs, To};
use crate::commands::print_as;
use crate::config::Config;
use crate::exit::Ended;
use crate::message::{Lines, render};
use crate::report::{Report, WakeReport, count};
use crate::run::Run;
use crate::run::effects::{DryRun, Route};
use crate::state::Store;
use crate::state::outbox::{Content, Message, Outbox};
use crate::terminal::with_margin;
use crate::text::on_one_line;

/// Shows the next run without doing it: nothing is written, asked or sent, and no lock is taken.
pub(super) fn dry_run(config: &Config, args: &RunArgs) -> Ended {
    let mut store = Store::at(&config.paths.state_dir);
    let state = store.load()?;
    let outbox = match args.to {
        To::Slack => queued(config, &state.outbox, Timestamp::now()),
        To::Stdout => Vec::new(),
    };
    let pending = state.outbox.len();
    let mut effects = DryRun;
    let mut run = Run::new(config, state, &mut effects, Route::Nowhere);
    run.keeps_wakes = true;
    one_run(&mut run, config)?;
    let mut report = run.report;
    report.outbox.pending = pending as u64;
    let mut lines = lines(&report, outbox);
    for message in run.state.outbox.iter().skip(pending) {
        if matches!(message.content, Content::Recovery { .. }) && args.to == To::Slack {
            let now = Timestamp::now();
            let text = render(&message.content, &message.place, &Lines::default(), now);
            lines.push("\nA recovery would be announced".to_owned());
            add_text(&mut lines, "The message", &text.text);
        }
    }
    print_as(args.format, "the report", &report, &lines)?;
    Ok(report.exit())
}

/// Returns what the next run would do with the messages that are queued.
fn queued(config: &Config, outbox: &Outbox, now: Timestamp) -> Vec<String> {
    let is_given_up = |message: &&Message| {
        config.is_expired(message.queued_at, now) || message.given_up.is_some()
    };
    let given_up = outbox.iter().filter(is_given_up).count();
    let rest = match config.missing_for_slack() {
        None => "would be delivered".to_owned(),
        Some(variable) => format!("would stay queued: {variable} is not set"),
    };
    let parts = [
        (outbox.len() - given_up, rest.as_str()),
        (given_up, "would go to undelivered/"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    let lines = parts.map(|(number, what_follows)| {
        let queued = count(number as u64, "queued message", "queued messages");
        format!("First, {queued} {what_follows}.")
    });
    lines.collect()
}

fn lines(report: &Report, outbox: Vec<String>) -> Vec<String> {
    let log = on_one_line(&report.audit_log);
    let (before, after) = (report.position.before, report.position.after);
    if report.first_run {
        let first = [
            format!("{log}: the next run is a first run"),
            format!("It passes over the log's first {after} bytes and sends nothing about them."),
        ];
        return first.into_iter().chain(outbox).collect();
    }
    let rows = count(report.rows.read, "new row", "new rows");
    let wakes = count(report.tally.wakes, "wake", "wakes");
    let mut lines = vec![format!("{log}: bytes {before} to {after}, {rows}, {wakes}")];
    lines.extend(outbox);
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
        (true, _) if wake.was_queued => "was dispatched by an earlier run; its result is pending",
        (true, _) => "would be dispatched",
        (false, true) => "would be held back: a repeat inside the window",
        (false, false) if wake.silenced => "would be held back: silenced",
        (false, false) => "would be held back: too few in a row so far",
    };
    let name = on_one_line(&wake.caller_session_id);
    let severity = on_one_line(&wake.severity);
    lines.push(format!("\n{name} ({severity}): {decision}"));
    if let Some(reason) = &wake.error {
        lines.push(format!("  The engine would not be asked: {reason}"));
    }
    if let Some(prompt) = &wake.prompt {
        add_text(lines, "The engine would be asked", prompt);
    }
    if let Some(text) = &wake.dm_text {
        add_text(lines, "The message", text);
    }
}

fn add_text(lines: &mut Vec<String>, title: &str, text: &str) {
    lines.push(format!("  {title}:"));
    lines.extend(with_margin(text, "  | "));
}
