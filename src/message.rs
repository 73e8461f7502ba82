//! The DM's words: diagnosis or reason → the text that the operator reads. Pure. Texts are
//! unescaped here; Slack's escaping is the wire's business.

use jiff::{SignedDuration, Timestamp, Unit};

use crate::audit::wake::Wake;
use crate::debounce::HeldBack;
use crate::engine::{Diagnosis, Failure};
use crate::state::outbox::Dm;

/// A wake raised longer ago than this when it is dispatched is told with its time.
const OLD_WAKE: SignedDuration = SignedDuration::from_mins(15);
/// A DM that waited longer than this is told to be late.
const LATE_DM: SignedDuration = SignedDuration::from_mins(5);

/// The line of a DM that an earlier request may have delivered already.
pub const MAY_BE_REPEAT: &str =
    "This may be a repeat: whether an earlier attempt reached Slack is not known.";

/// The message without its notes.
pub fn text(wake: &Wake, result: &Result<Diagnosis, Failure>) -> String {
    let header = header(wake);
    match result {
        Ok(diagnosis) => format!("{header}\n{}", diagnosis.text()),
        Err(failure) => format!(
            "{header}\n{} ({}): {}\n\n{}\n\nI was unable to investigate — engine returned: {}",
            wake.probe, wake.severity, wake.title, wake.detail, failure.reason
        ),
    }
}

/// A message's first line.
pub fn header(wake: &Wake) -> String {
    format!("{} Probe alert · {}", sign(&wake.severity), wake.probe)
}

fn sign(severity: &str) -> &'static str {
    match severity {
        "critical" => "🚨",
        "warning" => "⚠️",
        "info" => "ℹ️",
        _ => "🔔",
    }
}

/// The lines that a dispatch adds to its message.
pub fn notes(
    wake: &Wake,
    result: &Result<Diagnosis, Failure>,
    held_back: Option<HeldBack>,
    dispatched_at: Timestamp,
) -> Vec<String> {
    let cut = result.as_ref().ok().and_then(Diagnosis::cut_short);
    let raised = wake
        .raised_at()
        .filter(|raised| dispatched_at.duration_since(*raised) > OLD_WAKE);
    [
        cut.map(|cut| format!("The engine cut this text short ({cut}).")),
        held_back.map(|held| {
            let repeats = if held.count == 1 {
                "repeat was"
            } else {
                "repeats were"
            };
            format!(
                "{} {repeats} held back since {}.",
                held.count,
                minute(held.since)
            )
        }),
        raised.map(|raised| {
            let age = span(dispatched_at.duration_since(raised));
            format!(
                "Raised at {}, {age} before it was dispatched.",
                minute(raised)
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The line of a DM that waited in the outbox.
pub fn late_note(dm: &Dm, now: Timestamp) -> Option<String> {
    let waited = now.duration_since(dm.queued_at);
    (waited > LATE_DM).then(|| format!("This message is late: it was queued for {}.", span(waited)))
}

/// The line of the first DM after a time without runs.
pub fn unwatched_note(length: SignedDuration) -> String {
    format!(
        "Before this, nothing was watched for {}: no run took place.",
        span(length)
    )
}

/// A text with its notes behind a blank line.
pub fn with_notes(text: &str, notes: &[String]) -> String {
    if notes.is_empty() {
        text.to_owned()
    } else {
        format!("{text}\n\n{}", notes.join("\n"))
    }
}

/// A time as an operator reads it; always UTC, which the row's own time is in.
pub fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// A length of time in its two largest units: `2 h 5 min`.
pub fn span(length: SignedDuration) -> String {
    let seconds = length
        .round(Unit::Second)
        .unwrap_or(length)
        .as_secs()
        .max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let units = [
        (days, "d"),
        (hours, "h"),
        (minutes, "min"),
        (seconds % 60, "s"),
    ];
    let first = units
        .iter()
        .position(|(number, _)| *number > 0)
        .unwrap_or(3);
    let shown = units[first..]
        .iter()
        .take(2)
        .filter(|(number, _)| *number > 0);
    let shown: Vec<_> = shown
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    if shown.is_empty() {
        "0 s".to_owned()
    } else {
        shown.join(" ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::engine::Reason;

    fn wake() -> Wake {
        Wake {
            probe: "fly".into(),
            category: "service_unhealthy".into(),
            severity: "critical".into(),
            title: "Fly app(s) unreachable: HTTP 401".into(),
            detail: "Fly probe reported status=unhealthy. error='HTTP 401'.".into(),
            snapshot_details: "{}".into(),
            envelope_enabled: false,
            envelope_fix_name: "(none)".into(),
            emitted_at: Some("2026-05-24T14:32:00.123456Z".into()),
        }
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn diagnosis(cut_short: Option<&str>) -> Result<Diagnosis, Failure> {
        Ok(Diagnosis::new("The token expired.")?.cut_short_by(cut_short))
    }

    #[test]
    fn a_diagnosis_stands_below_the_header() {
        let text = text(&wake(), &diagnosis(None));
        assert_eq!(text, "🚨 Probe alert · fly\nThe token expired.");
    }

    #[test]
    fn a_fallback_holds_the_raw_facts_and_the_reason() {
        let expected = "🚨 Probe alert · fly\n\
            fly (critical): Fly app(s) unreachable: HTTP 401\n\n\
            Fly probe reported status=unhealthy. error='HTTP 401'.\n\n\
            I was unable to investigate — engine returned: engine_unavailable";
        assert_eq!(
            text(&wake(), &Err(Reason::EngineUnavailable.into())),
            expected
        );
    }

    #[test]
    fn each_severity_has_its_sign() {
        assert_eq!(
            ["critical", "warning", "info", "page"].map(sign),
            ["🚨", "⚠️", "ℹ️", "🔔"]
        );
    }

    #[test]
    fn an_ordinary_dispatch_adds_no_note() {
        let soon = at("2026-05-24T14:47:00Z");
        assert_eq!(
            notes(&wake(), &diagnosis(None), None, soon),
            Vec::<String>::new()
        );
    }

    #[test]
    fn cut_repeats_and_age_are_a_line_each() {
        let held = HeldBack {
            count: 3,
            since: at("2026-05-24T14:40:10Z"),
        };
        let notes = notes(
            &wake(),
            &diagnosis(Some("length")),
            Some(held),
            at("2026-05-24T16:37:00Z"),
        );
        assert_eq!(
            notes,
            [
                "The engine cut this text short (length).",
                "3 repeats were held back since 2026-05-24 14:40 UTC.",
                "Raised at 2026-05-24 14:32 UTC, 2 h 5 min before it was dispatched.",
            ]
        );
    }

    #[test]
    fn a_late_dm_says_for_how_long_it_waited() {
        let dm = Dm::new(&wake(), "x".into(), Vec::new(), at("2026-05-24T14:00:00Z"));
        assert_eq!(late_note(&dm, at("2026-05-24T14:05:00Z")), None);
        let note = late_note(&dm, at("2026-05-24T14:06:00Z")).unwrap();
        assert!(note.contains("queued for 6 min"));
    }

    #[test]
    fn spans_show_two_units() {
        let spans = [0, 59, 60, 3_600, 7_500, 90_061].map(|s| span(SignedDuration::from_secs(s)));
        assert_eq!(
            spans,
            ["0 s", "59 s", "1 min", "1 h", "2 h 5 min", "1 d 1 h"]
        );
    }
}
