//! The incidents with their titles and diagnoses, the newest first.

use maud::{Markup, html};

use super::timeline::Axis;
use super::{Page, clean, severity_class};
use crate::record::{Incident, Resolution, Silence};
use crate::report::count;
use crate::text::with_reason;
use crate::time::period;

pub(super) fn table(page: &Page<'_>, axis: &Axis) -> Markup {
    html! {
        section.incidents {
            h2 { "Incidents" }
            table {
                thead {
                    tr {
                        @for head in ["Service", "When", "What was wrong, and why"] { th scope="col" { (head) } }
                    }
                }
                tbody {
                    @for (number, group) in page.shown.groups.iter().enumerate().rev() { (row(page, number, group, axis)) }
                }
            }
        }
    }
}

pub(super) fn silences(page: &Page<'_>, axis: &Axis) -> Markup {
    let words = |one: &Silence| {
        let when = period(one.from, one.until, axis.near());
        let wakes = count(one.wakes, "wake", "wakes");
        let reason = one.reason.as_deref().map(clean);
        with_reason(&format!("{when}, {wakes}"), reason.as_deref())
    };
    html! {
        @if !page.shown.silences.is_empty() {
            section.silences {
                h2 { "Silences" }
                ul {
                    @for one in &page.shown.silences { li { b.t { (clean(&one.of)) } " " span.t { (words(one)) } } }
                }
            }
        }
    }
}

fn row(page: &Page<'_>, number: usize, group: &Incident, axis: &Axis) -> Markup {
    let (pair, record) = (&group.pair, page.shown.record);
    html! {
        tr id={ "i" (number) } {
            th scope="row" {
                span.t { (clean(&pair.probe)) } " " (severity(&group.severity))
                div.category { (clean(&pair.category)) }
            }
            td.when {
                (group.when(axis.near())) " " (state(group))
            }
            td.said {
                @if let Some(title) = &group.title { p.t { b { (clean(title)) } } }
                @if let Some(diagnosis) = &group.diagnosis { p.t { (clean(diagnosis)) } }
                @for problem in group.problems(record) { p.t.problem { (clean(&problem)) } }
                p.notes { (group.counts(record)) }
            }
        }
    }
}

pub(super) fn severity(name: &str) -> Markup {
    html! { span class={ "chip " (severity_class(name)) } { (clean(name)) } }
}

/// Returns the state of an incident, if that is known.
pub(super) fn state(one: &Incident) -> Markup {
    let class = match one.resolution {
        Resolution::Active => "active",
        _ => "resolved",
    };
    html! { @if let Some(words) = one.state() { span class={ "chip " (class) } { (words) } } }
}
