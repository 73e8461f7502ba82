//! From new rows to the queue: each wake is decided on when it is read, and what is to be dispatched
//! lies in the queue, whole, when the position is committed.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;
use log::info;

use super::{LOOK_AGAIN, Session};
use crate::audit::generations::Checkpoint;
use crate::audit::row::Event;
use crate::audit::wake::Wake;
use crate::audit::wakes::{self, Summary, Wakes};
use crate::config::Config;
use crate::debounce::{Decision, Pair, Stamps};
use crate::effects::Effects;
use crate::random::random_id;
use crate::report::{Report, WakeReport};
use crate::secret::Secret;
use crate::state::outbox;
use crate::state::queue::{Alert, Investigation, Queue};
use crate::state::{Counters, Durability, Episodes};

/// Reading stops while so many wakes, or so many bytes of them, were told nothing yet.
const MOST_UNTOLD: usize = 256;
const MOST_UNTOLD_BYTES: usize = 4 * 1024 * 1024;

/// Decides on the wakes of one look.
struct Intake<'a, E> {
    config: &'a Config,
    secrets: &'a [Secret],
    log: &'a str,
    effects: &'a mut E,
    stamps: &'a mut Stamps,
    episodes: &'a mut Episodes,
    queue: &'a mut Queue,
    counters: &'a mut Counters,
    report: &'a mut Report,
    /// `None` where the wakes are only counted.
    reported_wakes: Option<&'a mut HashMap<String, Vec<usize>>>,
    /// How many wakes were decided on.
    decided: u64,
    /// How many investigations lay in the queue before.
    before: usize,
    /// Wakes in the queue that were told nothing.
    untold: usize,
    untold_bytes: usize,
}

impl<E: Effects> Intake<'_, E> {
    fn take(&mut self, wake: Wake) {
        let wake = wake.masked(self.secrets);
        let now = self.effects.now(wake.raised_at());
        self.decided += 1;
        self.report.tally.wakes += 1;
        self.counters.wakes += 1;
        if self.config.tell_recovery {
            self.episodes.note_wake(&wake, now);
        }
        let decision = self.stamps.decide(&wake, &self.config.debounce, now);
        let index = self.report.wakes.len();
        if self.reported_wakes.is_some() {
            self.report.wakes.push(WakeReport::new(&wake, &decision));
        }
        let Decision::Dispatch(before) = decision else {
            self.counters.held_back += 1;
            self.report.tally.held_back += 1;
            info!(
                "held back: {} ({})",
                wake.caller_session_id(),
                wake.severity
            );
            return;
        };
        let id = random_id() + &random_id();
        if let Some(reported) = &mut self.reported_wakes {
            reported.insert(id.clone(), vec![index]);
        }
        self.end_late_ones(&wake);
        self.untold += 1;
        self.untold_bytes += wake.size();
        self.report.tally.dispatched += 1;
        self.counters.dispatched += 1;
        self.queue.push_back(Investigation {
            id,
            log: self.log.to_owned(),
            queued_at: now,
            attempts: 0,
            alert: Alert { wake, before },
            others: Vec::new(),
            told: None,
            late: None,
        });
    }

    fn is_full(&self) -> bool {
        self.untold >= MOST_UNTOLD || self.untold_bytes >= MOST_UNTOLD_BYTES
    }
}

/// What a look came to, and why reading broke off.
struct Look {
    summary: Summary,
    problem: Option<anyhow::Error>,
}

impl<E: Effects> Intake<'_, E> {
    /// Pulls wakes as long as there is room for them.
    fn pull(&mut self, wakes: Result<Wakes<'_>>) -> Look {
        let mut look = Look {
            summary: Summary::default(),
            problem: None,
        };
        let mut wakes = match wakes {
            Ok(wakes) => wakes,
            Err(problem) => {
                look.problem = Some(problem);
                return look;
            }
        };
        while !self.is_full() {
            match wakes.next() {
                None => break,
                Some(Ok(Event::Wake(wake))) => self.take(wake),
                Some(Ok(Event::Recovery(_))) => {}
                Some(Err(problem)) => look.problem = Some(problem),
            }
        }
        look.summary = wakes.finish();
        look
    }
}

impl<E> Intake<'_, E> {
    /// A new dispatch of a pair ends the hope for a late diagnosis of the one before.
    fn end_late_ones(&mut self, wake: &Wake) {
        let log = self.log;
        let pair = Pair::of(wake);
        let is_ended = |one: &Investigation| one.late.is_some() && one.is_of(log, &pair);
        let kept = self.queue.len();
        self.queue.retain(|one| !is_ended(one));
        self.before -= kept - self.queue.len();
    }
}

impl<E: Effects> Session<'_, E> {
    /// Looks at the log where that was not done for a while.
    pub(super) fn look_again(&mut self) -> Result<()> {
        if self.looked.elapsed() >= LOOK_AGAIN && !self.is_past_its_time() {
            self.look()?;
            // Whoever is waited for must not be waited for with these rows in memory alone.
            if self.state.queue.iter().any(|one| one.is_untold()) && self.unsaved.is_some() {
                self.commit(Durability::Full)?;
            }
        }
        Ok(())
    }

    /// Reads what is new, as far as there is room for it. The caller commits.
    pub(super) fn look(&mut self) -> Result<()> {
        self.looked = Instant::now();
        if self.report.first_run || self.problem.is_some() || self.is_outbox_full() {
            return Ok(());
        }
        let now = Timestamp::now();
        let log = self.config.paths.audit_log.clone();
        // A look may have to pass over all that was read before, so that each should bring many rows.
        let has_room = move |intake: &Intake<'_, E>, was_full| match was_full {
            true => {
                intake.untold <= MOST_UNTOLD / 2 && intake.untold_bytes <= MOST_UNTOLD_BYTES / 2
            }
            false => !intake.is_full(),
        };
        let was_full = self.is_full;
        self.take_in(|checkpoint, intake| {
            has_room(intake, was_full).then(|| intake.pull(wakes::look(&log, checkpoint, now)))
        });
        Ok(())
    }

    /// Reads a whole file, as a replay does, and works off what it held.
    pub fn replay(&mut self) -> Result<()> {
        let log = self.config.paths.audit_log.clone();
        loop {
            self.take_in(|checkpoint, intake| {
                Some(intake.pull(wakes::read_file(&log, checkpoint)))
            });
            while let Some(id) = self.next_investigation() {
                self.investigate(&id)?;
            }
            if let Some(problem) = self.problem.take() {
                return Err(problem);
            }
            if !self.is_full {
                return Ok(());
            }
        }
    }

    fn take_in(&mut self, read: impl FnOnce(&mut Checkpoint, &mut Intake<'_, E>) -> Option<Look>) {
        let Some(kept) = self.state.logs.get_mut(&self.log_name) else {
            return;
        };
        let untold = self.state.queue.iter().filter(|one| one.is_untold());
        let (count, bytes) = untold.fold((0, 0), |(count, bytes), one| {
            (count + one.count(), bytes + one.size())
        });
        let mut intake = Intake {
            config: self.config,
            secrets: &self.secrets,
            log: &self.log_name,
            effects: &mut self.effects,
            stamps: &mut kept.stamps,
            episodes: &mut kept.episodes,
            before: self.state.queue.len(),
            queue: &mut self.state.queue,
            counters: &mut self.state.counters,
            report: &mut self.report,
            reported_wakes: self.keeps_wakes.then_some(&mut self.reported_wakes),
            decided: 0,
            untold: count,
            untold_bytes: bytes,
        };
        let look = read(&mut kept.checkpoint, &mut intake);
        let (decided, before) = (intake.decided, intake.before);
        if look.is_some() {
            self.is_full = intake.is_full();
        }
        self.report.position.after = kept.checkpoint.offset();
        if let Some(look) = look {
            self.note_look(look, decided);
        }
        self.make_digest(before);
        self.queued.extend(
            self.state
                .queue
                .iter()
                .skip(before)
                .map(|one| one.id.clone()),
        );
    }

    fn note_look(&mut self, look: Look, decided: u64) {
        let Look {
            summary: mut look,
            problem,
        } = look;
        self.problem = problem;
        let report = &mut self.report;
        self.state.counters.rows += look.rows;
        report.rows.read += look.rows;
        report.rows.malformed += look.malformed;
        report.position.rotated |= look.rotated;
        report.position.gap |= look.gap;
        let log = self.config.paths.audit_log.display();
        let missing = format!("{log} does not exist");
        let is_blind = look.missing && (report.rows.read == 0 || !look.rotated);
        if is_blind && !self.warned.contains(&missing) {
            report.tally.missed += 1;
            look.warnings.push(missing);
        }
        report.tally.missed += look.missed;
        look.warnings
            .into_iter()
            .for_each(|told| self.warn_once(told));
        if look.moved {
            self.note_unsaved(Durability::PositionOnly);
        }
        if decided > 0 {
            self.note_unsaved(Durability::Full);
        }
    }

    /// Where a batch holds many wakes to dispatch, they are one investigation. The batch lies in
    /// the queue from `first` on.
    fn make_digest(&mut self, first: usize) {
        let Some(least) = self.config.digest_wakes else {
            return;
        };
        if self.state.queue.len() - first < least {
            return;
        }
        let mut batch = self.state.queue.split_off(first).into_iter();
        let Some(mut digest) = batch.next() else {
            return;
        };
        for one in batch {
            if let Some(indexes) = self.reported_wakes.remove(&one.id) {
                let reported = self.reported_wakes.entry(digest.id.clone()).or_default();
                reported.extend(indexes);
            }
            digest.others.push(one.alert);
        }
        self.state.queue.push_back(digest);
    }

    fn is_outbox_full(&mut self) -> bool {
        let is_full = outbox::is_full(&self.state.outbox);
        if is_full {
            let warning = "2,000 DMs or 8 MiB of them are queued: no more rows are read until some are \
                           delivered";
            self.warn_once(warning.to_owned());
        }
        is_full
    }
}
