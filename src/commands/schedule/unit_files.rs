//! The unit and its timer as files in a folder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::systemd::{SERVICE, SYSTEM_FOLDER, TIMER, systemctl};
use super::{print, shell_word};
use crate::exit::Problem;
use crate::files::create_anew;

/// Writes the two files into the folder, and prints the commands that enable them.
pub(super) fn write(units: &str, folder: &Path, own: bool) -> Result<(), Problem> {
    let folder = std::path::absolute(folder).context("the folder to write to")?;
    let shown = folder.display();
    let failed = || format!("cannot write the units to {shown}");
    let timer = units.find(&format!("# {TIMER}\n")).unwrap_or(units.len());
    fs::create_dir_all(&folder).with_context(failed)?;
    for (name, text) in [(SERVICE, &units[..timer]), (TIMER, &units[timer..])] {
        create_anew(&folder.join(name), 0o644)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(failed)?;
    }
    let mut told = format!("Wrote {SERVICE} and {TIMER} to {shown}. To start them:\n");
    if !is_looked_at(&folder, own) {
        let command = systemctl(own);
        for name in [SERVICE, TIMER] {
            let file = shell_word(&folder.join(name))?;
            told.push_str(&format!("  {command} link {file}\n"));
        }
    }
    for line in units.lines().filter_map(|line| line.strip_prefix("#   ")) {
        told.push_str(&format!("  {line}\n"));
    }
    print(&told)
}

fn is_looked_at(folder: &Path, own: bool) -> bool {
    if own {
        user_folder().is_some_and(|usual| usual == folder)
    } else {
        folder == Path::new(SYSTEM_FOLDER)
    }
}

/// Where the service manager of the user looks for units.
pub fn user_folder() -> Option<PathBuf> {
    let dirs = directories::BaseDirs::new()?;
    Some(dirs.config_dir().join("systemd/user"))
}
