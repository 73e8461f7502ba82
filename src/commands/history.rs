//! `history`: the table that an operator reads on Monday morning. Its rows are the outcome rows,
//! joined with the tools that the engine called meanwhile, which the audit log tells.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::cli::{Format, Global, HistoryArgs};
use crate::config::Paths;
use crate::exit::{Ended, Exit, Problem};
use crate::message::on_one_line;
use crate::outcome::{COMPLETED_SEAM, DELIVERED_SEAM, FILE, TURNED_FILE};
use crate::report::print_json;
use crate::terminal::{Colour, Painter, fit, width};

const TOOL_SEAM: &str = "reasoning.tool_called";
/// How much of the audit log's end is searched for the tools.
const TOOLS_FROM_LAST: u64 = 64 * 1024 * 1024;
/// A tool's row is written by another program with another clock.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(2);
/// Longer lines are none of ours.
const LONGEST_LINE: u64 = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct Row {
    emitted_at: Option<Timestamp>,
    seam: String,
    #[serde(default)]
    caller_session_id: Option<String>,
    #[serde(default)]
    details: Details,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    probe: String,
    issue_category: String,
    severity: String,
    model_used: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    investigation_duration_ms: u64,
    investigation_summary_text: Option<String>,
    dm_status: String,
    reasoning_error: Option<String>,
    queued_at: Option<Timestamp>,
    #[serde(alias = "tool", alias = "name")]
    tool_name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Investigation {
    at: Timestamp,
    probe: String,
    category: String,
    severity: String,
    caller_session_id: String,
    dm_status: String,
    /// When a later run delivered the DM.
    delivered_at: Option<Timestamp>,
    duration_ms: u64,
    model_used: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    tools: Vec<String>,
    error: Option<String>,
    summary: Option<String>,
}

pub fn history(flags: &Global, args: &HistoryArgs) -> Ended {
    let paths = Paths::load(flags)?;
    let since = args
        .since
        .as_deref()
        .map(|text| point_in_time(text, Timestamp::now()))
        .transpose()?;
    let mut investigations = investigations(&paths)?;
    investigations.retain(|one| {
        since.is_none_or(|since| one.at >= since)
            && args.probe.as_ref().is_none_or(|probe| one.probe == *probe)
    });
    join_tools(&mut investigations, &paths.audit_log)
        .with_context(|| format!("cannot read {}", paths.audit_log.display()))?;
    match args.format.format {
        Format::Json => print_json(&investigations),
        Format::Text => print_table(&investigations, Painter::for_stdout(paths.no_color)),
    }
    .context("cannot print the history")?;
    Ok(Exit::Done)
}

/// `24h` before now, or a time that is written out.
fn point_in_time(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let wrong = || {
        Problem::usage(format!("--since '{text}' is no time"))
            .with_next_step("write 30m, 24h, 7d or 2026-05-24T14:00:00Z")
    };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: i64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let length = number
        .checked_mul(seconds)
        .filter(|seconds| *seconds >= 0)
        .ok_or_else(wrong)?;
    now.checked_sub(SignedDuration::from_secs(length))
        .map_err(|_| wrong())
}

fn investigations(paths: &Paths) -> Result<Vec<Investigation>> {
    let files = match &paths.outcome_log {
        Some(file) => vec![file.clone()],
        None => vec![
            paths.state_dir.join(TURNED_FILE),
            paths.state_dir.join(FILE),
        ],
    };
    let mut found: Vec<Investigation> = Vec::new();
    for file in files {
        for_each_row(&file, 0, "probe.", |row| {
            if row.seam == COMPLETED_SEAM {
                found.extend(investigation(row));
            } else if row.seam == DELIVERED_SEAM {
                note_delivery(&mut found, &row);
            }
        })
        .with_context(|| format!("cannot read {}", file.display()))?;
    }
    found.sort_by_key(|one| one.at);
    Ok(found)
}

fn investigation(row: Row) -> Option<Investigation> {
    let details = row.details;
    Some(Investigation {
        at: row.emitted_at?,
        probe: details.probe,
        category: details.issue_category,
        severity: details.severity,
        caller_session_id: row.caller_session_id?,
        dm_status: details.dm_status,
        delivered_at: None,
        duration_ms: details.investigation_duration_ms,
        model_used: details.model_used,
        input_tokens: details.input_tokens,
        output_tokens: details.output_tokens,
        tools: Vec::new(),
        error: details.reasoning_error,
        summary: details
            .investigation_summary_text
            .filter(|text| !text.is_empty()),
    })
}

/// A later delivery belongs to the oldest investigation of its pair whose DM is still open.
fn note_delivery(found: &mut [Investigation], row: &Row) {
    let is_open = |one: &&mut Investigation| {
        Some(&one.caller_session_id) == row.caller_session_id.as_ref()
            && one.delivered_at.is_none()
            && one.dm_status.ends_with("failed_send")
            && row.details.queued_at.is_none_or(|queued| one.at >= queued)
    };
    if let Some(one) = found.iter_mut().find(is_open) {
        one.delivered_at = row.emitted_at;
    }
}

/// Adds the tools that were called while an investigation ran, by its caller session.
fn join_tools(investigations: &mut [Investigation], log: &Path) -> io::Result<()> {
    let mut calls: HashMap<String, Vec<(Timestamp, String)>> = HashMap::new();
    let length = std::fs::metadata(log).map_or(0, |meta| meta.len());
    for_each_row(
        log,
        length.saturating_sub(TOOLS_FROM_LAST),
        TOOL_SEAM,
        |row| {
            let tool = row.details.tool_name.unwrap_or_else(|| "?".to_owned());
            if let (TOOL_SEAM, Some(session), Some(at)) =
                (row.seam.as_str(), row.caller_session_id, row.emitted_at)
            {
                calls.entry(session).or_default().push((at, tool));
            }
        },
    )?;
    for one in investigations {
        let length =
            SignedDuration::from_millis(i64::try_from(one.duration_ms).unwrap_or(i64::MAX));
        let begun = one.at.checked_sub(length + CLOCK_SLACK).unwrap_or(one.at);
        let ended = one.at.checked_add(CLOCK_SLACK).unwrap_or(one.at);
        let of_session = calls.get(&one.caller_session_id).into_iter().flatten();
        let meanwhile = of_session.filter(|(at, _)| (begun..=ended).contains(at));
        one.tools = meanwhile.map(|(_, tool)| tool.clone()).collect();
    }
    Ok(())
}

/// Reads the rows whose text holds `needle`, from an offset on. A missing file has none; lines that
/// are no row of ours are passed over.
fn for_each_row(
    path: &Path,
    offset: u64,
    needle: &str,
    mut take: impl FnMut(Row),
) -> io::Result<()> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let finder = memchr::memmem::Finder::new(needle);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut reader, LONGEST_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if finder.find(&line).is_some()
            && let Ok(row) = serde_json::from_slice(&line)
        {
            take(row);
        }
    }
}

fn print_table(investigations: &[Investigation], painter: Painter) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if investigations.is_empty() {
        writeln!(out, "No investigations.")?;
        return out.flush();
    }
    let head = [
        "WHEN (UTC)",
        "PROBE",
        "CATEGORY",
        "SEVERITY",
        "DM",
        "TOOK",
        "TOKENS",
        "TOOLS",
    ];
    let rows: Vec<[String; 8]> = investigations.iter().map(cells).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let longest = rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0);
            longest.max(head[column].len())
        })
        .collect();
    let line = |cells: &[String], last: &str| {
        let cells = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells
            .chain([last.to_owned()])
            .collect::<Vec<_>>()
            .join("  ");
        width()
            .map_or_else(|| line.clone(), |columns| fit(&line, columns))
            .trim_end()
            .to_owned()
    };
    let head = line(&head.map(str::to_owned), "DIAGNOSIS");
    writeln!(out, "{}", painter.paint(Colour::Bold, &head))?;
    for (row, one) in rows.iter().zip(investigations) {
        writeln!(out, "{}", line(row, &diagnosis(one)))?;
    }
    out.flush()
}

fn cells(one: &Investigation) -> [String; 8] {
    let name = |text: &str| fit(&on_one_line(text), 24);
    let tokens = match (one.input_tokens, one.output_tokens) {
        (None, None) => "-".to_owned(),
        (input, output) => format!("{}+{}", input.unwrap_or(0), output.unwrap_or(0)),
    };
    [
        one.at.strftime("%Y-%m-%d %H:%M").to_string(),
        name(&one.probe),
        name(&one.category),
        name(&one.severity),
        delivery(one),
        format!("{:.1}s", one.duration_ms as f64 / 1_000.0),
        tokens,
        one.tools.len().to_string(),
    ]
}

fn delivery(one: &Investigation) -> String {
    let was_sent = !one.dm_status.ends_with("failed_send");
    match (was_sent, one.delivered_at) {
        (true, _) => "sent".to_owned(),
        (false, Some(at)) => format!("sent {}", at.strftime("%m-%d %H:%M")),
        (false, None) => "not sent".to_owned(),
    }
}

fn diagnosis(one: &Investigation) -> String {
    match (&one.error, &one.summary) {
        (Some(error), _) => format!("({})", on_one_line(error)),
        (None, Some(summary)) => on_one_line(summary),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn since_takes_lengths_and_times() {
        let now: Timestamp = "2026-05-24T14:00:00Z".parse().unwrap();
        let at = |text| point_in_time(text, now).unwrap().to_string();
        assert_eq!(at("30m"), "2026-05-24T13:30:00Z");
        assert_eq!(at("24h"), "2026-05-23T14:00:00Z");
        assert_eq!(at("7d"), "2026-05-17T14:00:00Z");
        assert_eq!(at("2026-05-01T00:00:00Z"), "2026-05-01T00:00:00Z");
        for wrong in [
            "",
            "h",
            "-1h",
            "24",
            "1y",
            "yesterday",
            "99999999999999999999d",
        ] {
            assert!(point_in_time(wrong, now).is_err(), "{wrong}");
        }
    }
}
