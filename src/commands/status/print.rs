//! The status as a person reads it: a line for each thing, on one screen.

use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;

use super::{HeldBackPair, Owed, QueuedDm, Status};
use crate::message::{minute, span};
use crate::report::count;
use crate::state::UNDELIVERED_FILE;
use crate::terminal::{Colour, Painter, fit_line};
use crate::text::on_one_line;

/// Of pairs and of DMs, so many are shown.
const MOST_LINES: usize = 8;

pub(super) fn print(status: &Status, painter: Painter, now: Timestamp) -> io::Result<()> {
    let mut out = io::stdout().lock();
    print_last_run(&mut out, status, painter, now)?;
    print_log(&mut out, status)?;
    print_investigations(&mut out, status)?;
    print_held_back(&mut out, &status.held_back, now)?;
    print_outbox(&mut out, &status.outbox, painter, now)?;
    print_undelivered(&mut out, status, painter)?;
    out.flush()
}

fn print_last_run(
    out: &mut impl Write,
    status: &Status,
    painter: Painter,
    now: Timestamp,
) -> io::Result<()> {
    let ago = |at: Timestamp| format!("{} ago", span(now.duration_since(at)));
    let last = match status.last_run {
        Some(at) if status.overdue => {
            let overdue = format!("{}, overdue: is it scheduled?", ago(at));
            painter.paint(Colour::Red, &overdue)
        }
        Some(at) => painter.paint(Colour::Green, &ago(at)),
        None => painter.paint(Colour::Red, "never: begin with probe-wake check"),
    };
    let running = match status.running {
        Some(true) => ", running now",
        _ => "",
    };
    writeln!(out, "last run     {last}{running}")
}

fn print_log(out: &mut impl Write, status: &Status) -> io::Result<()> {
    let missing = match Path::new(&status.audit_log).exists() {
        true => "",
        false => ", which does not exist",
    };
    let log = on_one_line(&status.audit_log);
    writeln!(out, "log          {log}{missing}")?;
    let Some(at) = status.position else {
        return writeln!(out, "position     none yet: the next run is a first run");
    };
    let Some(lag) = &status.lag else {
        return writeln!(out, "position     byte {at}, the log cannot be read");
    };
    let gap = match lag.gap {
        true => ", nothing holds the position any more",
        false => "",
    };
    let (bytes, rows) = (
        count(lag.bytes, "byte", "bytes"),
        count(lag.rows, "row", "rows"),
    );
    writeln!(
        out,
        "position     byte {at}, {bytes} and {rows} behind{gap}"
    )
}

fn print_investigations(out: &mut impl Write, status: &Status) -> io::Result<()> {
    let count_of =
        |is: fn(&Owed) -> bool| status.investigations.iter().filter(|one| is(one)).count();
    let parts = [
        (count_of(|one| !one.told), "told nothing yet"),
        (count_of(|one| one.told && !one.late), "owed a result"),
        (count_of(|one| one.late), "may be diagnosed late"),
    ];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    let parts: Vec<_> = parts
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    if !parts.is_empty() {
        writeln!(out, "investigated {}", parts.join(", "))?;
    }
    if let Some(failure) = &status.last_failure {
        let words = failure.message.as_deref();
        let words = words.map(|words| format!(": {}", on_one_line(words)));
        let (at, reason) = (minute(failure.at), on_one_line(&failure.reason));
        writeln!(
            out,
            "engine       failed at {at}: {reason}{}",
            words.unwrap_or_default()
        )?;
    }
    Ok(())
}

fn print_undelivered(out: &mut impl Write, status: &Status, painter: Painter) -> io::Result<()> {
    let dir = on_one_line(&status.state_dir);
    let undelivered = match status.undelivered {
        0 => "none".to_owned(),
        number => {
            let where_they_are = format!("{number}, in {dir}/{UNDELIVERED_FILE}");
            painter.paint(Colour::Red, &where_they_are)
        }
    };
    writeln!(out, "undelivered  {undelivered}")
}

fn print_held_back(out: &mut impl Write, pairs: &[HeldBackPair], now: Timestamp) -> io::Result<()> {
    if pairs.is_empty() {
        return writeln!(out, "held back    nothing");
    }
    let lines = pairs.iter().map(|pair| {
        let left = span(pair.until.duration_since(now));
        let until = minute(pair.until);
        let (probe, category) = (&pair.probe, &pair.category);
        let times = count(pair.count, "repeat", "repeats");
        format!("{probe}:{category}: {times}, until {until} (in {left})")
    });
    print_some(out, "held back", lines, |line| line)
}

/// The first few of a list, so that the answer stays on one screen.
fn print_some(
    out: &mut impl Write,
    title: &str,
    lines: impl ExactSizeIterator<Item = String>,
    paint: impl Fn(String) -> String,
) -> io::Result<()> {
    let more = lines.len().saturating_sub(MOST_LINES);
    for (index, line) in lines.take(MOST_LINES).enumerate() {
        let title = if index == 0 { title } else { "" };
        let line = fit_line(&format!("{title:<12} {}", on_one_line(&line)));
        writeln!(out, "{}", paint(line))?;
    }
    if more > 0 {
        writeln!(out, "{:<12} and {more} more: see --format json", "")?;
    }
    Ok(())
}

fn print_outbox(
    out: &mut impl Write,
    outbox: &[QueuedDm],
    painter: Painter,
    now: Timestamp,
) -> io::Result<()> {
    if outbox.is_empty() {
        return writeln!(out, "outbox       empty");
    }
    let lines = outbox.iter().map(|dm| {
        let waits = span(now.duration_since(dm.queued_at));
        let cause = dm.cause.as_deref().unwrap_or("not tried yet");
        format!("{} has waited for {waits}: {cause}", dm.caller_session_id)
    });
    print_some(out, "outbox", lines, |line| {
        painter.paint(Colour::Yellow, &line)
    })
}
