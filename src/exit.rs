//! Every way to end: the exit codes, and the error that carries one of them up to `main` together
//! with what the reader can do next.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// How a command ended. The numbers are part of the program's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, whatever there was to do.
    Done = 0,
    /// It could not be done; nothing was lost, and the next run tries again.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Done, but a DM is still queued or was given up, or rows may have been missed.
    Unfinished = 3,
    /// Another run holds the lock (`EX_TEMPFAIL` of sysexits.h).
    Locked = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error that ends the program: the code, what happened to what, and the next step.
#[derive(Debug)]
pub struct Problem {
    pub exit: Exit,
    error: anyhow::Error,
    next_step: Option<String>,
}

impl Problem {
    pub fn new(exit: Exit, error: anyhow::Error) -> Self {
        Self {
            exit,
            error,
            next_step: None,
        }
    }

    /// A setting or an argument that cannot be used.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, anyhow::anyhow!(what.into()))
    }

    /// What happened, without the next step.
    pub fn what(&self) -> String {
        format!("{:#}", self.error)
    }

    pub fn next_step(&self) -> Option<&str> {
        self.next_step.as_deref()
    }

    /// Whether the reader of stdout went away, as `head` does when it has enough.
    pub fn is_closed_stdout(&self) -> bool {
        self.error.chain().any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        })
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

/// How a command ended; only `main` prints the problem.
pub type Ended = Result<Exit, Problem>;
