//! Gives a message up: a file in `undelivered/`, then the commit that takes it out of the outbox.

use anyhow::Result;
use log::warn;

use super::{Run, incident_of, note_message};
use crate::outcome;
use crate::report::count;
use crate::state::outbox::{Content, Message, Outcome, Place};
use crate::state::{Durability, State, undelivered};

impl Run<'_> {
    /// Moves a message to `undelivered/`, and only then out of the outbox. If that cannot be written, the
    /// message stays for the next run to move and is not sent again; the others go on.
    pub(super) fn give_up(&mut self, id: &str, reason: &str) -> Result<()> {
        let Some(at) = self.state.position(id) else {
            return Ok(());
        };
        self.record(at, false);
        let now = self.now();
        let message = &mut self.state.outbox[at];
        let lost = message.given_up();
        if let Err(error) = self.effects.give_up(&lost, reason, now) {
            message.cause = Some(format!("{reason}, and undelivered/ cannot be written"));
            message.given_up = Some(reason.to_owned());
            self.progress.sending.unwritable.insert(id.to_owned());
            self.settle_lost(&lost);
            let warning = format!("messages that were given up stay queued: {error:#}");
            self.warn_once("undelivered", warning);
            return self.commit();
        }
        let about = message.subject().probe;
        warn!(
            "the message about {about} went to undelivered/: {reason}; see: probe-wake undelivered"
        );
        if reason == "expired" {
            self.report.outbox.expired += 1;
        }
        self.remove_lost(at, reason);
        self.commit()
    }

    /// Takes out of the state what is in `undelivered/`, too: a run or a reset was killed between the two
    /// steps.
    pub fn drop_given_up(&mut self) -> Result<()> {
        // A folder that cannot be read cannot be written either; the warning comes when it has to be.
        let ids = undelivered::ids(&self.store).unwrap_or_default();
        let queue = &mut self.state.queue;
        let before = queue.len();
        queue.retain(|one| !ids.contains(&one.id));
        self.report.tally.undelivered += (before - queue.len()) as u64;
        let is_lost = |message: &Message| ids.contains(&message.id) && !message.is_retried;
        while let Some(at) = self.state.outbox.iter().position(is_lost) {
            self.record(at, false);
            self.remove_lost(at, "interrupted");
        }
        let number = self.report.tally.undelivered;
        if number == 0 {
            return Ok(());
        }
        let messages = count(number, "message is", "messages are");
        warn!("{messages} in undelivered/ since an earlier run or reset was killed");
        self.commit()
    }

    /// Removes the files of messages that are back in the outbox: only then can they be sent.
    pub fn finish_retries(&mut self) {
        let mut failed = None;
        for message in self.state.outbox.iter_mut().filter(|one| one.is_retried) {
            match undelivered::remove(&self.store, &message.id) {
                Err(error) => failed = Some(error),
                Ok(()) => {
                    message.is_retried = false;
                    self.unsaved = Some(Durability::Full);
                }
            }
        }
        if let Some(error) = failed {
            let what = "messages that were taken back from undelivered/ stay queued";
            self.warn_once("undelivered", format!("{what}: {error:#}"));
        }
    }

    fn remove_lost(&mut self, at: usize, reason: &str) {
        let Some(lost) = self.state.outbox.remove(at) else {
            return;
        };
        self.settle_lost(&lost);
        self.report.tally.undelivered += 1;
        self.state.counters.undelivered += 1;
        for row in outcome::undelivered(&lost, reason, self.now()) {
            self.record_row(&row);
        }
    }

    /// Makes what follows a message that was given up stand alone. If a part of that message was delivered,
    /// what follows stays in its thread.
    fn settle_lost(&mut self, lost: &Message) {
        if lost.parts() > 0 {
            return;
        }
        let after = Place::After(lost.id.clone());
        self.state.settle(&lost.id, None);
        let State { outbox, logs, .. } = &mut self.state;
        for message in outbox.iter_mut().filter(|one| one.place == after) {
            if matches!(message.content, Content::Result { .. }) {
                message.stand_alone(lost);
                note_message(logs, message);
            }
        }
        // A recovery goes to another message of its incident, which may be a result that now stands alone.
        for message in outbox.iter_mut().filter(|one| one.place == after) {
            if let Content::Recovery { alert, .. } = &message.content
                && let Some(incident) = incident_of(logs.get_mut(&message.log), alert)
                && let Some(first) = &incident.first_message
            {
                message.place = Place::of(first);
            }
        }
        // What is left is about something that the operator has never heard of.
        self.state.outbox.retain(|one| one.place != after);
    }
}

impl Content {
    /// Turns an announcement or a result into alerts that say everything themselves.
    pub fn make_alert(&mut self, outcome: Outcome) {
        if let Self::Announcement { alerts } | Self::Result { alerts, .. } = self {
            let alerts = std::mem::take(alerts);
            *self = Self::Alert { alerts, outcome };
        }
    }
}

impl Message {
    /// Returns the message as it goes to `undelivered/`: nothing will follow it.
    pub fn given_up(&self) -> Self {
        let mut lost = self.clone();
        if matches!(lost.content, Content::Announcement { .. }) {
            lost.content.make_alert(Outcome::Unsaid);
            lost.make_text_anew();
        }
        lost
    }

    /// Drops the text, to be made again, if no part of it was delivered. Keeps that it may have arrived.
    pub fn make_text_anew(&mut self) {
        if self.parts() == 0 {
            self.may_have_arrived |= self.may_be_repeat();
            self.fixed = None;
        }
    }

    /// Makes the message say everything itself, since the one that it follows was given up.
    fn stand_alone(&mut self, lost: &Message) {
        self.place = Place::TopLevel;
        let alerts = self.content.alerts_mut().iter_mut();
        for (alert, lost) in alerts.zip(lost.content.alerts()) {
            alert.held_back.merge(lost.held_back.clone());
        }
        if let Some(outcome) = self.content.outcome().cloned() {
            self.content.make_alert(outcome);
        }
        self.unwatched = self.unwatched.or(lost.unwatched);
        self.hand_over.clone_from(&lost.hand_over);
        self.make_text_anew();
    }
}
