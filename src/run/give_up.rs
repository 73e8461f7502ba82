//! Gives a message up: a file in `undelivered/`, then the commit that takes it out of the outbox.

use std::collections::HashSet;

use anyhow::Result;
use log::warn;

use super::Run;
use super::effects::Effects;
use crate::incident::Pair;
use crate::outcome;
use crate::report::count;
use crate::state::outbox::{Content, Message, Outcome, Place};
use crate::state::queue::Alert;
use crate::state::{Durability, Store, undelivered};

impl<E: Effects> Run<'_, E> {
    /// Moves a message to `undelivered/`, and only then out of the outbox. Where that cannot be written, it
    /// stays for the next run to move, is sent no more, and the others go on.
    pub(super) fn give_up(&mut self, id: &str, reason: &str) -> Result<()> {
        let now = self.effects.now();
        self.record(id, false);
        let Some(message) = self.state.message_mut(id) else {
            return Ok(());
        };
        let lost = message.given_up();
        if let Err(error) = self.effects.give_up(&lost, reason, now) {
            message.cause = Some(format!("{reason}, and undelivered/ cannot be written"));
            message.given_up = Some(reason.to_owned());
            let lost = message.clone();
            self.progress.sending.unwritable.insert(id.to_owned());
            self.settle_lost(&lost);
            self.note_unsaved(Durability::Full);
            let warning = format!("messages that were given up stay queued: {error:#}");
            self.warn_once("undelivered", warning);
            return self.commit_unsaved();
        }
        let about = message.subject().probe;
        warn!(
            "the message about {about} went to undelivered/: {reason}; see: probe-wake undelivered"
        );
        if reason == "expired" {
            self.report.outbox.expired += 1;
        }
        self.remove_lost(id);
        for row in outcome::undelivered(&lost, reason, now) {
            self.record_row(&row);
        }
        self.commit_unsaved()
    }

    /// Takes out what lies in `undelivered/` under one of these ids: a run or a reset was killed between
    /// the two.
    pub fn drop_given_up(&mut self, ids: &HashSet<String>) -> Result<()> {
        let queue = &mut self.state.queue;
        let before = queue.len();
        queue.retain(|one| !ids.contains(&one.id));
        let dropped = before - queue.len();
        self.report.tally.undelivered += dropped as u64;
        let outbox = self.state.outbox.iter();
        let lost = outbox.filter(|message| ids.contains(&message.id) && !message.is_retried);
        let lost: Vec<_> = lost.map(|message| message.id.clone()).collect();
        for id in lost {
            self.record(&id, false);
            let now = self.effects.now();
            if let Some(message) = self.state.message(&id) {
                for row in outcome::undelivered(message, "interrupted", now) {
                    self.record_row(&row);
                }
            }
            self.remove_lost(&id);
        }
        let number = self.report.tally.undelivered;
        if number == 0 {
            return Ok(());
        }
        let messages = count(number, "message is", "messages are");
        warn!("{messages} in undelivered/ since an earlier run or reset was killed");
        self.note_unsaved(Durability::Full);
        self.commit_unsaved()
    }

    /// Removes the files of messages that lie in the outbox again: only then are they sent.
    pub fn finish_retries(&mut self, store: &Store) {
        let mut failed = None;
        for message in self
            .state
            .outbox
            .iter_mut()
            .filter(|message| message.is_retried)
        {
            match undelivered::remove(store, &message.id) {
                Ok(()) => {
                    message.is_retried = false;
                    self.unsaved = Some(Durability::Full);
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            let warning =
                format!("messages that were taken back from undelivered/ stay queued: {error:#}");
            self.warn_once("undelivered", warning);
        }
    }

    fn remove_lost(&mut self, id: &str) {
        if let Some(message) = self.state.remove_message(id) {
            self.settle_lost(&message);
        }
        self.report.tally.undelivered += 1;
        self.state.counters.undelivered += 1;
        self.note_unsaved(Durability::Full);
    }

    /// What follows a message that was given up has to stand alone. Where a part of that was delivered, it
    /// stands in its thread.
    fn settle_lost(&mut self, lost: &Message) {
        if lost.parts() > 0 {
            return;
        }
        let place = Place::After(lost.id.clone());
        self.state.settle(&lost.id, None);
        let is_recovery = |one: &&Message| matches!(one.content, Content::Recovery { .. });
        let following = self.state.outbox.iter().filter(|one| one.place == place);
        let (recoveries, results): (Vec<_>, Vec<_>) = following.partition(is_recovery);
        let following = results.into_iter().chain(recoveries);
        let following: Vec<_> = following.map(|one| one.id.clone()).collect();
        for id in following {
            let Some(mut message) = self.state.remove_for_change(&id) else {
                continue;
            };
            let place = match &message.content {
                Content::Recovery { alert, .. } => self.place_of_recovery(&message.log, alert),
                Content::HeardAgain { .. } => None,
                _ => {
                    message.stand_alone(lost);
                    self.note_message(&message);
                    Some(Place::TopLevel)
                }
            };
            match place {
                Some(place) => {
                    message.place = place;
                    self.state.put_back(message);
                }
                None => drop(self.state.remove_message(&id)),
            }
        }
    }

    /// Where a recovery belongs whose message was given up: another message of its incident. `None`: nobody
    /// has heard of the incident.
    fn place_of_recovery(&self, log: &str, alert: &Alert) -> Option<Place> {
        let incidents = &self.state.logs.get(log)?.incidents;
        let incident = incidents.get(&Pair::of(&alert.wake))?;
        let first = incident.first_message.as_ref();
        first
            .filter(|_| incident.first_wake == alert.dispatch.since)
            .map(Place::of)
    }
}

impl Message {
    /// Returns the message as it goes to `undelivered/`: nothing will follow it.
    pub fn given_up(&self) -> Self {
        let mut lost = self.clone();
        if let Content::Announcement { alerts } = &mut lost.content {
            lost.content = Content::Alert {
                alerts: std::mem::take(alerts),
                outcome: Outcome::Unsaid,
            };
            lost.make_text_anew();
        }
        lost
    }

    /// A text of which no part was delivered is made anew; that it may have arrived is kept.
    pub fn make_text_anew(&mut self) {
        if self.parts() == 0 {
            self.may_have_arrived |= self.may_be_repeat();
            self.fixed = None;
        }
    }

    /// Says everything itself, since the message that it follows was given up.
    fn stand_alone(&mut self, lost: &Message) {
        self.place = Place::TopLevel;
        if let Content::Result { alerts, outcome } = &mut self.content {
            let mut alerts = std::mem::take(alerts);
            for (alert, lost) in alerts.iter_mut().zip(lost.content.alerts()) {
                alert.held_back.merge(lost.held_back.clone());
            }
            self.content = Content::Alert {
                alerts,
                outcome: outcome.clone(),
            };
        }
        self.unwatched = self.unwatched.or(lost.unwatched);
        self.hand_over.clone_from(&lost.hand_over);
        self.make_text_anew();
    }
}
