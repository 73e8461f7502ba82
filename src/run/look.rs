//! From new rows to the queue: each wake is decided on when it is read, and what is to be dispatched lies in
//! the queue, whole, when the checkpoint is committed.

use anyhow::Result;
use jiff::Timestamp;
use log::{info, warn};

use super::Run;
use super::effects::Effects;
use super::next::{MOST_NEW, MOST_NEW_BYTES, room_taken};
use crate::audit::reader::{self, Look, WakeSink};
use crate::audit::wake::Wake;
use crate::incident::{Decision, Dispatch, Pair, Reason};
use crate::random::random_id;
use crate::report::WakeReport;
use crate::state::queue::{Alert, Investigation, Stage};
use crate::state::{Durability, LogState, outbox};

/// Collects the wakes of one look.
struct Collected {
    wakes: Vec<Wake>,
    /// With those of earlier looks of which nothing was sent yet.
    count: usize,
    bytes: usize,
}

impl WakeSink for Collected {
    fn take(&mut self, wake: Wake) {
        self.count += 1;
        self.bytes += wake.size();
        self.wakes.push(wake);
    }

    fn warn(&mut self, warning: &str) {
        warn!("{warning}");
    }

    fn is_full(&self) -> bool {
        self.count >= MOST_NEW || self.bytes >= MOST_NEW_BYTES
    }
}

impl<E: Effects> Run<'_, E> {
    /// Decides on what was held back and is due now, then on what is new, as far as there is room for it.
    pub(super) fn look(&mut self) -> Result<()> {
        self.progress.looked = self.begun.elapsed();
        self.progress.is_fresh = true;
        self.progress.was_full = false;
        let Some(mut kept) = self.state.logs.remove(&self.log) else {
            self.progress.is_blind = true;
            return Ok(());
        };
        let now = self.effects.now();
        let mut batch = self.decide_on_due(&mut kept, now);
        if !self.is_outbox_full() {
            let log = self.config.paths.audit_log.clone();
            let (count, bytes) = room_taken(&self.state);
            let mut collected = Collected {
                wakes: Vec::new(),
                count,
                bytes,
            };
            let look = reader::look(&log, &mut kept.checkpoint, now, &mut collected);
            self.progress.was_full = collected.is_full();
            let decided = collected.wakes.len();
            for wake in collected.wakes {
                batch.extend(self.decide(&mut kept, wake, now));
            }
            self.note_look(look, decided);
            self.report.position.after = kept.checkpoint.position.offset;
        }
        self.state.logs.insert(self.log.clone(), kept);
        self.queue_batch(batch);
        Ok(())
    }

    pub(super) fn decide_on_due(
        &mut self,
        kept: &mut LogState,
        now: Timestamp,
    ) -> Vec<Investigation> {
        let rules = &self.config.debounce;
        let due = kept.incidents.take_due(rules, &[], now);
        let mut batch = Vec::new();
        for held in due {
            self.note_unsaved(Durability::Full);
            let Some(incident) = kept.incidents.get_mut(&Pair::of(&held.wake)) else {
                continue;
            };
            let decision = incident.decide_again(&held, rules, &[], now);
            batch.extend(self.carry_out(kept, held.wake, held.read_at, decision, now));
        }
        batch
    }

    pub(super) fn decide(
        &mut self,
        kept: &mut LogState,
        wake: Wake,
        now: Timestamp,
    ) -> Option<Investigation> {
        let wake = wake.masked(&self.secrets);
        self.progress.has_recovered = false;
        self.report.tally.wakes += 1;
        self.state.counters.wakes += 1;
        self.note_unsaved(Durability::Full);
        let decision = kept
            .incidents
            .decide(&wake, &self.config.debounce, &[], now);
        if let Decision::HeldBack(_) = decision {
            self.state.counters.held_back += 1;
            self.report.tally.held_back += 1;
        }
        self.carry_out(kept, wake, now, decision, now)
    }

    /// Makes an investigation of a wake that is to be dispatched.
    fn carry_out(
        &mut self,
        kept: &mut LogState,
        wake: Wake,
        read_at: Timestamp,
        decision: Decision,
        now: Timestamp,
    ) -> Option<Investigation> {
        let index = self.report.wakes.len();
        if self.keeps_wakes {
            self.report.wakes.push(WakeReport::new(&wake, &decision));
        }
        let dispatch = match decision {
            Decision::Dispatch(dispatch) => dispatch,
            Decision::HeldBack(reason) => {
                let why = match reason {
                    Reason::Repeat => "a repeat",
                    Reason::Resent => "this row was read before",
                    Reason::Buffered => "too few in a row so far",
                    Reason::Silenced => "silenced",
                    Reason::Acknowledged => "acknowledged",
                };
                let session = wake.caller_session_id();
                info!("held back: {session} ({}): {why}", wake.severity);
                return None;
            }
        };
        let id = random_id() + &random_id();
        if self.keeps_wakes {
            self.reported.insert(id.clone(), vec![index]);
        }
        let pair = Pair::of(&wake);
        if let Some(incident) = kept.incidents.get_mut(&pair) {
            incident.investigation.get_or_insert_with(|| id.clone());
        }
        // A new dispatch of the pair ends the retry of the one before.
        let log = &self.log;
        self.state
            .queue
            .retain(|one| one.retry().is_none() || !one.is_of(log, &pair));
        self.report.tally.dispatched += 1;
        self.state.counters.dispatched += 1;
        Some(self.new_investigation(id, wake, dispatch, read_at, now))
    }

    fn new_investigation(
        &self,
        id: String,
        wake: Wake,
        dispatch: Dispatch,
        read_at: Timestamp,
        now: Timestamp,
    ) -> Investigation {
        Investigation {
            id,
            log: self.log.clone(),
            queued_at: now,
            attempts: 0,
            alerts: vec![Alert {
                wake,
                dispatch,
                read_at,
                dispatched_at: now,
                held_back: Default::default(),
            }],
            stage: Stage::New,
        }
    }

    /// Queues what one look dispatched. A batch of many wakes is one investigation.
    pub(super) fn queue_batch(&mut self, mut batch: Vec<Investigation>) {
        let is_digest = self
            .config
            .digest_wakes
            .is_some_and(|least| batch.len() >= least);
        if is_digest {
            let mut rest = batch.split_off(1);
            for one in &mut rest {
                if let Some(indexes) = self.reported.remove(&one.id) {
                    self.reported
                        .entry(batch[0].id.clone())
                        .or_default()
                        .extend(indexes);
                }
                batch[0].alerts.append(&mut one.alerts);
            }
            let incidents = self
                .state
                .logs
                .get_mut(&self.log)
                .map(|log| &mut log.incidents);
            for incident in incidents.into_iter().flat_map(|all| all.iter_mut()) {
                let is_in = |one: &Investigation| incident.investigation.as_ref() == Some(&one.id);
                if rest.iter().any(is_in) {
                    incident.investigation = Some(batch[0].id.clone());
                }
            }
        }
        for one in batch {
            self.progress.queued.insert(one.id.clone());
            self.state.queue.push_back(one);
            self.note_unsaved(Durability::Full);
        }
    }

    fn note_look(&mut self, look: Look, decided: usize) {
        let report = &mut self.report;
        self.state.counters.rows += look.rows;
        report.rows.read += look.rows;
        report.rows.malformed += look.malformed;
        report.position.rotated |= look.rotated;
        report.position.gap |= look.gap;
        let is_new = look.warnings.iter().any(|one| !self.warned.contains(one));
        if is_new {
            report.tally.missed += u64::from(look.missing);
        }
        report.tally.missed += look.missed;
        look.warnings
            .into_iter()
            .for_each(|one| self.warn_once(one));
        if look.moved {
            self.note_unsaved(Durability::CheckpointOnly);
        }
        if decided > 0 {
            self.note_unsaved(Durability::Full);
        }
        if look.problem.is_some() {
            self.problem = look.problem;
            self.progress.is_blind = true;
        }
    }

    fn is_outbox_full(&mut self) -> bool {
        let is_full = outbox::is_full(&self.state.outbox);
        if is_full {
            let warning = "2,000 messages or 8 MiB of them are queued: no more rows are read until some \
                           are delivered";
            self.warn_once(warning.to_owned());
        }
        is_full
    }
}
