//! The investigations, the newest first.

use jiff::Timestamp;
use maud::{Markup, html};

use super::timeline::said;
use super::{Page, clean, dollars, severity_class, thousands};
use crate::record::{Investigation, Tool};

pub(super) fn table(page: &Page<'_>) -> Markup {
    let rows = page.shown.iter().enumerate().rev();
    let day = |at: Timestamp| at.strftime("%A, %-d %B %Y").to_string();
    let mut last_day = String::new();
    html! {
        @if !page.shown.is_empty() {
            section.investigations {
                h2 { "What was said about it" }
                table {
                    thead { tr { th { "When" } th { "Service" } th { "What was said" } th { "Tools" } th { "DM" } th { "Cost" } } }
                    tbody {
                        @for (number, one) in rows {
                            @let today = day(one.at);
                            @if today != last_day {
                                tr.day { th colspan="6" { (today) } }
                            }
                            (row(number, one))
                            @let _ = last_day = today;
                        }
                    }
                }
            }
        }
    }
}

fn row(number: usize, one: &Investigation) -> Markup {
    let is_plain = one.digest_size.is_none()
        && !one.late_diagnosis
        && !one.facts_first
        && !one.autofix_attempted;
    html! {
        tr id={ "i" (number) } {
            td.when { time datetime=(one.at) { (one.at.strftime("%H:%M")) } }
            td.service {
                b.t { (clean(&one.probe)) } " "
                span class={ "chip " (severity_class(&one.severity)) } { (clean(&one.severity)) }
                div.category { (clean(&one.category)) }
            }
            td.said {
                (said(one))
                @if !is_plain { p.notes { (notes(one)) } }
            }
            td.tools { @for tool in &one.tools { (called(tool)) } }
            td.sent { (delivery(one)) }
            td.cost {
                div { (format!("{:.1} s", one.duration_ms as f64 / 1_000.0)) }
                @if one.input_tokens.or(one.output_tokens).is_some() {
                    div { (thousands(one.input_tokens.unwrap_or(0).saturating_add(one.output_tokens.unwrap_or(0)))) " tokens" }
                }
                @if let Some(cost) = one.total_cost_usd { div { (dollars(cost)) } }
            }
        }
    }
}

fn notes(one: &Investigation) -> String {
    let digest = one
        .digest_size
        .map(|size| format!("one of {size} alerts at once"));
    let notes = [
        one.facts_first.then(|| "facts first".to_owned()),
        one.late_diagnosis.then(|| "late diagnosis".to_owned()),
        one.autofix_attempted
            .then(|| "the engine tried a fix".to_owned()),
        digest,
    ];
    notes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn called(tool: &Tool) -> Markup {
    let class = if tool.is_failed() { "failed" } else { "" };
    html! {
        div class=(class) {
            code.t { (clean(&tool.tool)) } " " (clean(&tool.status))
            @if let Some(exception) = &tool.exception { " (" (clean(exception)) ")" }
        }
    }
}

fn delivery(one: &Investigation) -> Markup {
    html! {
        @match (one.is_delivered(), one.delivered_at) {
            (true, None) => "sent",
            (true, Some(at)) => { "sent " (at.strftime("%-d %b %H:%M")) },
            (false, _) => { span.reason { "not delivered" } },
        }
    }
}
