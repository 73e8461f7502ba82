//! That a service is well again, where Kora's snapshot says so: announced once, in the thread of its
//! incident. Rows that stop are no health.

use super::Run;
use super::effects::Effects;
use crate::audit::wake::Wake;
use crate::incident::{Dispatch, Incident, Pair};
use crate::outcome;
use crate::snapshot::{Health, Snapshot};
use crate::state::outbox::{Content, Message, Place};
use crate::state::queue::Alert;
use jiff::Timestamp;

impl<E: Effects> Run<'_, E> {
    /// Queues the recoveries that the snapshot shows.
    pub(super) fn recover(&mut self) {
        self.progress.has_recovered = true;
        let now = self.effects.now();
        let Some(log) = self.state.logs.get(&self.log) else {
            return;
        };
        let rules = &self.config.debounce;
        let is_waiting = |one: &&Incident| {
            let is_known = !one.is_forgotten(rules, now) && one.recovered.is_none();
            is_known && one.first_message.is_some()
        };
        let waiting: Vec<Pair> = log
            .incidents
            .iter()
            .filter(is_waiting)
            .map(|one| one.pair.clone())
            .collect();
        if waiting.is_empty() {
            return;
        }
        let Some(snapshot) = Snapshot::read(&self.config.paths.snapshot_path, now) else {
            return;
        };
        for pair in waiting {
            let is_new = self
                .state
                .queue
                .iter()
                .any(|one| one.is_new() && one.is_of(&self.log, &pair));
            if !is_new && snapshot.health(&pair.probe) == Health::Healthy {
                self.end_incident(&pair, snapshot.computed_at, now);
            }
        }
    }

    /// Ends an incident at a snapshot's word, where that is newer than its last wake.
    fn end_incident(&mut self, pair: &Pair, healthy_at: Timestamp, now: Timestamp) {
        let log = self.state.logs.get_mut(&self.log);
        let Some(incident) = log.and_then(|log| log.incidents.get_mut(pair)) else {
            return;
        };
        if healthy_at <= incident.last_raised {
            return;
        }
        let before = incident.clone();
        incident.recover(Some(healthy_at), now);
        self.announce_recovery(&before, healthy_at);
    }

    /// Queues the message about a recovery, and ends the pair's retry.
    pub(super) fn announce_recovery(&mut self, incident: &Incident, healthy_at: Timestamp) {
        let now = self.effects.now();
        let (log, pair) = (self.log.clone(), &incident.pair);
        self.note_unsaved(crate::state::Durability::Full);
        for one in self
            .state
            .queue
            .iter_mut()
            .filter(|one| one.retry().is_some())
        {
            // Only this pair leaves the retry of a digest.
            if one.is_of(&log, pair) && one.is_digest() {
                one.alerts.retain(|alert| Pair::of(&alert.wake) != *pair);
            }
        }
        self.state
            .queue
            .retain(|one| one.retry().is_none() || !one.is_of(&log, pair));
        let Some(first) = &incident.first_message else {
            return;
        };
        let place = match (&first.thread, first.delivered) {
            (Some(thread), _) => Place::Thread(thread.clone()),
            (None, true) => Place::TopLevel,
            (None, false) => Place::After(first.id.clone()),
        };
        let content = Content::Recovery {
            alert: last_alert(incident),
            healthy_at,
        };
        let mut message = Message::new(&log, content, place, now);
        message.investigation.clone_from(&incident.investigation);
        let row = outcome::recovered(incident, healthy_at, now);
        self.queue_message(message);
        self.effects.record(&row);
    }
}

/// What a recovery is about.
fn last_alert(incident: &Incident) -> Alert {
    Alert {
        wake: Wake {
            probe: incident.pair.probe.clone(),
            category: incident.pair.category.clone(),
            severity: incident.severity.clone(),
            title: incident.title.clone(),
            emitted_at: Some(crate::text::rfc3339(incident.last_raised)),
            ..Wake::default()
        },
        dispatch: Dispatch {
            number: 1,
            since: incident.first_wake,
            counted: None,
        },
        read_at: incident.last_wake,
        dispatched_at: incident.last_wake,
        held_back: Default::default(),
    }
}
