//! Reads and writes the user's crontab through `crontab`. Only the block between its two marker lines
//! is changed. If one of them is missing, nothing is.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::cron::{BEGIN, END};
use super::print;
use crate::commands::user::User;
use crate::exit::Problem;

/// Puts the block into the user's crontab, or takes it out where it is empty.
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

/// Reads the user's crontab; empty where there is none.
fn read(user: &User) -> Result<Vec<u8>> {
    let output = crontab(user, "-l", b"")?;
    let said = String::from_utf8_lossy(&output.stderr);
    // The first is how vixie-cron and cronie say it, the second is busybox.
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
