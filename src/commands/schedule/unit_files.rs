//! The units as files in a folder.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::systemd::{PATH, SYSTEM_FOLDER, UNITS, start_commands, stop_commands, systemctl};
use super::{print, shell_word};
use crate::cli::SystemdArgs;
use crate::commands::user::User;
use crate::exit::Problem;
use crate::files::create_anew;

/// Writes the units into the folder, and prints the commands that start them. A path unit that was
/// there and is not wanted any more is removed.
pub(super) fn write(
    units: &[(&str, String)],
    folder: &Path,
    user: &User,
    args: &SystemdArgs,
) -> Result<(), Problem> {
    let folder = std::path::absolute(folder).context("the folder to write to")?;
    let failed = || format!("cannot write the units to {}", folder.display());
    fs::create_dir_all(&folder).with_context(failed)?;
    let mut commands = Vec::new();
    if args.no_path && fs::remove_file(folder.join(PATH)).is_ok() {
        commands.extend(stop_commands(user, args.user, &[PATH]));
    }
    for (name, text) in units {
        let path = folder.join(name);
        create_anew(&path, 0o644)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(failed)?;
        if !is_looked_at(&folder, user, args.user) {
            let systemctl = systemctl(user, args.user);
            commands.push(format!("{systemctl} link {}", shell_word(&path)?));
        }
    }
    commands.extend(start_commands(user, args));
    let (commands, shown) = (commands.join("\n  "), folder.display());
    print(&format!(
        "Wrote {} units to {shown}. To start the runs:\n  {commands}\n",
        units.len()
    ))
}

/// Removes the units from the folder, and prints the commands that stop them.
pub(super) fn remove(folder: &Path, user: &User, own: bool) -> Result<(), Problem> {
    let mut removed = Vec::new();
    for name in UNITS {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => {
                done.with_context(|| format!("cannot remove {}", path.display()))?;
                removed.push(name);
            }
        }
    }
    let (shown, names) = (folder.display(), removed.join(", "));
    if removed.is_empty() {
        return print(&format!("{shown} holds no units of probe-wake.\n"));
    }
    let commands = stop_commands(user, own, &removed).join("\n  ");
    print(&format!(
        "Removed {names} from {shown}. To stop the runs:\n  {commands}\n"
    ))
}

fn is_looked_at(folder: &Path, user: &User, own: bool) -> bool {
    match own {
        true => user_folder(user).is_some_and(|usual| usual == folder),
        false => folder == Path::new(SYSTEM_FOLDER),
    }
}

/// Returns where the service manager of the user looks for units.
pub fn user_folder(user: &User) -> Option<PathBuf> {
    let config = match user.used_sudo {
        true => user.home.join(".config"),
        false => directories::BaseDirs::new()?.config_dir().to_owned(),
    };
    Some(config.join("systemd/user"))
}
