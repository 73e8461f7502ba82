//! The history for a person: a block for each group of incidents, and the totals. At a terminal they
//! are wrapped to its width; nothing is cut.

use jiff::Timestamp;

use crate::incident::Pair;
use crate::record::{Incident, Record, Resolution, Selection, Totals};
use crate::report::count;
use crate::terminal::{Colour, Painter, width, wrap, wrapped};
use crate::text::on_one_line;

pub(super) fn lines(shown: &Selection<'_>, now: Timestamp, painter: Painter) -> Vec<String> {
    let mut lines = Vec::new();
    for group in &shown.groups {
        lines.extend(block(group, shown.record, now, painter));
        lines.push(String::new());
    }
    if shown.groups.is_empty() {
        lines.push("Nothing to show.".to_owned());
    }
    if shown.totals.wakes > 0 {
        lines.push(totals(&shown.totals));
    }
    lines
}

/// Returns `fly:service_unhealthy (critical), 14:32 to 15:10 UTC (38 min), recovered`, and below it what is
/// known.
fn block(group: &Incident, record: &Record, now: Timestamp, painter: Painter) -> Vec<String> {
    let Pair { probe, category } = &group.pair;
    let state = group.state().map(|state| format!(", {state}"));
    let (severity, when) = (&group.severity, group.when(now));
    let state = state.unwrap_or_default();
    let head = format!("{probe}:{category} ({severity}), {when}{state}");
    let head = wrapped(&head, 0);
    let colour = match group.resolution {
        Resolution::Active => Colour::Red,
        _ => Colour::Bold,
    };
    let head = head.lines().map(|line| painter.paint(colour, line));
    let title = group.title.as_deref().unwrap_or_default();
    let diagnosis = group.diagnosis.as_deref().unwrap_or_default();
    let (counts, problems) = (group.counts(record), group.problems(record).join("\n"));
    let below = [title, &counts, diagnosis, &problems];
    head.chain(below.into_iter().flat_map(indented)).collect()
}

/// Wraps a text at the terminal's width and indents it. Blank lines are left out.
fn indented(text: &str) -> Vec<String> {
    let columns = width().map_or(usize::MAX, |columns| columns - 2);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines = lines.flat_map(|line| wrap(&on_one_line(line), columns));
    lines.map(|line| format!("  {line}")).collect()
}

/// Returns the totals, wrapped at the terminal's width.
pub(super) fn totals(totals: &Totals) -> String {
    let reasons = match totals.held_back {
        0 => String::new(),
        _ => format!(" ({})", totals.by_reason),
    };
    let totals = format!(
        "Total: {}, {} dispatched, {} held back{reasons}, {} failed, {}, {}",
        count(totals.wakes, "wake", "wakes"),
        totals.dispatched,
        totals.held_back,
        totals.failed,
        count(totals.tokens, "token", "tokens"),
        totals.cost(),
    );
    wrapped(&totals, 0)
}
