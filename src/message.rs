//! The text that the operator reads. Pure: content, place and time in, text out. Texts are unescaped here;
//! Slack's escaping belongs to `slack`.

use std::slice;

use jiff::{SignedDuration, Timestamp};

use crate::audit::wake::Wake;
use crate::incident::Severity;
use crate::report::count;
use crate::state::outbox::{Content, Outcome, Place};
use crate::state::queue::{Alert, main_wake};
use crate::text::short;
use crate::time::{clock, span};

/// A wake raised longer ago than this when its message is sent is shown with its age.
const OLD_WAKE: SignedDuration = SignedDuration::from_mins(15);
/// What was held back is shown with its time if that is later than the wake's by more than this.
const MUCH_LATER: SignedDuration = SignedDuration::from_mins(5);
/// The line added to a part that an earlier request may have delivered.
pub const MAY_BE_REPEAT: &str =
    "This may be a repeat: whether an earlier attempt reached Slack is not known.";

const FOLLOWS: &str = "The investigation follows in this thread.";

/// The text of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub text: String,
    /// In bytes: where a new part begins, however short the one before it is; the text's length if none does.
    pub further: usize,
}

/// What a message says besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// What comes before the status line of an alert: a paragraph, or a line if there is a diagnosis.
    pub before: String,
    /// How long nothing was watched before this.
    pub unwatched: Option<SignedDuration>,
    /// When the fallback command took the alert.
    pub handed_over: Option<Timestamp>,
}

/// Renders a message whole, as it is sent at `now`.
pub fn render(content: &Content, place: &Place, lines: &Lines, now: Timestamp) -> Rendered {
    let text = match content {
        Content::Alert { alerts, .. } | Content::Announcement { alerts } => {
            return alert(alerts, content.outcome(), lines, now);
        }
        Content::Result { alerts, outcome } => {
            let about = match alerts.as_slice() {
                [one] => one.wake.probe.clone(),
                more => format!("{} alerts", more.len()),
            };
            format!("🔎 Diagnosis · {about}\n{}", said(outcome))
        }
        Content::Recovery { alert, healthy_at } => format!(
            "✅ Probe recovered · {}\nHealthy at {}, after {}.",
            alert.wake.probe,
            clock(*healthy_at, now),
            span(healthy_at.duration_since(alert.dispatch.since)),
        ),
        Content::Quiet { log, since } => format!(
            "⚠️ Nothing heard · {log}\nNo row since {} ({}). Is the program that writes it still running?",
            clock(*since, now),
            span(now.duration_since(*since)),
        ),
        Content::HeardAgain { at, .. } => format!("✅ Heard again at {}.", clock(*at, now)),
    };
    let notes = notes(content.outcome(), lines);
    // A reply at the top level ends with the fact that it is about.
    let end = match (place, content.alerts()) {
        (Place::TopLevel, [one]) => {
            let status = status_line(one, None, now);
            join(&[&fact_line(&one.wake), &status, &notes], "\n")
        }
        (Place::TopLevel, more) => join(&[&list(&sorted(more)), &notes], "\n\n"),
        _ => notes,
    };
    whole(join(&[&text, &end], "\n\n"))
}

/// Renders an alert as a message that holds nothing else.
pub fn of_alert(one: &Alert, outcome: &Outcome, now: Timestamp) -> String {
    alert(slice::from_ref(one), Some(outcome), &Lines::default(), now).text
}

/// Renders an alert. `outcome`: `None` while the investigation is pending.
fn alert(alerts: &[Alert], outcome: Option<&Outcome>, lines: &Lines, now: Timestamp) -> Rendered {
    let end = outcome.map_or(FOLLOWS.to_owned(), said);
    let notes = notes(outcome, lines);
    let [one] = alerts else {
        return digest(alerts, &end, lines, &notes, now);
    };
    let wake = &one.wake;
    let header = format!("{} Probe alert · {}", sign(wake), wake.probe);
    let status = join(&[&status_line(one, lines.handed_over, now), &notes], "\n");
    let fact = fact_line(wake);
    whole(match outcome {
        Some(Outcome::Diagnosis { .. }) => {
            let facts = join(&[&fact, &lines.before, &status], "\n");
            format!("{header}\n{end}\n\n{facts}")
        }
        _ => {
            let facts = format!("{header}\n{fact}");
            join(
                &[&facts, &wake.detail, &end, &lines.before, &status],
                "\n\n",
            )
        }
    })
}

fn digest(alerts: &[Alert], end: &str, lines: &Lines, notes: &str, now: Timestamp) -> Rendered {
    let is_critical = |alert: &&Alert| Severity::of(&alert.wake) == Severity::Critical;
    let critical = match alerts.iter().filter(is_critical).count() {
        0 => String::new(),
        number => format!(" ({number} critical)"),
    };
    let (sign_of_all, number) = (sign(main_wake(alerts)), alerts.len());
    let sorted = sorted(alerts);
    let list = list(&sorted);
    let list = format!("{sign_of_all} Probe alerts · {number} at once{critical}\n{list}");
    let first = join(&[&list, end, notes], "\n\n") + "\n\n";
    let in_full = sorted.iter().map(|alert| {
        let (wake, status) = (&alert.wake, status_line(alert, lines.handed_over, now));
        let (sign, fact) = (sign(wake), fact_line(wake));
        format!("{sign} {fact}\n\n{}\n\n{status}", wake.detail)
    });
    let in_full: Vec<_> = in_full.collect();
    let further = first.len();
    let text = first + &in_full.join("\n\n");
    Rendered { text, further }
}

fn whole(text: String) -> Rendered {
    let further = text.len();
    Rendered { text, further }
}

/// Joins the parts that are not empty.
fn join(parts: &[&str], separator: &str) -> String {
    let parts = parts.iter().copied().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(separator)
}

/// Sorts the alerts, the most severe first.
fn sorted(alerts: &[Alert]) -> Vec<&Alert> {
    let mut sorted: Vec<&Alert> = alerts.iter().collect();
    sorted.sort_by_key(|alert| std::cmp::Reverse(Severity::of(&alert.wake)));
    sorted
}

fn list(alerts: &[&Alert]) -> String {
    let lines = alerts.iter().map(|Alert { wake, .. }| {
        let title = short(&wake.title).replace(['\r', '\n'], " ");
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

/// Returns the line with the fact that a diagnosis is about.
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

/// Returns the line that ends an alert. `handed_over`: when the fallback command took it.
fn status_line(alert: &Alert, handed_over: Option<Timestamp>, now: Timestamp) -> String {
    let (dispatch, held) = (&alert.dispatch, &alert.held_back);
    let (raised, counts) = (alert.wake.raised_at(), held.counts);
    let time = match raised {
        Some(raised) => format!("raised {}", clock(raised, now)),
        None => format!("read {}", clock(alert.read_at, now)),
    };
    let age = raised.map(|raised| now.duration_since(raised));
    let age = age.filter(|age| *age > OLD_WAKE);
    let age = age.map_or(String::new(), |age| format!(" ({} ago)", span(age)));
    let silenced = || {
        let silence = held.silence.as_ref();
        let until = silence.map(|one| format!(" until {}", clock(one.until, now)));
        let reason = silence.and_then(|one| Some(format!(" ({})", one.reason.as_ref()?)));
        let (until, reason) = (until.unwrap_or_default(), reason.unwrap_or_default());
        format!("{} silenced{until}{reason}", counts.silenced)
    };
    let alert_number = || {
        let since = clock(dispatch.since, now);
        format!("alert {} since {since}", dispatch.number)
    };
    let counted = dispatch.counted.filter(|counted| counted.count > 1);
    let counted = counted.map(|one| (one.count, clock(one.raised, now)));
    let from = raised.unwrap_or(alert.read_at);
    let is_much_later = |newest: &Timestamp| newest.duration_since(from) > MUCH_LATER;
    let newest = held.newest.filter(is_much_later);
    let parts = [
        Some(alert.wake.category.clone()),
        Some(time + &age),
        (dispatch.number > 1).then(alert_number),
        (counts.repeat > 0).then(|| count(counts.repeat, "repeat", "repeats") + " held back"),
        (counts.silenced > 0).then(silenced),
        (counts.acknowledged > 0).then(|| format!("{} acknowledged", counts.acknowledged)),
        counted.map(|(count, since)| format!("seen {count} times since {since}")),
        newest.map(|newest| format!("last {}", clock(newest, now))),
        handed_over.map(|at| format!("also sent by the fallback command {}", clock(at, now))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// Returns the lines after the status line.
fn notes(outcome: Option<&Outcome>, lines: &Lines) -> String {
    let cut_short = match outcome {
        Some(Outcome::Diagnosis { cut_short, .. }) => cut_short.as_ref(),
        _ => None,
    };
    let cut_short = cut_short.map(|by| format!("The engine cut this text short ({by})."));
    let unwatched = lines.unwatched.map(span);
    let unwatched =
        unwatched.map(|length| format!("Nothing was watched for {length} before this."));
    let notes = [cut_short, unwatched].into_iter().flatten();
    notes.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
