//! Announces that a service is well again, if Kora's snapshot or a row of the log says so: once, in the
//! thread of its incident. That no more rows come is no proof of health.

use jiff::Timestamp;
use log::info;

use super::Run;
use crate::audit::wake::{Recovery, Wake};
use crate::incident::{Dispatch, HeldCounts, Incident, Pair};
use crate::outcome;
use crate::snapshot::{Health, Snapshot};
use crate::state::LogState;
use crate::state::outbox::{Content, Message, Place};
use crate::state::queue::Alert;

impl Run<'_> {
    /// Queues the recoveries that the snapshot shows.
    pub(super) fn recover(&mut self) {
        self.progress.has_recovered = true;
        let now = self.now();
        let rules = &self.config.debounce;
        let is_waiting = |one: &Incident| {
            one.wakes > 0 && !one.is_forgotten(rules, now) && one.recovered.is_none()
        };
        if !self.incidents().any(is_waiting) {
            return;
        }
        let path = &self.config.paths.snapshot_path;
        let snapshot = match Snapshot::read(path, now) {
            Ok(snapshot) => snapshot,
            Err(trouble) => return info!("no recovery can be seen: {trouble}"),
        };
        let open = self.incidents().filter(|one| one.is_open(rules, now));
        if let Some(trouble) = snapshot.unknown(path, open.map(|one| one.pair.probe.as_str())) {
            info!("no recovery can be seen: {trouble}");
        }
        let healthy_at = snapshot.computed_at;
        self.with_log(|run, kept| {
            for incident in kept.incidents.iter_mut().filter(|one| is_waiting(one)) {
                let pair = &incident.pair;
                let mut queue = run.state.queue.iter();
                let is_unsent = queue.any(|one| one.is_new() && one.is_of(&run.log, pair));
                let is_healthy = snapshot.health(&pair.probe) == Health::Healthy;
                if is_healthy && !is_unsent && healthy_at > incident.last_raised {
                    run.end_incident(incident, Some(healthy_at), healthy_at, now);
                }
            }
        });
    }

    /// Ends the incidents that a recovery row of the log is about. A recovery of a pair without an incident
    /// is ignored.
    pub(super) fn note_recovery(&mut self, kept: &mut LogState, row: Recovery, now: Timestamp) {
        let row = row.masked(self.config.secrets());
        let healthy_at = row.emitted_at;
        let rules = &self.config.debounce;
        let is_meant = |one: &&mut Incident| {
            let category = row.category.as_ref();
            let is_category = category.is_none_or(|it| *it == one.pair.category);
            // A row that a log shipper sends again must not end a later incident.
            let is_new = healthy_at.is_none() || healthy_at > one.healthy_at;
            let is_known = one.recovered.is_none() && !one.is_forgotten(rules, now);
            one.pair.probe == row.probe && is_category && is_known && is_new
        };
        for incident in kept.incidents.iter_mut().filter(is_meant) {
            let within = incident.first_wake..=now;
            let seen_at = healthy_at.filter(|at| within.contains(at));
            self.end_incident(incident, healthy_at, seen_at.unwrap_or(now), now);
        }
    }

    /// Ends an incident, announces that after the first message about it, and ends its retry. The outcome row
    /// of the recovery, if there is one, says what was held back. `seen_at` is the time that the message
    /// names.
    fn end_incident(
        &mut self,
        incident: &mut Incident,
        healthy_at: Option<Timestamp>,
        seen_at: Timestamp,
        now: Timestamp,
    ) {
        let (log, pair) = (self.log.clone(), incident.pair.clone());
        let alert = last_alert(incident);
        let since = incident.first_wake;
        self.state.queue.retain_mut(|one| {
            if one.retry().is_none() || !one.is_of(&log, &pair) {
                return true;
            }
            // The retry of a digest loses only this pair.
            one.alerts.retain(|alert| Pair::of(&alert.wake) != pair);
            !one.alerts.is_empty()
        });
        self.note_change();
        if let Some(first) = incident.first_message.clone() {
            let held_back = incident.take_unrecorded();
            let id = incident.investigation.as_ref();
            self.queue_recovery(alert, seen_at, Place::of(&first), id, held_back);
        } else {
            let queue = self.state.queue.iter_mut();
            let new = queue.filter(|one| one.is_new() && one.log == log);
            let is_its =
                |alert: &&mut Alert| Pair::of(&alert.wake) == pair && alert.dispatch.since == since;
            if let Some(alert) = new.flat_map(|one| &mut one.alerts).find(is_its) {
                alert.recovered = Some(seen_at);
            }
        }
        incident.recover(healthy_at, now);
    }

    /// Queues the message about a recovery. `id` is that of the incident's first investigation; `held_back`
    /// is what no outcome row has counted yet.
    fn queue_recovery(
        &mut self,
        alert: Alert,
        healthy_at: Timestamp,
        place: Place,
        id: Option<&String>,
        held_back: HeldCounts,
    ) {
        let now = self.now();
        let row = outcome::recovered(&alert, id, healthy_at, held_back, now);
        let alert = Box::new(alert);
        let content = Content::Recovery { alert, healthy_at };
        let mut message = Message::new(&self.log, content, place, now);
        message.investigation = id.cloned();
        self.queue_message(message);
        self.record_row(&row);
    }

    /// Queues the first message about alerts, and the recoveries that became known before it was made.
    pub(super) fn queue_first_word(&mut self, message: Message) {
        let place = Place::After(message.id.clone());
        let id = message.investigation.clone();
        let recovered = message.content.alerts().iter();
        let recovered = recovered.filter(|alert| alert.recovered.is_some());
        let recovered: Vec<_> = recovered.cloned().collect();
        self.queue_message(message);
        for mut alert in recovered {
            if let Some(healthy_at) = alert.recovered {
                alert.wake.drop_details();
                let (place, none) = (place.clone(), HeldCounts::default());
                self.queue_recovery(alert, healthy_at, place, id.as_ref(), none);
            }
        }
    }
}

/// Returns the alert that a recovery is about.
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
