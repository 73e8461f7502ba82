//! Announces facts without waiting for their diagnosis.

use super::Run;
use crate::state::outbox::{Content, Message, Place};
use crate::state::queue::Stage;

impl Run<'_> {
    /// Puts the facts of these investigations into the outbox; each result follows in their thread.
    pub(super) fn announce(&mut self, ids: &[String]) {
        let now = self.now();
        for id in ids {
            let Some(one) = self.state.queue.iter_mut().find(|one| one.id == *id) else {
                continue;
            };
            let content = Content::Announcement {
                alerts: one.alerts.clone(),
            };
            let mut message = Message::new(&one.log, content, Place::TopLevel, now);
            message.investigation = Some(id.clone());
            one.stage = Stage::Announced(Some(Place::After(message.id.clone())));
            self.queue_first_word(message);
        }
    }
}
