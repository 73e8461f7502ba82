//! The second channel: a command of the operator's gets what Slack did not take. It runs on a thread of its own,
//! one at a time, as a question does.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use log::{info, warn};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use super::Run;
use super::effects::Effects;
use crate::files::open_trusted;
use crate::incident::Pair;
use crate::message;
use crate::state::Durability;
use crate::state::outbox::{Content, HandOver, Message, Outcome, Pause, Place};
use crate::terminal::Waiting;
use crate::text::for_terminal;

/// The command and its children are killed after this.
const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// A variable is cut to so many characters: a longer one can keep a program from being started.
const LONGEST_VARIABLE: usize = 1_000;

/// What the fallback command gets.
#[derive(Clone, Debug)]
pub struct Handed {
    pub command: PathBuf,
    pub text: String,
    /// `PROBE_WAKE_...`: what the text is about.
    pub probe: String,
    pub category: String,
    pub severity: String,
    pub title: String,
    /// Taken out of the environment: what may hold a token.
    pub removed: Vec<String>,
    /// The settings of the env file.
    pub settings: Vec<(String, String)>,
}

/// A message that is being handed over.
pub(super) struct HandingOver {
    id: String,
    ended: Receiver<Result<()>>,
}

impl<E: Effects> Run<'_, E> {
    /// Begins to hand a message over to the fallback command. That is committed before.
    pub(super) fn hand_over(&mut self, id: &str) -> Result<()> {
        let Some((command, message)) = self
            .config
            .fallback_command
            .clone()
            .zip(self.state.message_mut(id))
        else {
            return Ok(());
        };
        message.hand_over.get_or_insert_default().unended += 1;
        let message = message.clone();
        self.note_unsaved(Durability::Full);
        self.commit_unsaved()?;
        let message = self.with_all_that_is_known(message);
        let lines = self.lines(&message);
        let content = self.loaded(&message.content);
        let now = self.effects.now();
        let text = message::render(&content, &message.place, &lines, now).text;
        let subject = message.subject();
        let titles = content.alerts().iter();
        let titles: Vec<_> = titles.map(|alert| alert.wake.title.as_str()).collect();
        let handed = Handed {
            command,
            title: match titles.is_empty() {
                true => text.lines().next().unwrap_or_default().to_owned(),
                false => titles.join("; "),
            },
            text: for_terminal(&text) + "\n",
            probe: subject.probe,
            category: subject.category,
            severity: subject.severity,
            removed: self.config.secret_variables(),
            settings: self.config.settings(),
        };
        self.progress.handing_over = Some(id.to_owned());
        self.handing_over = Some(HandingOver {
            id: id.to_owned(),
            ended: self.effects.hand_over(handed),
        });
        Ok(())
    }

    /// Waits for at most so long for the fallback command to end, and notes how it did.
    pub(super) fn await_hand_over(&mut self, patience: Duration) -> Result<()> {
        let Some(one) = &self.handing_over else {
            return Ok(());
        };
        match one.ended.recv_timeout(patience) {
            Ok(ended) => self.handed_over(ended),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                self.handed_over(Err(anyhow!("its thread has ended")))
            }
        }
    }

    fn handed_over(&mut self, ended: Result<()>) -> Result<()> {
        self.progress.handing_over = None;
        let Some(HandingOver { id, .. }) = self.handing_over.take() else {
            return Ok(());
        };
        let now = self.effects.now();
        match ended {
            Ok(()) => {
                self.state.fallback = None;
                if let Some(message) = self.state.message_mut(&id) {
                    if let Some(hand_over) = &mut message.hand_over {
                        hand_over.done = Some(now);
                    }
                    message.unfix();
                    let probe = message.subject().probe;
                    info!("the message about {probe} was handed over to the fallback command");
                }
            }
            Err(error) => {
                let message = self.state.message_mut(&id);
                if let Some(hand_over) = message.and_then(|one| one.hand_over.as_mut()) {
                    hand_over.unended = 0;
                }
                self.progress.hand_over_failed = true;
                self.state.fallback = Some(Pause::after(self.state.fallback.as_ref(), now));
                warn!(
                    "the fallback command failed: {error:#}; try it with: probe-wake check --test-fallback"
                );
            }
        }
        self.note_unsaved(Durability::Full);
        self.commit_unsaved()
    }

    /// Adds the diagnosis where there is one already, and what was held back, which Slack's message will say,
    /// too. No thread follows.
    fn with_all_that_is_known(&self, mut message: Message) -> Message {
        let follows = Place::After(message.id.clone());
        let mut outbox = self.state.outbox.iter();
        let outcome = outbox.find_map(|one| match &one.content {
            Content::Result { outcome, .. } if one.place == follows => Some(outcome.clone()),
            _ => None,
        });
        if let Content::Announcement { alerts } = &mut message.content {
            message.content = Content::Alert {
                alerts: std::mem::take(alerts),
                outcome: outcome.unwrap_or(Outcome::Unsaid),
            };
        }
        let log = self.state.logs.get(&message.log);
        for alert in message.content.alerts_mut() {
            let incident = log.and_then(|log| log.incidents.get(&Pair::of(&alert.wake)));
            if let Some(its) = incident.filter(|one| one.first_wake == alert.dispatch.since) {
                alert.held_back.merge(its.held_back.clone());
            }
        }
        message
    }
}

/// Runs the command on a thread of its own.
pub fn begin(handed: Handed) -> Receiver<Result<()>> {
    let (sender, receiver) = mpsc::channel();
    let failed = sender.clone();
    let run = move || {
        let _waiting = Waiting::for_what("running the fallback command");
        // Nobody may be waiting any more.
        let _ = sender.send(run(&handed));
    };
    if let Err(error) = thread::Builder::new().spawn(run) {
        let _ = failed.send(Err(anyhow!("no thread can be started: {error}")));
    }
    receiver
}

/// Runs the command, and waits until it ends or its time is over.
pub fn run(handed: &Handed) -> Result<()> {
    check(&handed.command)?;
    // A file of memory never blocks, whether it is read or not.
    let stdin = rustix::fs::memfd_create("message", MemfdFlags::CLOEXEC)?;
    let mut stdin = File::from(stdin);
    stdin.write_all(handed.text.as_bytes())?;
    stdin.rewind()?;
    let mut command = Command::new(&handed.command);
    let is_unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let settings = handed.settings.iter().filter(|(name, _)| is_unset(name));
    command.envs(settings.map(|(name, value)| (name, value)));
    for name in &handed.removed {
        command.env_remove(name);
    }
    for (name, value) in [
        ("PROBE_WAKE_PROBE", &handed.probe),
        ("PROBE_WAKE_CATEGORY", &handed.category),
        ("PROBE_WAKE_SEVERITY", &handed.severity),
        ("PROBE_WAKE_TITLE", &handed.title),
    ] {
        let on_one_line = value.chars().map(|c| if c.is_control() { ' ' } else { c });
        command.env(name, on_one_line.take(LONGEST_VARIABLE).collect::<String>());
    }
    command
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.process_group(0).spawn()?;
    let begun = Instant::now();
    while begun.elapsed() < TIMEOUT {
        if let Some(status) = child.try_wait()? {
            return match status.success() {
                true => Ok(()),
                false => Err(anyhow!("it ended with {status}")),
            };
        }
        thread::sleep(POLL);
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
    bail!(
        "it did not end within {} s and was killed",
        TIMEOUT.as_secs()
    )
}

/// Whether the command may be run: an executable file of ours or root's that others cannot change.
pub fn check(path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| anyhow!(error).context(path.display().to_string());
    let (_, meta) = open_trusted(path).map_err(failed)?;
    if meta.permissions().mode() & 0o111 == 0 {
        bail!(
            "{} is not executable: chmod 700 {}",
            path.display(),
            path.display()
        );
    }
    let now = std::fs::metadata(path).map_err(failed)?;
    match (now.dev(), now.ino()) == (meta.dev(), meta.ino()) {
        true => Ok(()),
        false => Err(anyhow!("{} is being replaced", path.display())),
    }
}

impl HandOver {
    /// Whether the message was handed over, as far as is known: where two runs died meanwhile, it counts.
    pub fn is_over(&self) -> bool {
        self.done.is_some() || self.unended > 1
    }
}
