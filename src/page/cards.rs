//! The cards at the top: what was bad, for how long, what was told, what was held back, the cost.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::{Page, clean, count, dollars, length, thousands};
use crate::record::{Investigation, PairRecord, Resolution, Totals, sum};
use crate::report::counted;
use crate::text::first_few;

/// The most names in a card.
const MOST_NAMES: usize = 3;

pub(super) fn cards(page: &Page<'_>, pairs: &[PairRecord<'_>]) -> Markup {
    let totals = page.record.totals();
    html! {
        section.cards aria-label="In short" {
            (bad(page, pairs))
            (for_how_long(pairs))
            (said(page, &totals))
            (held_back(&totals))
            (cost(page, &totals))
        }
    }
}

fn card(class: &str, label: &str, number: &str, below: &str) -> Markup {
    html! {
        div class={ "card " (class) } {
            p.label { (label) }
            p.number { (number) }
            p.below { (below) }
        }
    }
}

fn bad(page: &Page<'_>, pairs: &[PairRecord<'_>]) -> Markup {
    let of = |resolution| pairs.iter().filter(move |one| one.resolution == resolution);
    let active = of(Resolution::Active).count();
    let resolved = of(Resolution::Resolved).count();
    let mut seen = BTreeSet::new();
    let names = pairs.iter().map(|one| &one.pair.probe);
    let names = names.filter(|name| seen.insert(*name));
    let names: Vec<_> = names.map(|name| clean(name)).collect();
    let listed = first_few(&names, MOST_NAMES);
    let below = match page.now {
        Some(_) if active + resolved > 0 => {
            let unknown = match pairs.len() - active - resolved {
                0 => String::new(),
                unknown => format!(", {unknown} not known"),
            };
            format!("{listed}. Now: {active} still bad, {resolved} well{unknown}")
        }
        _ => listed,
    };
    let class = if active > 0 { "alarm" } else { "" };
    let number = count(names.len() as u64, "service", "services");
    card(class, "Bad", &number, &below)
}

fn for_how_long(pairs: &[PairRecord<'_>]) -> Markup {
    let lengths = pairs.iter().map(PairRecord::bad_for);
    // Of equal lengths the first one counts; `max_by_key` gives the last.
    let longest = lengths.clone().zip(pairs).rev().max_by_key(|(bad, _)| *bad);
    let Some((longest, of)) = longest else {
        return card("", "For how long", "-", "");
    };
    let below = match pairs.len() {
        1 => "from its first wake to its last, or to its recovery".to_owned(),
        _ => format!(
            "{}, the longest; {} all together",
            clean(&of.pair.probe),
            length(sum(lengths))
        ),
    };
    card("", "For how long", &length(longest), &below)
}

fn said(page: &Page<'_>, totals: &Totals) -> Markup {
    let told = &page.record.investigations;
    let number = |is: fn(&&Investigation) -> bool| told.iter().filter(is).count() as u64;
    let diagnosed = number(|one| one.error.is_none());
    let failed = number(|one| one.error.is_some() && one.has_engine());
    let never_asked = number(|one| !one.has_engine());
    let lost = number(|one| !one.is_delivered());
    let parts = counted([
        (diagnosed, "with a diagnosis"),
        (failed, "without"),
        (never_asked, "with the facts alone: no engine is configured"),
        (lost, "not delivered"),
    ]);
    let class = if lost > 0 { "alarm" } else { "" };
    let number = count(totals.dispatched, "alert", "alerts");
    card(class, "Told", &number, &parts.join(", "))
}

fn held_back(totals: &Totals) -> Markup {
    let mut below = format!("of {}", count(totals.wakes, "wake", "wakes"));
    match totals.wakes - totals.dispatched - totals.held_back {
        0 => {}
        unknown => below.push_str(&format!("; of {unknown} the decision is not known")),
    }
    let number = count(totals.held_back, "repeat", "repeats");
    card("", "Held back", &number, &below)
}

fn cost(page: &Page<'_>, totals: &Totals) -> Markup {
    let asked = page.record.investigations.iter();
    let asked = asked.filter(|one| one.was_asked()).count() as u64;
    let questions = count(asked, "question", "questions");
    let tokens = format!("{} tokens", thousands(totals.tokens));
    let (number, below) = match (asked, totals.cost) {
        (0, _) => ("none".to_owned(), "no engine was asked".to_owned()),
        (_, Some(cost)) => (dollars(cost), format!("{tokens} in {questions}")),
        (_, None) => (tokens, format!("in {questions}; the engine names no price")),
    };
    card("", "Cost", &number, &below)
}
