//! Everything that a run does to the world, behind one narrow trait: a real run, a dry run and a
//! replay share their logic and differ only in what they pass here.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::warn;

use crate::cli::To;
use crate::config::Config;
use crate::engine::{self, Answer, Diagnosis, EngineConfig, Failure, Question, Reason};
use crate::files::is_same_file;
use crate::http::Http;
use crate::incident::Silence;
use crate::outcome;
use crate::report;
use crate::slack::{self, NotPosted, Posted, Thread, Trouble};
use crate::state::outbox::Message;
use crate::state::{Durability, State, Store, silences, undelivered};
use crate::terminal::Waiting;
use crate::text;

/// What a run may do. Effects that must not be lost have no default: each kind of run has to define them.
pub trait Effects {
    fn commit(&mut self, state: &mut State, durability: Durability) -> Result<()>;
    /// Asks the engine, once. The answer arrives while this thread does other things.
    fn ask(&mut self, engine: &EngineConfig, question: Question) -> Receiver<Answer>;
    /// Makes one request; `text` is unescaped and no longer than the route allows.
    fn post(&mut self, text: &str, thread: Option<&Thread>) -> Posted;
    /// Writes an outcome row, and returns whether it went into the audit log itself. A failure is only a
    /// warning.
    fn record(&mut self, _: &outcome::Row) -> bool {
        false
    }
    /// Removes a silence that is over.
    fn remove_silence(&mut self, _: &Silence) {}
    /// Writes an acknowledgement. A failure is only a warning.
    fn put_silence(&mut self, _: &Silence) {}
    /// Returns whether the operator has reacted to a message in this way, or why that is unknown.
    fn has_reaction(&mut self, _: &Thread, _: &str) -> Result<bool, String> {
        Ok(false)
    }
    /// Writes a message to `undelivered/`.
    fn give_up(&mut self, message: &Message, reason: &str, now: Timestamp) -> Result<()>;
}

/// Returns the answer for a thread that could not be started or is gone: the engine was not reached.
pub(super) fn lost() -> Answer {
    Answer::without(Reason::ConnectionError)
}

/// How the messages of a run go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Slack,
    /// This variable is not set: everything stays queued.
    SlackWithout(&'static str),
    /// Printed; the outbox is left alone.
    Stdout,
    /// In the report at the end of the run; queued until that is printed.
    Report,
    /// A dry run: nothing goes out.
    Nowhere,
}

impl Route {
    /// Returns the route of a run. `is_quiet` keeps messages off stdout, since the report has them.
    pub fn of(config: &Config, to: To, is_quiet: bool) -> Self {
        match (to, config.missing_for_slack()) {
            (To::Stdout, _) if is_quiet => Self::Report,
            (To::Stdout, _) => Self::Stdout,
            (To::Slack, Some(variable)) => Self::SlackWithout(variable),
            (To::Slack, None) => Self::Slack,
        }
    }

    /// Returns whether messages are printed, each with everything there is to say.
    pub fn is_printed(self) -> bool {
        matches!(self, Self::Stdout | Self::Report)
    }

    /// Returns whether the facts of an alert may go out before its diagnosis.
    pub fn announces(self) -> bool {
        matches!(self, Self::Slack | Self::SlackWithout(_))
    }
}

/// A real run.
pub struct Live<'a> {
    pub store: Store,
    config: &'a Config,
    http: Arc<Http>,
    to: To,
    printed: u64,
}

impl<'a> Live<'a> {
    pub fn new(config: &'a Config, store: Store, to: To) -> Self {
        Self {
            store,
            config,
            http: Arc::new(config.http()),
            to,
            printed: 0,
        }
    }
}

impl Effects for Live<'_> {
    fn commit(&mut self, state: &mut State, durability: Durability) -> Result<()> {
        self.store.commit(state, durability)
    }

    fn ask(&mut self, engine: &EngineConfig, question: Question) -> Receiver<Answer> {
        ask(&self.http, engine, question)
    }

    fn post(&mut self, text: &str, thread: Option<&Thread>) -> Posted {
        if self.to == To::Slack {
            let _waiting = Waiting::for_what("sending the message to Slack");
            return slack::post(&self.http, &self.config.slack, text, thread);
        }
        match print(text, &mut self.printed) {
            Ok(()) => Ok(None),
            Err(error) => Err(NotPosted::new(Trouble::Refused, format!("stdout: {error}"))),
        }
    }

    fn record(&mut self, row: &outcome::Row) -> bool {
        let named = self.config.paths.outcome_log.as_deref();
        let appended = outcome::append(named, &self.store.dir, row);
        let is_named = appended.unwrap_or_else(|error| {
            warn!("the outcome row is lost: {error:#}");
            false
        });
        is_named && named.is_some_and(|named| is_same_file(named, &self.config.paths.audit_log))
    }

    fn remove_silence(&mut self, silence: &Silence) {
        silences::remove(&self.store, silence);
    }

    fn put_silence(&mut self, silence: &Silence) {
        if let Err(error) = silences::put(&self.store, silence) {
            warn!("{error:#}");
        }
    }

    fn has_reaction(&mut self, message: &Thread, name: &str) -> Result<bool, String> {
        slack::has_reaction(&self.http, &self.config.slack, message, name)
    }

    fn give_up(&mut self, message: &Message, reason: &str, now: Timestamp) -> Result<()> {
        undelivered::add(&self.store, message, reason, now)
    }
}

fn ask(http: &Arc<Http>, engine: &EngineConfig, question: Question) -> Receiver<Answer> {
    let (http, engine) = (Arc::clone(http), engine.clone());
    let ask = move || {
        let about = question.metadata["probe_name"].as_str().unwrap_or_default();
        let _waiting = Waiting::for_what(&format!("asking the engine about {about}"));
        engine::ask(&engine, &http, &question)
    };
    in_background(ask, |error| {
        warn!("cannot start a thread to ask the engine: {error}");
        lost()
    })
}

/// Does the work on a thread of its own, and wakes this thread when it is done. If the run ends without
/// waiting for it, the thread ends, too.
pub(super) fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    failed: impl FnOnce(io::Error) -> T,
) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    let (done, caller) = (sender.clone(), WakesUp(thread::current()));
    let work = move || {
        // These are dropped in reverse order, even if the work panics: the receiver learns of it before this
        // thread wakes.
        let _caller = caller;
        let sender = done;
        // Nobody may be waiting any more; then the result is dropped.
        let _ = sender.send(work());
    };
    if let Err(error) = thread::Builder::new().spawn(work) {
        let _ = sender.send(failed(error));
    }
    receiver
}

/// Wakes a thread up when it is dropped.
struct WakesUp(thread::Thread);

impl Drop for WakesUp {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

/// Prints a message to stdout, after a blank line if it is not the first.
fn print(text: &str, printed: &mut u64) -> io::Result<()> {
    report::check_stdout()?;
    let blank = if *printed > 0 { "\n" } else { "" };
    *printed += 1;
    report::print(&format!("{blank}{}\n", text::for_terminal(text)))
}

/// A dry run: the logic of the next run without its effects.
pub struct DryRun;

impl Effects for DryRun {
    fn commit(&mut self, _: &mut State, _: Durability) -> Result<()> {
        Ok(())
    }

    fn give_up(&mut self, _: &Message, _: &str, _: Timestamp) -> Result<()> {
        Ok(())
    }

    fn ask(&mut self, _: &EngineConfig, _: Question) -> Receiver<Answer> {
        let result = Diagnosis::new("(the engine's diagnosis; a dry run does not ask)");
        let result = result.map_err(Failure::from);
        let (sender, receiver) = mpsc::channel();
        let _ = sender.send(Answer { result, ..lost() });
        receiver
    }

    fn post(&mut self, _: &str, _: Option<&Thread>) -> Posted {
        Err(NotPosted::new(Trouble::Refused, "a dry run sends nothing"))
    }
}

/// A replay: messages to stdout, no Slack and no state.
pub struct Replay {
    http: Arc<Http>,
    is_quiet: bool,
    printed: u64,
    /// The outcome rows, if they are kept.
    pub rows: Option<Vec<outcome::Row>>,
    /// Why the last message could not be printed: the next commit ends the replay with it.
    failure: Option<io::Error>,
}

impl Replay {
    /// `is_quiet` keeps messages off stdout, since the report has them.
    pub fn new(config: &Config, is_quiet: bool, keeps_rows: bool) -> Self {
        Self {
            http: Arc::new(config.http()),
            is_quiet,
            printed: 0,
            rows: keeps_rows.then(Vec::new),
            failure: None,
        }
    }
}

impl Effects for Replay {
    fn commit(&mut self, _: &mut State, _: Durability) -> Result<()> {
        let printed = self.failure.take().map_or(Ok(()), Err);
        printed.context("cannot print a message")
    }

    fn ask(&mut self, engine: &EngineConfig, question: Question) -> Receiver<Answer> {
        ask(&self.http, engine, question)
    }

    fn post(&mut self, text: &str, _: Option<&Thread>) -> Posted {
        if !self.is_quiet {
            self.failure = print(text, &mut self.printed).err();
        }
        Ok(None)
    }

    fn give_up(&mut self, _: &Message, _: &str, _: Timestamp) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, row: &outcome::Row) -> bool {
        self.rows.iter_mut().for_each(|rows| rows.push(row.clone()));
        false
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn whoever_waits_is_woken_where_the_work_panics_too() {
        let (sender, receiver) = mpsc::channel::<()>();
        let work = move || receiver.recv().expect("nobody sends anything");
        let gone = in_background(work, |_| ());
        drop(sender);
        let begun = Instant::now();
        thread::park_timeout(Duration::from_secs(30));
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert!(gone.recv().is_err());
    }
}
