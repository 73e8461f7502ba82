//! One look at the process's environment with the env file beneath it, and the readers that turn a
//! variable into a number, a switch, a path or a secret. A value that cannot be used is a warning
//! that names the variable, the value and the default that stands in for it, never an exit.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::anyhow;
use directories::BaseDirs;

use super::Warning;
use super::env_file::{self, Content};
use super::names::{is_known, meant_by};
use super::variables::{self as var, Variable};
use crate::cli::Global;
use crate::exit::{Exit, Problem};
use crate::files::read_trusted;
use crate::secret::Secret;

/// No secret is longer; a `_FILE` that names a device or a log must not fill the memory.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The process's environment over the env file.
#[derive(Default)]
pub struct Environment {
    file: HashMap<String, String>,
    /// Whether the process's own environment counts.
    has_process: bool,
    /// Those that were read so far.
    secrets: RefCell<HashMap<&'static str, Option<Secret>>>,
    warnings: RefCell<Vec<Warning>>,
    /// The env file that was read.
    pub file_path: Option<PathBuf>,
}

impl Environment {
    /// Reads the env file that the flag or the variable names, or the usual one where it exists.
    pub fn read(flags: &Global) -> Result<Self, Problem> {
        let mut environment = Self {
            has_process: true,
            ..Self::default()
        };
        let named = flags
            .env_file
            .clone()
            .or_else(|| environment.path(&var::ENV_FILE));
        let path = named.or_else(|| usual_env_file(flags).filter(|path| path.exists()));
        if let Some(path) = path {
            let Content { settings, warnings } =
                env_file::read(&path).map_err(|error| Problem::new(Exit::Usage, error))?;
            environment.file = settings;
            environment.warnings = RefCell::new(warnings);
            environment.file_path = Some(path);
        }
        Ok(environment)
    }

    /// An environment in which only these are set.
    #[cfg(test)]
    pub fn of(settings: &[(&str, &str)]) -> Self {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            file: settings.iter().map(owned).collect(),
            ..Self::default()
        }
    }

    /// The env file alone, as cron's runs and a service manager's know it.
    pub fn of_scheduled_runs(self) -> Self {
        Self {
            has_process: false,
            ..self
        }
    }

    /// Whether the process's own environment counts, with the folders that it names.
    pub fn has_process(&self) -> bool {
        self.has_process
    }

    /// A variable's value without the white space around it; an empty one is unset.
    pub fn get(&self, name: &str) -> Option<String> {
        self.real(name)
            .or_else(|| non_empty(self.file.get(name).map(String::as_str)))
    }

    /// The value, or the variable's default.
    pub fn text(&self, variable: &Variable) -> String {
        self.get(variable.name)
            .unwrap_or_else(|| variable.default.to_owned())
    }

    /// A variable that other programs also know in lower case.
    pub fn either_case(&self, variable: &Variable) -> Option<String> {
        self.get(variable.name)
            .or_else(|| self.get(&variable.name.to_ascii_lowercase()))
    }

    /// A path is taken as its bytes are, so that one that is not UTF-8 still names its file.
    pub fn path(&self, variable: &Variable) -> Option<PathBuf> {
        let raw = std::env::var_os(variable.name).filter(|_| self.has_process);
        let raw = raw.filter(|value| value.to_str().is_none());
        raw.or_else(|| self.get(variable.name).map(OsString::from))
            .map(PathBuf::from)
    }

    pub fn absolute_path(&self, variable: &Variable) -> Result<Option<PathBuf>, Problem> {
        self.path(variable).map(|path| absolute(&path)).transpose()
    }

    /// A number within the range, or the variable's default.
    pub fn number<T>(&self, variable: &Variable, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Default,
    {
        self.optional_number(variable, range).unwrap_or_default()
    }

    /// A number within the range, or the variable's default where it has one.
    pub fn optional_number<T>(&self, variable: &Variable, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd,
    {
        self.parsed(variable, |text| {
            text.parse().ok().filter(|number| range.contains(number))
        })
    }

    /// What `parse` makes of the value; of the default where it is unset or `parse` refuses it.
    pub fn parsed<T>(&self, variable: &Variable, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let default = variable.default;
        let Some(text) = self.get(variable.name) else {
            return parse(default);
        };
        parse(&text).or_else(|| {
            let told = if default.is_empty() { "unset" } else { default };
            let name = variable.name;
            self.warn(Warning::of_setting(format!(
                "{name}: '{text}' is not usable: the default {told} is used"
            )));
            parse(default)
        })
    }

    /// On where the value is `true`, `1`, `yes` or `on`, in any case; off for all else.
    pub fn switch(&self, variable: &Variable) -> bool {
        let value = self.text(variable).to_ascii_lowercase();
        matches!(value.as_str(), "true" | "1" | "yes" | "on")
    }

    /// The file that a secret is kept in, where it is.
    pub fn secret_file(&self, name: &str) -> Option<PathBuf> {
        self.get(&format!("{name}_FILE")).map(PathBuf::from)
    }

    /// A secret from the variable itself, or from the file that `{name}_FILE` names. It is read
    /// once, however often it is asked for.
    pub fn secret(&self, name: &'static str) -> Option<Secret> {
        let mut secrets = self.secrets.borrow_mut();
        let read = || self.read_secret(name);
        secrets.entry(name).or_insert_with(read).clone()
    }

    fn read_secret(&self, name: &'static str) -> Option<Secret> {
        let file_variable = format!("{name}_FILE");
        // The environment wins over the env file in whichever of the two ways it gives the secret.
        let is_given = |name: &str| self.real(name).is_some();
        let file_wins = is_given(&file_variable) && !is_given(name);
        let secret = match self.get(name).filter(|_| !file_wins) {
            Some(value) => token(name, value),
            None => token_in_file(&file_variable, &self.secret_file(name)?),
        };
        let warn = |why| {
            self.warn(Warning {
                subject: "secrets",
                message: format!("{why}: taken as unset"),
                next_step: "name a file that the runs can read and only its owner can write".into(),
            });
        };
        secret.map_err(warn).ok()
    }

    /// Notes what is wrong with a setting, once, for whoever tells it.
    pub fn warn(&self, warning: Warning) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// What is wrong with the settings read so far.
    pub fn warnings(&self) -> Vec<Warning> {
        self.warnings.borrow().clone()
    }

    /// The names, of these, that only the process's own environment sets.
    pub fn only_in_process(&self, names: impl Iterator<Item = String>) -> Vec<String> {
        let is_in_file = |name: &str| self.file.get(name).is_some_and(|value| !value.is_empty());
        let only_here = names.filter(|name| self.real(name).is_some() && !is_in_file(name));
        only_here.collect()
    }

    /// What the process's own environment says.
    fn real(&self, name: &str) -> Option<String> {
        let given = std::env::var_os(name).filter(|_| self.has_process);
        let given = given.map(|value| value.to_string_lossy().into_owned());
        non_empty(given.as_deref())
    }

    /// Names in the env file that mean nothing to this program, each with the one that may have been
    /// meant. Other programs may read the file, too, so that this is nothing to warn of in each run.
    pub fn misspelt(&self) -> Vec<(String, String)> {
        let is_set = |name: &str| self.get(name).is_some();
        let unknown = self.file.keys().filter(|name| !is_known(name));
        let misspelt = unknown.filter_map(|name| Some((name.clone(), meant_by(name, is_set)?)));
        let mut misspelt: Vec<_> = misspelt.collect();
        misspelt.sort();
        misspelt
    }
}

fn token_in_file(variable: &str, path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let (text, _) = read_trusted(path, MAX_SECRET_BYTES)
        .map_err(|error| format!("{variable}: cannot read {shown}: {error}"))?;
    match text.trim() {
        "" => Err(format!("{variable}: {shown} is empty")),
        value => token(variable, value.to_owned()),
    }
}

/// A token is sent as a header's value: what cannot stand there is no token.
fn token(variable: &str, value: String) -> Result<Secret, String> {
    match value.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Secret::new(value)),
        false => Err(format!("{variable} holds characters that no token has")),
    }
}

/// Returns the file that settings are kept in where no other is named.
pub fn usual_env_file(flags: &Global) -> Option<PathBuf> {
    home_folder(flags).map(|home| home.join(".config/probe-wake/env"))
}

/// Returns the home folder, where it is known.
pub(super) fn home_folder(flags: &Global) -> Option<PathBuf> {
    let of_this_process = || BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
    let home = flags.home.clone().or_else(of_this_process);
    home.filter(|home| !home.as_os_str().is_empty())
}

fn non_empty(value: Option<&str>) -> Option<String> {
    value
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf, Problem> {
    std::path::absolute(path)
        .map_err(|error| Problem::new(Exit::Usage, anyhow!(error).context("a path is empty")))
}
