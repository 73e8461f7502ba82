//! One look at the process's environment with the env file beneath it, and the readers that turn a
//! variable into a number, a switch, a path or a secret. A value that cannot be used is a warning
//! that names the variable, the value and the default that stands in for it, never an exit.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use directories::BaseDirs;
use log::warn;

use super::env_file;
use super::variables::{self as var, Variable};
use crate::cli::Global;
use crate::exit::{Exit, Problem};
use crate::files::open_without_waiting;
use crate::secret::Secret;

/// No secret is longer; a `_FILE` that names a device or a log must not fill the memory.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The process's environment over the env file.
pub struct Environment {
    file: HashMap<String, String>,
    /// The env file that was read.
    pub file_path: Option<PathBuf>,
}

impl Environment {
    /// Reads the env file that the flag or the variable names, or the usual one where it exists.
    pub fn read(flags: &Global) -> Result<Self, Problem> {
        let mut environment = Self {
            file: HashMap::new(),
            file_path: None,
        };
        let named = flags
            .env_file
            .clone()
            .or_else(|| environment.path(&var::ENV_FILE));
        let path = named.or_else(|| usual_env_file().filter(|path| path.exists()));
        if let Some(path) = path {
            let assignments =
                env_file::read(&path).map_err(|error| Problem::new(Exit::Usage, error))?;
            environment.file = assignments.into_iter().collect();
            environment.file_path = Some(path);
        }
        Ok(environment)
    }

    /// A variable's value without the white space around it; an empty one is unset.
    pub fn get(&self, name: &str) -> Option<String> {
        real(name).or_else(|| non_empty(self.file.get(name).map(String::as_str)))
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
        let raw = std::env::var_os(variable.name).filter(|value| value.to_str().is_none());
        raw.or_else(|| self.get(variable.name).map(OsString::from))
            .map(PathBuf::from)
    }

    /// A number within the range, or the variable's default.
    pub fn number<T>(&self, variable: &Variable, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Default,
    {
        self.optional_number(variable, range)
            .unwrap_or_else(|| variable.default.parse().unwrap_or_default())
    }

    /// A number within the range, where one is set.
    pub fn optional_number<T>(&self, variable: &Variable, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd,
    {
        let text = self.get(variable.name)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let default = match variable.default {
                "" => "unset",
                default => default,
            };
            warn!(
                "{}: '{text}' is not usable: the default {default} is used",
                variable.name
            );
        }
        number
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

    /// A secret from the variable itself, or from the file that `{name}_FILE` names.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        let file_variable = format!("{name}_FILE");
        // The environment wins over the env file in whichever of the two ways it gives the secret.
        let is_given = |name: &str| real(name).is_some();
        let file_wins = is_given(&file_variable) && !is_given(name);
        if let Some(value) = self.get(name).filter(|_| !file_wins) {
            return usable(name, value);
        }
        let path = PathBuf::from(self.get(&file_variable)?);
        match read_secret(&path) {
            Ok(value) if !value.is_empty() => usable(&file_variable, value),
            Ok(_) => {
                warn!(
                    "{file_variable}: {} is empty: taken as unset",
                    path.display()
                );
                None
            }
            Err(error) => {
                warn!(
                    "{file_variable}: cannot read {}: {error}: taken as unset",
                    path.display()
                );
                None
            }
        }
    }
}

/// The file that settings are kept in where no other is named.
pub fn usual_env_file() -> Option<PathBuf> {
    BaseDirs::new().map(|dirs| dirs.home_dir().join(".config/probe-wake/env"))
}

/// What the process's own environment says.
fn real(name: &str) -> Option<String> {
    let given = std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    non_empty(given.as_deref())
}

fn non_empty(value: Option<&str>) -> Option<String> {
    value
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
}

fn read_secret(path: &Path) -> io::Result<String> {
    let file = open_without_waiting(path)?;
    let mut value = String::new();
    file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut value)?;
    if value.len() as u64 > MAX_SECRET_BYTES {
        return Err(io::Error::other("it is too long for a secret"));
    }
    Ok(value.trim().to_owned())
}

/// A token is sent as a header's value: what cannot stand there is no token.
fn usable(name: &str, value: String) -> Option<Secret> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(Secret::new(value));
    }
    warn!("{name} holds characters that no token has: taken as unset");
    None
}
