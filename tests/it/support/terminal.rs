//! Runs the binary at a real terminal, from util-linux's `script`, or from a shell, for pipes.

use std::process::Command;

use super::outcome::Running;
use super::sandbox::{BINARY, Sandbox};

impl Sandbox {
    /// Returns what a terminal of this width shows, colours included.
    #[track_caller]
    pub fn at_terminal(&self, columns: u16, line: &str) -> String {
        self.start_at_terminal(columns, line).finish().stdout
    }

    pub fn start_at_terminal(&self, columns: u16, line: &str) -> Running {
        self.shell(&format!(
            "script -qec 'stty cols {columns}; {BINARY} {line}; echo \"[exit $?]\"' /dev/null </dev/null"
        ))
    }

    /// The same, with this answer typed at the prompt.
    #[track_caller]
    pub fn answering_at_terminal(&self, answer: &str, line: &str) -> String {
        let typed = format!("(sleep 0.5; printf '{answer}\\n'; sleep 0.5)");
        let script = format!("script -qec '{BINARY} {line}; echo \"[exit $?]\"' /dev/null");
        self.shell(&format!("{typed} | {script}")).finish().stdout
    }

    /// Starts a shell command in which `$B` is the binary.
    pub fn shell(&self, line: &str) -> Running {
        self.spawn(
            Command::new("sh")
                .arg("-c")
                .arg(format!("B={BINARY}; {line}")),
        )
    }
}
