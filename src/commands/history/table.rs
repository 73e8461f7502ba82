//! The history as a table that fits the terminal. What does not fit is wrapped, or moved below the
//! diagnosis. Nothing is cut.

use unicode_width::UnicodeWidthStr;

use crate::record::{Investigation, Record, Resolution, Tool, Totals};
use crate::report::count;
use crate::terminal::{Colour, Painter, drawn, pad, width, wrap, wrapped};
use crate::text::on_one_line;

/// A column: its head, its greatest width at a terminal, and its text for an investigation.
type Column = (&'static str, usize, fn(&Investigation) -> String);

/// The columns that are always there, beside the diagnosis.
const ALWAYS: [Column; 3] = [
    ("WHEN (UTC)", 16, |one| {
        one.at.strftime("%Y-%m-%d %H:%M").to_string()
    }),
    ("PROBE", 24, |one| on_one_line(&one.pair.probe)),
    ("SEVERITY", 24, |one| on_one_line(&one.severity)),
];
/// Columns for a wide terminal. On a narrow one their texts stand below the diagnosis.
const FURTHER: [Column; 6] = [
    ("CATEGORY", 24, |one| on_one_line(&one.pair.category)),
    ("DM", 24, delivery),
    ("NOW", 8, |one| one.resolution.name().to_owned()),
    ("TOOK", 12, took),
    ("TOKENS", 12, tokens),
    ("TOOLS", 40, |one| tools(&one.tools)),
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
    columns: Vec<(Column, usize)>,
    diagnosis: usize,
    has_further: bool,
}

impl Layout {
    fn new(shown: &[&Investigation], room: Option<usize>) -> Self {
        let sized = |column: &Column| {
            let (head, widest, cell) = column;
            let cells = shown.iter().map(|one| cell(one).width());
            let longest = cells.max().unwrap_or(0);
            let width = room.map_or(longest, |_| longest.min(*widest));
            (*column, width.max(head.len()))
        };
        let mut columns: Vec<_> = ALWAYS.iter().chain(&FURTHER).map(sized).collect();
        let taken = |columns: &[(Column, usize)]| {
            let widths = columns.iter().map(|(_, width)| width + BETWEEN.len());
            widths.sum::<usize>()
        };
        let fits = |columns: &[(Column, usize)]| {
            room.is_none_or(|room| taken(columns) + LEAST_DIAGNOSIS <= room)
        };
        let has_further = fits(&columns);
        if !has_further {
            columns.truncate(ALWAYS.len());
        }
        if !fits(&columns) {
            // Long names on a narrow terminal: the probe's column shrinks.
            let left = room
                .unwrap_or(0)
                .saturating_sub(taken(&columns) - columns[1].1);
            columns[1].1 = left
                .saturating_sub(LEAST_DIAGNOSIS)
                .max(columns[1].0.0.len());
        }
        let diagnosis = room.map_or(usize::MAX, |room| room.saturating_sub(taken(&columns)));
        Self {
            diagnosis: diagnosis.max(1),
            columns,
            has_further,
        }
    }

    fn head(&self) -> Vec<String> {
        let heads = self.columns.iter().map(|((head, ..), _)| *head);
        heads.chain(["DIAGNOSIS"]).map(str::to_owned).collect()
    }

    fn cells(&self, one: &Investigation) -> Vec<String> {
        let mut cells: Vec<_> = self
            .columns
            .iter()
            .map(|((.., cell), _)| cell(one))
            .collect();
        let mut last = diagnosis(one);
        if !self.has_further {
            last.push('\n');
            last.push_str(&further(one));
        }
        cells.push(last);
        cells
    }

    /// The lines of one row of the table.
    fn line(&self, cells: &[String]) -> Vec<String> {
        let widths = self.columns.iter().map(|(_, width)| *width);
        let widths: Vec<_> = widths.chain([self.diagnosis]).collect();
        let wrapped: Vec<Vec<String>> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| cell.lines().flat_map(|line| wrap(line, *width)).collect())
            .collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let part = |row: usize| {
            let cells = wrapped.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (lines, width))| {
                let text = lines.get(row).map_or("", String::as_str);
                match column == widths.len() - 1 {
                    true => text.to_owned(),
                    false => pad(text, *width) + BETWEEN,
                }
            });
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..height).map(part).collect()
    }
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
