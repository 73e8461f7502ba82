//! The DM's words: facts, diagnosis or reason → the text that the operator reads. Pure. Texts are
//! unescaped here; Slack's escaping belongs to `slack`.

use jiff::{SignedDuration, Timestamp, Unit};

use crate::audit::wake::Wake;
use crate::debounce::Severity;
use crate::engine::{Diagnosis, Failure};
use crate::state::Episode;
use crate::state::outbox::Dm;
use crate::state::queue::{Alert, Investigation};

/// A wake raised longer ago than this when it is dispatched is told with its time.
const OLD_WAKE: SignedDuration = SignedDuration::from_mins(15);
/// A DM that waited longer than this is told to be late.
const LATE_DM: SignedDuration = SignedDuration::from_mins(5);
/// The most characters of a title in a digest's list.
const LISTED_TITLE: usize = 200;

/// The line of a DM that an earlier request may have delivered already.
pub const MAY_BE_REPEAT: &str =
    "This may be a repeat: whether an earlier attempt reached Slack is not known.";

/// The last line of facts whose result is still to come.
const FOLLOWS: &str = "The investigation follows in this thread.";
const UNABLE: &str = "I was unable to investigate — engine returned:";

/// The texts of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub text: String,
    /// Lines behind the text.
    pub notes: Vec<String>,
    /// Begins a new part; empty where there is no more.
    pub further: String,
}

/// What the operator is told where nothing was told before: the diagnosis, or the facts with the
/// reason why there is none.
pub fn whole(investigation: &Investigation, result: &Result<Diagnosis, Failure>) -> Message {
    let mut message = match result {
        Ok(diagnosis) if !investigation.is_digest() => Message {
            text: format!("{}\n{}", header(investigation), diagnosis.text()),
            notes: notes(&investigation.alert, investigation.queued_at),
            further: String::new(),
        },
        Ok(diagnosis) => facts_ending_in(investigation, diagnosis.text()),
        Err(failure) => facts_ending_in(investigation, &unable(failure)),
    };
    message.notes.splice(..0, cut_short(result));
    message
}

/// The facts alone, where the result follows in their thread.
pub fn facts(investigation: &Investigation) -> Message {
    facts_ending_in(investigation, FOLLOWS)
}

/// The facts where no result will follow.
pub fn facts_alone(investigation: &Investigation) -> Message {
    let mut message = facts_ending_in(investigation, "");
    message.text.truncate(message.text.trim_end().len());
    message
}

/// The result in the thread of its facts.
pub fn result(investigation: &Investigation, result: &Result<Diagnosis, Failure>) -> Message {
    let body = match result {
        Ok(diagnosis) => diagnosis.text().to_owned(),
        Err(failure) => unable(failure),
    };
    Message {
        text: format!("{}\n{body}", header(investigation)),
        notes: cut_short(result).into_iter().collect(),
        further: String::new(),
    }
}

/// A result whose facts will never be delivered, or not to their end: it takes over what they would
/// have told. A diagnosis of a single wake stands for itself, as ever.
pub fn take_over(result: &mut Dm, facts: &Dm) {
    let (head, body) = result.text.split_once('\n').unwrap_or(("", ""));
    let is_diagnosis = !body.starts_with(UNABLE);
    let is_told_whole = is_diagnosis && facts.further.is_empty();
    if facts.text.contains(FOLLOWS) && !is_told_whole {
        let facts_and_body = facts.text.replace(FOLLOWS, body);
        result.text = match facts.begun {
            Some(_) => format!("{head}\n{facts_and_body}"),
            None => facts_and_body,
        };
        result.further = facts.further.clone();
    }
    // The list was delivered, and what follows it in full was not.
    if facts.begun.is_some() && !facts.text.contains(FOLLOWS) && !is_diagnosis {
        result.further.clone_from(&facts.text);
    }
    result.notes.extend(facts.notes.iter().cloned());
    result.follows = None;
}

fn facts_ending_in(investigation: &Investigation, end: &str) -> Message {
    let header = header(investigation);
    if !investigation.is_digest() {
        return Message {
            text: format!("{header}\n{}\n\n{end}", facts_of(&investigation.alert.wake)),
            notes: notes(&investigation.alert, investigation.queued_at),
            further: String::new(),
        };
    }
    let mut alerts: Vec<&Alert> = investigation.alerts().collect();
    alerts.sort_by_key(|alert| std::cmp::Reverse(Severity::of(&alert.wake)));
    let list: Vec<String> = alerts.iter().map(|alert| listed(&alert.wake)).collect();
    let in_full = |alert: &&Alert| {
        let notes = notes(alert, investigation.queued_at);
        with_notes(
            &format!("{} {}", sign(&alert.wake.severity), facts_of(&alert.wake)),
            &notes,
        )
    };
    let in_full: Vec<String> = alerts.iter().map(in_full).collect();
    Message {
        text: format!("{header}\n{}\n\n{end}", list.join("\n")),
        notes: Vec::new(),
        further: in_full.join("\n\n"),
    }
}

/// Begins what is left of a message that was sent in part, now that it stands alone.
pub fn begin_rest(dm: &mut Dm) {
    let sign = sign(&dm.severity);
    let head = format!("{sign} Probe alert · {} (continued)\n", dm.probe);
    if dm.begun.is_some() && !dm.text.starts_with(&head) {
        dm.text.insert_str(0, &head);
    }
}

/// A message's first line.
fn header(investigation: &Investigation) -> String {
    let wake = investigation.main_wake();
    if !investigation.is_digest() {
        return format!("{} Probe alert · {}", sign(&wake.severity), wake.probe);
    }
    let is_critical = |alert: &&Alert| Severity::of(&alert.wake) == Severity::Critical;
    let critical = match investigation.alerts().filter(is_critical).count() {
        0 => String::new(),
        count => format!(" ({count} critical)"),
    };
    format!(
        "{} Probe alerts · {} at once{critical}",
        sign(&wake.severity),
        investigation.count()
    )
}

fn listed(wake: &Wake) -> String {
    let title: String = wake.title.chars().take(LISTED_TITLE).collect();
    let title = title.replace(['\r', '\n'], " ");
    format!(
        "{} {} ({}): {title}",
        sign(&wake.severity),
        wake.probe,
        wake.severity
    )
}

fn facts_of(wake: &Wake) -> String {
    format!(
        "{} ({}): {}\n\n{}",
        wake.probe, wake.severity, wake.title, wake.detail
    )
}

fn unable(failure: &Failure) -> String {
    format!("{UNABLE} {}", failure.reason)
}

fn sign(severity: &str) -> &'static str {
    match severity {
        "critical" => "🚨",
        "warning" => "⚠️",
        "info" => "ℹ️",
        _ => "🔔",
    }
}

fn cut_short(result: &Result<Diagnosis, Failure>) -> Option<String> {
    let by = result.as_ref().ok()?.cut_short()?;
    Some(format!("The engine cut this text short ({by})."))
}

/// The lines that a dispatch adds to its facts.
fn notes(alert: &Alert, dispatched_at: Timestamp) -> Vec<String> {
    let repeats = alert.before.repeats.map(|held| {
        let were = if held.count == 1 {
            "repeat was"
        } else {
            "repeats were"
        };
        format!(
            "{} {were} held back since {}.",
            held.count,
            minute(held.since)
        )
    });
    let raised_often = alert.before.raised.filter(|raised| raised.count > 1);
    let raised_often = raised_often.map(|raised| {
        format!(
            "Raised {} times since {}.",
            raised.count,
            clock(raised.since, dispatched_at)
        )
    });
    let raised = alert.wake.raised_at();
    let raised = raised.filter(|raised| dispatched_at.duration_since(*raised) > OLD_WAKE);
    let raised = raised.map(|raised| {
        let age = span(dispatched_at.duration_since(raised));
        format!(
            "Raised at {}, {age} before it was dispatched.",
            minute(raised)
        )
    });
    [repeats, raised_often, raised]
        .into_iter()
        .flatten()
        .collect()
}

/// What is told in the thread of a pair's last DM when the pair is well again.
pub fn recovery(episode: &Episode, healthy_at: Timestamp) -> String {
    let age = span(healthy_at.duration_since(episode.first));
    let wakes = match episode.count {
        1 => "the wake".to_owned(),
        count => format!("the first of {count} wakes"),
    };
    format!(
        "✅ Probe recovered · {}\nHealthy at {}, {age} after {wakes}.",
        episode.pair.probe,
        clock(healthy_at, healthy_at)
    )
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

/// The time of a day where that day is clear from another time: `14:32 UTC`.
pub fn clock(time: Timestamp, near: Timestamp) -> String {
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    if day(time) == day(near) {
        time.strftime("%H:%M UTC").to_string()
    } else {
        minute(time)
    }
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
    use crate::debounce::{Before, HeldBack, Pair};
    use crate::engine::Reason;
    use crate::state::outbox::Begun;

    fn wake() -> Wake {
        Wake {
            detail: "Fly probe reported status=unhealthy. error='HTTP 401'.".into(),
            ..Wake::sample()
        }
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn alert(wake: Wake) -> Alert {
        Alert {
            wake,
            before: Before::default(),
        }
    }

    fn investigation(dispatched_at: &str) -> Investigation {
        Investigation {
            id: "1".into(),
            log: "/log".into(),
            queued_at: at(dispatched_at),
            attempts: 0,
            alert: alert(wake()),
            others: Vec::new(),
            told: None,
            late: None,
        }
    }

    fn soon() -> Investigation {
        investigation("2026-05-24T14:47:00Z")
    }

    fn digest() -> Investigation {
        let of = |probe: &str, severity: &str| Wake {
            probe: probe.into(),
            severity: severity.into(),
            title: "t".repeat(300),
            ..wake()
        };
        Investigation {
            alert: alert(of("vercel", "warning")),
            others: vec![alert(of("fly", "critical")), alert(of("neon", "info"))],
            ..soon()
        }
    }

    fn diagnosis(cut_short: Option<&str>) -> Result<Diagnosis, Failure> {
        let diagnosis = Diagnosis::new("The token expired.").unwrap();
        Ok(diagnosis.cut_short_by(cut_short))
    }

    fn failure() -> Result<Diagnosis, Failure> {
        Err(Reason::EngineUnavailable.into())
    }

    const FACTS: &str = "🚨 Probe alert · fly\n\
        fly (critical): Fly app(s) unreachable: HTTP 401\n\n\
        Fly probe reported status=unhealthy. error='HTTP 401'.\n\n";

    #[test]
    fn a_diagnosis_stands_below_the_header() {
        let expected = "🚨 Probe alert · fly\nThe token expired.";
        assert_eq!(whole(&soon(), &diagnosis(None)).text, expected);
        assert_eq!(result(&soon(), &diagnosis(None)).text, expected);
    }

    #[test]
    fn a_fallback_holds_the_raw_facts_and_the_reason() {
        let unable = "I was unable to investigate — engine returned: engine_unavailable";
        assert_eq!(whole(&soon(), &failure()).text, format!("{FACTS}{unable}"));
        let expected = format!("🚨 Probe alert · fly\n{unable}");
        assert_eq!(result(&soon(), &failure()).text, expected);
    }

    #[test]
    fn facts_end_in_what_follows_them() {
        let expected = format!("{FACTS}The investigation follows in this thread.");
        assert_eq!(facts(&soon()).text, expected);
        assert_eq!(facts_alone(&soon()).text, FACTS.trim_end());
    }

    #[test]
    fn a_digest_lists_critical_wakes_first_and_tells_all_facts_behind_the_list() {
        let message = whole(&digest(), &diagnosis(None));
        let title = "t".repeat(200);
        let expected = format!(
            "🚨 Probe alerts · 3 at once (1 critical)\n🚨 fly (critical): {title}\n\
             ⚠️ vercel (warning): {title}\nℹ️ neon (info): {title}\n\nThe token expired."
        );
        assert_eq!(message.text, expected);
        let full = "t".repeat(300);
        for probe in ["fly (critical)", "vercel (warning)", "neon (info)"] {
            assert!(
                message
                    .further
                    .contains(&format!("{probe}: {full}\n\nFly probe"))
            );
        }
        let result = result(&digest(), &diagnosis(None));
        assert_eq!(
            result.text,
            "🚨 Probe alerts · 3 at once (1 critical)\nThe token expired."
        );
        assert_eq!(result.further, "");
    }

    #[test]
    fn a_result_whose_facts_are_lost_tells_them_itself() {
        let dm = |message: Message| {
            let mut dm = Dm::new(
                soon().subject(),
                message.text,
                message.notes,
                at("2026-05-24T14:47:00Z"),
            );
            dm.further = message.further;
            dm
        };
        for (investigation, outcome) in [
            (soon(), failure()),
            (soon(), diagnosis(None)),
            (digest(), failure()),
            (digest(), diagnosis(None)),
        ] {
            let mut told = dm(result(&investigation, &outcome));
            take_over(&mut told, &dm(facts(&investigation)));
            let whole = whole(&investigation, &outcome);
            assert_eq!((told.text, told.further), (whole.text, whole.further));
        }
    }

    #[test]
    fn a_failed_result_takes_over_what_was_left_of_a_digests_facts() {
        let facts = facts(&digest());
        let mut left = Dm::new(
            digest().subject(),
            facts.further,
            Vec::new(),
            at("2026-05-24T14:47:00Z"),
        );
        left.begun = Some(Begun {
            parts: 1,
            thread: None,
        });
        let message = result(&digest(), &failure());
        let mut told = Dm::new(
            digest().subject(),
            message.text,
            message.notes,
            left.queued_at,
        );
        take_over(&mut told, &left);
        assert_eq!(told.further, left.text);
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
        assert_eq!(whole(&soon(), &diagnosis(None)).notes, Vec::<String>::new());
    }

    #[test]
    fn cut_repeats_and_age_are_a_line_each_and_stand_once() {
        let mut investigation = investigation("2026-05-24T16:37:00Z");
        investigation.alert.before = Before {
            repeats: Some(HeldBack {
                count: 3,
                since: at("2026-05-24T14:40:10Z"),
            }),
            raised: Some(HeldBack {
                count: 4,
                since: at("2026-05-24T14:02:10Z"),
            }),
        };
        let cut = "The engine cut this text short (length).";
        let of_facts = [
            "3 repeats were held back since 2026-05-24 14:40 UTC.",
            "Raised 4 times since 14:02 UTC.",
            "Raised at 2026-05-24 14:32 UTC, 2 h 5 min before it was dispatched.",
        ];
        let outcome = diagnosis(Some("length"));
        assert_eq!(
            whole(&investigation, &outcome).notes,
            [&[cut][..], &of_facts].concat()
        );
        assert_eq!(facts(&investigation).notes, of_facts);
        assert_eq!(result(&investigation, &outcome).notes, [cut]);
    }

    #[test]
    fn a_late_dm_says_for_how_long_it_waited() {
        let dm = Dm::new(
            soon().subject(),
            "x".into(),
            Vec::new(),
            at("2026-05-24T14:00:00Z"),
        );
        assert_eq!(late_note(&dm, at("2026-05-24T14:05:00Z")), None);
        let note = late_note(&dm, at("2026-05-24T14:06:00Z")).unwrap();
        assert!(note.contains("queued for 6 min"));
    }

    #[test]
    fn a_recovery_says_when_and_after_what() {
        let episode = Episode {
            pair: Pair::of(&wake()),
            first: at("2026-05-24T14:14:00Z"),
            last: at("2026-05-24T14:40:00Z"),
            count: 4,
            told: None,
            told_at: at("2026-05-24T14:14:00Z"),
        };
        assert_eq!(
            recovery(&episode, at("2026-05-24T14:45:00Z")),
            "✅ Probe recovered · fly\nHealthy at 14:45 UTC, 31 min after the first of 4 wakes."
        );
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
