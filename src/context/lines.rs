//! What a person reads of the context in a message: a line each, where there is something to say.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use super::OtherAlert;
use super::earlier::Earlier;
use crate::incident::Severity;
use crate::text::on_one_line;
use crate::time::{clock, span};

const MOST_PAIRS: usize = 5;
/// The most characters of an earlier diagnosis, and of a runbook.
const MOST_DIAGNOSIS: usize = 200;
const MOST_RUNBOOK: usize = 1_000;
const AN_HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Returns `Also in the last hour: supabase (critical) 14:29, vercel (warning) 14:31.` `length` is that
/// of the time in which the others were raised.
pub fn also(others: &[OtherAlert], length: SignedDuration) -> Option<String> {
    let mut others: Vec<_> = others.iter().collect();
    others.sort_by_key(|other| {
        (
            Reverse(Severity::named(&other.severity)),
            Reverse(other.last),
            &other.probe,
        )
    });
    let listed = others.iter().take(MOST_PAIRS).map(|other| {
        let at = other.last.strftime("%H:%M");
        format!("{} ({}) {at}", other.probe, other.severity)
    });
    let listed: Vec<_> = listed.collect();
    let more = match others.len().saturating_sub(MOST_PAIRS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let length = match length {
        AN_HOUR => "hour".to_owned(),
        length => span(length),
    };
    let line = format!("Also in the last {length}: {}{more}.", listed.join(", "));
    (!others.is_empty()).then_some(line)
}

/// Returns `Before: 17 May 14:20 UTC, over after 22 min: "The Fly token had expired. ..."` for the last
/// investigation that had a diagnosis.
pub fn before(earlier: Option<&Earlier>, now: Timestamp) -> Option<String> {
    let earlier = earlier?;
    let diagnosis = on_one_line(earlier.diagnosis.as_deref()?);
    let over = earlier
        .recovered_after
        .map(|after| format!(", over after {}", span(after)));
    let over = over.unwrap_or_default();
    let at = clock(earlier.at, now);
    Some(format!(
        "Before: {at}{over}: \"{}\"",
        beginning(&diagnosis, MOST_DIAGNOSIS)
    ))
}

/// Returns `Runbook:` and the beginning of the pair's own runbook.
pub fn runbook_quote(own: Option<&str>) -> Option<String> {
    let own = own.map(str::trim).filter(|text| !text.is_empty())?;
    Some(format!("Runbook: {}", beginning(own, MOST_RUNBOOK)))
}

/// Returns `Runbook: https://...` where the pair's own runbook has a URL.
pub fn runbook_link(own: Option<&str>) -> Option<String> {
    let own = own?;
    let start = ["https://", "http://"]
        .iter()
        .filter_map(|scheme| own.find(scheme))
        .min()?;
    let ends = |c: char| c.is_whitespace() || c.is_control() || "<>()[]{}\"'`|\\".contains(c);
    let url = own[start..].split(ends).next()?;
    let url = url.trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '_']);
    Some(format!("Runbook: {url}"))
}

fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", text[..end].trim_end()),
        None => text.to_owned(),
    }
}
