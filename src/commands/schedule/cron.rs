//! The crontab's lines, and the user's crontab, which is read and written through `crontab`. Only the block
//! between its two marker lines is changed. If one of them is missing, nothing is.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::{Plan, print, shell_word};
use crate::commands::user::User;
use crate::exit::Problem;

/// The first and the last line of the block, by which it is found again.
const BEGIN: &str = "# BEGIN probe-wake";
const END: &str = "# END probe-wake";

/// In seconds. This limits how many runs wait for another one at the same time.
const LONGEST_WAIT: i64 = 60;

const MINUTE: i128 = 60_000;

/// Returns the block with its two marker lines. A path that the runs find by themselves is left out, so
/// that a change in the env file counts.
pub(super) fn block(plan: &Plan) -> Result<String, Problem> {
    let mut command = word(&plan.binary)?;
    let (set, found) = (&plan.config.paths, &plan.found);
    let (env_file, usual) = (plan.env_file.as_ref(), plan.usual_env_file.as_ref());
    for (flag, path, found) in [
        ("--env-file", env_file, usual),
        ("--state-dir", Some(&set.state_dir), Some(&found.state_dir)),
        ("--audit-log", Some(&set.audit_log), Some(&found.audit_log)),
    ] {
        if let Some(path) = path.filter(|path| found != Some(*path)) {
            command += &format!(" {flag} {}", word(path)?);
        }
    }
    let cadence = plan.config.cadence;
    let wait = cadence.as_secs().clamp(1, LONGEST_WAIT);
    command += &format!(" run --wait {wait}");
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
    let starts = starts.take_while(|start| *start < MINUTE);
    let line = |start| match start {
        0 => format!("* * * * * {command}\n"),
        _ => format!("* * * * * sleep {}; {command}\n", start as f64 / 1_000.0),
    };
    starts.map(line).collect()
}

/// Returns the crontab's time fields for a start every `minutes` minutes.
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

/// Puts the block into the user's crontab; an empty one removes the old block.
pub(super) fn change(block: &str, user: &User) -> Result<(), Problem> {
    let old = read(user)?;
    let new = replaced(&old, block)?;
    if new != old {
        write(&new, user)?;
    }
    let name = &user.name;
    print(&match block {
        "" if new == old => format!("The crontab of {name} starts no runs.\n"),
        "" => format!("The crontab of {name} no longer starts the runs.\n"),
        _ => format!(
            "The crontab of {name} starts the runs. To undo that: probe-wake schedule cron --remove\n"
        ),
    })
}

/// Returns the crontab with this block in place of the old one, or at the end if there is none.
fn replaced(old: &[u8], block: &str) -> Result<Vec<u8>, Problem> {
    let mut new = Vec::new();
    let mut place = None;
    let is = |line: &[u8], mark: &str| line.trim_ascii() == mark.as_bytes();
    let mut lines = old.split_inclusive(|byte| *byte == b'\n');
    while let Some(line) = lines.next() {
        if !is(line, BEGIN) && !is(line, END) {
            new.extend_from_slice(line);
            continue;
        }
        let other = lines.find(|line| is(line, BEGIN) || is(line, END));
        if !is(line, BEGIN) || !other.is_some_and(|other| is(other, END)) {
            let what = format!("the crontab has a line '{BEGIN}' or '{END}' without the other");
            let next_step = "nothing was changed; fix it with: crontab -e";
            return Err(Problem::failed(what, next_step));
        }
        place.get_or_insert(new.len());
    }
    let mut place = place.unwrap_or(new.len());
    let ends_line = new[..place].last().is_none_or(|byte| *byte == b'\n');
    if !ends_line && !block.is_empty() {
        new.insert(place, b'\n');
        place += 1;
    }
    new.splice(place..place, block.bytes());
    Ok(new)
}

/// Reads the user's crontab; empty if there is none.
fn read(user: &User) -> Result<Vec<u8>> {
    let output = crontab(user, "-l", b"")?;
    let said = String::from_utf8_lossy(&output.stderr);
    // The first is from vixie-cron and cronie, the second from busybox.
    let has_none = said.contains("no crontab for") || said.contains("No such file");
    match output.status.success() {
        true => Ok(output.stdout),
        false if has_none => Ok(Vec::new()),
        false => bail!("cannot read the crontab: {}", said.trim()),
    }
}

fn write(content: &[u8], user: &User) -> Result<()> {
    let flag = if content.is_empty() { "-r" } else { "-" };
    let output = crontab(user, flag, content)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "cannot write the crontab: {}",
        said.trim()
    );
    Ok(())
}

fn crontab(user: &User, flag: &str, input: &[u8]) -> Result<Output> {
    const CANNOT_RUN: &str = "cannot run crontab: is cron installed?";
    let mut command = Command::new("crontab");
    if user.used_sudo {
        command.arg("-u").arg(&user.name);
    }
    command.arg(flag).env("LC_ALL", "C").stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context(CANNOT_RUN)?;
    if let Some(mut stdin) = child.stdin.take() {
        // If `crontab` ends early, its own message says why.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output().context(CANNOT_RUN)
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

    fn with(old: &str, block: &str) -> String {
        String::from_utf8(replaced(old.as_bytes(), block).unwrap()).unwrap()
    }

    const BLOCK: &str = "# BEGIN probe-wake\n* * * * * new\n# END probe-wake\n";
    const OLD: &str = "# BEGIN probe-wake\n* * * * * old\n\n# END probe-wake\n";

    #[test]
    fn a_block_is_put_at_the_end_or_where_the_old_one_is() {
        for (old, new) in [
            (String::new(), BLOCK.to_owned()),
            ("a\n".into(), format!("a\n{BLOCK}")),
            ("a".into(), format!("a\n{BLOCK}")),
            (BLOCK.into(), BLOCK.into()),
            (format!("a\n{OLD}b\n"), format!("a\n{BLOCK}b\n")),
            (format!("{OLD}b\n{OLD}"), format!("{BLOCK}b\n")),
            (format!("{OLD}b"), format!("{BLOCK}b")),
            (format!("a\n{}", OLD.trim_end()), format!("a\n{BLOCK}")),
        ] {
            assert_eq!(with(&old, BLOCK), new, "{old}");
            assert_eq!(with(&new, BLOCK), new, "twice: {old}");
        }
    }

    #[test]
    fn a_block_is_taken_out_and_nothing_else() {
        for (old, new) in [("", ""), ("a", "a"), ("a\r\n\n  b", "a\r\n\n  b")] {
            assert_eq!(with(old, ""), new);
        }
        assert_eq!(with(&format!("a\n{OLD}\tb # END"), ""), "a\n\tb # END");
        let not_utf8 = [b"\xff\n", OLD.as_bytes()].concat();
        assert_eq!(replaced(&not_utf8, "").unwrap(), b"\xff\n");
    }

    #[test]
    fn a_marker_line_without_the_other_changes_nothing() {
        for old in [
            "# BEGIN probe-wake\na\n",
            "a\n# END probe-wake\n",
            "# BEGIN probe-wake\n# BEGIN probe-wake\n# END probe-wake\n",
        ] {
            assert!(replaced(old.as_bytes(), BLOCK).is_err(), "{old}");
        }
    }
}
