//! `schedule systemd|cron`: the unit and timer, or the crontab lines, that start the runs. Settings
//! stay in the env file. Only what the scheduled runs cannot find by themselves is written down.

mod cron;
mod crontab;
mod systemd;
mod unit_files;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, anyhow};
use log::warn;

pub(super) use unit_files::user_folder;

use super::user::User;
use crate::cli::{CronArgs, Global, ScheduleCommand, SystemdArgs};
use crate::config::{self, Config, Paths, usual_env_file};
use crate::exit::{Ended, Exit, Problem};
use crate::report;

pub fn schedule(flags: &Global, command: &ScheduleCommand) -> Ended {
    if let Some(user) = User::behind_sudo() {
        return as_user(&user, command);
    }
    match command {
        ScheduleCommand::Systemd(args) => {
            let plan = Plan::load(flags)?;
            let units = systemd::units(&plan, args.user)?;
            if let Some(folder) = &args.write {
                unit_files::write(&units, folder, args.user)?;
                plan.warn_of_unknown(flags)?;
            } else {
                print(&units)?;
            }
        }
        ScheduleCommand::Cron(CronArgs { remove: true, .. }) => crontab::remove()?,
        ScheduleCommand::Cron(args) => {
            let plan = Plan::load(flags)?;
            let block = cron::block(&plan)?;
            if args.install {
                crontab::install(&block)?;
                plan.warn_of_unknown(flags)?;
            } else {
                print(&block)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// What a schedule is made from.
struct Plan {
    config: Config,
    binary: PathBuf,
    /// The env file that was read, or else the usual one, which may be made later.
    env_file: Option<PathBuf>,
    /// The paths that the scheduled runs find by themselves, from the env file and the home folder.
    found: Paths,
}

impl Plan {
    fn load(flags: &Global) -> Result<Self, Problem> {
        let config = Config::load(flags)?;
        let env_file = config.env_file.clone().or_else(usual_env_file);
        Ok(Self {
            config,
            binary: std::env::current_exe().context("the path of this binary is not known")?,
            env_file: env_file.and_then(|file| std::path::absolute(file).ok()),
            found: Paths::of_scheduled_runs(flags)?,
        })
    }

    /// Warns of settings in this shell's environment: the scheduled runs do not see them.
    fn warn_of_unknown(&self, flags: &Global) -> Result<(), Problem> {
        let file = self.env_file.as_deref().map(Path::display);
        let file = file.map_or("an env file".to_owned(), |file| file.to_string());
        for name in config::only_in_this_environment(flags)? {
            warn!("{name} is set here, but the scheduled runs do not know it: put it into {file}");
        }
        Ok(())
    }
}

fn print(text: &str) -> Result<(), Problem> {
    Ok(report::print(text).context("cannot print the schedule")?)
}

/// With sudo, the command runs again as the user who called it, because the scheduled runs are that
/// user's. Only the files of a system unit are written by root.
fn as_user(user: &User, command: &ScheduleCommand) -> Ended {
    let binary = std::env::current_exe().context("the path of this binary is not known")?;
    let mut again = Command::new(&binary);
    again.uid(user.uid).gid(user.gid);
    again.env("HOME", &user.home).env("USER", &user.name);
    let failed = || format!("cannot run {} as {}", binary.display(), user.name);
    if let ScheduleCommand::Systemd(SystemdArgs {
        user: false,
        write: Some(folder),
    }) = command
    {
        again.args(without_write()).stderr(Stdio::inherit());
        let Output { status, stdout, .. } = again.output().with_context(failed)?;
        if status.success() {
            unit_files::write(&String::from_utf8_lossy(&stdout), folder, false)?;
        }
        return Ok(exit_of(status.code()));
    }
    again.args(std::env::args_os().skip(1));
    Ok(exit_of(again.status().with_context(failed)?.code()))
}

/// The arguments without `--write DIR`.
fn without_write() -> Vec<OsString> {
    let mut typed = std::env::args_os().skip(1);
    let mut kept = Vec::new();
    while let Some(word) = typed.next() {
        if word == "--write" {
            typed.next();
        } else if !word.as_bytes().starts_with(b"--write=") {
            kept.push(word);
        }
    }
    kept
}

fn exit_of(code: Option<i32>) -> Exit {
    match code {
        Some(0) => Exit::Done,
        Some(2) => Exit::Usage,
        _ => Exit::Failed,
    }
}

/// A path as text without control characters.
fn printable(path: &Path) -> Result<String, Problem> {
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err(cannot_stand(path)),
    }
}

/// A path as a word of a shell command, quoted if it is not plain.
fn shell_word(path: &Path) -> Result<String, Problem> {
    let text = printable(path)?;
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@,:=".contains(c);
    Ok(if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    })
}

fn cannot_stand(path: &Path) -> Problem {
    let error = anyhow!("the path {} cannot stand in a schedule", path.display());
    Problem::new(Exit::Failed, error).with_next_step("move the file to a plainer path")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_is_quoted_for_the_shell_where_it_is_not_plain() {
        let word = |path: &str| shell_word(Path::new(path)).unwrap();
        assert_eq!(word("/a/b-1.x"), "/a/b-1.x");
        assert_eq!(word("/a b"), "'/a b'");
        assert_eq!(word("/it's"), "'/it'\\''s'");
        assert!(shell_word(Path::new("/a\nb")).is_err());
    }
}
