//! A time line for each pair, drawn as SVG. Places are percentages of the width, so that shapes keep
//! their size on every screen. Marks that would overlap are drawn as one.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::{Page, clean, count, length, minute, severity_class};
use crate::record::{Investigation, PairRecord, Resolution, WakeDecision, worst};

/// The width of a lane, in places. A wake takes one place.
const PLACES: f64 = 640.0;
const SYMBOL_WIDTH: f64 = 8.0;
/// The most characters of a mark's words.
const LONGEST_WORDS: usize = 120;
/// Only so many time lines are drawn. The others are counted.
const MOST_PAIRS: usize = 200;
/// Marks older than this are not drawn.
const LONGEST_AXIS: SignedDuration = SignedDuration::from_hours(92 * 24);
const SHORTEST_AXIS: SignedDuration = SignedDuration::from_hours(1);
const MOST_TICKS: i64 = 8;
/// The distances of ticks, in minutes.
const STEPS: [i64; 14] = [
    5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440, 2_880, 10_080, 20_160, 40_320,
];
/// The rows of a lane, in pixels from its top.
const QUESTION_Y: u32 = 8;
const WAKE_Y: u32 = 26;
const DM_Y: u32 = 44;
const LANE_HEIGHT: u32 = 52;

/// What the time lines have in common.
pub(super) struct Axis {
    from: Timestamp,
    to: Timestamp,
    /// The table's row of each investigation.
    rows: HashMap<*const Investigation, usize>,
}

impl Axis {
    /// `None` where nothing happened.
    pub fn of(page: &Page<'_>, pairs: &[PairRecord<'_>]) -> Option<Self> {
        let mut times: Vec<Timestamp> = Vec::new();
        for pair in pairs {
            times.extend(pair.wakes.iter().map(|one| one.at));
            let told = pair.investigations.iter();
            times.extend(told.flat_map(|one| [one.asked_at(), one.at]));
            times.extend(pair.recoveries.iter().map(|one| one.at));
            times.extend(&pair.owed);
        }
        // A time in the future comes from another clock.
        let latest = page.now.unwrap_or(Timestamp::MAX);
        let last = times.iter().copied().filter(|at| *at <= latest).max();
        let last = last.or(times.first().map(|_| latest))?;
        let first = page.since.unwrap_or(*times.iter().min()?).min(last);
        let whole = last.duration_since(first).max(SHORTEST_AXIS);
        let margin = whole / 50;
        let is_near = |now: &Timestamp| now.duration_since(last) <= whole / 4;
        let now = page.now.filter(|now| page.since.is_some() || is_near(now));
        let to = now.unwrap_or(last.checked_add(margin).unwrap_or(last));
        let before_first = first.checked_sub(margin).unwrap_or(first);
        let from = page.since.unwrap_or(before_first);
        let rows = page.shown.iter().map(|one| std::ptr::from_ref(*one));
        let length = to.duration_since(from).clamp(SHORTEST_AXIS, LONGEST_AXIS);
        Some(Self {
            from: to.checked_sub(length).unwrap_or(from),
            to,
            rows: rows.zip(0..).collect(),
        })
    }

    pub fn period(&self) -> String {
        let minute = |at: Timestamp| at.strftime("%-d %b %Y %H:%M");
        format!("{} to {}", minute(self.from), minute(self.to))
    }

    /// The place of a time, from 0 to [`PLACES`]; `None` if it is off the axis.
    fn place(&self, at: Timestamp) -> Option<f64> {
        let whole = self.to.duration_since(self.from).as_secs_f64();
        let place = at.duration_since(self.from).as_secs_f64() / whole * PLACES;
        (0.0..=PLACES).contains(&place).then_some(place)
    }

    /// The places of a span's ends, cut to the axis; `None` if all of it is off the axis.
    fn places(&self, from: Timestamp, to: Timestamp) -> Option<(f64, f64)> {
        let is_drawn = from <= self.to && to >= self.from;
        let place = |at: Timestamp| self.place(at.clamp(self.from, self.to)).unwrap_or(0.0);
        is_drawn.then(|| (place(from), place(to)))
    }

    /// The ticks with their labels.
    fn ticks(&self) -> Vec<(f64, String)> {
        let minutes = self.to.duration_since(self.from).as_mins();
        let step = STEPS.iter().find(|step| minutes / **step <= MOST_TICKS);
        let step = step.copied().unwrap_or(40_320) * 60;
        let first = (self.from.as_second() / step + 1) * step;
        let times = (0..=MOST_TICKS)
            .filter_map(|number| Timestamp::from_second(first + number * step).ok());
        let label = |at: Timestamp| match at.as_second() % 86_400 {
            0 => at.strftime("%-d %b").to_string(),
            _ => at.strftime("%H:%M").to_string(),
        };
        times
            .filter_map(|at| Some((self.place(at)?, label(at))))
            .collect()
    }
}

fn percent(place: f64) -> String {
    format!("{:.2}%", place / PLACES * 100.0)
}

pub(super) fn timeline(page: &Page<'_>, pairs: &[PairRecord<'_>], axis: &Axis) -> Markup {
    let ticks = axis.ticks();
    let more = pairs.len().saturating_sub(MOST_PAIRS);
    html! {
        section.timeline {
            h2 { "What was bad, and when" }
            (symbols(&ticks))
            (legend(pairs.iter().any(|pair| pair.count(WakeDecision::Unknown) > 0)))
            div.axis {
                svg width="100%" height="18" aria-hidden="true" {
                    @for (number, (place, label)) in ticks.iter().enumerate() {
                        text.odd[number % 2 == 1].first[*place < PLACES / 20.0] x=(percent(*place)) y="13" { (label) }
                    }
                }
            }
            @for pair in pairs.iter().take(MOST_PAIRS) { (lane(page, pair, axis)) }
            @if more > 0 {
                p.more { (count(more as u64, "pair is", "pairs are")) " not drawn." }
            }
        }
    }
}

/// The shapes that all time lines use, drawn around the point (0, 0).
fn symbols(ticks: &[(f64, String)]) -> Markup {
    html! {
        svg.symbols width="0" height="0" aria-hidden="true" {
            defs {
                g id="grid" {
                    @for (place, _) in ticks {
                        line.grid x1=(percent(*place)) x2=(percent(*place)) y1="0" y2=(LANE_HEIGHT) {}
                    }
                }
                circle.question id="question" r="3.5" {}
                path.failure id="failure" d="M-3.5-3.5l7 7m0-7l-7 7" {}
                path.dm id="dm" d="M-5-4h10v7h-5l-3 3v-3h-2z" {}
                path.lost id="lost" d="M-5-4h10v7h-5l-3 3v-3h-2z" {}
                path.recovery id="recovery" d="M3 0l3.5 4 6-8" {}
            }
        }
    }
}

fn legend(has_unknown: bool) -> Markup {
    let sign = |drawing: Markup, words: &str| {
        html! {
            li {
                svg width="22" height="20" aria-hidden="true" { (drawing) }
                (words)
            }
        }
    };
    html! {
        ul.legend {
            (sign(html! { rect.critical x="2" y="1" width="3" height="18" {} rect.warning x="9" y="1" width="3" height="18" {} rect.info x="16" y="1" width="3" height="18" {} }, "wake, told (critical, warning, info)"))
            (sign(html! { rect.h x="5" y="6" width="2" height="8" {} rect.h x="13" y="6" width="2" height="8" {} }, "wake, held back"))
            @if has_unknown {
                (sign(html! { rect.u x="5" y="6" width="2" height="8" {} rect.u x="13" y="6" width="2" height="8" {} }, "wake, decision not known"))
            }
            (sign(html! { rect.window x="1" y="4" width="20" height="12" {} }, "window that holds repeats back"))
            (sign(html! { rect.span.critical x="1" y="1" width="20" height="18" {} }, "bad from first to last wake"))
            (sign(html! { use href="#question" x="11" y="10" {} }, "question"))
            (sign(html! { use href="#failure" x="11" y="10" {} }, "no diagnosis"))
            (sign(html! { use href="#dm" x="11" y="10" {} }, "DM"))
            (sign(html! { use href="#lost" x="11" y="10" {} }, "DM not delivered"))
            (sign(html! { use href="#recovery" x="3" y="10" {} }, "recovery"))
        }
    }
}

fn lane(page: &Page<'_>, pair: &PairRecord<'_>, axis: &Axis) -> Markup {
    let severity = pair.severity();
    let (probe, category) = (clean(&pair.pair.probe), clean(&pair.pair.category));
    html! {
        article.pair {
            div.name {
                b { (probe) } " "
                span.category { (category) } " "
                span class={ "chip " (severity_class(severity)) } { (clean(severity)) }
                @if page.now.is_some() { " " (resolution(pair.resolution)) }
            }
            svg.lane width="100%" height=(LANE_HEIGHT) role="img" aria-label={ "Time line of " (probe) } {
                use href="#grid" {}
                (bands(page, pair, axis))
                (marks(pair, axis))
            }
            (in_words(pair))
        }
    }
}

fn resolution(resolution: Resolution) -> Markup {
    let words = match resolution {
        Resolution::Resolved => "well now",
        Resolution::Active => "still bad",
        Resolution::Unknown => return html! {},
    };
    html! { span class={ "chip " (resolution.name()) } { (words) } }
}

/// Bands for the times when the pair was bad, and for its windows.
fn bands(page: &Page<'_>, pair: &PairRecord<'_>, axis: &Axis) -> Markup {
    let class = severity_class(pair.severity());
    let spans = pair.spans().into_iter().map(|span| (span.from, span.to));
    html! {
        @for (from, to) in joined(spans, axis) {
            rect class={ "span " (class) } x=(percent(from)) width=(percent(to - from)) y="0" height=(LANE_HEIGHT) {}
        }
        @for (from, to) in joined(pair.windows(page.policy).into_iter(), axis) {
            rect.window x=(percent(from)) width=(percent(to - from)) y=(WAKE_Y - 6) height="12" {}
        }
    }
}

/// The places of these spans. Those that touch are joined.
fn joined(times: impl Iterator<Item = (Timestamp, Timestamp)>, axis: &Axis) -> Vec<(f64, f64)> {
    let mut joined: Vec<(f64, f64)> = Vec::new();
    for (from, to) in times.filter_map(|(from, to)| axis.places(from, to)) {
        match joined.last_mut() {
            Some(last) if from - last.1 < 1.0 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// What a mark stands for, in the order in which marks are drawn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Wake(WakeDecision),
    Question,
    Failure,
    Dm,
    Lost,
    Recovery,
}

/// One mark, for all of a kind that would overlap.
struct Mark<'a> {
    kind: Kind,
    count: u64,
    first: Timestamp,
    /// The worst severity.
    severity: &'a str,
    /// The text of the first one.
    words: Option<&'a str>,
    /// Its row in the table.
    row: Option<usize>,
}

impl<'a> Mark<'a> {
    fn new(kind: Kind, at: Timestamp, severity: &'a str) -> Self {
        Self {
            kind,
            count: 1,
            first: at,
            severity,
            words: None,
            row: None,
        }
    }
}

fn marks(pair: &PairRecord<'_>, axis: &Axis) -> Markup {
    let wakes = pair.wakes.iter().map(|one| Mark {
        words: Some(&one.wake.title),
        ..Mark::new(Kind::Wake(one.decision), one.at, &one.wake.severity)
    });
    let told = pair.investigations.iter().flat_map(|one| {
        let row = axis.rows.get(&std::ptr::from_ref(*one));
        of_investigation(one, row.copied())
    });
    let recoveries = pair.recoveries.iter();
    let recoveries = recoveries.map(|one| Mark::new(Kind::Recovery, one.at, "info"));
    let mut marks: Vec<_> = wakes.chain(told).chain(recoveries).collect();
    marks.sort_by_key(|mark| mark.kind);
    html! {
        @for (place, mark) in merged(marks, axis) { (draw(place, &mark)) }
    }
}

/// Its wake where the wake's row is gone, its question and its DM.
fn of_investigation(one: &Investigation, row: Option<usize>) -> Vec<Mark<'_>> {
    let mark = |kind, at| Mark::new(kind, at, &one.severity);
    let failure = one.error.as_deref();
    let mut marks = Vec::new();
    if one.raised_at.is_none() && !one.late_diagnosis {
        marks.push(mark(Kind::Wake(WakeDecision::Dispatched), one.asked_at()));
    }
    if one.was_asked() {
        let kind = failure.map_or(Kind::Question, |_| Kind::Failure);
        marks.push(Mark {
            words: failure,
            row,
            ..mark(kind, one.asked_at())
        });
    }
    let (kind, at) = match one.is_delivered() {
        true => (Kind::Dm, one.delivered_at.unwrap_or(one.at)),
        false => (Kind::Lost, one.at),
    };
    marks.push(Mark {
        words: failure.or(one.summary.as_deref()),
        row,
        ..mark(kind, at)
    });
    marks
}

/// The marks with their places, those that would overlap as one. Marks of a kind must come together
/// and in the order of time.
fn merged<'a>(marks: Vec<Mark<'a>>, axis: &Axis) -> Vec<(f64, Mark<'a>)> {
    let mut merged: Vec<(f64, Mark<'a>)> = Vec::new();
    for mark in marks {
        let Some(place) = axis.place(mark.first) else {
            continue;
        };
        let width = match mark.kind {
            Kind::Wake(_) => 1.0,
            _ => SYMBOL_WIDTH,
        };
        match merged.last_mut() {
            Some((left, last)) if last.kind == mark.kind && place - *left < width => {
                last.count += 1;
                last.severity = worst([last.severity, mark.severity]);
                last.row = last.row.or(mark.row);
            }
            _ => merged.push((place, mark)),
        }
    }
    merged
}

fn draw(place: f64, mark: &Mark<'_>) -> Markup {
    let x = percent(place);
    let title = title(mark);
    let symbol = |name: &str, y: u32| {
        html! { use href={ "#" (name) } x=(x) y=(y) { title { (title) } } }
    };
    let tick = |class: &str, width: u32, height: u32| {
        html! {
            rect class=(class) x=(x) y=(WAKE_Y - height / 2) width=(width) height=(height) { title { (title) } }
        }
    };
    let shape = match mark.kind {
        Kind::Wake(WakeDecision::HeldBack) => tick("h", 2, 8),
        Kind::Wake(WakeDecision::Unknown) => tick("u", 2, 8),
        Kind::Wake(WakeDecision::Dispatched) => tick(severity_class(mark.severity), 3, 20),
        Kind::Question => symbol("question", QUESTION_Y),
        Kind::Failure => symbol("failure", QUESTION_Y),
        Kind::Dm => symbol("dm", DM_Y),
        Kind::Lost => symbol("lost", DM_Y),
        Kind::Recovery => symbol("recovery", WAKE_Y),
    };
    match mark.row {
        Some(row) => html! { a href={ "#i" (row) } { (shape) } },
        None => shape,
    }
}

/// The text that is shown when the pointer rests on a mark.
fn title(mark: &Mark<'_>) -> String {
    use WakeDecision::{Dispatched, HeldBack, Unknown};
    let (one, many) = match mark.kind {
        Kind::Wake(HeldBack) => ("wake held back", "wakes held back"),
        Kind::Wake(Unknown) => ("wake, decision not known", "wakes, decision not known"),
        Kind::Wake(Dispatched) => ("wake told", "wakes told"),
        Kind::Question => ("question", "questions"),
        Kind::Failure => (
            "question without a diagnosis",
            "questions without a diagnosis",
        ),
        Kind::Dm => ("DM", "DMs"),
        Kind::Lost => ("DM not delivered", "DMs not delivered"),
        Kind::Recovery => ("recovery told", "recoveries told"),
    };
    let told = format!("{} · {}", minute(mark.first), count(mark.count, one, many));
    match mark.words {
        Some(words) => {
            let words: String = words.chars().take(LONGEST_WORDS).collect();
            format!("{told}: {}", clean(&words))
        }
        None => told,
    }
}

/// In words: for how long it was bad, how many wakes were told, and the last diagnosis.
fn in_words(pair: &PairRecord<'_>) -> Markup {
    let (dispatched, held) = (pair.dispatches().len(), pair.count(WakeDecision::HeldBack));
    let unknown = pair.count(WakeDecision::Unknown);
    let bad = pair.bad_for();
    let told = &pair.investigations;
    let diagnosed = told.iter().rev().find(|one| one.error.is_none());
    let last = diagnosed.or(told.last());
    html! {
        p.words {
            @if bad.is_zero() { "Seen " (count(pair.spans().len() as u64, "time", "times")) }
            @else { b { (length(bad)) } " bad" }
            ", " (dispatched) " told, " (held) " held back"
            @if unknown > 0 { ", " (unknown) " with no known decision" }
            ". "
            @if let Some(one) = last { (said(one)) }
        }
    }
}

/// The diagnosis, or the wake's title and the reason why there is no diagnosis. Without an engine no
/// reason is given.
pub(super) fn said(one: &Investigation) -> Markup {
    let failure = one.failure();
    let text = match (&failure, &one.title, &one.summary) {
        (None, _, Some(summary)) => clean(summary),
        (_, Some(title), _) => clean(title),
        _ => String::new(),
    };
    html! {
        span.t { (text) }
        @if let Some(failure) = failure.filter(|_| one.has_engine()) {
            " " span.reason { "No diagnosis: " (clean(&failure)) }
        }
    }
}
