//! The status as text on one screen: a title and a text for each entry.

use jiff::Timestamp;

use super::{OwedInvestigation, QueuedDm, QuietPair, Status};
use crate::commands::health::age;
use crate::incident::Pair;
use crate::report::{count, counted};
use crate::state::undelivered;
use crate::terminal::{Colour, Painter, wrapped};
use crate::time::{clock, span};

/// The most lines of one entry.
const MOST_LINES: usize = 8;
/// The columns before a text.
const INDENT: usize = 13;

pub(super) fn lines(status: &Status, painter: Painter, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    let mut entry = |title: &str, texts: Vec<String>, colour: Option<Colour>| {
        let titles = std::iter::once(title).chain(std::iter::repeat(""));
        for (title, text) in titles.zip(&texts).take(MOST_LINES) {
            let text = wrapped(text, INDENT);
            let text = match colour {
                Some(colour) => painter.paint(colour, &text),
                None => text,
            };
            lines.push(format!("{title:<INDENT$}{text}"));
        }
        let more = texts.len().saturating_sub(MOST_LINES);
        if more > 0 {
            lines.push(format!("{:INDENT$}and {more} more: see --format json", ""));
        }
    };
    let health = match status.overdue {
        true => Colour::Red,
        false => Colour::Green,
    };
    entry("last run", vec![last_run(status, now)], Some(health));
    entry("log", vec![log(status)], None);
    entry("position", vec![position(status)], None);
    entry("pairs", quiet(&status.held_back, now), None);
    entry("owed", vec![owed(&status.investigations)], None);
    if let Some(failure) = engine_failure(status, now) {
        entry("engine", vec![failure], Some(Colour::Yellow));
    }
    entry("outbox", outbox(&status.outbox, now), None);
    entry("undelivered", vec![undelivered(status)], None);
    entry("problems", status.problems.clone(), Some(Colour::Red));
    lines
}

fn last_run(status: &Status, now: Timestamp) -> String {
    let last = match status.last_run {
        Some(at) => format!("{} ago", span(now.duration_since(at))),
        None => "never: begin with probe-wake check".to_owned(),
    };
    match status.running {
        Some(true) => format!("{last}, running now"),
        _ => last,
    }
}

fn log(status: &Status) -> String {
    let log = &status.audit_log;
    match &status.audit_log_problem {
        Some(_) if std::path::Path::new(log).exists() => format!("{log}, which cannot be read"),
        Some(_) => format!("{log}, which does not exist"),
        None => log.clone(),
    }
}

fn position(status: &Status) -> String {
    let Some(at) = status.position else {
        return "none yet: the next run is a first run".to_owned();
    };
    let Some(lag) = &status.lag else {
        return format!("byte {at}; how far behind it is cannot be told");
    };
    let gap = match lag.gap {
        true => ", nothing holds the position any more",
        false => "",
    };
    let bytes = count(lag.bytes, "byte", "bytes");
    let rows = count(lag.rows, "row", "rows");
    format!("byte {at}, {bytes} and {rows} behind{gap}")
}

fn quiet(pairs: &[QuietPair], now: Timestamp) -> Vec<String> {
    if pairs.is_empty() {
        return vec!["none is quiet".to_owned()];
    }
    let lines = pairs.iter().map(|pair| {
        let Pair { probe, category } = &pair.pair;
        let repeats = match pair.count {
            0 => String::new(),
            number => format!(" ({} held back)", count(number, "repeat", "repeats")),
        };
        let until = clock(pair.until, now);
        format!("{probe}:{category}: quiet until {until}{repeats}")
    });
    lines.collect()
}

fn owed(investigations: &[OwedInvestigation]) -> String {
    let number =
        |is: fn(&&OwedInvestigation) -> bool| investigations.iter().filter(is).count() as u64;
    let parts = counted([
        (number(|one| !one.told), "told nothing yet"),
        (number(|one| one.told && !one.late), "owed a result"),
        (number(|one| one.late), "may be diagnosed late"),
    ]);
    match number(|_| true) {
        0 => "no investigation".to_owned(),
        all => {
            let all = count(all, "investigation", "investigations");
            format!("{all}: {}", parts.join(", "))
        }
    }
}

fn engine_failure(status: &Status, now: Timestamp) -> Option<String> {
    let failure = status.last_failure.as_ref()?;
    let (at, reason) = (clock(failure.at, now), &failure.reason);
    let words = failure.message.as_ref().map(|words| format!(": {words}"));
    let words = words.unwrap_or_default();
    Some(format!("failed at {at}: {reason}{words}"))
}

fn outbox(outbox: &[QueuedDm], now: Timestamp) -> Vec<String> {
    if outbox.is_empty() {
        return vec!["empty".to_owned()];
    }
    let lines = outbox.iter().map(|dm| {
        let waits = span(age(dm.queued_at, now));
        let mut line = format!("{} has waited for {waits}", dm.caller_session_id);
        if dm.failures > 0 {
            let failures = u64::from(dm.failures);
            line += &format!(", failed in {}", count(failures, "run", "runs"));
        }
        if let Some(until) = dm.paused_until {
            line += &format!(", paused until {}", clock(until, now));
        }
        match (&dm.cause, dm.waiting) {
            (Some(cause), _) => line + ": " + cause,
            (None, true) => line + ": the message that it follows goes first",
            (None, false) => line + ": not tried yet",
        }
    });
    lines.collect()
}

fn undelivered(status: &Status) -> String {
    let (dir, file) = (&status.state_dir, undelivered::FOLDER);
    match status.undelivered {
        0 => "none".to_owned(),
        number => format!("{number}, in {dir}/{file}: see probe-wake undelivered"),
    }
}
