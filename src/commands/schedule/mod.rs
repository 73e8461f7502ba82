//! `schedule systemd|cron`: what starts the runs, ready to be installed, with the path of the
//! running binary and the settings that the schedule has to agree with.

mod cron;
mod systemd;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::cli::{Global, ScheduleArgs, Scheduler};
use crate::config::{Config, usual_env_file};
use crate::exit::{Ended, Exit, Problem};

pub fn schedule(flags: &Global, args: &ScheduleArgs) -> Ended {
    let config = Config::load(flags)?;
    let binary = std::env::current_exe().context("the path of this binary is not known")?;
    let text = match args.scheduler {
        Scheduler::Systemd => systemd::units(&config, &binary)?,
        Scheduler::Cron => cron::crontab(&config, &binary)?,
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context("cannot print the schedule")?;
    Ok(Exit::Done)
}

/// The env file that was read, or the one that will be once it is there.
fn env_file(config: &Config) -> Option<PathBuf> {
    let path = config.env_file.clone().or_else(usual_env_file)?;
    std::path::absolute(path).ok()
}

/// A path as text that can stand on one line.
fn printable(path: &Path) -> Result<String, Problem> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(char::is_control));
    text.map(str::to_owned).ok_or_else(|| cannot_stand(path))
}

fn cannot_stand(path: &Path) -> Problem {
    let error = anyhow!("the path {} cannot stand in a schedule", path.display());
    Problem::new(Exit::Failed, error).with_next_step("move the file to a plainer path")
}
