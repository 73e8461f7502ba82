//! The crontab's lines.

use std::path::{Path, PathBuf};

use super::{env_file, printable};
use crate::config::{Config, usual_env_file, usual_state_dir};
use crate::exit::Problem;

/// In seconds; so few runs ever wait for another one under cron.
const LONGEST_WAIT: u64 = 60;

/// A comment and the lines, for `crontab -e`.
pub(super) fn crontab(config: &Config, binary: &Path) -> Result<String, Problem> {
    let mut command = word(binary)?;
    let (env_file, state_dir) = (env_file(config), &config.paths.state_dir);
    let is_usual = |path: &Path, usual: Option<PathBuf>| usual.as_deref() == Some(path);
    if let Some(path) = env_file.filter(|path| !is_usual(path, usual_env_file())) {
        command.push_str(&format!(" --env-file {}", word(&path)?));
    }
    if !is_usual(state_dir, usual_state_dir()) {
        command.push_str(&format!(" --state-dir {}", word(state_dir)?));
    }
    let cadence = config.cadence.as_secs().max(1);
    command.push_str(&format!(
        " --audit-log {} run --wait {}",
        word(&config.paths.audit_log)?,
        cadence.min(LONGEST_WAIT)
    ));
    let mut text = String::from(
        "# probe-wake, for `crontab -e`: settings come from the env file, since cron has no profile.\n\
         # It prints nothing unless there is a problem, which cron then mails. A run waits a while\n\
         # for the one before, which may be asking the engine, before it says that it is held up.\n",
    );
    text.push_str(&lines(cadence, &command));
    Ok(text)
}

/// A line for each start within a minute, which is as often as cron itself starts anything.
fn lines(cadence: u64, command: &str) -> String {
    if cadence >= 60 {
        return format!("{} {command}\n", every(cadence / 60));
    }
    let starts = (0..60_u64).filter(|second| second % cadence == 0);
    let line = |second| match second {
        0 => format!("* * * * * {command}\n"),
        _ => format!("* * * * * sleep {second}; {command}\n"),
    };
    starts.map(line).collect()
}

/// The crontab's time fields for every so many minutes.
fn every(minutes: u64) -> String {
    match minutes {
        1 => "* * * * *".to_owned(),
        2..60 => format!("*/{minutes} * * * *"),
        60..1_440 => format!("0 */{} * * *", minutes / 60),
        _ => "0 0 * * *".to_owned(),
    }
}

/// A path as a word of a crontab's command: quoted for the shell, and `%` escaped for cron.
fn word(path: &Path) -> Result<String, Problem> {
    let text = printable(path)?;
    let plain = text
        .chars()
        .all(|c| c.is_alphanumeric() || "/._-+@,:=".contains(c));
    let quoted = if plain {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    };
    Ok(quoted.replace('%', "\\%"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_is_quoted_where_it_is_not_plain() {
        assert_eq!(word(Path::new("/a b/50%")).unwrap(), "'/a b/50\\%'");
        assert_eq!(word(Path::new("/it's")).unwrap(), "'/it'\\''s'");
        assert!(word(Path::new("/a\nb")).is_err());
    }

    #[test]
    fn minutes_become_time_fields() {
        assert_eq!(every(1), "* * * * *");
        assert_eq!(every(5), "*/5 * * * *");
        assert_eq!(every(120), "0 */2 * * *");
    }
}
