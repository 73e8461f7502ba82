//! A log that the real logrotate rotates between runs to stdout, with or without a pause before each rotation.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::outcome::Outcome;
use super::row::wake;
use super::sandbox::Sandbox;

/// Long enough for the next second, to which some file systems cut a file's time.
const PAUSE: Duration = Duration::from_millis(1_050);

pub struct Rotating {
    sandbox: Sandbox,
    pause: Duration,
}

impl Rotating {
    /// Returns a log with one wake, `told`, that was sent. There is no debounce and no engine.
    pub fn begun() -> Self {
        let log = Self::stamped();
        log.write(&["told"]);
        log.tells(&["told"]);
        log
    }

    /// Returns a log that was rotated and read since, and a writer that still has the rotated file open.
    pub fn with_late_writer() -> (Self, File) {
        let log = Self::begun();
        let old = log.writer();
        log.logrotate("create");
        log.write(&["after"]);
        log.follows(&["after"]);
        (log, old)
    }

    /// Returns an empty log after its first run.
    pub fn stamped() -> Self {
        let log = Self::without_log();
        File::create(log.log()).expect("a log");
        log.look(0);
        log
    }

    pub fn without_log() -> Self {
        let sandbox = Sandbox::new();
        sandbox.set("KORA_PROBE_DEBOUNCE_SECONDS", "0");
        Self {
            sandbox,
            pause: Duration::ZERO,
        }
    }

    /// Makes each rotation happen in a second of its own.
    pub fn paced(mut self) -> Self {
        self.pause = PAUSE;
        self
    }

    pub fn write(&self, probes: &[&str]) {
        self.append(probes.iter().map(|probe| wake(probe)));
    }

    /// Returns a wake's line, with its line feed.
    pub fn line(probe: &str) -> String {
        wake(probe).line() + "\n"
    }

    /// Writes a wake's line through this descriptor.
    pub fn write_late(mut old: &File, probe: &str) {
        let line = Self::line(probe);
        old.write_all(line.as_bytes()).expect("a write to the log");
    }

    /// Returns the rotated file with this ending.
    pub fn rotated(&self, end: &str) -> PathBuf {
        self.path(&format!("kora_audit_log.jsonl{end}"))
    }

    pub fn writer(&self) -> File {
        let log = OpenOptions::new().append(true).open(self.log());
        log.expect("the log")
    }

    /// Forces one rotation with these directives.
    #[track_caller]
    pub fn logrotate(&self, directives: &str) {
        thread::sleep(self.pause);
        // The folder may be one that others can write to; without root there is no other user to be.
        let su = if rustix::process::geteuid().is_root() {
            "su root root"
        } else {
            ""
        };
        let log = self.log();
        let text = format!(
            "\"{}\" {{\nrotate 20\n{su}\n{directives}\n}}\n",
            log.display()
        );
        let config = self.give("given/logrotate.conf", &text);
        let state = self.path("given/logrotate.state");
        let mut command = Command::new("logrotate");
        command.arg("--force").arg("--state").arg(state).arg(config);
        let done = command.output().expect("logrotate");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "logrotate: {said}");
    }

    /// Writes these wakes, and rotates the log after each of them.
    #[track_caller]
    pub fn rotate_behind(&self, probes: &[&str], directives: &str) {
        for probe in probes {
            self.write(&[probe]);
            self.logrotate(directives);
        }
    }

    /// Truncates the log as `copytruncate` does.
    pub fn empty(&self) {
        let log = OpenOptions::new().write(true).open(self.log());
        log.and_then(|log| log.set_len(0)).expect("an empty log");
    }

    /// Runs once with this exit code. Returns the report and the outcome.
    #[track_caller]
    pub fn look(&self, code: i32) -> (Value, Outcome) {
        let outcome = self.command("run --to stdout --format json").exits(code);
        (outcome.json(), outcome)
    }

    /// Asserts that a run sends these probes' messages in this order, without a gap or a warning, and that the
    /// next one finds nothing.
    #[track_caller]
    pub fn tells(&self, probes: &[&str]) -> Value {
        let report = self.look_quietly(probes);
        assert_eq!(report["position"]["gap"], false);
        self.is_idle();
        report
    }

    /// One run that tells these probes. It says nothing, unless there is no log and nothing was read.
    #[track_caller]
    fn look_quietly(&self, probes: &[&str]) -> Value {
        let is_blind = probes.is_empty() && !self.log().exists();
        let (report, outcome) = self.look(if is_blind { 3 } else { 0 });
        assert_eq!(told(&report), probes);
        // That the log is missing is printed once an hour.
        let is_expected = is_blind && outcome.stderr.contains("does not exist");
        assert!(
            is_expected || outcome.stderr.is_empty(),
            "{}",
            outcome.stderr
        );
        report
    }

    /// As `tells`, and the run must have noticed a rotation.
    #[track_caller]
    pub fn follows(&self, probes: &[&str]) {
        let report = self.tells(probes);
        assert_eq!(report["position"]["rotated"], true);
    }

    /// Asserts that a run sends these probes' messages and warns of rows that may be missing, and that the next
    /// one finds nothing.
    #[track_caller]
    pub fn tells_with_a_warning(&self, probes: &[&str], warning: &str) -> Value {
        let (report, outcome) = self.look(3);
        assert_eq!(told(&report), probes);
        outcome.warns(warning);
        self.is_idle();
        report
    }

    /// As if every generation had been left a day before.
    pub fn age_left(&self) {
        let mut state = self.state();
        let logs = state["logs"].as_object_mut().expect("logs");
        for log in logs.values_mut() {
            let generations = log["checkpoint"]["generations"].as_array_mut();
            for generation in generations.expect("generations") {
                if let Some(left_at) = generation.get_mut("left_at") {
                    let at: Timestamp = left_at.as_str().expect("a time").parse().expect("a time");
                    *left_at = (at - SignedDuration::from_hours(24)).to_string().into();
                }
            }
        }
        self.give("state/state.json", &state.to_string());
    }

    /// One run that finds nothing, says nothing and writes nothing.
    #[track_caller]
    pub fn is_idle(&self) {
        let before = fs::read(self.state_dir().join("state.json")).expect("a state");
        self.look_quietly(&[]);
        let after = fs::read(self.state_dir().join("state.json")).expect("a state");
        assert!(before == after, "an idle run wrote the state");
    }
}

/// Returns the probes in a report, in order.
pub fn told(report: &Value) -> Vec<String> {
    let wakes = report["wakes"].as_array().expect("wakes").iter();
    let probe = |wake: &Value| wake["probe"].as_str().expect("a probe").to_owned();
    wakes.map(probe).collect()
}

impl Deref for Rotating {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}
