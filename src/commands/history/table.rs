//! The history as a table that fits the terminal.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::Investigation;
use crate::terminal::{Colour, Painter, fit, fit_line, pad, width};
use crate::text::on_one_line;

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

/// A line for each investigation, or a word where there is none.
pub(super) fn print(investigations: &[Investigation], painter: Painter) -> io::Result<()> {
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
