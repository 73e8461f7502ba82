//! The investigations, the newest first.

use jiff::Timestamp;
use maud::{Markup, html};

use super::timeline::said;
use super::{Page, clean, dollars, severity_class, thousands};
use crate::record::{Investigation, Tool};

pub(super) fn table(page: &Page<'_>) -> Markup {
    let rows: Vec<_> = page.shown.iter().enumerate().rev().collect();
    let day = |at: Timestamp| at.strftime("%A, %-d %B %Y").to_string();
    let days = rows.chunk_by(|(_, one), (_, next)| day(one.at) == day(next.at));
    html! {
        @if !rows.is_empty() {
            section.investigations {
                h2 { "What was said about it" }
                table {
                    thead {
                        tr {
                            @for head in ["When", "Service", "What was said", "Tools", "DM", "Cost"] { th { (head) } }
                        }
                    }
                    tbody {
                        @for rows in days {
                            tr.day { th colspan="6" { (day(rows[0].1.at)) } }
                            @for (number, one) in rows { (row(*number, one)) }
                        }
                    }
                }
            }
        }
    }
}

fn row(number: usize, one: &Investigation) -> Markup {
    let digest = |size| format!("one of {size} alerts at once");
    let notes = one.notes("the engine tried a fix", digest).join(", ");
    html! {
        tr id={ "i" (number) } {
            td.when { time datetime=(one.at) { (one.at.strftime("%H:%M")) } }
            td.service {
                b.t { (clean(&one.pair.probe)) } " "
                span class={ "chip " (severity_class(&one.severity)) } { (clean(&one.severity)) }
                div.category { (clean(&one.pair.category)) }
            }
            td.said {
                (said(one))
                @if !notes.is_empty() { p.notes { (notes) } }
            }
            td.tools { @for tool in &one.tools { (called(tool)) } }
            td.sent { (delivery(one)) }
            td.cost { (cost(one)) }
        }
    }
}

fn cost(one: &Investigation) -> Markup {
    html! {
        @if one.was_asked() { div { (format!("{:.1} s", one.seconds())) } }
        @if let Some(tokens) = one.tokens() { div { (thousands(tokens)) " tokens" } }
        @if let Some(cost) = one.total_cost_usd { div { (dollars(cost)) } }
    }
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
