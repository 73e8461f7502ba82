//! `history`: the table that an operator reads on Monday morning. Its rows are the outcome rows,
//! joined with the tools that the engine called meanwhile, which the audit log tells.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::cli::{Format, Global, HistoryArgs};
use crate::config::Paths;
use crate::exit::{Ended, Exit, Problem};
use crate::message::on_one_line;
use crate::outcome::{COMPLETED_SEAM, DELIVERED_SEAM, FILE, TURNED_FILE};
use crate::report::print_json;
use crate::terminal::{Colour, Painter, fit, fit_line, pad, width};

const TOOL_SEAM: &str = "reasoning.tool_called";
/// How much of the audit log's end is searched for the tools.
const TOOLS_FROM_LAST: u64 = 64 * 1024 * 1024;
/// A tool's row is written by another program with another clock.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(2);
/// Longer lines are none of ours.
const LONGEST_LINE: u64 = 4 * 1024 * 1024;

/// A row, read as tolerantly as the audit log is: what is missing or of another type is no more
/// than that.
struct Row(Value);

impl Row {
    fn text(&self, field: &str) -> Option<String> {
        self.0[field].as_str().map(str::to_owned)
    }

    fn emitted_at(&self) -> Option<Timestamp> {
        self.0["emitted_at"].as_str()?.parse().ok()
    }

    fn detail(&self, field: &str) -> Option<String> {
        self.0["details"][field].as_str().map(str::to_owned)
    }

    fn number(&self, field: &str) -> Option<u64> {
        self.0["details"][field].as_u64()
    }

    fn is_of(&self, seam: &str) -> bool {
        self.0["seam"] == seam
    }
}

#[derive(Debug, Serialize)]
struct History {
    version: u32,
    investigations: Vec<Investigation>,
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
        Format::Json => print_json(&History {
            version: 1,
            investigations,
        }),
        Format::Text => print_table(&investigations, Painter::for_stdout(paths.no_color)),
    }
    .context("cannot print the history")?;
    Ok(Exit::Done)
}

/// `24h` before now, or a time that is written out.
fn point_in_time(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let written_out = [text, &format!("{text}T00:00:00Z")].map(|text| text.parse());
    if let Some(time) = written_out.into_iter().flatten().next() {
        return Ok(time);
    }
    let wrong = || {
        Problem::usage(format!("--since '{text}' is no time"))
            .with_next_step("write 30m, 24h, 7d, 2026-05-24 or 2026-05-24T14:00:00Z")
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
            if row.is_of(COMPLETED_SEAM) {
                found.extend(investigation(&row));
            } else if row.is_of(DELIVERED_SEAM) {
                note_delivery(&mut found, &row);
            }
        })
        .with_context(|| format!("cannot read {}", file.display()))?;
    }
    found.sort_by_key(|one| one.at);
    Ok(found)
}

fn investigation(row: &Row) -> Option<Investigation> {
    let named = |field| row.detail(field).unwrap_or_default();
    Some(Investigation {
        at: row.emitted_at()?,
        probe: named("probe"),
        category: named("issue_category"),
        severity: named("severity"),
        caller_session_id: row.text("caller_session_id")?,
        dm_status: named("dm_status"),
        delivered_at: None,
        duration_ms: row.number("investigation_duration_ms").unwrap_or(0),
        model_used: row.detail("model_used"),
        input_tokens: row.number("input_tokens"),
        output_tokens: row.number("output_tokens"),
        tools: Vec::new(),
        error: row.detail("reasoning_error"),
        summary: row
            .detail("investigation_summary_text")
            .filter(|text| !text.is_empty()),
    })
}

/// A later delivery belongs to the oldest investigation of its pair whose DM is still open.
fn note_delivery(found: &mut [Investigation], row: &Row) {
    let session = row.text("caller_session_id");
    let queued_at = row.detail("queued_at");
    let queued_at = queued_at.and_then(|text| text.parse::<Timestamp>().ok());
    let is_open = |one: &&mut Investigation| {
        Some(&one.caller_session_id) == session.as_ref()
            && one.delivered_at.is_none()
            && one.dm_status.ends_with("failed_send")
            && queued_at.is_none_or(|queued| one.at >= queued)
    };
    if let Some(one) = found.iter_mut().find(is_open) {
        one.delivered_at = row.emitted_at();
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
            let named = ["tool", "tool_name", "name"].map(|field| row.detail(field));
            let tool = named.into_iter().flatten().next();
            if let (true, Some(session), Some(at)) = (
                row.is_of(TOOL_SEAM),
                row.text("caller_session_id"),
                row.emitted_at(),
            ) {
                let tool = tool.unwrap_or_else(|| "?".to_owned());
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
            && let Ok(row) = serde_json::from_str(&String::from_utf8_lossy(&line))
        {
            take(Row(row));
        }
    }
}

const HEAD: [&str; 8] = [
    "WHEN (UTC)",
    "PROBE",
    "CATEGORY",
    "SEVERITY",
    "DM",
    "TOOK",
    "TOKENS",
    "TOOLS",
];
/// The columns that a narrow terminal goes without, the first one first.
const DISPENSABLE: [usize; 4] = [6, 7, 5, 3];
const BETWEEN: &str = "  ";
/// What the diagnosis should have at least.
const ROOM_FOR_DIAGNOSIS: usize = 32;

fn print_table(investigations: &[Investigation], painter: Painter) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if investigations.is_empty() {
        writeln!(out, "No investigations.")?;
        return out.flush();
    }
    let rows: Vec<[String; 8]> = investigations.iter().map(cells).collect();
    let columns = columns(&rows, width());
    let line = |cells: &[String; 8], last: &str| {
        let mut line = String::new();
        for (column, width) in &columns {
            line.push_str(&pad(&cells[*column], *width));
            line.push_str(BETWEEN);
        }
        fit_line((line + last).trim_end())
    };
    let head = line(&HEAD.map(str::to_owned), "DIAGNOSIS");
    writeln!(out, "{}", painter.paint(Colour::Bold, &head))?;
    for (row, one) in rows.iter().zip(investigations) {
        writeln!(out, "{}", line(row, &diagnosis(one)))?;
    }
    out.flush()
}

/// The columns that are shown, each with its width.
fn columns(rows: &[[String; 8]], room: Option<usize>) -> Vec<(usize, usize)> {
    let longest = |column: usize| {
        let cells = rows.iter().map(|row| row[column].width());
        cells.max().unwrap_or(0).max(HEAD[column].len())
    };
    let mut columns: Vec<_> = (0..HEAD.len())
        .map(|column| (column, longest(column)))
        .collect();
    for dispensable in DISPENSABLE {
        let taken = columns.iter().map(|(_, width)| width + BETWEEN.len());
        if room.is_none_or(|room| taken.sum::<usize>() + ROOM_FOR_DIAGNOSIS <= room) {
            break;
        }
        columns.retain(|(column, _)| *column != dispensable);
    }
    columns
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
        assert_eq!(at("2026-05-01"), "2026-05-01T00:00:00Z");
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
