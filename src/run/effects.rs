//! Everything that a run does to the world, behind one narrow trait: a real run, a dry run and a
//! replay share their logic and differ only in what they pass here.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::warn;

use super::hand_over::{self, Handed};
use crate::cli::To;
use crate::config::Config;
use crate::engine::{self, Answer, Diagnosis, EngineConfig, Failure, Question, Usage};
use crate::files::is_same_file;
use crate::http::Http;
use crate::incident::Silence;
use crate::outcome;
use crate::report;
use crate::slack::{self, Posted, SlackConfig, Thread};
use crate::state::outbox::Message;
use crate::state::{Durability, Folder, State, Store, silences, undelivered};
use crate::terminal::Waiting;
use crate::text;
use crate::time::full;

/// What a run may do. What must not be lost has no default: each kind of run says what becomes of it.
pub trait Effects {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn commit(&mut self, state: &mut State, durability: Durability) -> Result<()>;
    /// Where outcome rows are, the oldest first.
    fn outcome_files(&self) -> Vec<PathBuf>;
    fn is_replay(&self) -> bool {
        false
    }
    /// Where the long texts are.
    fn texts(&self) -> &Folder;
    /// Asks the engine, once. The answer comes while this thread does other things.
    fn ask(&mut self, engine: &EngineConfig, question: Question) -> Receiver<Answered>;
    /// How the messages go out.
    fn route(&self) -> Route;
    /// Makes one request; `text` is unescaped and no longer than the route takes.
    fn post(&mut self, text: &str, thread: Option<&Thread>) -> Posted;
    /// Waits for something other than the engine.
    fn pause(&mut self, _: Duration) {}
    /// Writes what became of a dispatch, and returns whether that is a row in the audit log itself. A failure
    /// is a warning and no more.
    fn record(&mut self, _: &outcome::Row) -> bool {
        false
    }
    /// Runs the fallback command while this thread does other things.
    fn hand_over(&mut self, handed: Handed) -> Receiver<Result<()>> {
        let (_, receiver) = mpsc::channel();
        drop(handed);
        receiver
    }
    /// Returns the silences, those that are over among them.
    fn silences(&self) -> Vec<Silence> {
        Vec::new()
    }
    /// Removes a silence that is over.
    fn remove_silence(&mut self, _: &Silence) {}
    /// Writes an acknowledgement. A failure is a warning and no more.
    fn put_silence(&mut self, _: &Silence) {}
    /// Whether the operator has reacted to a message in this way, or why that is unknown.
    fn has_reaction(&mut self, _: &Thread, _: &str) -> Result<bool, String> {
        Ok(false)
    }
    /// Writes a message to `undelivered/`.
    fn give_up(&mut self, message: &Message, reason: &str, now: Timestamp) -> Result<()>;
}

/// The answer to a question, and how long it took: from the question to the answer, and nothing else.
#[derive(Debug)]
pub struct Answered {
    pub answer: Answer,
    pub asked_at: Timestamp,
    pub took: Duration,
}

/// How the messages of a run go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    #[default]
    Slack,
    /// This variable is not set: everything stays queued.
    SlackWithout(&'static str),
    /// Printed; the outbox is left alone.
    Stdout,
    /// In the report that closes the run: queued until that is printed.
    Report,
    /// A dry run: nothing goes out.
    Nowhere,
}

impl Route {
    /// Whether messages are printed, each with everything there is to say.
    pub fn is_printed(self) -> bool {
        matches!(self, Self::Stdout | Self::Report)
    }

    /// Whether the facts of an alert may go out before its diagnosis.
    pub fn announces(self) -> bool {
        matches!(self, Self::Slack | Self::SlackWithout(_))
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
    audit_log: PathBuf,
    to: To,
    stdout: Printer,
}

impl Live {
    /// `quiet`: messages for stdout are kept from it, since the report has them.
    pub fn new(config: &Config, store: Store, to: To, quiet: bool) -> Self {
        Self {
            store,
            http: Arc::new(config.http()),
            slack: config.slack.clone(),
            missing: config.missing_for_slack(),
            outcome_log: config.paths.outcome_log.clone(),
            audit_log: config.paths.audit_log.clone(),
            to,
            stdout: Printer::new(quiet),
        }
    }

    /// Removes what an earlier run has left.
    pub fn sweep(&mut self, state: &mut State) {
        self.store.sweep(state);
    }
}

impl Effects for Live {
    fn commit(&mut self, state: &mut State, durability: Durability) -> Result<()> {
        self.store.commit(state, durability)
    }

    fn texts(&self) -> &Folder {
        self.store.texts()
    }

    fn outcome_files(&self) -> Vec<PathBuf> {
        outcome_files(&self.store)
    }

    fn ask(&mut self, engine: &EngineConfig, question: Question) -> Receiver<Answered> {
        ask(&self.http, engine, question)
    }

    fn route(&self) -> Route {
        match (self.to, self.missing) {
            (To::Stdout, _) if self.stdout.is_quiet => Route::Report,
            (To::Stdout, _) => Route::Stdout,
            (To::Slack, Some(variable)) => Route::SlackWithout(variable),
            (To::Slack, None) => Route::Slack,
        }
    }

    fn post(&mut self, text: &str, thread: Option<&Thread>) -> Posted {
        match self.to {
            To::Slack => {
                let _waiting = Waiting::for_what("sending the message to Slack");
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
        let _waiting = Waiting::for_what("waiting for Slack");
        thread::sleep(length);
    }

    fn record(&mut self, row: &outcome::Row) -> bool {
        let named = self.outcome_log.as_deref();
        let appended = outcome::append(named, &self.store.dir, row);
        let is_named = appended.unwrap_or_else(|error| {
            warn!("the outcome row is lost: {error:#}");
            false
        });
        is_named && named.is_some_and(|named| is_same_file(named, &self.audit_log))
    }

    fn hand_over(&mut self, handed: Handed) -> Receiver<Result<()>> {
        hand_over::begin(handed)
    }

    fn silences(&self) -> Vec<Silence> {
        silences::list(&self.store)
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
        slack::has_reaction(&self.http, &self.slack, message, name)
    }

    fn give_up(&mut self, message: &Message, reason: &str, now: Timestamp) -> Result<()> {
        undelivered::add(&self.store, message, reason, now)
    }
}

fn outcome_files(store: &Store) -> Vec<PathBuf> {
    vec![store.path(outcome::TURNED_FILE), store.path(outcome::FILE)]
}

/// Asks on a thread of its own, which a run that ends without waiting for it takes along.
fn ask(http: &Arc<Http>, engine: &EngineConfig, question: Question) -> Receiver<Answered> {
    let (sender, receiver) = mpsc::channel();
    let (http, engine) = (Arc::clone(http), engine.clone());
    let ask = move || {
        let about = question.metadata["probe_name"].as_str().unwrap_or_default();
        let _waiting = Waiting::for_what(&format!("asking the engine about {about}"));
        let (asked_at, begun) = (question.asked_at, Instant::now());
        let answer = engine::ask(&engine, &http, &question);
        let took = begun.elapsed();
        // Nobody may be waiting any more; then the answer is dropped.
        let _ = sender.send(Answered {
            answer,
            asked_at,
            took,
        });
    };
    if let Err(error) = thread::Builder::new().spawn(ask) {
        warn!("cannot start a thread to ask the engine: {error}");
    }
    receiver
}

/// Prints messages to stdout with a blank line between them.
struct Printer {
    is_quiet: bool,
    printed: u64,
}

impl Printer {
    fn new(is_quiet: bool) -> Self {
        Self {
            is_quiet,
            printed: 0,
        }
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        if self.is_quiet {
            return Ok(());
        }
        report::check_stdout()?;
        let blank = if self.printed > 0 { "\n" } else { "" };
        let mut stdout = io::stdout().lock();
        self.printed += 1;
        writeln!(stdout, "{blank}{}", text::for_terminal(text))?;
        stdout.flush()
    }
}

/// A dry run: the logic of the next run, and none of its effects.
pub struct DryRun {
    pub store: Store,
}

impl Effects for DryRun {
    fn commit(&mut self, _: &mut State, _: Durability) -> Result<()> {
        Ok(())
    }

    fn texts(&self) -> &Folder {
        self.store.texts()
    }

    fn outcome_files(&self) -> Vec<PathBuf> {
        outcome_files(&self.store)
    }

    fn silences(&self) -> Vec<Silence> {
        silences::list(&self.store)
    }

    fn give_up(&mut self, _: &Message, _: &str, _: Timestamp) -> Result<()> {
        Ok(())
    }

    fn ask(&mut self, _: &EngineConfig, question: Question) -> Receiver<Answered> {
        let text = "(the engine's diagnosis; a dry run does not ask)";
        let (sender, receiver) = mpsc::channel();
        let _ = sender.send(Answered {
            answer: Answer {
                result: Diagnosis::new(text).map_err(Failure::from),
                usage: Usage::default(),
            },
            asked_at: question.asked_at,
            took: Duration::ZERO,
        });
        receiver
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

/// A replay: messages to stdout by the rows' own clock, no Slack and no state.
pub struct Replay {
    http: Arc<Http>,
    stdout: Printer,
    pub clock: Timestamp,
    /// The outcome rows, where they are kept.
    pub rows: Option<Vec<outcome::Row>>,
    /// What kept the last message from being printed: the next commit ends the replay with it.
    failure: Option<io::Error>,
    texts: Folder,
    log: PathBuf,
}

impl Replay {
    /// `quiet`: messages are kept from stdout, since the report has them.
    pub fn new(config: &Config, quiet: bool, keeps_rows: bool) -> Self {
        Self {
            http: Arc::new(config.http()),
            stdout: Printer::new(quiet),
            clock: Timestamp::UNIX_EPOCH,
            rows: keeps_rows.then(Vec::new),
            failure: None,
            texts: Folder::new(Path::new(""), "texts"),
            log: config.paths.audit_log.clone(),
        }
    }
}

impl Effects for Replay {
    fn now(&self) -> Timestamp {
        self.clock
    }

    fn commit(&mut self, _: &mut State, _: Durability) -> Result<()> {
        match self.failure.take() {
            Some(error) => Err(error).context("cannot print a message"),
            None => Ok(()),
        }
    }

    fn texts(&self) -> &Folder {
        &self.texts
    }

    fn outcome_files(&self) -> Vec<PathBuf> {
        vec![self.log.clone()]
    }

    fn is_replay(&self) -> bool {
        true
    }

    fn ask(&mut self, engine: &EngineConfig, question: Question) -> Receiver<Answered> {
        ask(&self.http, engine, question)
    }

    fn route(&self) -> Route {
        Route::Stdout
    }

    fn post(&mut self, text: &str, _: Option<&Thread>) -> Posted {
        let text = format!("{}\n{text}", full(self.clock));
        self.failure = self.stdout.print(&text).err();
        Posted::Delivered(None)
    }

    fn give_up(&mut self, _: &Message, _: &str, _: Timestamp) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, row: &outcome::Row) -> bool {
        self.rows.iter_mut().for_each(|rows| rows.push(row.clone()));
        false
    }
}
