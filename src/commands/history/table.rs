//! The history as a table that fits the terminal. What does not fit is wrapped, or moved below the
//! diagnosis. Nothing is cut.

use unicode_width::UnicodeWidthStr;

use crate::record::{Investigation, Record, Resolution, Tool, Totals};
use crate::report::count;
use crate::terminal::{Colour, Painter, drawn, pad, width, wrap, wrapped};
use crate::text::on_one_line;

struct Column {
    head: &'static str,
    /// The greatest width at a terminal.
    widest: usize,
    cell: fn(&Investigation) -> String,
}

const fn column(head: &'static str, widest: usize, cell: fn(&Investigation) -> String) -> Column {
    Column { head, widest, cell }
}

/// The columns that are always there, beside the diagnosis.
static ALWAYS: [Column; 3] = [
    column("WHEN (UTC)", 16, when),
    column("PROBE", 24, |one| on_one_line(&one.pair.probe)),
    column("SEVERITY", 24, |one| on_one_line(&one.severity)),
];
/// Columns for a wide terminal. On a narrow one their texts stand below the diagnosis.
static FURTHER: [Column; 6] = [
    column("CATEGORY", 24, |one| on_one_line(&one.pair.category)),
    column("DM", 24, delivery),
    column("NOW", 8, |one| one.resolution.name().to_owned()),
    column("TOOK", 12, took),
    column("TOKENS", 12, tokens),
    column("TOOLS", 40, |one| tools(&one.tools)),
];
const BETWEEN: &str = "  ";
/// The least width for the diagnosis.
const LEAST_DIAGNOSIS: usize = 32;

/// A row for each investigation, and the totals.
pub(super) fn lines(shown: &[&Investigation], record: &Record, painter: Painter) -> Vec<String> {
    let mut lines = Vec::new();
    if shown.is_empty() {
        lines.push("No investigations.".to_owned());
    } else {
        let layout = Layout::new(shown, width());
        let head = layout.line(&layout.head());
        lines.push(painter.paint(Colour::Bold, &head[0]));
        let rows = shown.iter().map(|one| layout.line(&layout.cells(one)));
        lines.extend(rows.flatten());
    }
    if !record.is_empty() {
        lines.push(totals(&record.totals()));
    }
    lines
}

/// The columns with their widths. The diagnosis gets the width that is left.
struct Layout {
    columns: Vec<(&'static Column, usize)>,
    diagnosis: usize,
    has_further: bool,
}

impl Layout {
    fn new(shown: &[&Investigation], terminal: Option<usize>) -> Self {
        let sized = |column: &'static Column| {
            let cells = shown.iter().map(|one| (column.cell)(one).width());
            let longest = cells.max().unwrap_or(0);
            let width = terminal.map_or(longest, |_| longest.min(column.widest));
            (column, width.max(column.head.len()))
        };
        let room = terminal.unwrap_or(usize::MAX);
        let mut columns: Vec<_> = ALWAYS.iter().chain(&FURTHER).map(sized).collect();
        let has_further = taken(&columns) + LEAST_DIAGNOSIS <= room;
        if !has_further {
            columns.truncate(ALWAYS.len());
        }
        // Long names on a narrow terminal: the probe's column shrinks.
        let too_wide = (taken(&columns) + LEAST_DIAGNOSIS).saturating_sub(room);
        let (probe, width) = &mut columns[1];
        *width = width.saturating_sub(too_wide).max(probe.head.len());
        Self {
            diagnosis: room.saturating_sub(taken(&columns)).max(1),
            columns,
            has_further,
        }
    }

    fn head(&self) -> Vec<String> {
        let heads = self.columns.iter().map(|(column, _)| column.head);
        heads.chain(["DIAGNOSIS"]).map(str::to_owned).collect()
    }

    fn cells(&self, one: &Investigation) -> Vec<String> {
        let cells = self.columns.iter().map(|(column, _)| (column.cell)(one));
        let last = match self.has_further {
            true => diagnosis(one),
            false => format!("{}\n{}", diagnosis(one), further(one)),
        };
        cells.chain([last]).collect()
    }

    /// The lines of one row of the table.
    fn line(&self, cells: &[String]) -> Vec<String> {
        // The last column is wrapped, but not filled up.
        let widths = self.columns.iter().map(|(_, width)| (*width, *width));
        let widths = widths.chain([(self.diagnosis, 0)]);
        let column = |(cell, (width, filled)): (&String, _)| {
            let lines = cell.lines().flat_map(|line| wrap(line, width));
            (lines.collect::<Vec<_>>(), filled)
        };
        let columns: Vec<_> = cells.iter().zip(widths).map(column).collect();
        let height = columns.iter().map(|(lines, _)| lines.len()).max();
        let part = |row: usize| {
            let parts = columns.iter().map(|(lines, filled)| {
                let text = lines.get(row).map_or("", String::as_str);
                pad(text, *filled) + BETWEEN
            });
            parts.collect::<String>().trim_end().to_owned()
        };
        (0..height.unwrap_or(0).max(1)).map(part).collect()
    }
}

/// The width that columns take with the space behind each.
fn taken(columns: &[(&Column, usize)]) -> usize {
    let widths = columns.iter().map(|(_, width)| width + BETWEEN.len());
    widths.sum()
}

/// The texts that have no column.
fn further(one: &Investigation) -> String {
    let is_known = one.resolution != Resolution::Unknown;
    let parts = [
        Some(on_one_line(&one.pair.category)),
        Some(delivery(one)),
        is_known.then(|| format!("{} now", one.resolution.name())),
        Some(format!("took {}", took(one))),
        one.tokens().map(|_| format!("{} tokens", tokens(one))),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let mut further = parts.join(drawn(" · ", " | "));
    if !one.tools.is_empty() {
        further += &format!("\ntools: {}", tools(&one.tools));
    }
    further
}

fn when(one: &Investigation) -> String {
    one.at.strftime("%Y-%m-%d %H:%M").to_string()
}

fn took(one: &Investigation) -> String {
    format!("{:.1}s", one.seconds())
}

fn tokens(one: &Investigation) -> String {
    match (one.input_tokens, one.output_tokens) {
        (None, None) => "-".to_owned(),
        (input, output) => format!("{}+{}", input.unwrap_or(0), output.unwrap_or(0)),
    }
}

/// Each tool with its status, and what went wrong.
pub(super) fn tools(tools: &[Tool]) -> String {
    if tools.is_empty() {
        return "-".to_owned();
    }
    let told: Vec<_> = tools.iter().map(Tool::to_string).collect();
    on_one_line(&told.join(", "))
}

/// What became of the DM, with notes on the investigation.
pub(super) fn delivery(one: &Investigation) -> String {
    let sent = match (one.is_delivered(), one.delivered_at) {
        (true, None) => "sent".to_owned(),
        (true, Some(at)) => format!("sent {}", at.strftime("%m-%d %H:%M")),
        (false, _) => "not sent".to_owned(),
    };
    let mut told = vec![sent];
    told.extend(one.notes("fix attempted", |size| format!("digest of {size}")));
    told.join(", ")
}

pub(super) fn diagnosis(one: &Investigation) -> String {
    match (one.failure(), &one.summary) {
        (Some(failure), _) => format!("({})", on_one_line(&failure)),
        (None, Some(summary)) => on_one_line(summary),
        (None, None) => String::new(),
    }
}

/// The sum of all, wrapped at the terminal's width.
pub(super) fn totals(totals: &Totals) -> String {
    let cost = match totals.cost {
        Some(cost) => format!("${cost:.4}"),
        None => "cost not named".to_owned(),
    };
    let totals = format!(
        "Total: {}, {} dispatched, {} held back, {} failed, {}, {cost}",
        count(totals.wakes, "wake", "wakes"),
        totals.dispatched,
        totals.held_back,
        totals.failed,
        count(totals.tokens, "token", "tokens"),
    );
    wrapped(&totals, 0)
}
