//! That a service is well again, where Kora's snapshot says so: announced once, in the thread of its
//! incident. Rows that stop are no health.

use super::Run;
use super::effects::Effects;
use crate::audit::wake::{Recovery, Wake};
use crate::incident::{Dispatch, HeldCounts, Incident, Pair};
use crate::outcome;
use crate::snapshot::{Health, Snapshot};
use crate::state::outbox::{Content, Message, Place};
use crate::state::queue::Alert;
use crate::state::{Durability, LogState};
use jiff::Timestamp;
use log::info;

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
            one.wakes > 0 && !one.is_forgotten(rules, now) && one.recovered.is_none()
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
        let path = &self.config.paths.snapshot_path;
        let open = log
            .incidents
            .iter()
            .filter(|one| one.is_open(rules, now))
            .map(|one| one.pair.probe.as_str());
        let snapshot = match Snapshot::read(path, now) {
            Ok(snapshot) => snapshot,
            Err(trouble) => return info!("no recovery can be seen: {trouble}"),
        };
        if let Some(trouble) = snapshot.unknown(path, open) {
            info!("no recovery can be seen: {trouble}");
        }
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

    /// Ends the incidents that a row of the log ends. A recovery of a pair that nothing is wrong with says
    /// nothing.
    pub(super) fn note_recovery(&mut self, kept: &mut LogState, row: Recovery, now: Timestamp) {
        let row = row.masked(&self.secrets);
        let healthy_at: Option<Timestamp> = row.emitted_at.as_ref().and_then(|at| at.parse().ok());
        let rules = &self.config.debounce;
        let is_meant = |one: &&mut Incident| {
            let is_category = row
                .category
                .as_ref()
                .is_none_or(|it| *it == one.pair.category);
            // A row that a log shipper sends again ends no later incident.
            let is_new = healthy_at.is_none() || healthy_at > one.healthy_at;
            let is_known = one.recovered.is_none() && !one.is_forgotten(rules, now);
            one.pair.probe == row.probe && is_category && is_known && is_new
        };
        let mut ended = Vec::new();
        for incident in kept.incidents.iter_mut().filter(is_meant) {
            ended.push(incident.clone());
            end(incident, healthy_at, now);
        }
        for incident in ended {
            let healthy_at = healthy_at
                .filter(|at| (incident.first_wake..=now).contains(at))
                .unwrap_or(now);
            self.announce_recovery(&incident, healthy_at);
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
        end(incident, Some(healthy_at), now);
        self.announce_recovery(&before, healthy_at);
    }

    /// Says that a pair has recovered, after the first message about its incident, and ends its retry.
    pub(super) fn announce_recovery(&mut self, incident: &Incident, healthy_at: Timestamp) {
        let (log, pair) = (self.log.clone(), &incident.pair);
        self.note_unsaved(Durability::Full);
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
        if let Some(first) = &incident.first_message {
            let alert = last_alert(incident);
            let id = incident.investigation.as_ref();
            let place = Place::of(first);
            self.queue_recovery(alert, healthy_at, place, id, incident.unrecorded);
        } else {
            let new = self
                .state
                .queue
                .iter_mut()
                .filter(|one| one.is_new() && one.log == log);
            let alerts = new.flat_map(|one| &mut one.alerts);
            let mut alerts = alerts.filter(|alert| Pair::of(&alert.wake) == *pair);
            let alert = alerts.find(|alert| alert.dispatch.since == incident.first_wake);
            alert
                .into_iter()
                .for_each(|alert| alert.recovered = Some(healthy_at));
        }
    }

    /// Queues the message about a recovery. `id`: of the incident's first investigation; `held_back`: what no
    /// outcome row has counted yet.
    pub(super) fn queue_recovery(
        &mut self,
        alert: Alert,
        healthy_at: Timestamp,
        place: Place,
        id: Option<&String>,
        held_back: HeldCounts,
    ) {
        let now = self.effects.now();
        let row = outcome::recovered(&alert, id, healthy_at, held_back, now);
        let alert = Box::new(alert);
        let content = Content::Recovery { alert, healthy_at };
        let mut message = Message::new(&self.log.clone(), content, place, now);
        message.investigation = id.cloned();
        self.queue_message(message);
        self.record_row(&row);
    }

    /// Queues the recoveries that became known before this message was made.
    pub(super) fn queue_early_recoveries(&mut self, alerts: &[Alert], message: &str, id: &str) {
        for alert in alerts {
            if let Some(healthy_at) = alert.recovered {
                let mut alert = alert.clone();
                alert.wake.drop_details();
                let place = Place::After(message.to_owned());
                let (id, none) = (id.to_owned(), HeldCounts::default());
                self.queue_recovery(alert, healthy_at, place, Some(&id), none);
            }
        }
    }
}

/// Ends an incident. The row of its recovery says what was held back, where there is one.
fn end(incident: &mut Incident, healthy_at: Option<Timestamp>, now: Timestamp) {
    if incident.first_message.is_some() {
        incident.take_unrecorded();
    }
    incident.recover(healthy_at, now);
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
        recovered: None,
    }
}
