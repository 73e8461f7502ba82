//! `schedule systemd|cron`: the units, or the crontab lines, that start the runs of the user who calls.
//! Settings stay in the env file: only what the scheduled runs cannot find by themselves is written down.

mod cron;
pub mod systemd;

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, lchown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use log::warn;

use super::user::User;
use crate::cli::{Global, ScheduleCommand, SystemdArgs};
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
        ScheduleCommand::Systemd(args) => systemd(&flags, args, &user)?,
        ScheduleCommand::Cron { remove: true, .. } => cron::change("", &user)?,
        ScheduleCommand::Cron { install, .. } => {
            let plan = Plan::load(&flags, &user)?;
            let block = cron::block(&plan)?;
            if *install {
                cron::change(&block, &user)?;
                plan.warn_of_unknown();
            } else {
                print(&block)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Prints, writes or removes the units. With sudo, only the files of the system's service manager are touched
/// as root.
fn systemd(flags: &Global, args: &SystemdArgs, user: &User) -> Result<(), Problem> {
    // Only a user's service manager looks at a folder of that name.
    let of_user = |folder: &PathBuf| folder.ends_with("systemd/user");
    let is_own = args.user || args.remove.as_ref().is_some_and(of_user);
    let owner = if is_own { user } else { &User::current() };
    if let Some(folder) = &args.remove {
        return owner.act(|| systemd::remove(folder, user, is_own))?;
    }
    let plan = Plan::load(flags, user)?;
    let units = systemd::units(&plan, args)?;
    let Some(folder) = &args.write else {
        let texts: String = units.into_iter().map(|(_, text)| text).collect();
        return print(&texts);
    };
    plan.make_state_folder()?;
    owner.act(|| systemd::write(&units, folder, user, args))??;
    plan.warn_of_unknown();
    Ok(())
}

/// What a schedule is made from.
struct Plan<'a> {
    config: Config,
    binary: PathBuf,
    /// The user whose runs these are.
    user: &'a User,
    /// The env file that was read, or else the usual one, which may be created later.
    env_file: Option<PathBuf>,
    usual_env_file: Option<PathBuf>,
    /// The paths that the scheduled runs find by themselves, from the env file and the home folder.
    found: Paths,
}

impl<'a> Plan<'a> {
    fn load(flags: &Global, user: &'a User) -> Result<Self, Problem> {
        user.act(|| {
            let config = Config::load(flags)?;
            let usual_env_file = usual_env_file(flags);
            let env_file = config.env.file_path.clone().or(usual_env_file.clone());
            Ok(Self {
                config,
                binary: std::env::current_exe().context("the path of this binary is unknown")?,
                user,
                env_file: env_file.and_then(|file| std::path::absolute(file).ok()),
                usual_env_file,
                found: Paths::of_scheduled_runs(flags).unwrap_or_default(),
            })
        })?
    }

    /// Creates the state folder for the user whose runs these are. If only root may do that, root creates it
    /// and gives it to the user.
    fn make_state_folder(&self) -> anyhow::Result<()> {
        let (dir, user) = (&self.config.paths.state_dir, self.user);
        let mut made = user.act(|| Store::create(dir))?.map(drop);
        if made.is_err() && user.used_sudo && DirBuilder::new().mode(0o700).create(dir).is_ok() {
            let given = lchown(dir, Some(user.uid), Some(user.gid));
            made = Ok(given.context("cannot give the state folder away")?);
        }
        if let Err(problem) = made {
            warn!("{problem}; the runs need it");
        }
        Ok(())
    }

    /// Warns of settings in this shell's environment, which the scheduled runs do not have.
    fn warn_of_unknown(&self) {
        let file = self.env_file.as_deref().unwrap_or(Path::new("an env file"));
        let file = file.display();
        for name in self.config.only_in_this_environment() {
            warn!("{name} is set here, but the scheduled runs do not know it: put it into {file}");
        }
    }
}

fn print(text: &str) -> Result<(), Problem> {
    Ok(report::print(text).context("cannot print the schedule")?)
}

/// Returns a path as text, if it has no control characters.
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
    Ok(match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    })
}

fn cannot_stand(path: &Path) -> Problem {
    let shown = path.display();
    let what = format!("the path {shown} cannot be written into a schedule");
    Problem::failed(what, "move the file to a plainer path")
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
