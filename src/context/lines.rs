//! What a message shows of the context: one line each, if there is something to say.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use super::earlier::Earlier;
use crate::incident::Incident;
use crate::text::{first_few, on_one_line};
use crate::time::{clock, span};

const MOST_PAIRS: usize = 5;
/// The most characters of an earlier diagnosis, and of a runbook.
const MOST_DIAGNOSIS: usize = 200;
const MOST_RUNBOOK: usize = 1_000;
const AN_HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Returns `Also in the last hour: supabase (critical) 14:29, vercel (warning) 14:31.` `length`: of the
/// period in which the others were raised.
pub fn also(mut others: Vec<&Incident>, length: SignedDuration) -> Option<String> {
    others.sort_by_key(|other| (Reverse((other.worst, other.last_raised)), &other.pair.probe));
    let listed = others.iter().map(|other| {
        let at = other.last_raised.strftime("%H:%M");
        format!("{} ({}) {at}", other.pair.probe, other.worst.name())
    });
    let listed = first_few(&listed.collect::<Vec<_>>(), MOST_PAIRS);
    let length = match length {
        AN_HOUR => "hour".to_owned(),
        length => span(length),
    };
    let line = format!("Also in the last {length}: {listed}.");
    (!others.is_empty()).then_some(line)
}

/// Returns `Before: 17 May 14:20 UTC, over after 22 min: "The Fly token had expired. ..."` for the last
/// investigation that had a diagnosis.
pub fn before(earlier: Option<&Earlier>, now: Timestamp) -> Option<String> {
    let earlier = earlier?;
    let diagnosis = on_one_line(earlier.diagnosis.as_deref()?);
    let (at, over) = (clock(earlier.at, now), earlier.over(earlier.at));
    let diagnosis = beginning(&diagnosis, MOST_DIAGNOSIS);
    Some(format!("Before: {at}{over}: \"{diagnosis}\""))
}

/// Returns `Runbook:` and the beginning of the pair's own runbook.
pub fn runbook_quote(own: Option<&str>) -> Option<String> {
    let own = own.map(str::trim).filter(|text| !text.is_empty())?;
    Some(format!("Runbook: {}", beginning(own, MOST_RUNBOOK)))
}

/// Returns `Runbook: https://...` if the pair's own runbook has a URL.
pub fn runbook_link(own: Option<&str>) -> Option<String> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "<>()[]{}\"'`|\\*".contains(c);
    own?.split(ends).find_map(|word| {
        let start = word.find("https://").or_else(|| word.find("http://"))?;
        let url = word[start..].trim_end_matches(['.', ',', ';', ':', '!', '?', '_']);
        (!url.ends_with("//")).then(|| format!("Runbook: {url}"))
    })
}

fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::incident::{Pair, Severity};

    fn at(time: &str) -> Timestamp {
        format!("2026-{time}:00Z").parse().unwrap()
    }

    fn other(probe: &str, worst: Severity, last: &str) -> Incident {
        Incident {
            pair: Pair::new(probe, "down"),
            last_raised: at(last),
            worst,
            ..Incident::default()
        }
    }

    #[test]
    fn other_alerts_are_named_the_most_severe_first() {
        let mut others = vec![
            other("vercel", Severity::Warning, "05-24T14:31"),
            other("supabase", Severity::Critical, "05-24T14:29"),
        ];
        let line = |others: &[Incident], minutes| {
            also(others.iter().collect(), SignedDuration::from_mins(minutes))
        };
        let expected = "Also in the last hour: supabase (critical) 14:29, vercel (warning) 14:31.";
        assert_eq!(line(&others, 60).unwrap(), expected);
        assert!(
            line(&others, 90)
                .unwrap()
                .starts_with("Also in the last 1 h 30 min: s")
        );
        for (probe, severity) in [
            ("a", Severity::Info),
            ("b", Severity::Warning),
            ("c", Severity::Info),
            ("d", Severity::Info),
            ("e", Severity::Critical),
        ] {
            others.push(other(probe, severity, "05-24T14:00"));
        }
        let expected = "Also in the last hour: supabase (critical) 14:29, e (critical) 14:00, \
             vercel (warning) 14:31, b (warning) 14:00, a (info) 14:00 and 2 more.";
        assert_eq!(line(&others, 60).unwrap(), expected);
        assert_eq!(line(&[], 60), None);
    }

    #[test]
    fn the_last_diagnosis_is_quoted_with_when_and_for_how_long() {
        let earlier = |diagnosis: &str, minutes: Option<i64>| {
            let earlier = Earlier {
                at: at("05-17T14:20"),
                diagnosis: Some(diagnosis.to_owned()),
                recovered: minutes
                    .map(|minutes| at("05-17T14:20") + SignedDuration::from_mins(minutes)),
                ..Earlier::default()
            };
            before(Some(&earlier), at("05-24T14:32")).unwrap()
        };
        let expected = "Before: 17 May 14:20 UTC, over after 22 min: \"It had expired. Renew it.\"";
        assert_eq!(earlier("It had expired.\nRenew it.", Some(22)), expected);
        let long = format!("{} and more", "é".repeat(199));
        let expected = format!("Before: 17 May 14:20 UTC: \"{}...\"", "é".repeat(199));
        assert_eq!(earlier(&long, None), expected);
        assert_eq!(before(None, at("05-24T14:32")), None);
        assert_eq!(before(Some(&Earlier::default()), at("05-24T14:32")), None);
    }

    #[test]
    fn a_runbook_is_quoted_from_its_beginning() {
        assert_eq!(
            runbook_quote(Some(" Call Ann.\n")).unwrap(),
            "Runbook: Call Ann."
        );
        let quote = runbook_quote(Some(&"é".repeat(1_001))).unwrap();
        assert_eq!(quote, format!("Runbook: {}...", "é".repeat(1_000)));
        assert_eq!(runbook_quote(Some(" \n")), None);
        assert_eq!(runbook_quote(None), None);
    }

    #[test]
    fn the_first_url_of_a_runbook_is_linked() {
        for (text, url) in [
            (
                "See https://wiki.example/fly.",
                Some("https://wiki.example/fly"),
            ),
            (
                "[wiki](https://wiki.example/a_b?c=d#e), [b](http://b)",
                Some("https://wiki.example/a_b?c=d#e"),
            ),
            (
                "<http://10.0.0.1:8080/x> https://b",
                Some("http://10.0.0.1:8080/x"),
            ),
            (
                "**https://wiki.example/fly**",
                Some("https://wiki.example/fly"),
            ),
            ("https:// and http://", None),
            ("ftp://a, https:/b", None),
        ] {
            let expected = url.map(|url| format!("Runbook: {url}"));
            assert_eq!(runbook_link(Some(text)), expected, "{text}");
        }
        assert_eq!(runbook_link(None), None);
    }
}
