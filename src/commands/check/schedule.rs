//! What starts the runs: units of systemd, or a line of a crontab.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::commands::finding::{Finding, ok, warning};
use crate::commands::schedule::systemd::{systemctl, user_folder};
use crate::commands::user::User;

const UNITS: [&str; 2] = ["probe-wake.timer", "probe-wake.path"];
const SYSTEM_FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];
/// In this folder logind has a file for each user whose service manager runs without a login.
const LINGERING: &str = "/var/lib/systemd/linger";

/// Returns what starts the runs, and what is wrong with it. Each finding that is `ok` starts runs.
pub(super) fn look() -> Vec<Finding> {
    let current = User::current();
    let user = &current.name;
    let folders = SYSTEM_FOLDERS.map(PathBuf::from);
    let mut findings = units_of("the system", &folders, systemctl(&current, false));
    let own_folder = Vec::from_iter(user_folder(&current));
    let own = units_of(user, &own_folder, systemctl(&current, true));
    let needs_login = own.iter().any(Finding::is_ok) && !Path::new(LINGERING).join(user).exists();
    findings.extend(own);
    if needs_login {
        let message = format!("the units of {user} run only while {user} is logged in");
        findings.push(warning(message, format!("loginctl enable-linger {user}")));
    }
    if has_crontab_line() {
        findings.push(ok("a line of a crontab"));
    }
    if findings.is_empty() {
        let next_step = "install a schedule: probe-wake schedule systemd (or cron)";
        findings.push(warning("nothing was found that starts the runs", next_step));
    }
    findings
}

/// Returns the findings about our units in these folders.
fn units_of(whose: &str, folders: &[PathBuf], systemctl: &str) -> Vec<Finding> {
    let (enabled, disabled) = units(folders);
    let names = enabled.join(" and ");
    let enabled = (!enabled.is_empty()).then(|| ok(format!("{names} of {whose}")));
    let disabled = disabled.iter().map(|unit| {
        let next_step = format!("{systemctl} enable --now {unit}");
        warning(format!("{unit} of {whose} is not enabled"), next_step)
    });
    enabled.into_iter().chain(disabled).collect()
}

/// Returns our units in these folders: those that are enabled, and those that are not.
fn units(folders: &[PathBuf]) -> (Vec<&'static str>, Vec<&'static str>) {
    let is_there = |unit: &&str| folders.iter().any(|folder| folder.join(unit).exists());
    let entries = folders.iter().flat_map(fs::read_dir).flatten().flatten();
    let entries = entries.map(|entry| entry.path());
    let wants = entries.filter(|path| path.extension().is_some_and(|end| end == "wants"));
    let wants: Vec<_> = wants.collect();
    let is_enabled = |unit: &&str| wants.iter().any(|folder| folder.join(unit).is_symlink());
    UNITS.into_iter().filter(is_there).partition(is_enabled)
}

/// Returns whether the user's crontab or one of the system's runs this program.
fn has_crontab_line() -> bool {
    let own = Command::new("crontab").arg("-l").output();
    let own = own.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let files = fs::read_dir("/etc/cron.d").into_iter().flatten().flatten();
    let files = files.map(|entry| entry.path());
    let files = files.chain([PathBuf::from("/etc/crontab")]);
    let system = files.filter_map(|file| fs::read_to_string(file).ok());
    system.chain(own).any(|crontab| starts_runs(&crontab))
}

fn starts_runs(crontab: &str) -> bool {
    let lines = crontab.lines().map(str::trim_start);
    let mut lines = lines.filter(|line| !line.starts_with('#'));
    lines.any(|line| {
        let mut words = line
            .split_whitespace()
            .map(|word| word.trim_matches(['\'', '"', ';']));
        words.any(|word| word.ends_with("probe-wake")) && words.any(|word| word == "run")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_crontab_starts_runs_by_a_line_that_is_no_comment() {
        for (line, expected) in [
            ("* * * * * /usr/bin/probe-wake run", true),
            (
                "* * * * * root '/a b/probe-wake' --env-file /e run; true",
                true,
            ),
            ("# * * * * * /usr/bin/probe-wake run", false),
            ("0 9 * * * /usr/bin/probe-wake history", false),
            ("* * * * * /usr/bin/other run", false),
            ("", false),
        ] {
            assert_eq!(
                starts_runs(&format!("MAILTO=x\n{line}\n")),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn a_unit_is_enabled_by_a_link_in_a_folder_of_wants() {
        let folder = std::env::temp_dir().join(format!("probe-wake-units-{}", std::process::id()));
        let wants = folder.join("timers.target.wants");
        fs::create_dir_all(&wants).unwrap();
        for unit in UNITS {
            fs::write(folder.join(unit), "").unwrap();
        }
        std::os::unix::fs::symlink("../probe-wake.timer", wants.join("probe-wake.timer")).unwrap();
        let found = units(std::slice::from_ref(&folder));
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(found, (vec!["probe-wake.timer"], vec!["probe-wake.path"]));
        assert_eq!(units(&["/nowhere".into()]), (vec![], vec![]));
    }
}
