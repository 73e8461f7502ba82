//! Facts that do not wait for their diagnosis.

use super::Run;
use super::effects::Effects;
use crate::state::outbox::{Content, Message, Place};
use crate::state::queue::Stage;

impl<E: Effects> Run<'_, E> {
    /// Puts the facts of these investigations into the outbox; each result follows in their thread.
    pub(super) fn announce(&mut self, ids: &[String]) {
        let now = self.effects.now();
        for id in ids {
            self.report_wakes_of(id);
            let Some(one) = self.state.queue.iter_mut().find(|one| one.id == *id) else {
                continue;
            };
            let content = Content::Announcement {
                alerts: one.alerts.clone(),
            };
            let mut message = Message::new(&one.log, content, Place::TopLevel, now);
            message.investigation = Some(id.clone());
            one.stage = Stage::Announced(Some(Place::After(message.id.clone())));
            let alerts = one.alerts.clone();
            let text = self.text_for_report(&message);
            self.report(id, |wake| {
                wake.facts_first = true;
                wake.messages.push(message.id.clone());
                wake.dm_text.clone_from(&text);
            });
            let message_id = message.id.clone();
            self.queue_message(message);
            self.queue_early_recoveries(&alerts, &message_id, id);
        }
    }
}
