//! Says that the audit log has had no new row for a long time: perhaps the program that writes it has died.

use super::Run;
use crate::incident::MessageRef;
use crate::state::outbox::{Content, Message, Place};

impl Run<'_> {
    /// Starts the wait for a row again: for some time nobody was looking.
    pub fn wait_for_rows_anew(&mut self) {
        let now = self.now();
        if let Some(log) = self.state.logs.get_mut(&self.log) {
            log.quiet.since = now;
            log.quiet.is_row = false;
            self.note_change();
        }
    }

    pub(super) fn notice(&mut self) {
        let (log_name, now) = (self.log_file_name(), self.now());
        let Some(log) = self.state.logs.get_mut(&self.log) else {
            return;
        };
        let content = Content::Quiet {
            log: log_name,
            since: log.quiet.since,
        };
        let message = Message::new(&self.log, content, Place::TopLevel, now);
        log.quiet.noticed_at = Some(now);
        log.quiet.notice = Some(MessageRef::new(&message.id));
        self.queue_message(message);
    }
}
