//! The text that the operator reads. Pure: content, place and time in, text out. Texts are unescaped here;
//! Slack's escaping belongs to `slack`.

use jiff::{SignedDuration, Timestamp};

use crate::audit::wake::Wake;
use crate::incident::Severity;
use crate::report::count;
use crate::state::outbox::{Content, Outcome, Place};
use crate::state::queue::{Alert, main_wake};
use crate::time::{clock, span};

/// A wake raised longer ago than this when its message is sent is shown with its age.
const OLD_WAKE: SignedDuration = SignedDuration::from_mins(15);
/// What was held back is shown with its time where that is so much later than the wake's.
const MUCH_LATER: SignedDuration = SignedDuration::from_mins(5);
/// The most characters of a title in a digest's list.
const LISTED_TITLE: usize = 200;

/// The line of a part that an earlier request may have delivered.
pub const MAY_BE_REPEAT: &str =
    "This may be a repeat: whether an earlier attempt reached Slack is not known.";

const FOLLOWS: &str = "The investigation follows in this thread.";

/// The text of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    /// In bytes: where a new part begins, however short the one before is. The text's length where none
    /// does.
    pub further: usize,
}

/// What a message says besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// A paragraph before the status line of an alert without a diagnosis.
    pub before: String,
    /// A line before the status line of an alert with one.
    pub runbook: Option<String>,
    /// How long nothing was watched before this.
    pub unwatched: Option<SignedDuration>,
    /// When the fallback command took it.
    pub handed_over: Option<Timestamp>,
}

/// Renders a message whole, as it is sent at `now`.
pub fn render(content: &Content, place: &Place, lines: &Lines, now: Timestamp) -> Rendered {
    let notes = notes(content.outcome(), lines);
    match content {
        Content::Alert { alerts, outcome } => alert(alerts, outcome, false, lines, &notes, now),
        Content::Announcement { alerts } => {
            alert(alerts, &Outcome::Unsaid, true, lines, &notes, now)
        }
        Content::Result { alerts, outcome } => {
            let about = match alerts.as_slice() {
                [one] => one.wake.probe.clone(),
                more => format!("{} alerts", more.len()),
            };
            let text = format!("🔎 Diagnosis · {about}\n{}", said(outcome));
            reply(text, alerts, place, &notes, now)
        }
        Content::Recovery { alert, healthy_at } => {
            let text = format!(
                "✅ Probe recovered · {}\nHealthy at {}, after {}.",
                alert.wake.probe,
                clock(*healthy_at, now),
                span(healthy_at.duration_since(alert.dispatch.since)),
            );
            reply(text, std::slice::from_ref(alert), place, &notes, now)
        }
        Content::Quiet { log, since } => {
            let text = format!(
                "⚠️ Nothing heard · {log}\nNo row since {} ({}). Is the program that writes it still running?",
                clock(*since, now),
                span(now.duration_since(*since)),
            );
            whole(&[text, notes.join("\n")])
        }
        Content::HeardAgain { at, .. } => {
            let text = format!("✅ Heard again at {}.", clock(*at, now));
            whole(&[text, notes.join("\n")])
        }
    }
}

/// Begins the rest of a message that has no thread to stand in.
pub fn continued(probe: &str) -> String {
    format!("{probe} (continued)\n")
}

fn alert(
    alerts: &[Alert],
    outcome: &Outcome,
    is_pending: bool,
    lines: &Lines,
    notes: &[String],
    now: Timestamp,
) -> Rendered {
    let end = match is_pending {
        true => FOLLOWS.to_owned(),
        false => said(outcome),
    };
    let [one] = alerts else {
        return digest(alerts, &end, lines.handed_over, notes, now);
    };
    let wake = &one.wake;
    let header = format!("{} Probe alert · {}", sign(wake), wake.probe);
    let status = with_notes(status_line(one, lines.handed_over, now), notes);
    let paragraphs = match outcome {
        Outcome::Diagnosis { .. } => {
            let runbook = lines.runbook.iter().map(|line| format!("{line}\n"));
            let facts = format!(
                "{}\n{}{status}",
                fact_line(wake),
                runbook.collect::<String>()
            );
            vec![format!("{header}\n{end}"), facts]
        }
        _ => vec![
            format!("{header}\n{}", fact_line(wake)),
            wake.detail.clone(),
            end,
            lines.before.clone(),
            status,
        ],
    };
    whole(&paragraphs)
}

fn digest(
    alerts: &[Alert],
    end: &str,
    handed_over: Option<Timestamp>,
    notes: &[String],
    now: Timestamp,
) -> Rendered {
    let is_critical = |alert: &&Alert| Severity::of(&alert.wake) == Severity::Critical;
    let critical = match alerts.iter().filter(is_critical).count() {
        0 => String::new(),
        number => format!(" ({number} critical)"),
    };
    let sign = sign(main_wake(alerts));
    let header = format!("{sign} Probe alerts · {} at once{critical}", alerts.len());
    let sorted = sorted(alerts);
    let first = [
        format!("{header}\n{}", list(&sorted)),
        end.to_owned(),
        notes.join("\n"),
    ];
    let Rendered { mut text, .. } = whole(&first);
    text.push_str("\n\n");
    let further = text.len();
    let in_full = sorted.iter().map(|alert| {
        let (wake, status) = (&alert.wake, status_line(alert, handed_over, now));
        format!(
            "{} {}\n\n{}\n\n{status}",
            self::sign(wake),
            fact_line(wake),
            wake.detail
        )
    });
    let in_full: Vec<_> = in_full.collect();
    text.push_str(&in_full.join("\n\n"));
    Rendered { text, further }
}

/// Ends a reply that stands at the top level with the fact that it is about.
fn reply(
    text: String,
    alerts: &[Alert],
    place: &Place,
    notes: &[String],
    now: Timestamp,
) -> Rendered {
    let mut paragraphs = vec![text];
    let notes = notes.join("\n");
    match (place, alerts) {
        (Place::TopLevel, [one]) => {
            let status = with_notes(status_line(one, None, now), &[notes]);
            paragraphs.push(format!("{}\n{status}", fact_line(&one.wake)));
        }
        (Place::TopLevel, more) => paragraphs.extend([list(&sorted(more)), notes]),
        _ => paragraphs.push(notes),
    }
    whole(&paragraphs)
}

fn whole(paragraphs: &[String]) -> Rendered {
    let paragraphs: Vec<_> = paragraphs
        .iter()
        .filter(|one| !one.is_empty())
        .cloned()
        .collect();
    let text = paragraphs.join("\n\n");
    let further = text.len();
    Rendered { text, further }
}

/// The most severe first.
fn sorted(alerts: &[Alert]) -> Vec<&Alert> {
    let mut sorted: Vec<&Alert> = alerts.iter().collect();
    sorted.sort_by_key(|alert| std::cmp::Reverse(Severity::of(&alert.wake)));
    sorted
}

fn list(alerts: &[&Alert]) -> String {
    let lines = alerts.iter().map(|Alert { wake, .. }| {
        let title: String = wake.title.chars().take(LISTED_TITLE).collect();
        let title = title.replace(['\r', '\n'], " ");
        format!("{} {} ({}): {title}", sign(wake), wake.probe, wake.severity)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Diagnosis { text, .. } => text.here().to_owned(),
        Outcome::NoDiagnosis(reason) => {
            format!("I was unable to investigate — engine returned: {reason}")
        }
        Outcome::Unsaid => String::new(),
    }
}

/// The fact that a diagnosis is about.
fn fact_line(wake: &Wake) -> String {
    format!("{} ({}): {}", wake.probe, wake.severity, wake.title)
}

fn sign(wake: &Wake) -> &'static str {
    match wake.severity.to_ascii_lowercase().as_str() {
        "critical" => "🚨",
        "warning" => "⚠️",
        "info" => "ℹ️",
        _ => "🔔",
    }
}

/// The line that ends an alert. `handed_over`: when the fallback command took it.
fn status_line(alert: &Alert, handed_over: Option<Timestamp>, now: Timestamp) -> String {
    let raised = alert.wake.raised_at();
    let read = format!("read {}", clock(alert.read_at, now));
    let raised_at = raised.map_or(read, |raised| format!("raised {}", clock(raised, now)));
    let age = raised.map(|raised| now.duration_since(raised));
    let age = age.filter(|age| *age > OLD_WAKE);
    let age = age.map_or(String::new(), |age| format!(" ({} ago)", span(age)));
    let mut parts = vec![alert.wake.category.clone(), raised_at + &age];
    if alert.dispatch.number > 1 {
        let since = clock(alert.dispatch.since, now);
        parts.push(format!("alert {} since {since}", alert.dispatch.number));
    }
    let held = &alert.held_back;
    if held.counts.repeat > 0 {
        let repeats = count(held.counts.repeat, "repeat", "repeats");
        parts.push(format!("{repeats} held back"));
    }
    if held.counts.silenced > 0 {
        let silence = held.silence.as_ref();
        let until = silence.map(|one| format!(" until {}", clock(one.until, now)));
        let reason = silence.and_then(|one| one.reason.as_ref());
        let reason = reason.map(|reason| format!(" ({reason})"));
        parts.push(format!(
            "{} silenced{}{}",
            held.counts.silenced,
            until.unwrap_or_default(),
            reason.unwrap_or_default()
        ));
    }
    if held.counts.acknowledged > 0 {
        parts.push(format!("{} acknowledged", held.counts.acknowledged));
    }
    let counted = alert.dispatch.counted.filter(|counted| counted.count > 1);
    if let Some(counted) = counted {
        let since = clock(counted.raised, now);
        parts.push(format!("seen {} times since {since}", counted.count));
    }
    let from = raised.unwrap_or(alert.read_at);
    let newest = held
        .newest
        .filter(|newest| newest.duration_since(from) > MUCH_LATER);
    parts.extend(newest.map(|newest| format!("last {}", clock(newest, now))));
    let handed_over = handed_over.map(|at| clock(at, now));
    parts.extend(handed_over.map(|at| format!("also sent by the fallback command {at}")));
    parts.join(" · ")
}

/// The lines after the status line.
fn notes(outcome: Option<&Outcome>, lines: &Lines) -> Vec<String> {
    let cut_short = match outcome {
        Some(Outcome::Diagnosis { cut_short, .. }) => cut_short.as_ref(),
        _ => None,
    };
    let cut_short = cut_short.map(|by| format!("The engine cut this text short ({by})."));
    let unwatched = lines
        .unwatched
        .map(|length| format!("Nothing was watched for {} before this.", span(length)));
    cut_short.into_iter().chain(unwatched).collect()
}

fn with_notes(line: String, notes: &[String]) -> String {
    let lines = std::iter::once(&line)
        .chain(notes)
        .filter(|line| !line.is_empty());
    lines.cloned().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
