//! The incidents with their titles and diagnoses, the newest first.

use maud::{Markup, html};

use super::timeline::Axis;
use super::{Page, clean, severity_class};
use crate::record::{Group, Incident, Resolution, dollars};
use crate::report::count;

pub(super) fn table(page: &Page<'_>, axis: &Axis) -> Markup {
    html! {
        section.incidents {
            h2 { "Incidents" }
            table {
                thead {
                    tr {
                        @for head in ["Service", "When", "What was wrong, and why", "Cost"] { th scope="col" { (head) } }
                    }
                }
                tbody {
                    @for (number, group) in page.shown.groups.iter().enumerate().rev() { (row(number, group, axis)) }
                }
            }
        }
    }
}

fn row(number: usize, group: &Group<'_>, axis: &Axis) -> Markup {
    let pair = &group.last.pair;
    html! {
        tr id={ "i" (number) } {
            th scope="row" {
                span.t { (clean(&pair.probe)) } " " (severity(group.severity()))
                div.category { (clean(&pair.category)) }
            }
            td.when {
                (group.when(axis.near())) " " (state(group.last))
            }
            td.said {
                @if let Some(title) = &group.last.title { p.t { b { (clean(title)) } } }
                @if let Some(diagnosis) = group.diagnosis() { p.t { (clean(diagnosis)) } }
                @for problem in group.problems() { p.t.problem { (clean(&problem)) } }
                p.notes { (group.counts()) }
            }
            td.cost { (cost(group)) }
        }
    }
}

pub(super) fn severity(name: &str) -> Markup {
    html! { span class={ "chip " (severity_class(name)) } { (clean(name)) } }
}

/// How it stands with an incident, where that is known.
pub(super) fn state(one: &Incident) -> Markup {
    let class = match one.resolution {
        Resolution::Active => "active",
        _ => "resolved",
    };
    html! { @if let Some(words) = one.state() { span class={ "chip " (class) } { (words) } } }
}

fn cost(group: &Group<'_>) -> Markup {
    let all = || group.investigations.iter();
    let seconds = all()
        .map(|one| one.duration_ms as f64 / 1_000.0)
        .sum::<f64>();
    let tokens = all()
        .filter_map(|one| one.tokens())
        .fold(0, u64::saturating_add);
    let costs: Vec<f64> = all().filter_map(|one| one.total_cost_usd).collect();
    html! {
        @if seconds > 0.0 { div { (format!("{seconds:.1} s")) } }
        @if tokens > 0 { div { (count(tokens, "token", "tokens")) } }
        @if !costs.is_empty() { div { (dollars(costs.iter().sum())) } }
    }
}
