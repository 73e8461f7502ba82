//! The units as files in a folder.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::systemd::{PATH, SYSTEM_FOLDER, UNITS, start_commands, stop_commands, systemctl};
use super::{print, shell_word};
use crate::cli::{Home, SystemdArgs};
use crate::commands::user::User;
use crate::exit::Problem;
use crate::files::create_anew;

/// Writes the units into the folder, and prints the commands that start them. A path unit that is
/// there and not wanted any more is removed.
pub(super) fn write(
    units: &[(&str, String)],
    folder: &Path,
    user: &User,
    args: &SystemdArgs,
) -> Result<(), Problem> {
    let folder = std::path::absolute(folder).context("the folder to write to")?;
    let failed = || format!("cannot write the units to {}", folder.display());
    fs::create_dir_all(&folder).with_context(failed)?;
    for (name, text) in units {
        create_anew(&folder.join(name), 0o644)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(failed)?;
    }
    let mut commands = Vec::new();
    if args.no_path && remove_file(&folder.join(PATH)).with_context(failed)? {
        commands.extend(stop_commands(user, args.user, &[PATH]));
    }
    if !is_looked_at(&folder, user, args.user) {
        for (name, _) in units {
            let file = shell_word(&folder.join(name))?;
            commands.push(format!("{} link {file}", systemctl(user, args.user)));
        }
    }
    commands.extend(start_commands(user, args));
    let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
    print_commands("Wrote", &names, "to", &folder, "start", &commands)
}

/// Removes the units from the folder, and prints the commands that stop them.
pub(super) fn remove(folder: &Path, user: &User, own: bool) -> Result<(), Problem> {
    let mut removed = Vec::new();
    for name in UNITS {
        let file = folder.join(name);
        let failed = || format!("cannot remove {}", file.display());
        if remove_file(&file).with_context(failed)? {
            removed.push(name);
        }
    }
    if removed.is_empty() {
        return print(&format!(
            "{} holds no units of probe-wake.\n",
            folder.display()
        ));
    }
    let commands = stop_commands(user, own, &removed);
    print_commands("Removed", &removed, "from", folder, "stop", &commands)
}

fn print_commands(
    done: &str,
    names: &[&str],
    direction: &str,
    folder: &Path,
    verb: &str,
    commands: &[String],
) -> Result<(), Problem> {
    let (names, folder) = (names.join(", "), folder.display());
    let commands: String = commands.iter().map(|line| format!("  {line}\n")).collect();
    print(&format!(
        "{done} {names} {direction} {folder}. To {verb} the runs:\n{commands}"
    ))
}

/// Removes a file, and returns whether there was one.
fn remove_file(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

fn is_looked_at(folder: &Path, user: &User, own: bool) -> bool {
    match own {
        true => user_folder(user).is_some_and(|usual| usual == folder),
        false => folder == Path::new(SYSTEM_FOLDER),
    }
}

/// Returns where the service manager of the user looks for units.
pub fn user_folder(user: &User) -> Option<PathBuf> {
    let config = match user.home() {
        Home::OfThisProcess => directories::BaseDirs::new()?.config_dir().to_owned(),
        Home::Of(home) => home?.join(".config"),
    };
    Some(config.join("systemd/user"))
}
