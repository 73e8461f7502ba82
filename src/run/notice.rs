//! Says that the audit log has had no new row for long: perhaps the program that writes it has died.

use jiff::SignedDuration;

use super::Run;
use crate::incident::MessageRef;
use crate::state::outbox::{Content, Message, Place};
use crate::time::within;

/// How often it is said.
const PERIOD: SignedDuration = SignedDuration::from_hours(24);

impl Run<'_> {
    /// Begins to wait for a row anew: for some time nobody has looked.
    pub fn wait_for_rows_anew(&mut self) {
        let now = self.now();
        if let Some(log) = self.state.logs.get_mut(&self.log) {
            log.quiet.since = now;
            log.quiet.is_row = false;
            self.note_change();
        }
    }

    /// Finds out since when no row was read, for the next step to be chosen. A time in the future is a clock
    /// that was set back, and counts as now.
    pub(super) fn note_quiet(&mut self) {
        let now = self.now();
        self.progress.quiet_since = None;
        let Some(log) = self.state.logs.get_mut(&self.log) else {
            return;
        };
        let quiet = &mut log.quiet;
        let was_said = quiet.noticed_at.is_some_and(|at| within(now, at, PERIOD));
        let is_ahead = quiet.since > now;
        quiet.since = quiet.since.min(now);
        self.progress.quiet_since = Some(quiet.since).filter(|_| !was_said);
        if is_ahead {
            self.note_change();
        }
    }

    pub(super) fn notice(&mut self) {
        let now = self.now();
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
