//! The second channel: a command of the operator's gets what Slack did not take. It runs on a thread of its own,
//! one at a time, as a question does.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use log::{info, warn};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use super::Run;
use super::effects::Effects;
use crate::files::open_trusted;
use crate::message::{self, Lines};
use crate::state::Durability;
use crate::state::outbox::{Content, HandOver, Message, Outcome, Pause, Place};
use crate::terminal::Waiting;

/// The command and its children are killed after this.
const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// What the fallback command gets.
#[derive(Clone, Debug)]
pub struct Handed {
    pub command: PathBuf,
    pub text: String,
    /// Added to the environment.
    pub variables: Vec<(&'static str, String)>,
    /// Taken out of the environment: what may hold a token.
    pub removed: Vec<String>,
    /// The settings of the env file.
    pub settings: Vec<(String, String)>,
}

/// A message that is being handed over.
pub(super) struct HandingOver {
    id: String,
    pub ended: Receiver<Result<()>>,
}

impl<E: Effects> Run<'_, E> {
    /// Begins to hand a message over to the fallback command. That is committed before.
    pub(super) fn hand_over(&mut self, id: &str) -> Result<()> {
        let now = self.effects.now();
        let Some((command, message)) = self
            .config
            .fallback_command
            .clone()
            .zip(self.state.message_mut(id))
        else {
            return Ok(());
        };
        let attempts = message.hand_over.as_ref().map_or(0, |one| one.attempts);
        message.hand_over = Some(HandOver {
            attempts: attempts + 1,
            done: None,
        });
        self.note_unsaved(Durability::Full);
        self.commit_unsaved()?;
        let Some(message) = self.state.message(id) else {
            return Ok(());
        };
        let content = self.loaded(&self.with_result(message));
        let text = message::render(&content, &message.place, &Lines::default(), now).text;
        let subject = message.subject();
        let titles = content
            .alerts()
            .iter()
            .map(|alert| alert.wake.title.clone());
        let titles: Vec<_> = titles.collect();
        let handed = Handed {
            command,
            text: text + "\n",
            variables: vec![
                ("PROBE_WAKE_PROBE", subject.probe),
                ("PROBE_WAKE_CATEGORY", subject.category),
                ("PROBE_WAKE_SEVERITY", subject.severity),
                ("PROBE_WAKE_TITLE", titles.join("; ")),
            ],
            removed: self.config.secret_variables(),
            settings: self.config.settings.clone(),
        };
        self.progress.handing_over = Some(id.to_owned());
        self.handing_over = Some(HandingOver {
            id: id.to_owned(),
            ended: self.effects.hand_over(handed),
        });
        Ok(())
    }

    /// Notes how the fallback command ended.
    pub(super) fn handed_over(&mut self, ended: Result<()>) -> Result<()> {
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

    /// The message's content, with the diagnosis where there is one already.
    fn with_result(&self, message: &Message) -> Content {
        let follows = Place::After(message.id.clone());
        let result = self.state.outbox.iter().find(|one| one.place == follows);
        let outcome = result.and_then(|one| one.content.outcome());
        match (&message.content, outcome) {
            (Content::Announcement { alerts }, outcome) => Content::Alert {
                alerts: alerts.clone(),
                outcome: outcome.cloned().unwrap_or(Outcome::Unsaid),
            },
            (content, _) => content.clone(),
        }
    }
}

/// Runs the command on a thread of its own.
pub fn begin(handed: Handed) -> Receiver<Result<()>> {
    let (sender, receiver) = mpsc::channel();
    let run = move || {
        let _waiting = Waiting::for_what("running the fallback command");
        // Nobody may be waiting any more.
        let _ = sender.send(run(&handed));
    };
    if let Err(error) = thread::Builder::new().spawn(run) {
        warn!("cannot start a thread for the fallback command: {error}");
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
    let settings = handed
        .settings
        .iter()
        .filter(|(name, _)| std::env::var_os(name).is_none());
    command.envs(settings.map(|(name, value)| (name, value)));
    command.envs(
        handed
            .variables
            .iter()
            .map(|(name, value)| (name, value.replace('\0', " "))),
    );
    for name in &handed.removed {
        command.env_remove(name);
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
        self.done.is_some() || self.attempts > 1
    }
}
