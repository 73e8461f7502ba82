//! The second channel: a command of the operator's gets what Slack did not take. It runs on a thread of its
//! own, like a question, one at a time.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use log::{info, warn};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use super::effects::in_background;
use super::{Run, incident_of, poll};
use crate::config::Config;
use crate::files::open_trusted;
use crate::state::outbox::{Content, Message, Outcome, Pause, Place};
use crate::state::queue::Subject;
use crate::terminal::Waiting;
use crate::text::for_terminal;

/// The command and its children are killed after this.
const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// A variable is cut to this many characters: a longer one can keep a program from being started.
const LONGEST_VARIABLE: usize = 1_000;

/// A message that is being handed over.
#[derive(Debug)]
pub struct HandingOver {
    pub id: String,
    pub ended: Receiver<Result<()>>,
}

impl Run<'_> {
    /// Begins to hand a message over to the fallback command. That is committed first.
    pub(super) fn hand_over(&mut self, id: &str) -> Result<()> {
        let path = self.config.fallback_command.as_ref();
        let Some((path, at)) = path.zip(self.state.position(id)) else {
            return Ok(());
        };
        let hand_over = &mut self.state.outbox[at].hand_over;
        hand_over.get_or_insert_default().unended += 1;
        self.commit()?;
        let mut message = self.with_all_that_is_known(self.state.outbox[at].clone());
        message.content.load_texts(self.store.texts());
        let text = for_terminal(&self.render(&message).text) + "\n";
        let titles = message.content.alerts().iter();
        let titles: Vec<_> = titles.map(|alert| alert.wake.title.as_str()).collect();
        let title = match titles.is_empty() {
            true => text.lines().next().unwrap_or_default().to_owned(),
            false => titles.join("; "),
        };
        let command = command(self.config, path, &message.subject(), &title);
        let run = move || {
            let _waiting = Waiting::for_what("running the fallback command");
            run(command, &text)
        };
        let failed = |error| Err(anyhow!("no thread can be started: {error}"));
        self.progress.handing_over = Some(HandingOver {
            id: id.to_owned(),
            ended: in_background(run, failed),
        });
        Ok(())
    }

    /// Notes how the fallback command ended, if it has.
    pub(super) fn note_handed_over(&mut self) -> Result<()> {
        let lost = || Err(anyhow!("its thread has ended"));
        let one = self.progress.handing_over.take();
        let Some(HandingOver { id, ended }) = one else {
            return Ok(());
        };
        let Some(ended) = poll(&ended, lost) else {
            self.progress.handing_over = Some(HandingOver { id, ended });
            return Ok(());
        };
        let now = self.now();
        let before = self.state.fallback.take();
        if let Err(error) = &ended {
            self.progress.hand_over_failed = true;
            self.state.fallback = Some(Pause::after(before.as_ref(), now));
            warn!(
                "the fallback command failed: {error:#}; try it with: probe-wake check --test-fallback"
            );
        }
        if let Some(message) = self.state.outbox.iter_mut().find(|one| one.id == id) {
            let hand_over = message.hand_over.get_or_insert_default();
            match ended {
                Err(_) => hand_over.unended = 0,
                Ok(()) => {
                    hand_over.done = Some(now);
                    message.unfix();
                    let probe = message.subject().probe;
                    info!("the message about {probe} was handed over to the fallback command");
                }
            }
        }
        self.commit()
    }

    /// Adds the diagnosis, if there is one already, and what was held back, which Slack's message will say,
    /// too. Here nothing can follow in a thread.
    fn with_all_that_is_known(&mut self, mut message: Message) -> Message {
        let follows = Place::After(message.id.clone());
        let mut outbox = self.state.outbox.iter();
        let outcome = outbox.find_map(|one| match &one.content {
            Content::Result { outcome, .. } if one.place == follows => Some(outcome.clone()),
            _ => None,
        });
        let outcome = outcome.unwrap_or(Outcome::Unsaid);
        message.content.make_alert(outcome);
        let mut log = self.state.logs.get_mut(&message.log);
        for alert in message.content.alerts_mut() {
            if let Some(incident) = incident_of(log.as_deref_mut(), alert) {
                alert.held_back.merge(incident.held_back.clone());
            }
        }
        message
    }
}

/// Prepares the command: with the run's environment and the env file's settings, without variables that may
/// hold a token, and with variables that say what the text is about.
pub fn command(config: &Config, path: &Path, subject: &Subject, title: &str) -> Command {
    let mut command = Command::new(path);
    let is_unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let settings = config.settings().into_iter();
    command.envs(settings.filter(|(name, _)| is_unset(name)));
    for name in config.secret_variables() {
        command.env_remove(name);
    }
    for (name, value) in [
        ("PROBE_WAKE_PROBE", subject.probe.as_str()),
        ("PROBE_WAKE_CATEGORY", &subject.category),
        ("PROBE_WAKE_SEVERITY", &subject.severity),
        ("PROBE_WAKE_TITLE", title),
    ] {
        let on_one_line = value.chars().map(|c| if c.is_control() { ' ' } else { c });
        command.env(name, on_one_line.take(LONGEST_VARIABLE).collect::<String>());
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0);
    command
}

/// Runs the command with this text as its input, and waits until it ends or its time is up.
pub fn run(mut command: Command, text: &str) -> Result<()> {
    check(Path::new(command.get_program()))?;
    // A file in memory never blocks, whether it is read or not.
    let mut stdin = File::from(rustix::fs::memfd_create("message", MemfdFlags::CLOEXEC)?);
    stdin.write_all(text.as_bytes())?;
    stdin.rewind()?;
    let mut child = command.stdin(stdin).spawn()?;
    let begun = Instant::now();
    while begun.elapsed() < TIMEOUT {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("it ended with {status}"),
            None => thread::sleep(POLL),
        }
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

/// Checks that the command may be run: it must be an executable file of ours or root's that others can
/// neither change nor replace.
pub fn check(path: &Path) -> Result<()> {
    let shown = path.display();
    let (_, meta) = open_trusted(path).with_context(|| shown.to_string())?;
    if meta.permissions().mode() & 0o111 == 0 {
        bail!("{shown} is not executable: chmod 700 {shown}");
    }
    Ok(())
}
