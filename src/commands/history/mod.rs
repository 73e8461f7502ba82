//! `history`: the table that an operator reads on Monday morning. Its rows are the outcome rows,
//! joined with the tools that the engine called meanwhile, which the audit log tells.

mod table;

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::audit::seams::{Row, for_each_row};
use crate::cli::{Format, Global, HistoryArgs};
use crate::config::Paths;
use crate::exit::{Ended, Exit, Problem};
use crate::outcome::{COMPLETED_SEAM, DELIVERED_SEAM, FILE, TURNED_FILE};
use crate::report::print_json;
use crate::terminal::Painter;

const TOOL_SEAM: &str = "reasoning.tool_called";
/// How much of the audit log's end is searched for the tools.
const TOOLS_FROM_LAST: u64 = 64 * 1024 * 1024;

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
    join_tools(&mut investigations, &paths.audit_log)
        .with_context(|| format!("cannot read {}", paths.audit_log.display()))?;
    investigations.retain(|one| {
        since.is_none_or(|since| one.at >= since)
            && args.probe.as_ref().is_none_or(|probe| one.probe == *probe)
    });
    match args.format.format {
        Format::Json => print_json(&History {
            version: 1,
            investigations,
        }),
        Format::Text => table::print(&investigations, Painter::for_stdout(paths.no_color)),
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
    let mut calls = Vec::new();
    let length = std::fs::metadata(log).map_or(0, |meta| meta.len());
    for_each_row(
        log,
        length.saturating_sub(TOOLS_FROM_LAST),
        TOOL_SEAM,
        |row| {
            let named = ["tool", "tool_name", "name"].map(|field| row.detail(field));
            let tool = named.into_iter().flatten().next();
            if let (true, Some(session)) = (row.is_of(TOOL_SEAM), row.text("caller_session_id")) {
                let tool = tool.unwrap_or_else(|| "?".to_owned());
                calls.push((session, row.emitted_at(), tool));
            }
        },
    )?;
    for (session, at, tool) in calls {
        let of_session = investigations
            .iter_mut()
            .filter(|one| one.caller_session_id == session);
        if let Some(one) = of_session.min_by_key(|one| distance(one, at)) {
            one.tools.push(tool);
        }
    }
    Ok(())
}

/// How far a tool's call lies from the time of an investigation; a call that does not tell its time
/// is nearest to the last one.
fn distance(one: &Investigation, called_at: Option<Timestamp>) -> SignedDuration {
    let Some(called_at) = called_at else {
        return Timestamp::MAX.duration_since(one.at);
    };
    let length = SignedDuration::from_millis(i64::try_from(one.duration_ms).unwrap_or(i64::MAX));
    let begun = one.at.checked_sub(length).unwrap_or(one.at);
    let nearest = called_at.clamp(begun, one.at);
    nearest.duration_since(called_at).abs()
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
