//! Everything that a run does to the world, behind one narrow trait: a real run, a dry run and a
//! replay share their logic and differ only in what they pass here.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::warn;

use crate::cli::To;
use crate::config::Config;
use crate::engine::{self, Answer, Diagnosis, EngineConfig, Failure, Question, Usage};
use crate::http::Http;
use crate::outcome;
use crate::slack::{self, Posted, SlackConfig, Thread};
use crate::state::undelivered::{self, Undelivered};
use crate::state::{Durability, State, Store};
use crate::terminal::Waiting;
use crate::text;

/// What a run may do. The session asks for it and never looks whether it is done. What is not to be
/// lost has no default: each kind of run says what becomes of it.
pub trait Effects {
    /// The clock. `event`: when that happened which is judged now, where it has a time of its own.
    fn now(&mut self, _event: Option<Timestamp>) -> Timestamp {
        Timestamp::now()
    }
    fn commit(&mut self, state: &State, durability: Durability) -> Result<()>;
    /// Asks the engine, once. The answer comes while this thread does other things.
    fn ask(&mut self, engine: &EngineConfig, question: Question) -> Receiver<Answer>;
    /// How the DMs go out.
    fn route(&self) -> Route;
    /// One request; `text` is unescaped and no longer than the route takes.
    fn post(&mut self, text: &str, thread: Option<&Thread>) -> Posted;
    fn pause(&mut self, _: Duration) {}
    /// Writes what became of a dispatch. A failure is a warning and no more.
    fn record(&mut self, _: &outcome::Row) {}
    /// Puts a DM into `undelivered.jsonl`.
    fn give_up(&mut self, row: &Undelivered<'_>) -> Result<()>;
}

/// How the DMs of a run go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Slack,
    /// This variable is not set: everything stays queued.
    SlackWithout(&'static str),
    /// Printed; the queue is left alone.
    Stdout,
    /// Told in the report that closes the run: queued until that is printed.
    Report,
    /// A dry run: nothing goes out.
    Nowhere,
}

impl Route {
    /// Whether DMs are printed, each with all that there is to tell.
    pub fn is_printed(self) -> bool {
        matches!(self, Self::Stdout | Self::Report)
    }
}

/// A real run.
pub struct Live {
    store: Store,
    http: Arc<Http>,
    slack: SlackConfig,
    /// The variable without which nothing can be sent.
    missing: Option<&'static str>,
    outcome_log: Option<PathBuf>,
    to: To,
    stdout: DmPrinter,
}

impl Live {
    /// `quiet`: DMs for stdout are kept from it, since the report tells them.
    pub fn new(config: &Config, store: Store, to: To, quiet: bool) -> Self {
        Self {
            store,
            http: Arc::new(config.http()),
            slack: config.slack.clone(),
            missing: config.missing_for_slack(),
            outcome_log: config.paths.outcome_log.clone(),
            to,
            stdout: DmPrinter { quiet, printed: 0 },
        }
    }
}

impl Effects for Live {
    fn commit(&mut self, state: &State, durability: Durability) -> Result<()> {
        self.store.commit(state, durability)
    }

    fn ask(&mut self, engine: &EngineConfig, question: Question) -> Receiver<Answer> {
        ask(&self.http, engine, question)
    }

    fn route(&self) -> Route {
        match (self.to, self.missing) {
            (To::Stdout, _) if self.stdout.quiet => Route::Report,
            (To::Stdout, _) => Route::Stdout,
            (To::Slack, Some(variable)) => Route::SlackWithout(variable),
            (To::Slack, None) => Route::Slack,
        }
    }

    fn post(&mut self, text: &str, thread: Option<&Thread>) -> Posted {
        match self.to {
            To::Slack => {
                let _waiting = Waiting::for_what("sending the DM to Slack");
                slack::post(&self.http, &self.slack, text, thread)
            }
            To::Stdout => match self.stdout.print(text) {
                Ok(()) => Posted::Delivered(None),
                Err(error) => Posted::Refused {
                    cause: format!("stdout: {error}"),
                },
            },
        }
    }

    fn pause(&mut self, length: Duration) {
        let _waiting = Waiting::for_what("waiting before one more try");
        thread::sleep(length);
    }

    fn record(&mut self, row: &outcome::Row) {
        let named = self.outcome_log.as_deref();
        if let Err(error) = outcome::append(named, &self.store.dir, row) {
            warn!("the outcome row is lost: {error:#}");
        }
    }

    fn give_up(&mut self, row: &Undelivered<'_>) -> Result<()> {
        self.store.append(undelivered::FILE, row)
    }
}

/// Asks in a thread of its own. A run that ends without waiting for the answer ends that, too.
fn ask(http: &Arc<Http>, engine: &EngineConfig, question: Question) -> Receiver<Answer> {
    let (answered, answer) = mpsc::channel();
    let (http, engine) = (Arc::clone(http), engine.clone());
    let ask = move || {
        let about = &question.metadata.probe_name;
        let _waiting = Waiting::for_what(&format!("asking the engine about {about}"));
        // Where nobody waits for it any more, the answer is of no use.
        let _ = answered.send(engine::ask(&engine, &http, &question));
    };
    if let Err(error) = thread::Builder::new().spawn(ask) {
        warn!("cannot start a thread to ask the engine in: {error}");
    }
    answer
}

/// Prints DMs to stdout with a blank line between them.
struct DmPrinter {
    quiet: bool,
    printed: u64,
}

impl DmPrinter {
    fn print(&mut self, text: &str) -> io::Result<()> {
        if self.quiet {
            return Ok(());
        }
        let blank = if self.printed > 0 { "\n" } else { "" };
        let mut stdout = io::stdout().lock();
        self.printed += 1;
        writeln!(stdout, "{blank}{}", text::for_terminal(text))?;
        stdout.flush()
    }
}

/// A dry run: the logic of the next run, and none of its effects.
pub struct DryRun;

impl Effects for DryRun {
    fn commit(&mut self, _: &State, _: Durability) -> Result<()> {
        Ok(())
    }

    fn give_up(&mut self, _: &Undelivered<'_>) -> Result<()> {
        Ok(())
    }

    fn ask(&mut self, _: &EngineConfig, _: Question) -> Receiver<Answer> {
        let text = "(the engine's diagnosis; a dry run does not ask)";
        let (answered, answer) = mpsc::channel();
        let _ = answered.send(Answer {
            result: Diagnosis::new(text).map_err(Failure::from),
            usage: Usage::default(),
        });
        answer
    }

    fn route(&self) -> Route {
        Route::Nowhere
    }

    fn post(&mut self, _: &str, _: Option<&Thread>) -> Posted {
        Posted::Refused {
            cause: "a dry run sends nothing".to_owned(),
        }
    }
}

/// A replay: DMs to stdout by the rows' own clock, no Slack and no state.
pub struct Replay {
    http: Arc<Http>,
    stdout: DmPrinter,
    clock: Timestamp,
    /// The outcome rows, where they are kept.
    pub rows: Option<Vec<outcome::Row>>,
    /// What kept the last DM from being printed: the next commit ends the replay with it.
    failure: Option<io::Error>,
}

impl Replay {
    /// `quiet`: DMs are kept from stdout, since the report tells them.
    pub fn new(config: &Config, quiet: bool) -> Self {
        Self {
            http: Arc::new(config.http()),
            stdout: DmPrinter { quiet, printed: 0 },
            clock: Timestamp::UNIX_EPOCH,
            rows: None,
            failure: None,
        }
    }

    /// Keeps the rows that a run would write.
    pub fn keeping_rows(mut self, keeps_rows: bool) -> Self {
        self.rows = keeps_rows.then(Vec::new);
        self
    }
}

impl Effects for Replay {
    /// What has no time of its own happens at the time of what was before it.
    fn now(&mut self, event: Option<Timestamp>) -> Timestamp {
        self.clock = event.unwrap_or(self.clock);
        self.clock
    }

    fn commit(&mut self, _: &State, _: Durability) -> Result<()> {
        match self.failure.take() {
            Some(error) => Err(error).context("cannot print a DM"),
            None => Ok(()),
        }
    }

    fn ask(&mut self, engine: &EngineConfig, question: Question) -> Receiver<Answer> {
        ask(&self.http, engine, question)
    }

    fn route(&self) -> Route {
        Route::Stdout
    }

    fn post(&mut self, text: &str, _: Option<&Thread>) -> Posted {
        self.failure = self.stdout.print(text).err();
        Posted::Delivered(None)
    }

    fn give_up(&mut self, _: &Undelivered<'_>) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, row: &outcome::Row) {
        self.rows.iter_mut().for_each(|rows| rows.push(row.clone()));
    }
}
