//! Begins a question. It is counted and committed before it is asked, on a thread of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::Receiver;

use anyhow::Result;
use jiff::Timestamp;

use super::Run;
use super::effects::{Answered, Effects};
use super::next::is_in_budget;
use crate::engine::{Answer, Question, Reason, metadata};
use crate::state::Durability;
use crate::state::outbox::PromptSize;
use crate::state::queue::Stage;
use crate::state::text::load_wake;

/// A question that was asked.
pub(super) struct Asking {
    /// Of the investigation.
    pub id: String,
    pub session: String,
    pub asked_at: Timestamp,
    pub answers: Receiver<Answered>,
    pub prompt_size: PromptSize,
    /// Inode and length of the audit log when it was asked; `None` where there was none.
    pub log_end: Option<(u64, u64)>,
}

impl Asking {
    /// No thread could be started, or it is gone.
    pub fn lost(&self) -> Answered {
        Answered {
            answer: Answer::without(Reason::ConnectionError),
            asked_at: self.asked_at,
            took: std::time::Duration::ZERO,
        }
    }
}

impl<E: Effects> Run<'_, E> {
    pub(super) fn ask(&mut self, id: &str) -> Result<()> {
        self.progress.is_fresh = false;
        let now = self.effects.now();
        self.prune(now);
        let Some(one) = self.state.queue.iter_mut().find(|one| one.id == id) else {
            return Ok(());
        };
        match &mut one.stage {
            Stage::Retrying(retry) => {
                retry.tries += 1;
                retry.asked_at = now;
                self.progress.retried.insert(id.to_owned());
            }
            _ => one.attempts += 1,
        }
        if self.config.max_investigations_per_hour > 0 {
            self.state
                .questions
                .retain(|asked| is_in_budget(*asked, now));
            self.state.questions.push(now);
        }
        self.note_unsaved(Durability::Full);
        self.commit_unsaved()?;
        let one = self.investigation(id).cloned();
        let Some((engine, one)) = self.config.engine.as_ref().zip(one) else {
            return Ok(());
        };
        let (prompt, prompt_size) = self.prompt(&one);
        let session = one.subject().caller_session_id();
        let question = Question {
            prompt,
            key: id.to_owned(),
            asked_at: now,
            caller_session_id: session.clone(),
            metadata: metadata(&load_wake(one.main_wake(), self.effects.texts())),
        };
        if self.report.dry_run {
            let prompt = question.prompt.clone();
            self.report_wakes_of(id);
            self.report(id, |wake| wake.prompt = Some(prompt.clone()));
        }
        self.progress.asking = Some(id.to_owned());
        self.asking = Some(Asking {
            id: id.to_owned(),
            session,
            asked_at: now,
            prompt_size,
            log_end: log_end(&self.config.paths.audit_log),
            answers: self.effects.ask(engine, question),
        });
        Ok(())
    }
}

/// Returns the inode and the length of the audit log; `None` where there is none.
pub(super) fn log_end(log: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(log).ok()?;
    Some((meta.ino(), meta.len()))
}
