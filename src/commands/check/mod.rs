//! `check`: is it set up? Each line is a finding, with a next step if there is something to do. It
//! fails if something would keep an alert from arriving.

mod context;
mod log;
mod machine;
mod peers;
mod schedule;

pub use peers::SET_ENGINE;

use jiff::Timestamp;
use serde::Serialize;

use super::finding::{Finding, Level};
use super::print_as;
use crate::cli::{CheckArgs, Global};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::terminal::{Colour, Painter, drawn, wrapped};

/// What a finding is about, and the finding.
type Item = (&'static str, Finding);

#[derive(Debug, Serialize)]
struct Findings {
    version: u32,
    ok: bool,
    findings: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    subject: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

pub fn check(flags: &Global, args: &CheckArgs) -> Ended {
    let config = Config::examine(flags)?;
    let http = config.http();
    let now = Timestamp::now();
    let mut items = machine::settings(&config);
    items.push(("audit log", log::audit_log(&config.paths.audit_log, now)));
    items.extend(machine::state(&config, now));
    let starters = schedule::look();
    let starts_runs = starters.iter().any(Finding::is_ok);
    items.extend(starters.into_iter().map(|one| ("schedule", one)));
    items.push(("engine", peers::engine(&config, &http)));
    if args.ask_engine {
        items.push(("question", peers::question(&config, &http)));
    }
    items.extend(context::context(&config, Timestamp::now()));
    items.push(("operator", peers::operator(&config)));
    items.push(("slack", peers::slack(&config, &http, args.send_test_dm)));
    if args.send_test_dm {
        items.push(("test message", peers::test_message(&config, &http)));
    }
    items.extend(peers::reactions(&config, &http).map(|one| ("reactions", one)));
    items.extend(peers::fallback(&config, args.test_fallback).map(|one| ("fallback", one)));
    let ok = items.iter().all(|(_, one)| one.level != Level::Failed);
    let entry = |(subject, finding)| Entry { subject, finding };
    let findings = Findings {
        version: 1,
        ok,
        findings: items.into_iter().map(entry).collect(),
    };
    let painter = Painter::for_stdout(config.paths.no_color);
    let lines = lines(&findings, starts_runs, painter);
    print_as(args.format, "the findings", &findings, &lines)?;
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

/// The columns before a finding's message.
const INDENT: usize = 23;

fn lines(findings: &Findings, starts_runs: bool, painter: Painter) -> Vec<String> {
    let mut lines = Vec::new();
    let arrow = drawn("→", "->");
    let next_indent = INDENT + arrow.chars().count() + 1;
    for Entry { subject, finding } in &findings.findings {
        let (colour, sign) = match finding.level {
            Level::Ok => (Colour::Green, "ok     "),
            Level::Warning => (Colour::Yellow, "warning"),
            Level::Failed => (Colour::Red, "FAILED "),
        };
        let sign = painter.paint(colour, sign);
        let message = wrapped(&finding.message, INDENT);
        lines.push(format!("{sign}  {subject:<12}  {message}"));
        if let Some(next) = &finding.next_step {
            let next = wrapped(next, next_indent);
            lines.push(format!("{:INDENT$}{arrow} {next}", ""));
        }
    }
    let verdict = match (findings.ok, starts_runs) {
        (true, true) => "Alerts can arrive.",
        (true, false) => "Nothing failed, but nothing starts the runs: no alert leaves by itself.",
        (false, _) => "Some checks failed: see FAILED above.",
    };
    lines.push(painter.paint(Colour::Bold, verdict));
    lines
}
