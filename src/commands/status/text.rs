//! The status as text: a title and a text for each entry, what is open first.

use std::path::Path;

use jiff::Timestamp;

use super::{OpenIncident, OpenInvestigation, QueuedMessage, Status};
use crate::commands::health::age;
use crate::incident::Pair;
use crate::report::{count, counted};
use crate::state::undelivered;
use crate::terminal::{Colour, Painter, wrapped};
use crate::text::with_reason;
use crate::time::{clock, span};

/// The columns before a text.
const INDENT: usize = 13;
/// The most lines of the outbox: there can be thousands.
const MOST_LINES: usize = 8;

pub(super) fn lines(status: &Status, painter: Painter, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    let mut entry = |title: &str, texts: &[String], colour: Option<Colour>| {
        let titles = std::iter::once(title).chain(std::iter::repeat(""));
        for (title, text) in titles.zip(texts) {
            let text = wrapped(text, INDENT);
            let text = colour.map_or(text.clone(), |colour| painter.paint(colour, &text));
            lines.push(format!("{title:<INDENT$}{text}"));
        }
    };
    let open: Vec<_> = status.open.iter().map(|one| open(one, now)).collect();
    match open.is_empty() {
        true => entry("open", &["nothing".to_owned()], Some(Colour::Green)),
        false => entry("open", &open, Some(Colour::Red)),
    }
    let over: Vec<_> = status.over.iter().map(|one| over(one, now)).collect();
    entry("over", &over, None);
    let silences: Vec<_> = status.silences.iter().map(|one| one.line(now)).collect();
    entry("silences", &silences, None);
    let health = match status.problems.is_empty() {
        true => Colour::Green,
        false => Colour::Red,
    };
    entry("last run", &[last_run(status, now)], Some(health));
    entry("log", &[log(status)], None);
    entry("position", &[position(status)], None);
    entry("pending", &[pending(&status.investigations)], None);
    if let Some(failure) = &status.last_failure {
        let reason = format!("failed at {}: {}", clock(failure.at, now), failure.reason);
        let failure = with_reason(&reason, failure.message.as_deref());
        entry("engine", &[failure], Some(Colour::Yellow));
    }
    entry("outbox", &outbox(&status.outbox, now), None);
    let (dir, folder) = (&status.state_dir, undelivered::FOLDER);
    let undelivered = match status.undelivered {
        0 => "none".to_owned(),
        number => format!("{number}, in {dir}/{folder}: see probe-wake undelivered"),
    };
    entry("undelivered", &[undelivered], None);
    let recovery = status.recovery_problem.as_slice();
    entry("recovery", recovery, Some(Colour::Yellow));
    entry("problems", &status.problems, Some(Colour::Red));
    lines
}

fn name(one: &OpenIncident) -> String {
    let Pair { probe, category } = &one.pair;
    format!("{probe}:{category} ({})", one.severity.name())
}

fn open(one: &OpenIncident, now: Timestamp) -> String {
    let mut line = format!(
        "{} since {}: {}; {}, {}, last seen {}",
        name(one),
        clock(one.since, now),
        one.title,
        count(one.wakes, "wake", "wakes"),
        count(one.messages, "message", "messages"),
        clock(one.last_seen, now),
    );
    if let Some((until, by)) = one.quiet_until.zip(one.quiet_by) {
        let how = if by == "window" { "quiet" } else { by };
        line += &format!(", {how} until {}", clock(until, now));
    }
    if let Some(silence) = &one.silence {
        line += &format!(" by {silence}");
    }
    line
}

fn over(one: &OpenIncident, now: Timestamp) -> String {
    let seen = clock(one.last_seen, now);
    format!("{}: last seen {seen}, no recovery seen", name(one))
}

fn last_run(status: &Status, now: Timestamp) -> String {
    let last = match status.last_run {
        Some(at) => format!("{} ago", span(now.duration_since(at))),
        None => "never".to_owned(),
    };
    match status.running {
        Some(true) => format!("{last}, running now"),
        _ => last,
    }
}

fn log(status: &Status) -> String {
    let log = &status.audit_log;
    match &status.audit_log_problem {
        Some(_) if Path::new(log).exists() => format!("{log}, which cannot be read"),
        Some(_) => format!("{log}, which does not exist"),
        None => log.clone(),
    }
}

fn position(status: &Status) -> String {
    let Some(at) = status.position else {
        return "none yet: the next run is a first run".to_owned();
    };
    let Some(lag) = &status.lag else {
        return format!("byte {at}; how much is unread is unknown");
    };
    let bytes = count(lag.bytes, "byte", "bytes");
    let rows = count(lag.rows, "row", "rows");
    let mut line = format!("byte {at}, {bytes} and {rows} unread");
    if lag.gap {
        line += ", nothing holds the position any more";
    }
    if let Some(path) = &lag.waiting {
        line += &format!("; {path} cannot be read whole yet, and is read later");
    }
    line
}

fn pending(all: &[OpenInvestigation]) -> String {
    let number = |stage| all.iter().filter(|one| one.stage == stage).count() as u64;
    let parts = counted([
        (number("new"), "with nothing sent yet"),
        (number("announced"), "with the diagnosis pending"),
        (number("retrying"), "asked again later"),
    ]);
    if parts.is_empty() {
        return "no investigation".to_owned();
    }
    let all = count(all.len() as u64, "investigation", "investigations");
    format!("{all}: {}", parts.join(", "))
}

fn outbox(outbox: &[QueuedMessage], now: Timestamp) -> Vec<String> {
    if outbox.is_empty() {
        return vec!["empty".to_owned()];
    }
    let lines = outbox.iter().take(MOST_LINES).map(|message| {
        let waits = span(age(message.queued_at, now));
        let mut line = format!("{} has waited for {waits}", message.caller_session_id);
        if message.failures > 0 {
            let failures = u64::from(message.failures);
            line += &format!(", failed {}", count(failures, "time", "times"));
        }
        if let Some(until) = message.paused_until {
            line += &format!(", paused until {}", clock(until, now));
        }
        let cause = message.cause.as_deref();
        line + ": "
            + cause.unwrap_or(match message.waiting {
                true => "the message that it follows goes first",
                false => "not tried yet",
            })
    });
    let mut lines: Vec<_> = lines.collect();
    let more = outbox.len().saturating_sub(MOST_LINES);
    if more > 0 {
        lines.push(format!("and {more} more: see --format json"));
    }
    lines
}
