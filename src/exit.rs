//! Every way to end: the exit codes, and the error that carries one of them up to `main`, together
//! with what to do next.

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};

use anyhow::anyhow;

/// How a command ended. The numbers are part of the program's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, even if there was nothing to do.
    Done = 0,
    /// It could not be done. Nothing is lost: the next run tries again.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Done, but a message is still queued or was given up, or rows may have been missed.
    Unfinished = 3,
    /// Another run holds the lock (`EX_TEMPFAIL` of sysexits.h).
    Locked = 75,
}

/// An error that ends the program: the exit code, what happened to what, and what to do next.
#[derive(Debug)]
pub struct Problem {
    pub exit: Exit,
    error: anyhow::Error,
    pub next_step: Option<String>,
}

impl Problem {
    pub fn new(exit: Exit, error: anyhow::Error) -> Self {
        Self {
            exit,
            error,
            next_step: None,
        }
    }

    /// Returns a problem with a setting or an argument.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, anyhow!(what.into()))
    }

    /// Returns a problem that says what could not be done, and what to do about it.
    pub fn failed(what: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self::new(Exit::Failed, anyhow!(what.into())).with_next_step(next_step)
    }

    /// Returns what happened, without the next step.
    pub fn what(&self) -> String {
        format!("{:#}", self.error)
    }

    /// Returns whether the reader of stdout went away, as `head` does when it has enough.
    pub fn is_closed_stdout(&self) -> bool {
        let causes = self.error.chain();
        let mut errors = causes.filter_map(|cause| cause.downcast_ref::<io::Error>());
        errors.any(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub fn with_next_step(mut self, next_step: impl Into<String>) -> Self {
        self.next_step = Some(next_step.into());
        self
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        match &self.next_step {
            Some(next_step) => write!(f, "; {next_step}"),
            None => Ok(()),
        }
    }
}

/// How a command ended. Only `main` prints the problem.
pub type Ended = Result<Exit, Problem>;

/// Does the work. A panic ends it with exit 1, after [`log_panics`] has logged it.
pub fn guarded(work: impl FnOnce() -> Ended) -> Ended {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(Ok(Exit::Failed))
}

/// Logs every panic as one line.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        log::error!("a bug in probe-wake: {panic}")
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure() {
        let ended = guarded(|| panic!("on purpose"));
        assert!(matches!(ended, Ok(Exit::Failed)));
        assert!(matches!(guarded(|| Ok(Exit::Locked)), Ok(Exit::Locked)));
    }
}
