//! A time line for each pair, drawn as SVG. Positions are percentages of the width, so that signs keep their
//! size on every screen, and each stretch has an outline, so that it can be seen however short it is. What
//! would overlap is drawn as one.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::table::{severity, state};
use super::{Page, clean, severity_class};
use crate::incident::Pair;
use crate::record::{Incident, bad_for, by_pair, worse, worst};
use crate::report::count;
use crate::time::{period, span};

/// Signs that are closer together than this, in percent of the width, are drawn as one.
const SIGN_WIDTH: f64 = 1.25;
/// The same for stretches.
const LEAST_GAP: f64 = 0.2;
const LEAST_WIDTH: f64 = 0.1;
/// The most characters of an item's description.
const LONGEST_WORDS: usize = 120;
const SHORTEST_AXIS: SignedDuration = SignedDuration::from_hours(1);
/// What is older than this is not drawn.
const LONGEST_AXIS: SignedDuration = SignedDuration::from_hours(92 * 24);
const MOST_TICKS: i64 = 8;
/// The possible distances between ticks, in minutes.
const STEPS: [i64; 13] = [
    5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440, 2_880, 10_080, 20_160,
];
const HEIGHT: u32 = 56;

/// What is drawn: its place in the drawing order, its name, its CSS class, its y and its height. A stretch
/// goes from y down over its height; a sign, whose height is 0, is centred on y.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kind(u32, &'static str, &'static str, u32, u32);

const SILENCE: Kind = Kind(0, "silence", "silence", 0, HEIGHT);
const INCIDENT: Kind = Kind(1, "incident", "bar", 19, 12);
const RECOVERY: Kind = Kind(2, "recovery", "recovery", 35, 2);
const WAKE: Kind = Kind(3, "dispatched wake", "wake", 14, 3);
const WINDOW: Kind = Kind(4, "window that holds repeats back", "window", 40, 1);
const QUESTION: Kind = Kind(5, "question", "question", 7, 0);
const FAILURE: Kind = Kind(6, "question without a diagnosis", "failure", 7, 0);
const MESSAGE: Kind = Kind(7, "message", "message", 49, 0);
const LOST: Kind = Kind(8, "message not delivered", "lost", 49, 0);
const KINDS: [Kind; 9] = [
    SILENCE, INCIDENT, RECOVERY, WAKE, WINDOW, QUESTION, FAILURE, MESSAGE, LOST,
];

/// The period that all time lines show.
pub(super) struct Axis {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Axis {
    /// Returns the axis of a page; `None` if nothing happened.
    pub fn of(page: &Page<'_>) -> Option<Self> {
        let incidents = page.shown.incidents.iter();
        // A time in the future comes from another clock.
        let now = page.now.unwrap_or(Timestamp::MAX);
        let investigations = page.shown.investigations.iter();
        let answers = investigations.map(|one| one.delivered_at.unwrap_or(one.at));
        let ends = incidents.clone().map(|one| one.end()).chain(answers);
        let last = ends.map(|end| end.min(now)).max()?;
        let first = incidents.map(|one| one.first_wake_at).min()?;
        let to = page.since.and(page.now).unwrap_or(last);
        let length = to.duration_since(page.since.unwrap_or(first));
        let length = length.clamp(SHORTEST_AXIS, LONGEST_AXIS);
        let from = to.checked_sub(length).unwrap_or(to);
        Some(Self { from, to })
    }

    /// Returns a time on a different day from everything that is shown, so that all times are written with
    /// their date.
    pub fn near(&self) -> Timestamp {
        let day = SignedDuration::from_hours(24);
        self.to.checked_add(day).unwrap_or(self.to)
    }

    /// Returns the position of a time in percent, with a margin at both ends. A time off the axis is put at
    /// its end.
    fn place(&self, at: Timestamp) -> f64 {
        let whole = self.to.duration_since(self.from).as_secs_f64().max(1.0);
        let at = at.clamp(self.from, self.to);
        at.duration_since(self.from).as_secs_f64() / whole * 96.0 + 2.0
    }

    /// Returns the ticks with their labels.
    fn ticks(&self) -> Vec<(String, String)> {
        let minutes = self.to.duration_since(self.from).as_mins();
        let step = STEPS.iter().find(|step| minutes / **step <= MOST_TICKS);
        let step = step.copied().unwrap_or(40_320) * 60;
        let first = (self.from.as_second() / step + 1) * step;
        let ticks = (0..=MOST_TICKS).filter_map(|number| {
            let at = Timestamp::from_second(first + number * step).ok()?;
            let is_midnight = at.as_second() % 86_400 == 0;
            let label = at.strftime(if is_midnight { "%-d %b" } else { "%H:%M" });
            (at <= self.to).then(|| (percent(self.place(at)), label.to_string()))
        });
        ticks.collect()
    }
}

fn percent(place: f64) -> String {
    format!("{place:.2}%")
}

pub(super) fn timeline(page: &Page<'_>, axis: &Axis) -> Markup {
    let ticks = axis.ticks();
    html! {
        section.timeline {
            h2 { "Time line" }
            svg.symbols width="0" height="0" aria-hidden="true" {
                defs {
                    g id="grid" {
                        @for (x, _) in &ticks { line.grid x1=(x) x2=(x) y1="0" y2=(HEIGHT) {} }
                    }
                    circle.question id="question" r="3.5" {}
                    path.failure id="failure" d="M-3.5-3.5l7 7m0-7l-7 7" {}
                    path.message id="message" d="M-5-4h10v7h-5l-3 3v-3h-2z" {}
                    path.lost id="lost" d="M-5-4h10v7h-5l-3 3v-3h-2z" {}
                }
            }
            ul.legend {
                @for kind @ Kind(_, name, _, y, height) in KINDS {
                    li {
                        svg width="18" height="14" viewBox={ "0 " (y + height / 2 - 7) " 18 14" } aria-hidden="true" {
                            (shape(kind, if height == 0 { "9" } else { "2" }, "14", "critical", None))
                        }
                        (name)
                    }
                }
            }
            div.axis {
                svg width="100%" height="18" aria-hidden="true" {
                    @for (number, (x, label)) in ticks.iter().enumerate() {
                        text.odd[number % 2 == 1] x=(x) y="13" { (label) }
                    }
                }
            }
            @for pair in by_pair(&page.shown.incidents) { (lane(page, &pair, axis)) }
        }
    }
}

fn lane(page: &Page<'_>, incidents: &[&Incident], axis: &Axis) -> Markup {
    let last = incidents[incidents.len() - 1];
    let probe = clean(&last.pair.probe);
    let bad_for = bad_for(incidents);
    let mut items = items(page, &last.pair, incidents);
    items.retain(|item| item.from <= axis.to && item.to >= axis.from);
    items.sort_by_key(|item| (item.kind, item.from));
    html! {
        article.pair {
            div.name {
                b.t { (probe) } " " (severity(worst(incidents))) " " (state(last))
                div.category { (clean(&last.pair.category)) }
                div.category {
                    (count(incidents.len() as u64, "incident", "incidents"))
                    @if !bad_for.is_zero() { ", bad for " (span(bad_for)) }
                }
            }
            svg.lane width="100%" height=(HEIGHT) role="group" aria-label={ "Time line of " (probe) } {
                use href="#grid" {}
                @for item in merged(items, axis) { (draw(&item, axis)) }
            }
        }
    }
}

/// Something to draw, or several that would overlap.
struct Item<'a> {
    kind: Kind,
    from: Timestamp,
    to: Timestamp,
    count: u64,
    severity: &'a str,
    /// The words about it, or about the first of several.
    words: Option<&'a str>,
    /// Its row in the table.
    row: Option<usize>,
}

fn items<'a>(page: &'a Page<'_>, pair: &Pair, incidents: &[&'a Incident]) -> Vec<Item<'a>> {
    let groups = page.shown.groups.iter().enumerate();
    let groups: Vec<_> = groups.filter(|(_, group)| group.pair == *pair).collect();
    let row = |one: &Incident| {
        let mut before = groups.iter().rev();
        before.find(|(_, group)| group.first_wake_at <= one.first_wake_at)
    };
    let mut items: Vec<Item<'a>> = Vec::new();
    let mut add = |incident: Option<&'a Incident>, kind, from, to, words| {
        items.push(Item {
            kind,
            from,
            to,
            count: 1,
            severity: incident.map_or("", |one| &one.severity),
            words,
            row: incident.and_then(row).map(|(row, _)| *row),
        });
    };
    let mut windows = Vec::new();
    for incident in incidents.iter().copied() {
        let (first, end) = (incident.first_wake_at, incident.end());
        let title = incident.title.as_deref();
        add(Some(incident), INCIDENT, first, end, title);
        let mut point = |kind, at, words| add(Some(incident), kind, at, at, words);
        if let Some(at) = incident.recovered_at {
            point(RECOVERY, at, None);
        }
        for one in page.shown.record.investigations_of(incident) {
            let (title, failure) = (one.title.as_deref(), one.error.as_deref());
            if !one.late_diagnosis {
                point(WAKE, one.raised_at.unwrap_or(one.begun_at()), title);
                windows.push((one.begun_at(), incident.recovered_at));
            }
            if one.was_asked() {
                let kind = failure.map_or(QUESTION, |_| FAILURE);
                point(kind, one.asked_at(), failure);
            }
            let kind = if one.is_delivered() { MESSAGE } else { LOST };
            let words = failure.map_or(one.summary.as_deref(), |_| title);
            point(kind, one.delivered_at.unwrap_or(one.at), words);
        }
    }
    windows.sort();
    let begun: Vec<_> = windows.iter().map(|(at, _)| *at).collect();
    for ((from, recovered_at), end) in windows
        .into_iter()
        .zip(page.config.debounce.window_ends(&begun))
    {
        let end = end.min(recovered_at.unwrap_or(end)).max(from);
        add(None, WINDOW, from, end, None);
    }
    for one in page.shown.silences.iter().filter(|one| one.holds(pair)) {
        add(None, SILENCE, one.from, one.until, one.reason.as_deref());
    }
    items
}

/// Merges items of one kind that would overlap. Items must be grouped by kind and in order of time.
fn merged<'a>(items: Vec<Item<'a>>, axis: &Axis) -> Vec<Item<'a>> {
    let mut merged: Vec<Item<'a>> = Vec::new();
    for item in items {
        let is_sign = item.kind >= QUESTION;
        let place = axis.place(item.from);
        let touches = |last: &&mut Item<'_>| match is_sign {
            true => place - axis.place(last.from) < SIGN_WIDTH,
            false => place - axis.place(last.to) < LEAST_GAP,
        };
        let last = merged.last_mut().filter(|last| last.kind == item.kind);
        match last.filter(touches) {
            Some(last) => {
                last.count += 1;
                last.to = last.to.max(item.to);
                last.severity = worse(last.severity, item.severity);
            }
            None => merged.push(item),
        }
    }
    merged
}

fn draw(item: &Item<'_>, axis: &Axis) -> Markup {
    let Kind(_, name, ..) = item.kind;
    let mut title = format!("{} · {name}", period(item.from, item.to, axis.near()));
    if item.count > 1 {
        title += &format!(" × {}", item.count);
    }
    if let Some(words) = item.words {
        let words: String = words.chars().take(LONGEST_WORDS).collect();
        title += &format!(": {}", clean(&words));
    }
    let (from, to) = (axis.place(item.from), axis.place(item.to));
    let (x, width) = (percent(from), percent((to - from).max(LEAST_WIDTH)));
    let shape = shape(item.kind, &x, &width, item.severity, Some(&title));
    match item.row {
        Some(row) => html! { a href={ "#i" (row) } { (shape) } },
        None => shape,
    }
}

fn shape(kind: Kind, x: &str, width: &str, severity: &str, title: Option<&str>) -> Markup {
    let Kind(_, _, class, y, height) = kind;
    let title = html! { @if let Some(title) = title { title { (title) } } };
    let rect = format!("{class} {}", severity_class(severity));
    html! {
        @if height == 0 { use href={ "#" (class) } x=(x) y=(y) { (title) } }
        @else { rect class=(rect) x=(x) y=(y) width=(width) height=(height) { (title) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_one_kind_that_would_overlap_are_joined() {
        // An axis of 96 minutes: one percent a minute.
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let axis = Axis {
            from: at(0),
            to: at(96 * 60),
        };
        let joined = |kind, items: &[(i64, i64)]| {
            let items = items.iter().map(|(from, to)| Item {
                kind,
                from: at(*from),
                to: at(*to),
                count: 1,
                severity: "warning",
                words: None,
                row: None,
            });
            let merged = merged(items.collect(), &axis).into_iter();
            merged.map(|item| item.count).collect::<Vec<_>>()
        };
        assert_eq!(joined(MESSAGE, &[(600, 600), (660, 660)]), [2]);
        assert_eq!(joined(MESSAGE, &[(600, 600), (690, 690)]), [1, 1]);
        assert_eq!(joined(INCIDENT, &[(600, 900), (905, 990)]), [2]);
        assert_eq!(joined(INCIDENT, &[(600, 900), (960, 990)]), [1, 1]);
        assert_eq!(joined(INCIDENT, &[(600, 900), (700, 800)]), [2]);
    }
}
