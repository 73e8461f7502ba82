//! From new rows to the queue: each wake is decided on when it is read. What is to be dispatched is in the
//! queue, whole, by the time the checkpoint is committed.

use anyhow::Error;
use jiff::Timestamp;
use log::info;

use super::ask::log_end;
use super::next::has_room;
use super::{Run, incident_of};
use crate::audit::look::Summary;
use crate::audit::row::Event;
use crate::audit::wake::Wake;
use crate::audit::wakes;
use crate::incident::{Decision, Incident, Pair, Reason, Silence};
use crate::logger::warn_lasting;
use crate::outcome;
use crate::random::random_id;
use crate::report::WakeReport;
use crate::state::outbox::{Content, Message, Place};
use crate::state::queue::{Alert, Investigation, Stage};
use crate::state::{Durability, LogState, outbox, silences};

impl Run<'_> {
    /// Decides on what was held back and is due now, then on what is new, while there is room for it.
    pub(super) fn look(&mut self) {
        self.progress.looked = self.begun.elapsed();
        self.progress.is_fresh = true;
        self.progress.was_full = false;
        self.silences = None;
        self.log_end = log_end(&self.config.paths.audit_log);
        let now = self.now();
        let is_full = outbox::is_full(&self.state.outbox);
        if is_full {
            let warning = "2,000 messages or 8 MiB of them are queued: no more rows are read until some \
                           are delivered";
            self.warn_once("full", warning.to_owned());
        }
        self.with_log(|run, kept| {
            if kept.quiet.since > now {
                // The clock was set back.
                kept.quiet.since = now;
                run.note_change();
            }
            run.decide_on_due(kept, now);
            if !is_full {
                run.read(kept, now);
            }
            run.end_silences(kept, now);
        });
        self.make_digest();
    }

    /// Reads what is new, while there is room for it. Rows read before a problem are still decided on and
    /// committed.
    fn read(&mut self, kept: &mut LogState, now: Timestamp) {
        let log = &self.config.paths.audit_log;
        let mut checkpoint = std::mem::take(&mut kept.checkpoint);
        match wakes::look(log, &mut checkpoint, now) {
            Err(problem) => self.stop_reading(problem),
            Ok(mut wakes) => {
                loop {
                    self.progress.was_full = !has_room(&self.state, 1);
                    if self.progress.was_full {
                        break;
                    }
                    match wakes.next() {
                        None => break,
                        Some(Ok(Event::Wake(wake))) => self.decide(kept, wake, now),
                        Some(Ok(Event::Recovery(row))) => self.note_recovery(kept, row, now),
                        Some(Err(problem)) => self.stop_reading(problem),
                    }
                }
                let summary = wakes.finish();
                self.note_rows(kept, summary.rows, now);
                self.note_summary(summary);
            }
        }
        kept.checkpoint = checkpoint;
        self.report.position.after = kept.checkpoint.offset();
    }

    fn stop_reading(&mut self, problem: Error) {
        self.problem = Some(problem);
        self.progress.is_blind = true;
    }

    fn silences(&mut self) -> Vec<Silence> {
        let is_replay = self.clock.is_some();
        let silences = self.silences.get_or_insert_with(|| match is_replay {
            true => Vec::new(),
            false => silences::list(&self.store),
        });
        silences.clone()
    }

    pub(super) fn decide_on_due(&mut self, kept: &mut LogState, now: Timestamp) {
        let rules = &self.config.debounce;
        let may_be_due = |one: &Incident| one.may_be_due(rules, now);
        let silences = match kept.incidents.iter().any(may_be_due) {
            true => self.silences(),
            false => return,
        };
        for (held, decision) in kept.incidents.decide_due(rules, &silences, now) {
            self.note_change();
            self.carry_out(kept, held.wake, held.read_at, decision, now);
        }
    }

    pub(super) fn decide(&mut self, kept: &mut LogState, wake: Wake, now: Timestamp) {
        let wake = wake.masked(self.config.secrets());
        self.progress.has_recovered = false;
        self.report.tally.wakes += 1;
        self.state.counters.wakes += 1;
        self.note_change();
        let silences = self.silences();
        let rules = &self.config.debounce;
        let decision = kept.incidents.decide(&wake, rules, &silences, now);
        if let Decision::HeldBack(_) = decision {
            self.state.counters.held_back += 1;
            self.report.tally.held_back += 1;
        }
        self.carry_out(kept, wake, now, decision, now);
    }

    /// Counts a wake for each silence or acknowledgement that holds it back.
    fn count_held_back(
        &mut self,
        kept: &mut LogState,
        wake: &Wake,
        reason: Reason,
        now: Timestamp,
    ) {
        if !matches!(reason, Reason::Silenced | Reason::Acknowledged) {
            return;
        }
        let silences = self.silences();
        let incident = kept.incidents.get(&Pair::of(wake));
        let holds = |one: &&Silence| {
            one.acknowledges.is_some() == (reason == Reason::Acknowledged)
                && incident.is_some_and(|incident| one.holds(incident, now))
        };
        let holding: Vec<_> = silences.iter().filter(holds).collect();
        for silence in holding {
            kept.count_held_back_by(silence);
        }
    }

    /// Queues an investigation of a wake that is to be dispatched.
    fn carry_out(
        &mut self,
        kept: &mut LogState,
        wake: Wake,
        read_at: Timestamp,
        decision: Decision,
        now: Timestamp,
    ) {
        let index = self.report.wakes.len();
        if self.keeps_wakes {
            self.report.wakes.push(WakeReport::new(&wake, &decision));
        }
        let dispatch = match decision {
            Decision::Dispatch(dispatch) => dispatch,
            Decision::HeldBack(reason) => {
                self.count_held_back(kept, &wake, reason, now);
                let (session, reason) = (wake.caller_session_id(), reason.name());
                return info!("held back ({reason}): {session} ({})", wake.severity);
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
        // A new dispatch of the pair ends the retry of its previous one.
        let (queue, log) = (&mut self.state.queue, &self.log);
        queue.retain(|one| one.retry().is_none() || !one.is_of(log, &pair));
        self.report.tally.dispatched += 1;
        self.state.counters.dispatched += 1;
        self.note_change();
        self.progress.queued.insert(id.clone());
        self.batch += 1;
        self.state.queue.push_back(Investigation {
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
                recovered: None,
            }],
            stage: Stage::New,
        });
    }

    /// Makes one investigation of what one look dispatched, if that is many wakes.
    pub(super) fn make_digest(&mut self) {
        let number = std::mem::take(&mut self.batch);
        if number < self.config.digest_wakes.unwrap_or(usize::MAX) {
            return;
        }
        let queue = &mut self.state.queue;
        let mut batch = queue.split_off(queue.len() - number).into_iter();
        let Some(mut digest) = batch.next() else {
            return;
        };
        for one in batch {
            let wakes = self.reported.remove(&one.id).unwrap_or_default();
            if let Some(of_digest) = self.reported.get_mut(&digest.id) {
                of_digest.extend(wakes);
            }
            for alert in &one.alerts {
                let log = self.state.logs.get_mut(&self.log);
                let incident = incident_of(log, alert).and_then(|one| one.investigation.as_mut());
                if let Some(id) = incident.filter(|id| **id == one.id) {
                    id.clone_from(&digest.id);
                }
            }
            digest.alerts.extend(one.alerts);
        }
        queue.push_back(digest);
    }

    /// Notes the silences that are over, if they were read. They are removed only after what follows from
    /// their end is committed: if the run is killed before that, the next one finds them again.
    fn end_silences(&mut self, kept: &mut LogState, now: Timestamp) {
        let Some(silences) = self.silences.take() else {
            return;
        };
        kept.forget_held_back_by_others(&silences);
        for silence in silences {
            let logs = self.state.logs.values().chain([&*kept]);
            let is_held = logs
                .flat_map(|log| log.incidents.iter())
                .any(|one| silence.holds(one, now));
            let is_over = silence.is_over(now) || silence.acknowledges.is_some() && !is_held;
            if is_over && !self.report.dry_run && !self.ended_silences.contains(&silence) {
                self.ended_silences.push(silence);
                self.note_change();
            }
        }
    }

    /// Removes the silences that are over, and says so in an outcome row.
    pub(super) fn remove_ended_silences(&mut self) {
        let now = self.now();
        for silence in std::mem::take(&mut self.ended_silences) {
            let log = self.state.logs.get(&self.log);
            let wakes = log.map_or(0, |log| log.held_back_by(&silence));
            if silence.acknowledges.is_none() {
                let row = outcome::silence_over(&silence, wakes, now);
                self.effects.record(&row);
            }
            self.effects.remove_silence(&silence);
        }
    }

    /// Notes when the log last had new rows, and says so in a message if a notice said that it had none.
    fn note_rows(&mut self, kept: &mut LogState, rows: u64, now: Timestamp) {
        let own = kept.quiet.own_rows.min(rows);
        kept.quiet.own_rows -= own;
        if rows == own {
            return;
        }
        kept.quiet.since = now;
        kept.quiet.is_row = true;
        kept.quiet.noticed_at = None;
        if let Some(notice) = kept.quiet.notice.take() {
            let (log, at) = (self.log_file_name(), now);
            let content = Content::HeardAgain { log, at };
            self.queue_message(Message::new(&self.log, content, Place::of(&notice), now));
        }
    }

    fn note_summary(&mut self, look: Summary) {
        let report = &mut self.report;
        self.state.counters.rows += look.rows;
        report.rows.read += look.rows;
        report.rows.malformed += look.malformed;
        report.position.rotated |= look.rotated;
        report.position.gap |= look.gap;
        // A log that was just rotated away and read to its end will be created again.
        let is_blind = look.missing && (report.rows.read == 0 || !look.rotated);
        if is_blind && self.warned.insert("no log".to_owned()) {
            report.tally.missed += 1;
            let log = &report.audit_log;
            let warning = format!(
                "the audit log {log} does not exist; name the right file with KORA_AUDIT_LOG_PATH"
            );
            warn_lasting("log", "missing", &warning);
        }
        report.tally.missed += look.missed;
        for warning in look.warnings {
            self.warn_once("log", warning);
        }
        if look.moved {
            self.unsaved = self.unsaved.max(Some(Durability::CheckpointOnly));
        }
    }
}
