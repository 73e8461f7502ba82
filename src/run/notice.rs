//! Says that the audit log has had no new row for long: perhaps the program that writes it has died.

use jiff::SignedDuration;

use super::Run;
use super::effects::Effects;
use crate::incident::MessageRef;
use crate::state::Durability;
use crate::state::outbox::{Content, Message, Place};

/// How often it is said.
const PERIOD: SignedDuration = SignedDuration::from_hours(24);

impl<E: Effects> Run<'_, E> {
    /// Begins to wait for a row anew: for some time nobody has looked.
    pub fn wait_for_rows_anew(&mut self) {
        let now = self.effects.now();
        if let Some(log) = self.state.logs.get_mut(&self.log) {
            log.quiet.since = now;
            log.quiet.is_row = false;
            self.note_unsaved(Durability::Full);
        }
    }

    /// Finds out since when no row was read, for the next step to be chosen. A time in the future is a clock
    /// that was set back, and counts as now.
    pub(super) fn note_quiet(&mut self) {
        let now = self.effects.now();
        let log = self.state.logs.get_mut(&self.log);
        if let Some(log) = log.filter(|log| log.quiet.since > now) {
            log.quiet.since = now;
            self.note_unsaved(Durability::Full);
        }
        let quiet = self.state.logs.get(&self.log).map(|log| &log.quiet);
        let was_said = |at| {
            let since = now.duration_since(at);
            !since.is_negative() && since < PERIOD
        };
        let quiet = quiet.filter(|quiet| !quiet.noticed_at.is_some_and(was_said));
        self.progress.quiet_since = quiet.map(|quiet| quiet.since);
    }

    pub(super) fn notice(&mut self) {
        let now = self.effects.now();
        let log_name = self.log_file_name();
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
        self.progress.quiet_since = None;
        self.queue_message(message);
    }
}
