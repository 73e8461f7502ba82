//! That a service is well again: told once, in the thread of its pair's last DM, and only where
//! Kora's snapshot says so. Silence is not health.

use anyhow::Result;
use jiff::Timestamp;

use super::Session;
use crate::effects::Effects;
use crate::message;
use crate::outcome;
use crate::snapshot::{Health, Snapshot};
use crate::state::outbox::{Dm, Follows, Subject};
use crate::state::{Durability, Episode};

impl<E: Effects> Session<'_, E> {
    /// Tells the recoveries that the snapshot shows. Gives whether there were any.
    pub(super) fn tell_recoveries(&mut self) -> Result<bool> {
        let now = self.effects.now(None);
        let log = self.state.logs.get(&self.log_name);
        let is_told = self.config.tell_recovery && !self.effects.route().is_printed();
        if !is_told || log.is_none_or(|log| log.episodes.is_empty()) {
            return Ok(false);
        }
        let Some(snapshot) = Snapshot::read(&self.config.paths.snapshot_path, now) else {
            return Ok(false);
        };
        let recovered = self.take_recovered(&snapshot, now);
        if recovered.is_empty() {
            return Ok(false);
        }
        for episode in &recovered {
            self.queue_recovery(episode, &snapshot, now);
        }
        self.commit(Durability::Full)?;
        for episode in &recovered {
            let row = outcome::recovered(episode, snapshot.computed_at, now);
            self.effects.record(&row);
        }
        self.send_outbox()?;
        Ok(true)
    }

    /// Takes out the episodes that are over and were told of; with each the pair's window ends.
    fn take_recovered(&mut self, snapshot: &Snapshot, now: Timestamp) -> Vec<Episode> {
        let Some(log) = self.state.logs.get_mut(&self.log_name) else {
            return Vec::new();
        };
        log.episodes.prune(now);
        let recovered = log.episodes.take_if(|episode| {
            let is_told = matches!(episode.told, Some(Follows::Thread(_) | Follows::TopLevel));
            is_told
                && snapshot.computed_at > episode.last
                && snapshot.health(&episode.pair.probe) == Health::Healthy
        });
        for episode in &recovered {
            log.stamps.remove(&episode.pair);
        }
        recovered
    }

    fn queue_recovery(&mut self, episode: &Episode, snapshot: &Snapshot, now: Timestamp) {
        let log = &self.log_name;
        let pair = &episode.pair;
        self.state
            .queue
            .retain(|one| one.late.is_none() || !one.is_of(log, pair));
        let subject = Subject {
            probe: pair.probe.clone(),
            category: pair.category.clone(),
            severity: "recovered".to_owned(),
        };
        let text = message::recovery(episode, snapshot.computed_at);
        let mut dm = Dm::new(subject, text, Vec::new(), now);
        dm.is_recovery = true;
        dm.follows.clone_from(&episode.told);
        self.queue_dm(dm);
    }
}
