//! All rows of one session, oldest first, with their texts in full.

use jiff::Timestamp;
use log::warn;
use serde::Serialize;

use super::read::Found;
use super::table::{delivery, totals};
use crate::audit::seams::{AUTOFIX_SEAM, Row, TOOL_SEAM};
use crate::config::Config;
use crate::message::{Lines, render};
use crate::outcome::COMPLETED_SEAM;
use crate::record::{Investigation, Totals, WakeDecision, WakeRecord, tool};
use crate::state::Store;
use crate::state::outbox::Message;
use crate::state::undelivered;
use crate::terminal::{Colour, Painter};
use crate::text::{for_terminal, on_one_line};

/// Something that happened in a session.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    at: Timestamp,
    /// `wake`, `question`, `answer`, `dm`, `tool`, `fix`, `recovery`, or a row's seam.
    kind: String,
    /// In a few words.
    what: String,
    /// What was said, in full; empty where nothing was.
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

/// The events of a session, oldest first. The record in `found` must hold only this session.
pub(super) fn events(
    session: &str,
    since: Option<Timestamp>,
    found: &Found,
    config: &Config,
) -> Vec<Event> {
    let record = &found.record;
    let mut events: Vec<Event> = record.wakes.iter().map(wake).collect();
    events.extend(record.investigations.iter().flat_map(investigation));
    events.extend(record.recoveries.iter().map(|one| {
        let text = format!("Healthy at {}.", one.healthy_at);
        Event::new(one.at, "recovery", "told", text)
    }));
    events.extend(found.rows.iter().filter_map(row));
    let queued = found.state.outbox.iter();
    let queued = queued.filter(|one| one.subject().caller_session_id() == session);
    events.extend(queued.map(queued_message));
    let store = Store::at(&config.paths.state_dir);
    match undelivered::list(&store, &found.state.outbox) {
        Ok(entries) => {
            let given_up = entries.into_iter().filter_map(|entry| entry.read.ok());
            let given_up = given_up.filter(|one| one.caller_session_id == session);
            events.extend(given_up.map(|one| {
                let what = format!("given up: {}", one.reason);
                Event::new(one.given_up_at, "message", what, text(&one.message))
            }));
        }
        Err(error) => warn!("{error:#}"),
    }
    for secret in config.secrets() {
        for event in &mut events {
            event.text = secret.mask(std::mem::take(&mut event.text));
        }
    }
    events.retain(|event| since.is_none_or(|since| event.at >= since));
    events.sort_by_key(|event| event.at);
    events
}

fn wake(raised: &WakeRecord) -> Event {
    let wake = &raised.wake;
    let decision = match raised.decision {
        WakeDecision::Dispatched => "dispatched",
        WakeDecision::HeldBack => "held back",
        WakeDecision::Unknown => "no run is known to have dispatched it",
    };
    let mut text = format!("{}\n\n{}", wake.title, wake.detail);
    if wake.snapshot_details != "{}" {
        text.push_str(&format!("\n\nsnapshot_details: {}", wake.snapshot_details));
    }
    let what = format!("{}, {decision}", wake.severity);
    Event::new(raised.at, "wake", what, text)
}

/// The question, the answer and the DM. The DM gets the answer's time: how long Slack took is not
/// known.
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
        None => format!("{model}, {:.1} s", one.seconds()),
    };
    let summary = one.summary.as_deref().unwrap_or_default();
    // The summary is the diagnosis, or else the text of the DM.
    let (said, dm_text) = match one.error {
        None => (summary, ""),
        Some(_) => ("", summary),
    };
    events.push(Event::new(one.at, "answer", answer, said));
    let at = one.delivered_at.unwrap_or(one.at);
    events.push(Event::new(at, "dm", delivery(one), dm_text));
    events
}

/// A row of the audit log with all its details. Outcome rows are left out: `investigation` has them.
fn row(row: &Row) -> Option<Event> {
    let seam = row.text("seam").unwrap_or_default();
    let (kind, what) = match seam.as_str() {
        COMPLETED_SEAM => return None,
        TOOL_SEAM => ("tool", tool(row)?.to_string()),
        AUTOFIX_SEAM => ("fix", row.detail("status").unwrap_or_default()),
        other => (other, String::new()),
    };
    let details = row.details().as_object().into_iter().flatten();
    let lines = details.map(|(field, value)| match value.as_str() {
        Some(text) => format!("{field}: {text}"),
        None => format!("{field}: {value}"),
    });
    let lines: Vec<_> = lines.collect();
    Some(Event::new(row.emitted_at()?, kind, what, lines.join("\n")))
}

fn queued_message(message: &Message) -> Event {
    let what = match &message.cause {
        Some(cause) => format!("queued: {cause}"),
        None => "queued".to_owned(),
    };
    Event::new(message.queued_at, "message", what, text(message))
}

fn text(message: &Message) -> String {
    let (place, now) = (&message.place, message.queued_at);
    render(&message.content, place, &Lines::default(), now).text
}

/// A line for each event, its text indented below it, and the totals.
pub(super) fn lines(events: &[Event], sum: &Totals, painter: Painter) -> Vec<String> {
    if events.is_empty() {
        return vec!["No such session.".to_owned()];
    }
    let mut lines = Vec::new();
    for event in events {
        let at = event.at.strftime("%Y-%m-%d %H:%M:%S");
        let head = on_one_line(&format!("{at}  {:<8}  {}", event.kind, event.what));
        lines.push(painter.paint(Colour::Bold, head.trim_end()));
        let text = for_terminal(&event.text);
        lines.extend(text.lines().map(|line| match line {
            "" => String::new(),
            line => format!("    {line}"),
        }));
    }
    lines.push(totals(sum));
    lines
}
