//! The record as a page: one HTML file without scripts that loads nothing. `maud` escapes all texts.
//! Texts from outside go through [`clean`].
//!
//! At the top are a few numbers (`cards`), then a time line for each pair (`timeline`), then a table
//! of the investigations (`table`).

mod cards;
mod table;
mod timeline;

use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::incident::Rules;
use crate::record::{Investigation, Record, pairs};
use crate::report;
use crate::text::for_terminal;
use crate::time::span;
use timeline::Axis;

const STYLE: &str = include_str!("style.css");
/// The browser loads nothing and runs no script, whatever a row holds.
const CONTENT_SECURITY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
/// The most characters of a text. `history --session` shows it whole.
const LONGEST_TEXT: usize = 2_000;

/// What a page is made from.
pub struct Page<'a> {
    pub title: String,
    pub log: &'a Path,
    pub record: &'a Record,
    /// The investigations of the table, the newest last.
    pub shown: &'a [&'a Investigation],
    pub policy: &'a Rules,
    /// The start of the time that was asked for.
    pub since: Option<Timestamp>,
    /// `None` for a replay.
    pub now: Option<Timestamp>,
}

pub fn print(page: &Page<'_>) -> io::Result<()> {
    report::print(&document(page).into_string())
}

fn document(page: &Page<'_>) -> Markup {
    let title = clean(&page.title);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Rules" content=(CONTENT_SECURITY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "probe-wake · " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body(page, &title))
            }
        }
    }
}

fn body(page: &Page<'_>, title: &str) -> Markup {
    let pairs = pairs(page.record);
    let axis = Axis::of(page, &pairs);
    html! {
        header.top {
            h1 { (title) }
            p {
                @if let Some(axis) = &axis { (axis.period()) " · " }
                (settings(page.policy))
            }
            p.log { (clean(&page.log.to_string_lossy())) }
        }
        main {
            @if let Some(axis) = axis {
                (cards::cards(page, &pairs))
                (timeline::timeline(page, &pairs, &axis))
                (table::table(page))
            } @else {
                section.empty {
                    h2 { "No alert" }
                    p { "There was no wake and no investigation in this time." }
                    @if page.now.is_some() {
                        p { "Whether runs take place at all is told by " code { "probe-wake status" } "." }
                    }
                }
            }
        }
        footer {
            @if let Some(now) = page.now { "Written " (minute(now)) " UTC by " } @else { "Written by " }
            "probe-wake " (env!("CARGO_PKG_VERSION")) ". All times are UTC."
        }
    }
}

/// The debounce in a few words.
fn settings(policy: &Rules) -> String {
    let mut told = match policy.window.is_zero() {
        true => "repeats are not held back".to_owned(),
        false => format!("repeats are held back for {}", span(policy.window)),
    };
    if policy.consecutive_required > 1 {
        let count = policy.consecutive_required;
        told.push_str(&format!(", told from wake {count} on"));
    }
    if policy.backoff_factor > 1.0 {
        let (factor, most) = (policy.backoff_factor, span(policy.max_window));
        told.push_str(&format!(", {factor} times longer each time up to {most}"));
    }
    if policy.bypass_critical {
        told.push_str(", critical ones are not");
    }
    if policy.bypass_escalation {
        told.push_str(", worse ones are not");
    }
    told
}

/// A text from outside, without characters that change the writing direction. A very long one is cut.
fn clean(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", for_terminal(&text[..end])),
        None => for_terminal(text),
    }
}

/// `24 May 14:32`.
fn minute(time: Timestamp) -> String {
    time.strftime("%-d %b %H:%M").to_string()
}

/// A length of time to the minute.
fn length(length: SignedDuration) -> String {
    match length.as_mins() {
        0 if length.is_zero() => "0 min".to_owned(),
        0 => "1 min".to_owned(),
        minutes => span(SignedDuration::from_mins(minutes)),
    }
}

/// The class of a severity's colour.
fn severity_class(severity: &str) -> &'static str {
    match severity {
        "critical" => "critical",
        "warning" => "warning",
        "info" => "info",
        _ => "other",
    }
}

/// `48,210`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// A number and what is counted: `1 wake`, `2,000 wakes`.
fn count(number: u64, one: &str, many: &str) -> String {
    let what = if number == 1 { one } else { many };
    format!("{} {what}", thousands(number))
}

fn dollars(cost: f64) -> String {
    match cost < 1.0 {
        true => format!("${cost:.4}"),
        false => format!("${cost:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(12_345_678), "12,345,678");
        assert_eq!(dollars(0.0214), "$0.0214");
        assert_eq!(dollars(12.345), "$12.35");
        assert_eq!(length(SignedDuration::from_secs(3_725)), "1 h 2 min");
        assert_eq!(length(SignedDuration::from_secs(5)), "1 min");
    }
}
