//! Incidents: what is wrong with one pair, from its first wake until it is over. Pure rules, no clock and
//! no file: [`Incidents::decide`] decides on a wake, [`Incidents::decide_due`] decides again on the
//! held-back wakes whose window or silence has ended.

mod held;
mod incidents;
mod silence;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::audit::proof::sha256;
use crate::audit::wake::Wake;
use crate::json::is_default;
use crate::slack::Thread;
use crate::text::short;
use crate::time::within;
pub use held::{Held, HeldBack, HeldCounts, Reason};
pub use incidents::Incidents;
use silence::SilenceNote;
pub use silence::{Acknowledged, LONGEST, Scope, Silence};

/// An incident without a wake for two windows, and at least this long, is over.
const SHORTEST_INCIDENT: SignedDuration = SignedDuration::from_mins(20);
/// How long an incident that is over is remembered, so that its recovery is announced and its rows are
/// recognised.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// How many rows of a pair are remembered, to recognise those that a log shipper sends again.
const REMEMBERED_ROWS: usize = 8;
/// How many of its earlier titles an incident remembers.
const MOST_TITLES: usize = 3;
/// The window of a pair that is only counted (consecutive-required) while debounce is off.
const COUNTING_WINDOW: SignedDuration = SignedDuration::from_secs(600);

/// The probe and category of a wake; wakes of the same pair are repeats of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair {
    pub probe: String,
    pub category: String,
}

impl Pair {
    pub fn of(wake: &Wake) -> Self {
        Self {
            probe: wake.probe.clone(),
            category: wake.category.clone(),
        }
    }

    #[cfg(test)]
    pub fn new(probe: &str, category: &str) -> Self {
        Self {
            probe: probe.to_owned(),
            category: category.to_owned(),
        }
    }
}

/// How bad a wake says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    #[default]
    Warning,
    Critical,
}

impl Severity {
    pub fn of(wake: &Wake) -> Self {
        Self::named(&wake.severity)
    }

    /// Recognises the three names in any case; anything else counts as `warning`.
    pub fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "info" => Self::Info,
            "critical" => Self::Critical,
            _ => Self::Warning,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What holds a wake back; from the `KORA_PROBE_DEBOUNCE_*` variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Zero turns the debounce off.
    pub window: SignedDuration,
    pub bypass_critical: bool,
    /// A wake more severe than the pair's last dispatched one passes the window.
    pub bypass_escalation: bool,
    /// A pair dispatches at its n-th wake within one window of the first; 1 is at once.
    pub consecutive_required: u32,
    /// Each dispatch soon after another multiplies the window by this; 1.0 leaves it flat.
    pub backoff_factor: f64,
    pub max_window: SignedDuration,
}

impl Rules {
    /// Returns the window after `backoff` dispatches in quick succession.
    fn window_after(&self, backoff: u32) -> SignedDuration {
        let base = self.window.as_secs_f64();
        let most = self.max_window.as_secs_f64().max(base);
        let grown = base * self.backoff_factor.powi(backoff.min(1_000) as i32);
        SignedDuration::from_secs_f64(grown.min(most))
    }

    /// Returns how long after its last wake an incident is over.
    fn incident_length(&self) -> SignedDuration {
        (self.window * 2).max(SHORTEST_INCIDENT)
    }

    /// Returns when the windows that these dispatches of one pair open will end.
    pub fn window_ends(&self, dispatches: &[Timestamp]) -> Vec<Timestamp> {
        let mut incident = Incident::default();
        let end = |at: &Timestamp| {
            incident.open_window(self, *at);
            incident.quiet_until(self, *at).unwrap_or(*at)
        };
        dispatches.iter().map(end).collect()
    }
}

/// What is done with a wake.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Investigate and notify.
    Dispatch(Dispatch),
    HeldBack(Reason),
}

/// What the dispatch of a wake says about those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The number of this alert in its incident, counted from 1.
    pub number: u64,
    /// When the incident's first wake was raised, or read if the row does not say.
    pub since: Timestamp,
    /// The wakes counted towards consecutive-required, this one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
}

/// How many wakes there were since the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub count: u64,
    /// When the first of them was read, and when it was raised.
    pub since: Timestamp,
    #[serde(default)]
    pub raised: Timestamp,
}

/// A message about an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRef {
    pub id: String,
    /// Where it is, once it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Thread>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub delivered: bool,
    /// Whether it had the operator's reaction when it was last asked for: only a new one acknowledges.
    #[serde(default, skip_serializing_if = "is_default")]
    pub has_reaction: bool,
}

impl MessageRef {
    /// A message that is still in the outbox.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }
}

/// What is known about one pair: its incident, and what outlives that. Times are by the run's clock, unless
/// noted otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub pair: Pair,
    /// When the first wake was raised, or read if the row does not say.
    pub first_wake: Timestamp,
    /// When the last wake was read.
    pub last_wake: Timestamp,
    /// When the newest wake was raised, or read if the row does not say.
    pub last_raised: Timestamp,
    /// How many wakes there were, those held back included.
    pub wakes: u64,
    pub worst: Severity,
    /// The newest wake's own words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub severity: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The titles of its earlier wakes if they differ, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub titles: Vec<String>,
    /// How many wakes were dispatched.
    #[serde(default, skip_serializing_if = "is_default")]
    pub messages: u64,
    /// The id of the investigation of the first dispatched wake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub investigation: Option<String>,
    /// Outlives the incident, as the window does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_dispatch: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_severity: Option<Severity>,
    /// How many dispatches before the last came within two windows of each other; outlives the incident.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backoff: u32,
    /// Held back since the last message.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held_back: HeldBack,
    /// Held back since the last outcome row.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unrecorded: HeldCounts,
    /// Counted towards consecutive-required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// The newest of the worst repeats, if it is worse than the last dispatched wake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Held>,
    /// The newest wake that a silence or an acknowledgement holds back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silenced: Option<Held>,
    /// When the acknowledgement that a more severe wake has ended was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_over: Option<Timestamp>,
    /// The first message that was not given up, and the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_message: Option<MessageRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_message: Option<MessageRef>,
    /// When its recovery became known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Timestamp>,
    /// When the pair was last seen healthy, no matter by whom; outlives the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_at: Option<Timestamp>,
    /// The pair's last rows, 8 bytes each; outlive the incident.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<u64>,
}

impl Incident {
    /// Decides on a new wake and remembers the decision: a dispatch opens the window whatever becomes of
    /// its message.
    pub fn decide(
        &mut self,
        wake: &Wake,
        rules: &Rules,
        silences: &[Silence],
        now: Timestamp,
    ) -> Decision {
        let row = row_hash(wake);
        if !rules.window.is_zero() && self.has_seen(wake, row) {
            return Decision::HeldBack(Reason::Resent);
        }
        if !self.is_open(rules, now) {
            self.begin(wake, now);
        }
        self.count(wake, row, now);
        self.judge(wake, rules, silences, now)
    }

    /// Takes out a held-back wake that is due because its window or what silenced it has ended, and decides
    /// on it again. This neither counts it nor begins another incident, and needs no further wakes.
    fn decide_due(
        &mut self,
        rules: &Rules,
        silences: &[Silence],
        now: Timestamp,
    ) -> Option<(Held, Decision)> {
        let mut due = None;
        if self.silenced.is_some() && !silences.iter().any(|one| one.holds(self, now)) {
            let about = silences.iter().filter(|one| one.is_about(self));
            let ends = about.map(|one| one.until).filter(|end| *end <= now);
            let ended = ends.max();
            if let Some((note, ended)) = self.held_back.silence.as_mut().zip(ended) {
                note.until = note.until.min(ended);
            }
            let was_open = self.is_open(rules, ended.unwrap_or(now));
            let was_never_told = self.messages == 0 && self.recovered.is_none();
            due = self.silenced.take().filter(|_| was_open || was_never_told);
        }
        let is_quiet = self.quiet_until(rules, now).is_some();
        let held = due.or_else(|| self.escalation.take_if(|_| !is_quiet))?;
        if !held.is_said {
            self.held_back.counts.add(held.reason, -1);
        }
        if !held.is_recorded {
            self.unrecorded.add(held.reason, -1);
        }
        let rules = Rules {
            consecutive_required: 1,
            ..rules.clone()
        };
        let decision = self.judge(&held.wake, &rules, silences, now);
        Some((held, decision))
    }

    /// Returns the held-back wakes that may be dispatched later.
    pub fn held_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        let held = [&mut self.escalation, &mut self.silenced];
        held.into_iter().flatten()
    }

    /// Takes out what was held back, for a message that reports it.
    pub fn take_held_back(&mut self) -> HeldBack {
        self.held_mut().for_each(|held| held.is_said = true);
        std::mem::take(&mut self.held_back)
    }

    /// Takes out what was held back, for an outcome row that reports it.
    pub fn take_unrecorded(&mut self) -> HeldCounts {
        self.held_mut().for_each(|held| held.is_recorded = true);
        std::mem::take(&mut self.unrecorded)
    }

    fn judge(
        &mut self,
        wake: &Wake,
        rules: &Rules,
        silences: &[Silence],
        now: Timestamp,
    ) -> Decision {
        let severity = Severity::of(wake);
        let is_worse = self.last_severity.is_some_and(|last| severity > last);
        let holding = silences.iter().filter(|one| one.holds(self, now));
        match holding.max_by_key(|one| one.acknowledges.is_none()) {
            Some(silence) if silence.acknowledges.is_none() => {
                self.held_back.silence = Some(SilenceNote {
                    until: silence.until,
                    reason: silence.reason.clone(),
                });
                return self.hold_silenced(wake, Reason::Silenced, now);
            }
            Some(ack) if is_worse => {
                self.ack_over = Some(ack.since);
                self.silenced = None;
            }
            Some(_) => return self.hold_silenced(wake, Reason::Acknowledged, now),
            None => {}
        }
        let passes = rules.bypass_critical && severity == Severity::Critical
            || rules.bypass_escalation && is_worse;
        if !passes && self.quiet_until(rules, now).is_some() {
            let is_worst = |held: &Held| severity >= Severity::of(&held.wake);
            if is_worse && self.escalation.as_ref().is_none_or(is_worst) {
                self.escalation = Some(Held::new(wake, Reason::Repeat, now));
            }
            return self.hold(wake, Reason::Repeat, now);
        }
        let mut counted = None;
        if rules.consecutive_required > 1 {
            let window = match rules.window.is_zero() {
                true => COUNTING_WINDOW,
                false => rules.window,
            };
            let is_running = |one: &Counted| within(now, one.since, window);
            let mut counting = self.counted.filter(is_running).unwrap_or(Counted {
                count: 0,
                since: now,
                raised: raised_at(wake, now),
            });
            counting.count += 1;
            if !passes && counting.count < u64::from(rules.consecutive_required) {
                self.counted = Some(counting);
                return self.hold(wake, Reason::Buffered, now);
            }
            counted = Some(counting);
        }
        self.dispatch(severity, rules, now);
        Decision::Dispatch(Dispatch {
            number: self.messages,
            since: self.first_wake,
            counted,
        })
    }

    fn hold_silenced(&mut self, wake: &Wake, reason: Reason, now: Timestamp) -> Decision {
        // Keeps the newest one, unless that would lose an escalation.
        let severity = Severity::of(wake);
        let is_escalation = |held: &Held| {
            let before = Severity::of(&held.wake);
            before > severity && self.last_severity.is_some_and(|last| before > last)
        };
        if !self.silenced.as_ref().is_some_and(is_escalation) {
            self.silenced = Some(Held::new(wake, reason, now));
        }
        self.hold(wake, reason, now)
    }

    /// Counts a wake that is held back.
    fn hold(&mut self, wake: &Wake, reason: Reason, now: Timestamp) -> Decision {
        self.held_back.counts.add(reason, 1);
        self.held_back.newest = self.held_back.newest.max(Some(raised_at(wake, now)));
        self.unrecorded.add(reason, 1);
        Decision::HeldBack(reason)
    }

    fn dispatch(&mut self, severity: Severity, rules: &Rules, now: Timestamp) {
        self.open_window(rules, now);
        self.last_severity = Some(severity);
        self.messages += 1;
        self.counted = None;
        // The wakes counted until now are part of this alert.
        self.held_back.counts.buffered = 0;
        self.silenced = None;
        let is_worse = |held: &Held| Severity::of(&held.wake) > severity;
        self.escalation = self.escalation.take().filter(is_worse);
    }

    fn open_window(&mut self, rules: &Rules, now: Timestamp) {
        let window = rules.window_after(self.backoff);
        let is_soon = |last| within(now, last, window * 2);
        let grows = rules.backoff_factor > 1.0 && self.last_dispatch.is_some_and(is_soon);
        self.backoff = match grows {
            true => self.backoff.saturating_add(1),
            false => 0,
        };
        self.last_dispatch = Some(now);
    }

    /// Begins another incident of the same pair. Window, growth and known rows belong to the pair and stay.
    fn begin(&mut self, wake: &Wake, now: Timestamp) {
        let raised = raised_at(wake, now);
        *self = Self {
            pair: Pair::of(wake),
            first_wake: raised,
            last_raised: raised,
            worst: Severity::of(wake),
            title: short(&wake.title).to_owned(),
            last_dispatch: self.last_dispatch,
            last_severity: self.last_severity,
            backoff: self.backoff,
            healthy_at: self.healthy_at,
            rows: std::mem::take(&mut self.rows),
            unrecorded: self.unrecorded,
            ..Self::default()
        };
    }

    fn count(&mut self, wake: &Wake, row: Option<u64>, now: Timestamp) {
        self.wakes += 1;
        self.worst = self.worst.max(Severity::of(wake));
        self.last_wake = now;
        self.last_raised = self.last_raised.max(raised_at(wake, now));
        self.severity.clone_from(&wake.severity);
        let before = std::mem::replace(&mut self.title, short(&wake.title).to_owned());
        if before != self.title {
            self.titles.retain(|title| *title != before);
            push_bounded(&mut self.titles, before, MOST_TITLES);
        }
        short(&wake.detail).clone_into(&mut self.detail);
        if let Some(row) = row {
            push_bounded(&mut self.rows, row, REMEMBERED_ROWS);
        }
    }

    /// Returns whether a log shipper sent this row again: it is one of the pair's last rows, or from before
    /// the pair was seen healthy.
    fn has_seen(&self, wake: &Wake, row: Option<u64>) -> bool {
        let is_known = row.is_some_and(|row| self.rows.contains(&row));
        let raised = wake.raised_at();
        is_known || raised.is_some_and(|raised| self.healthy_at.is_some_and(|at| raised < at))
    }

    /// Returns until when this pair's window holds wakes back, if it does so at `now`.
    pub fn quiet_until(&self, rules: &Rules, now: Timestamp) -> Option<Timestamp> {
        let last = self.last_dispatch?;
        let window = rules.window_after(self.backoff);
        within(now, last, window).then(|| last.checked_add(window).unwrap_or(Timestamp::MAX))
    }

    /// Returns whether something is wrong with the pair, as far as is known.
    pub fn is_open(&self, rules: &Rules, now: Timestamp) -> bool {
        self.wakes > 0 && self.recovered.is_none() && !self.is_over(rules, now)
    }

    /// Returns whether no wake has come for so long that the incident has ended without a recovery.
    pub fn is_over(&self, rules: &Rules, now: Timestamp) -> bool {
        let since = now.duration_since(self.last_wake);
        since >= rules.incident_length() && self.quiet_until(rules, now).is_none()
    }

    /// Ends the incident. A window that has not grown ends with it. `healthy_at` is when the pair was seen
    /// healthy, if that is known; a time in the future is ignored, since it would hide the wakes that
    /// follow.
    pub fn recover(&mut self, healthy_at: Option<Timestamp>, now: Timestamp) {
        self.recovered = Some(now);
        self.healthy_at = self.healthy_at.max(healthy_at.filter(|at| *at <= now));
        self.escalation = None;
        self.silenced = None;
        self.counted = None;
        if self.backoff == 0 {
            self.last_dispatch = None;
        }
    }

    /// Returns when the window of a held-back escalation ends.
    pub fn due_at(&self, rules: &Rules) -> Option<Timestamp> {
        self.escalation.as_ref()?;
        let window = rules.window_after(self.backoff);
        self.last_dispatch?.checked_add(window).ok()
    }

    /// Returns whether a held-back wake may have to be decided on again now, depending on the silences.
    pub fn may_be_due(&self, rules: &Rules, now: Timestamp) -> bool {
        let has_escalation = self.escalation.is_some();
        self.silenced.is_some() || has_escalation && self.quiet_until(rules, now).is_none()
    }

    /// Returns whether nothing about the pair will be needed again.
    pub fn is_forgotten(&self, rules: &Rules, now: Timestamp) -> bool {
        let window = rules.window_after(self.backoff);
        let live =
            |since: Option<Timestamp>, length| since.is_some_and(|at| within(now, at, length));
        let length = rules.incident_length();
        let ended = || self.last_wake.checked_add(length).unwrap_or(now);
        let over_since = self.recovered;
        let over_since = over_since.or_else(|| self.is_over(rules, now).then(ended));
        self.escalation.is_none()
            && self.silenced.is_none()
            && !live(self.last_dispatch, window * 2)
            && over_since.is_some_and(|since| !within(now, since, REMEMBERED))
    }
}

/// Returns a hash that tells a row from all others of its pair; `None` if it has no time of its own.
fn row_hash(wake: &Wake) -> Option<u64> {
    wake.raised_at()?;
    let time = wake.emitted_at.as_ref()?;
    let row = format!("{time}\0{}\0{}", wake.title, wake.detail);
    let hash = sha256(row.as_bytes());
    u64::from_str_radix(&hash[..16], 16).ok()
}

/// Returns when a wake was raised, or `now` if the row does not say; a time in the future counts as now.
fn raised_at(wake: &Wake, now: Timestamp) -> Timestamp {
    wake.raised_at().map_or(now, |at| at.min(now))
}

/// Adds the newest item, and forgets the oldest if there are more than `most`.
fn push_bounded<T>(list: &mut Vec<T>, newest: T, most: usize) {
    list.push(newest);
    list.drain(..list.len().saturating_sub(most));
}

#[cfg(test)]
mod tests;
