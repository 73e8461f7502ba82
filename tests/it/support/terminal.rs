//! The binary at a real terminal, which util-linux's `script` makes; and the shell around it, for pipes.

use std::process::Command;

use super::outcome::Running;
use super::sandbox::{BINARY, Sandbox};

impl Sandbox {
    /// What a person would see of this at a terminal so many columns wide, colours and all.
    #[track_caller]
    pub fn at_terminal(&self, columns: u16, line: &str) -> String {
        self.start_at_terminal(columns, line).finish().stdout
    }

    pub fn start_at_terminal(&self, columns: u16, line: &str) -> Running {
        self.shell(&format!(
            "script -qec 'stty cols {columns}; {BINARY} {line}; echo \"[exit $?]\"' /dev/null </dev/null"
        ))
    }

    /// The same, with this typed once something has asked for it.
    #[track_caller]
    pub fn answering_at_terminal(&self, answer: &str, line: &str) -> String {
        let typed = format!("(sleep 0.5; printf '{answer}\\n'; sleep 0.5)");
        let script = format!("script -qec '{BINARY} {line}; echo \"[exit $?]\"' /dev/null");
        self.shell(&format!("{typed} | {script}")).finish().stdout
    }

    /// A line of shell in which `$B` is the binary.
    pub fn shell(&self, line: &str) -> Running {
        self.spawn(
            Command::new("sh")
                .arg("-c")
                .arg(format!("B={BINARY}; {line}")),
        )
    }
}
