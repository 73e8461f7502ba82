//! The record as a page: one HTML file without scripts that loads nothing. `maud` escapes all texts.
//! Texts from outside go through [`clean`].
//!
//! At the top are a few numbers, then a time line for each pair (`timeline`), then a table of the
//! incidents (`table`).

mod table;
mod timeline;

use std::collections::HashSet;
use std::io;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::config::Config;
use crate::record::{Resolution, Selection, by_pair};
use crate::report::{self, count};
use crate::text::{first_few, for_terminal};
use crate::time::{clock, period, span};
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
    pub config: &'a Config,
    pub shown: &'a Selection<'a>,
    /// The start of the period that was asked for.
    pub since: Option<Timestamp>,
    /// `None` for a replay: nothing was sent.
    pub now: Option<Timestamp>,
}

pub fn print(page: &Page<'_>) -> io::Result<()> {
    report::print(&document(page).into_string())
}

fn document(page: &Page<'_>) -> Markup {
    let title = clean(&page.title);
    let axis = Axis::of(page);
    let window = page.config.debounce.window;
    let repeats = match window.is_zero() {
        true => "repeats are not held back".to_owned(),
        false => format!("repeats are held back for {}", span(window)),
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(CONTENT_SECURITY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "probe-wake · " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header.top {
                    h1 { (title) }
                    p {
                        @if let Some(axis) = &axis { (period(axis.from, axis.to, Timestamp::MIN)) " · " }
                        (repeats) " · " b { "All times are UTC" }
                    }
                    p.log { (clean(&page.config.paths.audit_log.to_string_lossy())) }
                }
                main {
                    @if let Some(axis) = axis {
                        (cards(page))
                        (timeline::timeline(page, &axis))
                        (table::table(page, &axis))
                        (table::silences(page, &axis))
                    } @else {
                        section.empty {
                            h2 { "No alert" }
                            p { "There was no incident in this time." }
                            @if page.now.is_some() {
                                p { code { "probe-wake status" } " says whether runs take place at all." }
                            }
                        }
                    }
                }
                footer {
                    @if let Some(now) = page.now { "Written " (clock(now, Timestamp::MIN)) " by " }
                    @else { "A replay: no message left this machine. Written by " }
                    "probe-wake " (env!("CARGO_PKG_VERSION")) "."
                }
            }
        }
    }
}

/// Returns a few numbers, each with what it is made of.
fn cards(page: &Page<'_>) -> Markup {
    let (totals, incidents) = (&page.shown.totals, &page.shown.incidents);
    let mut resolutions = incidents.iter().map(|one| one.resolution);
    let is_bad = resolutions.any(|one| one == Resolution::Active);
    let pairs = by_pair(incidents).into_iter();
    let mut names: Vec<_> = pairs.map(|pair| clean(&pair[0].pair.probe)).collect();
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let services = count(names.len() as u64, "service", "services");
    let alerts = count(totals.dispatched, "alert", "alerts");
    let failures = match page.now {
        Some(_) => format!("{} failed", totals.failed),
        None => "in this replay".to_owned(),
    };
    let held_back = format!("{} held back", totals.held_back);
    let of_wakes = format!("of {}", count(totals.wakes, "wake", "wakes"));
    let tokens = count(totals.tokens, "token", "tokens");
    let has_failed = totals.failed > 0 && page.now.is_some();
    let cards = [
        (is_bad, services, first_few(&names, 3)),
        (has_failed, alerts, failures),
        (false, held_back, of_wakes),
        (false, tokens, totals.cost()),
    ];
    html! {
        section.cards aria-label="In short" {
            @for (is_alarm, number, below) in cards {
                div.card.alarm[is_alarm] { p.number { (number) } p.below { (below) } }
            }
        }
    }
}

/// Returns a text from outside without characters that change the writing direction. A very long one is cut.
fn clean(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", for_terminal(&text[..end])),
        None => for_terminal(text),
    }
}

/// Returns the CSS class for a severity's colour.
fn severity_class(severity: &str) -> &str {
    match severity {
        "critical" | "warning" | "info" => severity,
        _ => "other",
    }
}
