//! The process's environment with the env file beneath it, and the readers that turn a variable into a
//! number, a switch, a path or a secret. A value that cannot be used leads to a warning that names the
//! variable, the value and the default that is used instead, never to an exit.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::anyhow;
use directories::BaseDirs;
use log::warn;

use super::Warning;
use super::env_file::{self, Content};
use super::variables::{self as var, Variable, is_known, meant_by, secrets};
use crate::cli::Global;
use crate::exit::{Exit, Problem};
use crate::files::read_trusted;
use crate::secret::Secret;

/// A `_FILE` may name a log by mistake, which must not fill the memory.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The settings of Kora's programs begin with this.
const PREFIX: &str = "KORA_";

/// The process's environment over the env file.
#[derive(Default)]
pub struct Environment {
    pub(super) file: HashMap<String, String>,
    pub(super) process: HashMap<OsString, OsString>,
    /// The secrets that have been read so far.
    secrets: RefCell<HashMap<String, Option<Secret>>>,
    warnings: RefCell<Vec<Warning>>,
    /// The env file that was read.
    pub file_path: Option<PathBuf>,
}

impl Environment {
    /// Reads the env file that the flag or the variable names, or else the usual one if it exists.
    pub fn read(flags: &Global) -> Result<Self, Problem> {
        let mut environment = Self {
            process: std::env::vars_os().collect(),
            ..Self::default()
        };
        let named = flags.env_file.clone();
        let named = named.or_else(|| environment.path(&var::ENV_FILE));
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

    /// Returns an environment in which only these are set.
    #[cfg(test)]
    pub fn of(settings: &[(&str, &str)]) -> Self {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            file: settings.iter().map(owned).collect(),
            ..Self::default()
        }
    }

    /// Returns a variable's value without the white space around it; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<String> {
        self.real(name)
            .or_else(|| non_empty(self.file.get(name).map(String::as_str)))
    }

    /// Returns the value, or the variable's default.
    pub fn text(&self, variable: &Variable) -> String {
        self.get(variable.name)
            .unwrap_or_else(|| variable.default.to_owned())
    }

    /// Returns the value of a variable that other programs also read in lower case.
    pub fn either_case(&self, variable: &Variable) -> Option<String> {
        self.get(variable.name)
            .or_else(|| self.get(&variable.name.to_ascii_lowercase()))
    }

    /// Returns a path, byte for byte: even one that is not UTF-8 names its file.
    pub fn path(&self, variable: &Variable) -> Option<PathBuf> {
        match self.process.get(OsStr::new(variable.name)) {
            Some(value) if value.to_str().is_none() => Some(PathBuf::from(value)),
            _ => self.get(variable.name).map(PathBuf::from),
        }
    }

    pub fn absolute_path(&self, variable: &Variable) -> Result<Option<PathBuf>, Problem> {
        self.path(variable).map(|path| absolute(&path)).transpose()
    }

    /// Returns a number within the range, or the variable's default; zero if it has none.
    pub fn number<T>(&self, variable: &Variable, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Default,
    {
        let read = |text: &str| text.parse().ok().filter(|number| range.contains(number));
        self.parsed(variable, read).unwrap_or_default()
    }

    /// Returns the value as `parse` reads it, or the default if it is unset or `parse` refuses it.
    pub fn parsed<T>(&self, variable: &Variable, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let default = variable.default;
        let Some(text) = self.get(variable.name) else {
            return parse(default);
        };
        parse(&text).or_else(|| {
            let used = match default {
                "" => "it is taken as unset".to_owned(),
                default => format!("the default {default} is used"),
            };
            let message = format!("{}: '{text}' is not usable: {used}", variable.name);
            let next_step = "set a usable value, or none";
            self.warn(Warning::new("settings", message, next_step));
            parse(default)
        })
    }

    /// Returns whether a switch is on.
    pub fn switch(&self, variable: &Variable) -> bool {
        let read = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        };
        self.parsed(variable, read).unwrap_or_default()
    }

    /// Returns the file that `{name}_FILE` names.
    fn secret_file(&self, name: &str) -> Option<PathBuf> {
        self.get(&format!("{name}_FILE")).map(PathBuf::from)
    }

    /// Returns a secret from the variable itself, or from the file that `{name}_FILE` names. The file is read
    /// only once, so that what is masked is what is sent.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        let mut secrets = self.secrets.borrow_mut();
        let read = || self.read_secret(name);
        secrets.entry(name.to_owned()).or_insert_with(read).clone()
    }

    fn read_secret(&self, name: &str) -> Option<Secret> {
        let file_variable = format!("{name}_FILE");
        // The environment wins over the env file, whichever of the two variables it sets.
        let file_wins = self.real(&file_variable).is_some() && self.real(name).is_none();
        let secret = match self.get(name).filter(|_| !file_wins) {
            Some(value) => token(name, value),
            None => token_in_file(&file_variable, &self.secret_file(name)?),
        };
        let next_step = "name a file that the runs can read and only its owner can write";
        let warning = |why| Warning::new("secrets", format!("{why}: taken as unset"), next_step);
        secret.map_err(|why| self.warn(warning(why))).ok()
    }

    /// Adds a warning, once.
    pub fn warn(&self, warning: Warning) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Returns the warnings about the settings that have been read so far.
    pub fn warnings(&self) -> Vec<Warning> {
        self.warnings.borrow().clone()
    }

    /// Prints the warnings to stderr.
    pub fn print_warnings(&self) {
        self.warnings.borrow().iter().for_each(|one| warn!("{one}"));
    }

    /// Returns whether the process's own environment sets this variable and the env file does not.
    pub fn is_only_in_process(&self, name: &str) -> bool {
        let is_in_file = self.file.get(name).is_some_and(|value| !value.is_empty());
        self.real(name).is_some() && !is_in_file
    }

    /// Returns the files that hold secrets.
    pub fn secret_files(&self) -> impl Iterator<Item = PathBuf> {
        secrets().filter_map(|name| self.secret_file(name))
    }

    /// Returns the value in the process's own environment.
    fn real(&self, name: &str) -> Option<String> {
        let value = self.process.get(OsStr::new(name));
        non_empty(value.map(|value| value.to_string_lossy()).as_deref())
    }

    /// Returns warnings of what is probably not meant as written: names close to a known one, and values with
    /// a line break. Other programs may read the same names, so only `check` mentions them.
    pub fn suspicious(&self) -> Vec<Warning> {
        let is_set = |name: &str| self.get(name).is_some();
        let in_file = self.file.keys().map(|name| (name.clone(), "env file"));
        let process = self.process.keys().filter_map(|name| name.to_str());
        let process = process.filter(|name| name.starts_with(PREFIX));
        let names = in_file.chain(process.map(|name| (name.to_owned(), "environment")));
        let mut names: Vec<_> = names.collect();
        names.sort();
        let warning = |(name, place): (String, _)| {
            if !is_known(&name) {
                let message = format!("{name} in the {place} is not a setting of probe-wake");
                let next_step = format!("did you mean {}?", meant_by(&name, is_set)?);
                return Some(Warning::new("settings", message, &next_step));
            }
            let breaks = self.get(&name)?.contains('\n');
            let message = format!("the value of {name} in the {place} has a line break");
            breaks.then(|| Warning::new("settings", message, "write it on one line"))
        };
        names.into_iter().filter_map(warning).collect()
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

/// Checks a token: it is sent in a header, which carries only printable ASCII.
fn token(variable: &str, value: String) -> Result<Secret, String> {
    match value.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Secret::new(value)),
        false => Err(format!("{variable} holds characters that no token has")),
    }
}

/// Returns the env file that is used if no other is named.
pub fn usual_env_file(flags: &Global) -> Option<PathBuf> {
    home_folder(flags).map(|home| home.join(".config/probe-wake/env"))
}

/// Returns the home folder, if it is known.
pub(super) fn home_folder(flags: &Global) -> Option<PathBuf> {
    let of_this_process = || BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
    let home = flags.home.clone().or_else(of_this_process);
    home.filter(|home| !home.as_os_str().is_empty())
}

fn non_empty(value: Option<&str>) -> Option<String> {
    let value = value.map(str::trim).filter(|value| !value.is_empty());
    value.map(str::to_owned)
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf, Problem> {
    std::path::absolute(path)
        .map_err(|error| Problem::new(Exit::Usage, anyhow!(error).context("a path is empty")))
}
