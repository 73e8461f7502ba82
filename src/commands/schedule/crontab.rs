//! Reads and writes the user's crontab through `crontab`. Only the block between its two marker lines
//! is changed. If one of them is missing, nothing is.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use super::cron::{BEGIN, END};
use super::print;
use crate::commands::user::User;
use crate::exit::{Exit, Problem};

pub(super) fn install(block: &str, user: &User) -> Result<(), Problem> {
    let old = read(user)?;
    let new = replaced(&old, block)?;
    if new != old {
        write(&new, user)?;
    }
    print(&format!(
        "The crontab of {} starts the runs. To undo that: probe-wake schedule cron --remove\n",
        user.name
    ))
}

pub(super) fn remove(user: &User) -> Result<(), Problem> {
    let old = read(user)?;
    let new = replaced(&old, "")?;
    let name = &user.name;
    if new == old {
        return print(&format!("The crontab of {name} starts no runs.\n"));
    }
    write(&new, user)?;
    print(&format!(
        "The crontab of {name} no longer starts the runs.\n"
    ))
}

/// Returns the crontab with this block in place of the old one, or at the end if there is none.
fn replaced(old: &[u8], block: &str) -> Result<Vec<u8>, Problem> {
    let mut new = Vec::new();
    let mut place = None;
    let mut is_within = false;
    for line in old.split_inclusive(|byte| *byte == b'\n') {
        let is = |mark: &str| line.trim_ascii() == mark.as_bytes();
        match (is(BEGIN), is(END)) {
            (true, _) if !is_within => {
                place.get_or_insert(new.len());
                is_within = true;
            }
            (_, true) if is_within => is_within = false,
            (false, false) if is_within => {}
            (false, false) => new.extend_from_slice(line),
            _ => return Err(unpaired()),
        }
    }
    if is_within {
        return Err(unpaired());
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

fn unpaired() -> Problem {
    let error = anyhow!("the crontab has a line '{BEGIN}' or '{END}' without the other");
    Problem::new(Exit::Failed, error).with_next_step("nothing was changed; fix it with: crontab -e")
}

/// Reads the user's crontab; empty where there is none.
fn read(user: &User) -> Result<Vec<u8>> {
    let output = crontab(user).arg("-l").output().context(CANNOT_RUN)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // The first is how vixie-cron and cronie say it, the second is busybox.
    if said.contains("no crontab for") || said.contains("No such file") {
        return Ok(Vec::new());
    }
    bail!("cannot read the crontab: {}", said.trim());
}

fn write(content: &[u8], user: &User) -> Result<()> {
    let mut command = crontab(user);
    if content.is_empty() {
        command.arg("-r");
    } else {
        command.arg("-").stdin(Stdio::piped());
    }
    let mut child = command.stderr(Stdio::piped()).spawn().context(CANNOT_RUN)?;
    if let Some(mut stdin) = child.stdin.take() {
        // If `crontab` ends early, its own message says why.
        let _ = stdin.write_all(content);
    }
    let output = child.wait_with_output().context(CANNOT_RUN)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cannot write the crontab: {}", said.trim());
    }
    Ok(())
}

const CANNOT_RUN: &str = "cannot run crontab: is cron installed?";

fn crontab(user: &User) -> Command {
    let mut command = Command::new("crontab");
    if user.used_sudo {
        command.arg("-u").arg(&user.name);
    }
    command.env("LC_ALL", "C");
    command
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
