//! The outcome of one run of the binary: exit code, stdout and stderr.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::sandbox::assert_no_secrets;

/// A run that takes longer is killed and fails its test.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Outcome {
    /// None if a signal killed it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "exit code; stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        let is_mute = self.stdout.is_empty() && self.stderr.is_empty();
        // Neither a lasting problem nor a held lock is printed by every run.
        assert!(
            matches!(code, 0 | 3 | 75) || !is_mute,
            "exit {code} without a word"
        );
        self
    }

    /// Asserts that stdout and stderr are empty.
    #[track_caller]
    pub fn silent(self) -> Self {
        assert_eq!((self.stdout.as_str(), self.stderr.as_str()), ("", ""));
        self
    }

    /// Asserts that stderr contains this.
    #[track_caller]
    pub fn warns(self, part: &str) -> Self {
        let stderr = &self.stderr;
        assert!(stderr.contains(part), "no {part:?} in stderr:\n{stderr}");
        self
    }

    /// Asserts that stdout contains this.
    #[track_caller]
    pub fn prints(self, part: &str) -> Self {
        let stdout = &self.stdout;
        assert!(stdout.contains(part), "no {part:?} in stdout:\n{stdout}");
        self
    }

    /// Asserts that neither stdout nor stderr contains this.
    #[track_caller]
    pub fn hides(self, part: &str) -> Self {
        for stream in [&self.stdout, &self.stderr] {
            assert!(!stream.contains(part), "{part:?} in:\n{stream}");
        }
        self
    }

    /// Parses stdout, which must be one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("stdout is not one JSON value ({error}):\n{}", self.stdout)
        })
    }
}

/// Returns what each of these JSON rows has at this place.
#[track_caller]
pub fn column(rows: impl Into<Value>, pointer: &str) -> Vec<Value> {
    let rows = rows.into();
    let rows = rows.as_array().expect("a list").iter();
    let at = |row: &Value| row.pointer(pointer).cloned().unwrap_or_default();
    rows.map(at).collect()
}

/// A run that may not have ended yet. It is killed when dropped.
pub struct Running {
    pid: Pid,
    output: Receiver<io::Result<Output>>,
    root: PathBuf,
    reaped: bool,
}

impl Running {
    pub fn new(child: Child, root: PathBuf) -> Self {
        let pid = Pid::from_child(&child);
        let (sender, output) = channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        Self {
            pid,
            output,
            root,
            reaped: false,
        }
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let Ok(output) = self.output.recv_timeout(LIMIT) else {
            panic!("still running after {LIMIT:?}");
        };
        self.reaped = true;
        let output = output.expect("the child's output");
        assert_no_secrets(&self.root, &output);
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8 on stdout and stderr");
        Outcome {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Returns its peak memory so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        let status = fs::read_to_string(status).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.expect("its peak").parse().expect("a number")
    }

    /// Kills it as `kill -9` does.
    #[track_caller]
    pub fn kill(self) -> Outcome {
        kill_process(self.pid, Signal::KILL).expect("a process to kill");
        self.finish()
    }

    /// As `kill`, but it may have ended. Its number could belong to another process by now, which is very
    /// unlikely.
    #[track_caller]
    pub fn kill_if_running(self) -> Outcome {
        let _ = kill_process(self.pid, Signal::KILL);
        self.finish()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped && self.output.try_recv().is_err() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}
