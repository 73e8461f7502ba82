//! From the queue to the outbox: facts that do not wait for their diagnosis, and results.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use super::Session;
use super::investigate::Ending;
use crate::effects::{Effects, Route};
use crate::engine::Reason;
use crate::message::{self, Message};
use crate::state::Durability;
use crate::state::outbox::{Delivery, Dm, Follows};
use crate::state::queue::Investigation;

/// While so many told investigations, or so many bytes of them, are owed, no more are taken on.
const MOST_OWED: usize = 256;
const MOST_OWED_BYTES: usize = 4 * 1024 * 1024;

impl<E: Effects> Session<'_, E> {
    /// Tells the facts of all wakes that were told nothing, where one of them is due.
    pub(super) fn tell_due(&mut self) -> Result<()> {
        let Some(length) = self.facts_after() else {
            return Ok(());
        };
        let now = self.effects.now(None);
        let is_owing = self.state.queue.iter().any(Investigation::is_owed);
        let is_due = |one: &Investigation| is_owing || due_in(one, length, now).is_zero();
        let mut untold = self.state.queue.iter().filter(|one| one.is_untold());
        match untold.any(is_due) {
            true => self.tell_untold(),
            false => Ok(()),
        }
    }

    /// How long it is until a wake is due; `None` where none will be.
    pub(super) fn next_due(&mut self) -> Option<SignedDuration> {
        let length = self.facts_after()?;
        let now = self.effects.now(None);
        let untold = self.state.queue.iter().filter(|one| one.is_untold());
        untold.map(|one| due_in(one, length, now)).min()
    }

    /// Tells the facts of all wakes that were told nothing, in order; past the run's time critical
    /// first. Where it is known that there will be no diagnosis, that is told at once, and no facts
    /// before it.
    pub(super) fn tell_untold(&mut self) -> Result<()> {
        if self.facts_after().is_none() {
            return Ok(());
        }
        let now = self.effects.now(None);
        let untold = self.state.queue.iter().filter(|one| one.is_untold());
        let mut untold: Vec<_> = untold.map(|one| (one.severity(), one.id.clone())).collect();
        if untold.is_empty() {
            return Ok(());
        }
        if self.is_past_its_time() {
            untold.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
        }
        let mut refused = Vec::new();
        for (_, id) in untold {
            match self.why_not_taken_on(&id, now) {
                Some(reason) => refused.push((id, reason)),
                None => self.queue_facts(&id, now),
            }
        }
        if self.unsaved.is_some() {
            self.commit(Durability::Full)?;
        }
        self.send_made()?;
        for (id, reason) in refused {
            self.end(&id, Ending::without(reason))?;
        }
        Ok(())
    }

    /// Why an untold wake will have no diagnosis, where that is known without asking.
    fn why_not_taken_on(&mut self, id: &str, now: Timestamp) -> Option<Reason> {
        if self.asking.as_deref() == Some(id) {
            return None;
        }
        if let Some(failure) = self.why_not_ask(id, now) {
            return Some(failure.reason);
        }
        let owed = self.state.queue.iter().filter(|one| one.is_owed());
        let (count, bytes) = owed.fold((0, 0), |(count, bytes), one| {
            (count + 1, bytes + one.size())
        });
        (count >= MOST_OWED || bytes >= MOST_OWED_BYTES).then_some(Reason::Backlog)
    }

    fn queue_facts(&mut self, id: &str, now: Timestamp) {
        let Some(index) = self.index_of(id) else {
            return;
        };
        self.report_wakes_of(index);
        let investigation = &self.state.queue[index];
        let dm = self.dm(investigation, message::facts(investigation), now);
        let told = Follows::Dm(dm.id.clone());
        self.note_told(index, &told, now);
        self.state.queue[index].told = Some(told);
        let shown = self
            .keeps_wakes
            .then(|| message::with_notes(&dm.text, &dm.notes));
        let dm_id = dm.id.clone();
        self.reported(id, |wake| {
            wake.facts_first = true;
            wake.dms.push(dm_id.clone());
            wake.dm_text.clone_from(&shown);
        });
        self.queue_dm(dm);
    }

    /// A DM of its own thread about these wakes; it tells of unwatched time, if nothing has yet.
    pub(super) fn dm(&self, about: &Investigation, message: Message, now: Timestamp) -> Dm {
        let mut dm = Dm::new(about.subject(), message.text, message.notes, now);
        dm.further = message.further;
        if let Route::SlackWithout(variable) = self.effects.route() {
            dm.cause = Some(format!("{variable} is not set"));
        }
        dm
    }

    /// Puts a DM into the outbox; the caller commits. One that can go out at once is being sent
    /// from that commit on.
    pub(super) fn queue_dm(&mut self, mut dm: Dm) {
        dm.notes
            .extend(self.unwatched.take().map(message::unwatched_note));
        self.outgoing.made.insert(dm.id.clone(), false);
        self.state.outbox.push_back(dm);
        self.note_unsaved(Durability::Full);
        let last = self.state.outbox.len() - 1;
        let route = self.effects.route();
        self.outgoing.reported += usize::from(route == Route::Report);
        let goes_now = match route {
            Route::Slack => self.next_to_send() == Some(last),
            route => route.is_printed(),
        };
        if goes_now {
            let dm = &mut self.state.outbox[last];
            dm.delivery = Delivery::BeingSent;
            self.outgoing.announced = Some(dm.id.clone());
        }
    }

    /// The recovery of these wakes' pairs is told behind this message.
    pub(super) fn note_told(&mut self, index: usize, told: &Follows, now: Timestamp) {
        let investigation = &self.state.queue[index];
        let Some(log) = self.state.logs.get_mut(&investigation.log) else {
            return;
        };
        for alert in investigation.alerts() {
            log.episodes.note_told(&alert.wake, told, now);
        }
    }

    pub(super) fn index_of(&self, id: &str) -> Option<usize> {
        self.state.queue.iter().position(|one| one.id == id)
    }
}

/// How long it is until the facts of this wake are due. A time further ahead than the setting allows
/// is a clock that was set back.
fn due_in(one: &Investigation, length: SignedDuration, now: Timestamp) -> SignedDuration {
    let waited = now.duration_since(one.queued_at);
    if waited.is_negative() {
        return SignedDuration::ZERO;
    }
    length.saturating_sub(waited).max(SignedDuration::ZERO)
}
