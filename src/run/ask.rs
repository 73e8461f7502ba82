//! Begins a question. It is counted and committed first, then asked on a thread of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::Receiver;

use anyhow::Result;
use jiff::Timestamp;

use super::effects::lost;
use super::next::BUDGET_PERIOD;
use super::{Run, poll};
use crate::engine::{Answer, Question, metadata};
use crate::report::WakeReport;
use crate::state::outbox::PromptSize;
use crate::state::queue::{Stage, main_wake};
use crate::state::text::load_wake;
use crate::time::within;

/// A question that was asked.
#[derive(Debug)]
pub struct Asking {
    /// The investigation's.
    pub id: String,
    pub session: String,
    pub asked_at: Timestamp,
    pub answers: Receiver<Answer>,
    pub answered: Option<Answer>,
    pub prompt_size: PromptSize,
    /// Inode and length of the audit log when the question was asked; `None` if there was no log.
    pub log_end: Option<(u64, u64)>,
}

impl Run<'_> {
    pub(super) fn ask(&mut self, id: &str) -> Result<()> {
        self.progress.is_fresh = false;
        let now = self.now();
        self.prune(now);
        let at = self.state.queue.iter().position(|one| one.id == id);
        let Some((engine, at)) = self.config.engine.as_ref().zip(at) else {
            return Ok(());
        };
        let one = &mut self.state.queue[at];
        match &mut one.stage {
            Stage::Retrying(retry) => {
                retry.tries += 1;
                retry.asked_at = now;
                self.progress.retried.insert(id.to_owned());
            }
            _ => one.attempts += 1,
        }
        if self.config.max_investigations_per_hour > 0 {
            let questions = &mut self.state.questions;
            questions.retain(|asked| within(now, *asked, BUDGET_PERIOD));
            questions.push(now);
        }
        self.commit()?;
        let one = self.state.queue[at].clone();
        let (prompt, prompt_size) = self.prompt(&one);
        let session = one.subject().caller_session_id();
        if self.report.dry_run {
            let set = |wake: &mut WakeReport| wake.prompt = Some(prompt.clone());
            self.report(id, &one.alerts, one.is_pending(), set);
        }
        let question = Question {
            prompt,
            key: id.to_owned(),
            asked_at: now,
            caller_session_id: session.clone(),
            metadata: metadata(&load_wake(main_wake(&one.alerts), self.store.texts())),
        };
        self.progress.asking = Some(Asking {
            id: id.to_owned(),
            session,
            asked_at: now,
            prompt_size,
            log_end: log_end(&self.config.paths.audit_log),
            answers: self.effects.ask(engine, question),
            answered: None,
        });
        Ok(())
    }

    /// Notes the answer, if it has come.
    pub(super) fn note_answer(&mut self) {
        if let Some(asking) = &mut self.progress.asking {
            let before = asking.answered.take();
            asking.answered = before.or_else(|| poll(&asking.answers, lost));
        }
    }
}

/// Returns the inode and the length of the audit log; `None` if there is none.
pub(super) fn log_end(log: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(log).ok()?;
    Some((meta.ino(), meta.len()))
}
