//! `check`: examines the set-up. Each line is a finding, with a next step if there is something to do.
//! It fails if something would keep an alert from arriving.

mod log;
mod machine;
mod peers;
mod schedule;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::finding::{Finding, Level};
use super::print_as;
use crate::cli::{CheckArgs, Global};
use crate::config::Config;
use crate::exit::{Ended, Exit};
use crate::terminal::{Colour, Painter, drawn, wrapped};

#[derive(Debug, Serialize)]
struct Findings {
    version: u32,
    ok: bool,
    findings: Vec<Finding>,
}

pub fn check(flags: &Global, args: &CheckArgs) -> Ended {
    let config = Config::examine(flags)?;
    let http = config.http();
    let mut findings = machine::settings(&config);
    findings.extend(machine::misspelt(flags)?);
    findings.push(log::audit_log(&config.paths.audit_log, Timestamp::now()));
    findings.extend(machine::state(&config));
    findings.extend(schedule::own_timer());
    findings.push(peers::engine(&config, &http));
    if args.ask_engine {
        findings.push(peers::question(&config, &http));
    }
    findings.push(peers::operator(&config));
    findings.push(peers::slack(&config, &http));
    if args.send_test_dm {
        findings.push(peers::test_dm(&config, &http));
    }
    let ok = findings.iter().all(|one| one.level != Level::Failed);
    let findings = Findings {
        version: 1,
        ok,
        findings,
    };
    let lines = lines(&findings, Painter::for_stdout(config.paths.no_color));
    print_as(args.format.format, &findings, &lines).context("cannot print the findings")?;
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

/// The columns before a finding's message.
const INDENT: usize = 23;

fn lines(findings: &Findings, painter: Painter) -> Vec<String> {
    let mut lines = Vec::new();
    let arrow = drawn("→", "->");
    let next_indent = INDENT + arrow.chars().count() + 1;
    for finding in &findings.findings {
        let (colour, sign) = match finding.level {
            Level::Ok => (Colour::Green, "ok     "),
            Level::Warning => (Colour::Yellow, "warning"),
            Level::Failed => (Colour::Red, "FAILED "),
        };
        let sign = painter.paint(colour, sign);
        let message = wrapped(&finding.message, INDENT);
        lines.push(format!("{sign}  {:<12}  {message}", finding.subject));
        if let Some(next) = &finding.next_step {
            let next = wrapped(next, next_indent);
            lines.push(format!("{:INDENT$}{arrow} {next}", ""));
        }
    }
    let verdict = match findings.ok {
        true => "Alerts can arrive.",
        false => "Not all is well: see what FAILED.",
    };
    lines.push(painter.paint(Colour::Bold, verdict));
    lines
}
