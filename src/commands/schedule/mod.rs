//! `schedule systemd|cron`: the units, or the crontab lines, that start the runs of the user who calls.
//! Settings stay in the env file: only what the scheduled runs cannot find by themselves is written down.

mod cron;
mod crontab;
mod systemd;
mod unit_files;

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use log::warn;

pub(super) use unit_files::user_folder;

use super::user::User;
use crate::cli::{CronArgs, Global, ScheduleCommand, SystemdArgs};
use crate::config::{Config, Paths, usual_env_file};
use crate::exit::{Ended, Exit, Problem};
use crate::report;
use crate::state::Store;

pub fn schedule(flags: &Global, command: &ScheduleCommand) -> Ended {
    let user = User::calling();
    let flags = Global {
        home: user.used_sudo.then(|| user.home.clone()),
        ..flags.clone()
    };
    match command {
        ScheduleCommand::Systemd(args) => systemd(&flags, args, user)?,
        ScheduleCommand::Cron(CronArgs { remove: true, .. }) => crontab::remove(&user)?,
        ScheduleCommand::Cron(args) => {
            let plan = Plan::load(&flags, user)?;
            let block = cron::block(&plan)?;
            if args.install {
                crontab::install(&block, &plan.user)?;
                plan.warn_of_unknown();
            } else {
                print(&block)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// With sudo only the files of the system's service manager are touched as root.
fn systemd(flags: &Global, args: &SystemdArgs, user: User) -> Result<(), Problem> {
    // A folder of that name is looked at by no other service manager.
    let of_user = |folder: &PathBuf| folder.ends_with("systemd/user");
    let is_own = args.user || args.remove.as_ref().is_some_and(of_user);
    let owner = if is_own { &user } else { &User::current() };
    if let Some(folder) = &args.remove {
        return owner.act(|| unit_files::remove(folder, &user, is_own))?;
    }
    let plan = Plan::load(flags, user)?;
    let units = systemd::units(&plan, args)?;
    let Some(folder) = &args.write else {
        let texts: String = units.into_iter().map(|(_, text)| text).collect();
        return print(&texts);
    };
    plan.make_state_folder()?;
    let owner = if args.user {
        &plan.user
    } else {
        &User::current()
    };
    owner.act(|| unit_files::write(&units, folder, &plan.user, args))??;
    plan.warn_of_unknown();
    Ok(())
}

/// What a schedule is made from.
struct Plan {
    config: Config,
    binary: PathBuf,
    /// The user whose runs these are.
    user: User,
    /// The env file that was read, or else the usual one, which may be made later.
    env_file: Option<PathBuf>,
    usual_env_file: Option<PathBuf>,
    /// The paths that the scheduled runs find by themselves, from the env file and the home folder.
    found: Paths,
}

impl Plan {
    fn load(flags: &Global, user: User) -> Result<Self, Problem> {
        let read = || -> Result<_, Problem> {
            let found = Paths::of_scheduled_runs(flags).unwrap_or_default();
            Ok((Config::load(flags)?, found))
        };
        let (config, found) = user.act(read)??;
        let usual_env_file = usual_env_file(flags);
        let env_file = config.env.file_path.clone().or(usual_env_file.clone());
        Ok(Self {
            config,
            binary: std::env::current_exe().context("the path of this binary is unknown")?,
            user,
            env_file: env_file.and_then(|file| std::path::absolute(file).ok()),
            usual_env_file,
            found,
        })
    }

    /// Makes the state folder, for the user whose runs these are. Where only root may make it, root
    /// makes it and hands it to the user.
    fn make_state_folder(&self) -> anyhow::Result<()> {
        let (dir, user) = (&self.config.paths.state_dir, &self.user);
        let mut made = user.act(|| Store::create(dir))?.map(drop);
        if made.is_err() && user.used_sudo && DirBuilder::new().mode(0o700).create(dir).is_ok() {
            lchown(dir, Some(user.uid), Some(user.gid))
                .context("cannot give the state folder away")?;
            made = Ok(());
        }
        if let Err(problem) = made {
            warn!("{problem}; the runs need it");
        }
        Ok(())
    }

    /// Warns of settings in this shell's environment, which the scheduled runs do not have.
    fn warn_of_unknown(&self) {
        let file = self.env_file.as_deref().map(Path::display);
        let file = file.map_or("an env file".to_owned(), |file| file.to_string());
        for name in self.config.only_in_this_environment() {
            warn!("{name} is set here, but the scheduled runs do not know it: put it into {file}");
        }
    }
}

fn print(text: &str) -> Result<(), Problem> {
    Ok(report::print(text).context("cannot print the schedule")?)
}

/// Returns a path as text, where it has no control characters.
fn printable(path: &Path) -> Result<String, Problem> {
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err(cannot_stand(path)),
    }
}

/// Returns a path as a word of a shell command, quoted if it is not plain.
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
    let error = anyhow!(
        "the path {} cannot be written into a schedule",
        path.display()
    );
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
