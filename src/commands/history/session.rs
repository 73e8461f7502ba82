//! All rows of one session in order of time, with their full texts.

use std::collections::BTreeSet;

use anyhow::anyhow;
use jiff::Timestamp;
use serde::Serialize;

use super::text;
use crate::audit::seams::{AUTOFIX_SEAM, Row, TOOL_SEAM};
use crate::audit::wake::Wake;
use crate::exit::{Exit, Problem};
use crate::outcome::{DELIVERED_SEAM, RECOVERED_SEAM, UNDELIVERED_SEAM};
use crate::record::{Investigation, Record, Selection, Totals, tool};
use crate::terminal::{Colour, Painter, with_margin};
use crate::text::{close_names, on_one_line};

/// Something that happened in a session.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    at: Timestamp,
    /// `wake`, `question`, `answer`, `dm`, `tool`, `fix`, `recovery`, or a row's seam.
    kind: String,
    /// In a few words.
    what: String,
    /// What was said, in full; empty if nothing was.
    text: String,
}

impl Event {
    fn new(at: Timestamp, kind: &str, what: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            at,
            kind: kind.to_owned(),
            what: what.into(),
            text: text.into(),
        }
    }
}

/// Adds what became of a session's investigations to its events. If nothing is known about the session, the
/// error suggests similar names.
pub(super) fn add_investigations(
    mut events: Vec<Event>,
    session: &str,
    since: Option<Timestamp>,
    shown: &Selection<'_>,
) -> Result<Vec<Event>, Problem> {
    events.extend(shown.investigations.iter().copied().flat_map(investigation));
    let pending = shown.incidents.iter().filter(|one| one.pending > 0);
    let question = |at| Event::new(at, "question", "not answered yet", "");
    events.extend(pending.map(|one| question(one.last_wake_at)));
    let mut known = shown.record.investigations.iter();
    if events.is_empty() && !known.any(|one| one.is_in(session)) {
        return Err(unknown(session, shown.record));
    }
    events.retain(|event| since.is_none_or(|since| event.at >= since));
    events.sort_by_key(|event| event.at);
    Ok(events)
}

fn unknown(session: &str, record: &Record) -> Problem {
    let all = record.investigations.iter();
    let known = all.flat_map(|one| [Some(&one.caller_session_id), one.digest_session.as_ref()]);
    let known: BTreeSet<_> = known.flatten().map(|known| on_one_line(known)).collect();
    let close = close_names(session, known.into_iter());
    let next_step = match close.is_empty() {
        true => "history --format json names all sessions".to_owned(),
        false => format!("did you mean {}?", close.join(" or ")),
    };
    let error = anyhow!("there is no session '{}'", on_one_line(session));
    Problem::new(Exit::Failed, error).with_next_step(next_step)
}

/// Returns a wake as an event. Without a time it has no place among the others.
pub(super) fn wake(wake: &Wake) -> Option<Event> {
    let at = wake.raised_at()?;
    let mut text = format!("{}\n\n{}", wake.title, wake.detail);
    if wake.snapshot_details != "{}" {
        text += &format!("\n\nsnapshot_details: {}", wake.snapshot_details);
    }
    Some(Event::new(at, "wake", wake.severity.as_str(), text))
}

/// Returns the question, the answer and the message. The message has the answer's time: how long Slack took
/// is unknown.
fn investigation(one: &Investigation) -> Vec<Event> {
    let mut events = Vec::new();
    if one.was_asked() {
        let about = match one.digest_size {
            Some(size) => format!("about {size} wakes at once"),
            None => "about this wake".to_owned(),
        };
        events.push(Event::new(one.asked_at(), "question", about, ""));
    }
    let model = one.model_used.as_deref().unwrap_or("unknown model");
    let answer = match one.failure() {
        Some(failure) => format!("no diagnosis: {failure}"),
        None => format!("{model}, {:.1} s", one.duration_ms as f64 / 1_000.0),
    };
    let summary = one.summary.as_deref().unwrap_or_default();
    // The summary is the diagnosis, or else the text of the message.
    let (answered, sent) = match one.error {
        None => (summary, ""),
        Some(_) => ("", summary),
    };
    events.push(Event::new(one.at, "answer", answer, answered));
    let status = if one.was_sent() { "sent" } else { "not sent" };
    let what: Vec<_> = [status.to_owned()].into_iter().chain(one.notes()).collect();
    events.push(Event::new(one.at, "dm", what.join(", "), sent));
    events
}

/// Returns any other row as an event, with all its details.
pub(super) fn row(row: &Row) -> Option<Event> {
    let seam = row.text("seam").unwrap_or_default();
    let named = |field| row.detail(field).unwrap_or_default();
    let (kind, what) = match seam.as_str() {
        TOOL_SEAM => ("tool", tool(row)?.to_string()),
        AUTOFIX_SEAM => ("fix", named("status")),
        DELIVERED_SEAM => ("dm", "delivered".to_owned()),
        UNDELIVERED_SEAM => ("dm", format!("given up: {}", named("reason"))),
        RECOVERED_SEAM => ("recovery", "sent".to_owned()),
        other => (other, String::new()),
    };
    let details = row.details().as_object().into_iter().flatten();
    let lines = details.map(|(field, value)| {
        let text = value.as_str().map_or(value.to_string(), str::to_owned);
        format!("{field}: {text}")
    });
    let lines: Vec<_> = lines.collect();
    Some(Event::new(row.emitted_at()?, kind, what, lines.join("\n")))
}

/// Returns a line for each event, its text indented below it, and the totals.
pub(super) fn lines(events: &[Event], totals: &Totals, painter: Painter) -> Vec<String> {
    let mut lines = Vec::new();
    for event in events {
        let at = event.at.strftime("%Y-%m-%d %H:%M:%S");
        let head = on_one_line(&format!("{at}  {:<8}  {}", event.kind, event.what));
        lines.push(painter.paint(Colour::Bold, head.trim_end()));
        lines.extend(with_margin(&event.text, "    "));
    }
    lines.push(text::totals(totals));
    lines
}
