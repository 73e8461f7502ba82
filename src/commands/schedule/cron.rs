//! The crontab's lines.

use std::path::Path;

use super::{Plan, shell_word};
use crate::exit::Problem;

/// The first and the last line of the block. It is found again by them.
pub(super) const BEGIN: &str = "# BEGIN probe-wake";
pub(super) const END: &str = "# END probe-wake";

/// In seconds. This limits how many runs wait for another one at the same time.
const LONGEST_WAIT: i64 = 60;

const MINUTE: i128 = 60_000;

/// Returns the block with its two marker lines. A path that the runs find by themselves is left out, so
/// that a change in the env file counts.
pub(super) fn block(plan: &Plan) -> Result<String, Problem> {
    let mut command = word(&plan.binary)?;
    let (set, found) = (&plan.config.paths, &plan.found);
    for (flag, path, found) in [
        (
            "--env-file",
            plan.env_file.as_ref(),
            plan.usual_env_file.as_ref(),
        ),
        ("--state-dir", Some(&set.state_dir), Some(&found.state_dir)),
        ("--audit-log", Some(&set.audit_log), Some(&found.audit_log)),
    ] {
        if let Some(path) = path.filter(|path| found != Some(*path)) {
            command.push_str(&format!(" {flag} {}", word(path)?));
        }
    }
    let cadence = plan.config.cadence;
    let wait = cadence.as_secs().clamp(1, LONGEST_WAIT);
    command.push_str(&format!(" run --wait {wait}"));
    let lines = lines(cadence.as_millis().max(1_000), &command);
    Ok(format!(
        "{BEGIN}\n\
         # Settings come from the env file, since cron has no profile. A run prints nothing unless there\n\
         # is a problem, which cron then mails. It waits up to {wait} s for another run to end.\n\
         {lines}{END}\n"
    ))
}

/// Returns a line for each start within a minute, since cron starts a line at most once a minute.
fn lines(cadence: i128, command: &str) -> String {
    if cadence >= MINUTE {
        return format!("{} {command}\n", every(cadence / MINUTE));
    }
    let starts = (0..).map(|number| number * cadence);
    let line = |start| match start {
        0 => format!("* * * * * {command}\n"),
        _ => format!("* * * * * sleep {}; {command}\n", start as f64 / 1_000.0),
    };
    starts
        .take_while(|start| *start < MINUTE)
        .map(line)
        .collect()
}

/// Returns the crontab's time fields for a start every so many minutes.
fn every(minutes: i128) -> String {
    match minutes {
        1 => "* * * * *".to_owned(),
        2..60 => format!("*/{minutes} * * * *"),
        60..1_440 => format!("0 */{} * * *", minutes / 60),
        _ => "0 0 * * *".to_owned(),
    }
}

/// Returns a path as a word of a crontab's command, in which cron wants `%` escaped.
fn word(path: &Path) -> Result<String, Problem> {
    Ok(shell_word(path)?.replace('%', "\\%"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_percent_is_escaped_for_cron() {
        assert_eq!(word(Path::new("/a b/50%")).unwrap(), "'/a b/50\\%'");
    }

    #[test]
    fn minutes_become_time_fields() {
        assert_eq!(every(1), "* * * * *");
        assert_eq!(every(5), "*/5 * * * *");
        assert_eq!(every(120), "0 */2 * * *");
    }

    #[test]
    fn within_a_minute_there_is_a_line_for_each_start() {
        let of = |cadence| {
            lines(cadence, "x")
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(30_000), ["* * * * * x", "* * * * * sleep 30; x"]);
        assert_eq!(
            of(25_500),
            [
                "* * * * * x",
                "* * * * * sleep 25.5; x",
                "* * * * * sleep 51; x"
            ]
        );
        assert_eq!(of(1_000).len(), 60);
        assert_eq!(of(90_000), ["* * * * * x"]);
    }
}
