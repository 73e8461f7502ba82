//! Gathers what an investigation knows besides its alert, for the prompt and for the message. What it reads
//! is kept for the other questions of the run.

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Run;
use crate::audit::tail::Tail;
use crate::audit::wake::Wake;
use crate::context::earlier::Past;
use crate::context::lines::{also, before, runbook_link, runbook_quote};
use crate::context::runbook::{self, Runbook};
use crate::context::{Context, Mode, Subject};
use crate::engine::{self, Knowledge};
use crate::incident::{Incident, Pair};
use crate::logger::{RUNBOOK, warn_lasting};
use crate::mask::Masker;
use crate::message::Lines;
use crate::outcome::{FILE, TURNED_FILE};
use crate::random::random_id;
use crate::snapshot::Snapshot;
use crate::state::outbox::{Message, Outcome, PromptSize};
use crate::state::queue::{Alert, Investigation};
use crate::state::text::load_wake;

/// How long the log read for one alert is used for other questions.
const TAIL_PERIOD: Duration = Duration::from_secs(30);
/// How many bytes of outcome rows are read.
const MOST_OUTCOMES: u64 = 8 * 1024 * 1024;

impl Run<'_> {
    /// Returns the prompt, and how much of it is context and runbook.
    pub(super) fn prompt(&mut self, one: &Investigation) -> (String, PromptSize) {
        let now = self.now();
        let texts = self.store.texts();
        let wakes = one.alerts.iter().map(|alert| load_wake(&alert.wake, texts));
        let wakes: Vec<Wake> = wakes.map(Cow::into_owned).collect();
        let mode = self.config.context.mode;
        let is_on = mode != Mode::Off;
        let from = one.alerts.iter().map(raised).min().unwrap_or(now);
        if is_on {
            self.read_tail(from, now);
        }
        let snapshot = Snapshot::read(&self.config.paths.snapshot_path, now).ok();
        let subjects = wakes.iter().zip(&one.alerts);
        let subjects = subjects.map(|(wake, alert)| self.subject(wake, alert, now));
        let tail = self.tail.as_ref().map(|(_, tail)| tail);
        let context = Context {
            mode,
            now,
            subjects: subjects.collect(),
            snapshot: snapshot.as_ref().filter(|_| is_on),
            others: self.others(&one.alerts, from, now),
            tail,
            masker: Masker(self.config.secrets()),
        };
        let context = context.render();
        let runbook = self.runbook(&one.alerts).text;
        let knowledge = Knowledge {
            now,
            runbook: &runbook,
            context: &context,
        };
        let wakes: Vec<&Wake> = wakes.iter().collect();
        let size = PromptSize {
            context: context.len(),
            runbook: runbook.len(),
        };
        (engine::prompt(&wakes, &knowledge, &random_id()), size)
    }

    /// Returns what a message says besides its content.
    pub(super) fn lines(&self, message: &Message) -> Lines {
        let mut lines = Lines {
            unwatched: message.unwatched.map(SignedDuration::from_secs),
            handed_over: message.hand_over.as_ref().and_then(|one| one.done),
            ..Lines::default()
        };
        let alerts = message.content.alerts();
        let ([alert], true) = (alerts, message.content.is_alert()) else {
            return lines;
        };
        let now = self.now();
        let runbook = self.runbook(alerts).own;
        let paragraph = match message.content.outcome() {
            Some(Outcome::Diagnosis { .. }) => vec![runbook_link(runbook.as_deref())],
            _ => {
                let pair = Pair::of(&alert.wake);
                let earlier = self.past().diagnosed(&pair, alert.dispatch.since);
                vec![
                    also(self.others(alerts, now, now), self.config.context.length),
                    before(earlier, now),
                    runbook_quote(runbook.as_deref()),
                ]
            }
        };
        let paragraph: Vec<_> = paragraph.into_iter().flatten().collect();
        lines.before = paragraph.join("\n");
        lines
    }

    fn past(&self) -> &Past {
        self.past.get_or_init(|| {
            let files = match self.clock {
                Some(_) => vec![self.config.paths.audit_log.clone()],
                None => [TURNED_FILE, FILE].map(|file| self.store.path(file)).into(),
            };
            Past::read(&files, MOST_OUTCOMES, Masker(self.config.secrets()))
        })
    }

    fn read_tail(&mut self, from: Timestamp, now: Timestamp) {
        let elapsed = self.begun.elapsed();
        let is_replay = self.clock.is_some();
        let is_recent = |(read, _): &(Duration, Tail)| elapsed.saturating_sub(*read) < TAIL_PERIOD;
        if self.tail.as_ref().is_some_and(is_recent) && !is_replay {
            return;
        }
        let window = self.before(from)..=now;
        let log = &self.config.paths.audit_log;
        let tail = match is_replay {
            true => Tail::of_replay(log, u64::MAX, window, Masker(self.config.secrets())),
            false => Tail::of_log(log, window, Masker(self.config.secrets())),
        };
        self.tail = Some((elapsed, tail));
    }

    /// Returns when the context of an alert at this time begins.
    fn before(&self, time: Timestamp) -> Timestamp {
        let begin = time.checked_sub(self.config.context.length);
        begin.unwrap_or(Timestamp::MIN)
    }

    fn subject<'s>(&'s self, wake: &'s Wake, alert: &'s Alert, now: Timestamp) -> Subject<'s> {
        let since = alert.dispatch.since;
        let (past, pair) = (self.past(), Pair::of(wake));
        let last = past.diagnosed(&pair, now);
        let last = last.filter(|last| last.at >= since);
        let log = self.state.logs.get(&self.log);
        Subject {
            wake,
            dispatch: &alert.dispatch,
            incident: log.and_then(|log| log.incidents.get(&pair)),
            last_diagnosis: last.and_then(|last| last.diagnosis.clone()),
            earlier: past.last(&pair, since),
        }
    }

    /// Returns the incidents of other pairs that were last raised after the context of `from` began.
    fn others(&self, alerts: &[Alert], from: Timestamp, now: Timestamp) -> Vec<&Incident> {
        let from = self.before(from);
        let is_asked = |pair: &Pair| alerts.iter().any(|alert| Pair::of(&alert.wake) == *pair);
        let others = self.incidents().filter(|one| {
            one.wakes > 0 && (from..=now).contains(&one.last_raised) && !is_asked(&one.pair)
        });
        others.collect()
    }

    fn runbook(&self, alerts: &[Alert]) -> Runbook {
        let Some(dir) = &self.config.context.runbook_dir else {
            return Runbook::default();
        };
        let pairs: Vec<_> = alerts.iter().map(|alert| Pair::of(&alert.wake)).collect();
        let runbook = runbook::read(dir, &pairs, Masker(self.config.secrets()));
        for warning in &runbook.warnings {
            warn_lasting(RUNBOOK, warning, warning);
        }
        runbook
    }
}

/// Returns when the alert was raised, or when it was read if its row does not say.
fn raised(alert: &Alert) -> Timestamp {
    alert.wake.raised_at().unwrap_or(alert.read_at)
}
