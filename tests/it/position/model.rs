//! Section 4 of the contract against a model: whatever the writer and the rotation do between the runs, every complete
//! row is told exactly once and in order, or a gap is reported. `PROPTEST_CASES` sets how many sequences are tried.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::Value;

use crate::support::{Sandbox, wake};

const CASES: u32 = 48;
/// Not 0, which gzip has no place for.
const LONG_AGO: Duration = Duration::from_secs(1_000_000_000);

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    /// The first half of a row, left as it is until it is completed.
    Begin,
    /// A row through the descriptor that was opened before the last rename.
    AppendLate,
    /// Rows of another seam.
    Noise(usize),
    Create,
    NoCreate,
    CopyTruncate,
    /// Create, and what was moved away before is compressed.
    DelayCompress,
    Compress,
    /// The file that was moved away last gets a time long ago, as by a clock that was set back.
    Backdate,
    /// The log emptied with no copy kept: what was not read of it is lost.
    Truncate,
    Run,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1usize..4).prop_map(Step::Append),
        2 => Just(Step::Begin),
        2 => Just(Step::AppendLate),
        1 => (1usize..12).prop_map(Step::Noise),
        2 => Just(Step::Create),
        1 => Just(Step::NoCreate),
        2 => Just(Step::CopyTruncate),
        2 => Just(Step::DelayCompress),
        2 => Just(Step::Compress),
        1 => Just(Step::Backdate),
        1 => Just(Step::Truncate),
        6 => Just(Step::Run),
    ];
    prop::collection::vec(step, 1..24)
}

/// The first row of every generation, where the writer begins each with the same one.
const FIRST_ROW: &str = "{\"seam\":\"daemon.started\"}\n";

/// How the log is written and rotated; logrotate keeps to one way for one log.
#[derive(Clone, Copy, Debug)]
struct Ways {
    /// Each generation begins with [`FIRST_ROW`].
    begins_alike: bool,
    /// By a date and a time, not by a number that rises with each rotation.
    dated: bool,
    /// In a folder below.
    olddir: bool,
}

fn ways() -> impl Strategy<Value = Ways> {
    any::<[bool; 3]>().prop_map(|[begins_alike, dated, olddir]| Ways {
        begins_alike,
        dated,
        olddir,
    })
}

/// What was written, and what of it was told.
struct Model {
    sandbox: Sandbox,
    written: usize,
    /// Rows in the order in which they must be told; those of a late writer come whenever they come.
    due: Vec<String>,
    late: Vec<String>,
    told: Vec<String>,
    /// The first half of a row that was begun, and its rest.
    begun: Option<(String, String)>,
    /// Opened before the last rename.
    old: Option<File>,
    ways: Ways,
    rotations: usize,
    /// What was moved away last, while it is not compressed.
    last: Option<PathBuf>,
    /// A time says no longer which file is the older one.
    is_backdated: bool,
    gaps: usize,
    truncations: usize,
    /// Rows that a truncate took before a run could see them.
    lost: Vec<String>,
    in_log: Vec<String>,
}

impl Model {
    fn new(ways: Ways) -> Self {
        let sandbox = Sandbox::new();
        sandbox.set("KORA_PROBE_DEBOUNCE_SECONDS", "0");
        fs::create_dir(sandbox.path("old")).expect("a folder");
        File::create(sandbox.log()).expect("a log");
        sandbox.command("run --to stdout").exits(0).silent();
        Self {
            sandbox,
            written: 0,
            due: Vec::new(),
            late: Vec::new(),
            told: Vec::new(),
            begun: None,
            old: None,
            ways,
            rotations: 0,
            last: None,
            is_backdated: false,
            gaps: 0,
            truncations: 0,
            lost: Vec::new(),
            in_log: Vec::new(),
        }
    }

    fn next_row(&mut self) -> (String, String) {
        self.written += 1;
        let probe = format!("p{}", self.written);
        (wake(&probe).line() + "\n", probe)
    }

    /// Whoever appends completes the row that was begun.
    fn complete(&mut self) {
        if let Some((rest, probe)) = self.begun.take() {
            self.write(rest);
            self.note(probe);
        }
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        let length = fs::metadata(self.sandbox.log()).map_or(0, |meta| meta.len());
        if self.ways.begins_alike && length == 0 {
            self.sandbox.append_raw(FIRST_ROW);
        }
        self.sandbox.append_raw(text);
    }

    fn note(&mut self, probe: String) {
        self.due.push(probe.clone());
        self.in_log.push(probe);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(rows) => {
                self.complete();
                for _ in 0..*rows {
                    let (line, probe) = self.next_row();
                    self.write(line);
                    self.note(probe);
                }
            }
            Step::Begin => {
                self.complete();
                let (line, probe) = self.next_row();
                let (half, rest) = line.split_at(line.len() / 2);
                self.write(half);
                self.begun = Some((rest.to_owned(), probe));
            }
            Step::AppendLate => self.append_late(),
            Step::Backdate => self.backdate(),
            Step::Noise(rows) => {
                self.complete();
                let row = crate::support::other_row("all is well") + "\n";
                self.write(row.repeat(*rows));
            }
            Step::Truncate => self.truncate(),
            Step::Run => self.run(),
            rotation => self.rotate(rotation),
        }
    }

    /// Not where generations begin alike: one that was truncated and left is not missed then, and a late
    /// row in it not found.
    fn append_late(&mut self) {
        if self.old.is_some() && !self.ways.begins_alike {
            let (line, probe) = self.next_row();
            let old = self.old.as_mut().expect("an old descriptor");
            old.write_all(line.as_bytes()).expect("a late row");
            self.late.push(probe);
        }
    }

    fn backdate(&mut self) {
        if let Some(last) = &self.last {
            let file = File::open(last).expect("a rotated file");
            file.set_modified(UNIX_EPOCH + LONG_AGO).expect("a time");
            self.is_backdated = true;
        }
    }

    fn truncate(&mut self) {
        self.complete();
        if let Ok(log) = OpenOptions::new().write(true).open(self.sandbox.log()) {
            log.set_len(0).expect("an empty log");
        }
        self.truncations += 1;
        self.lost.append(&mut self.in_log);
    }

    fn rotate(&mut self, step: &Step) {
        self.complete();
        self.rotations += 1;
        let log = self.sandbox.log();
        if !log.exists() {
            return;
        }
        let first = self.make_room();
        if matches!(step, Step::CopyTruncate) {
            fs::copy(&log, &first).expect("a copy");
            let file = OpenOptions::new().write(true).open(&log).expect("the log");
            file.set_len(0).expect("an empty log");
            self.old = None;
        } else {
            // What is compressed is not written to any more.
            self.old = OpenOptions::new().append(true).open(&log).ok();
            fs::rename(&log, &first).expect("a rename");
        }
        match step {
            Step::NoCreate => {}
            _ => drop(OpenOptions::new().create(true).append(true).open(&log)),
        }
        match step {
            Step::Compress => {
                self.old = None;
                gzip(&first);
            }
            Step::DelayCompress => {
                if let Some(plain) = self.last.take().filter(|path| path.exists()) {
                    gzip(&plain);
                }
            }
            _ => {}
        }
        self.in_log.clear();
        self.last = Some(first).filter(|path| path.exists());
    }

    /// The name that the log is to get, free for it. What was moved there before gets the next one.
    fn make_room(&mut self) -> PathBuf {
        let folder = if self.ways.olddir { "old/" } else { "" };
        let file = |end: &str| {
            self.sandbox
                .path(&format!("{folder}kora_audit_log.jsonl{end}"))
        };
        if self.ways.dated {
            return file(&format!("-20260524-{:06}", self.rotations));
        }
        for number in (1..30).rev() {
            for end in ["", ".gz"] {
                let (from, to) = (format!(".{number}{end}"), format!(".{}{end}", number + 1));
                if file(&from).exists() {
                    fs::rename(file(&from), file(&to)).expect("a rename");
                    if self.last == Some(file(&from)) {
                        self.last = Some(file(&to));
                    }
                }
            }
        }
        file(".1")
    }

    fn run(&mut self) {
        let outcome = self.sandbox.command("run --to stdout --format json");
        let report = outcome.json();
        assert_eq!(report["rows"]["malformed"], 0, "{}", outcome.stderr);
        let is_gap = report["position"]["gap"] == true;
        let is_blind = !self.sandbox.log().exists() && report["position"]["rotated"] == false;
        assert_eq!(
            outcome.code,
            Some(if is_gap || is_blind { 3 } else { 0 }),
            "{}",
            outcome.stderr
        );
        self.gaps += usize::from(is_gap);
        let wakes = report["wakes"].as_array().expect("wakes").iter();
        let probe = |wake: &Value| wake["probe"].as_str().expect("a probe").to_owned();
        self.told.extend(wakes.map(probe));
        // What this run has seen is not lost by a later truncate.
        self.in_log.retain(|probe| !self.told.contains(probe));
    }

    /// Two more runs: one that reads what is left, and one that must find nothing.
    fn finish(mut self) {
        self.take(&Step::Append(1));
        self.run();
        let before = self.sandbox.state_file("state.json");
        self.run();
        let after = self.sandbox.state_file("state.json");
        assert!(before == after, "an idle run wrote");
        if self.gaps > 0 {
            assert!(self.truncations > 0, "a gap where nothing was lost");
            return;
        }
        let told = |probe: &&String| self.told.contains(probe);
        let is_due = |probe: &&String| !self.lost.contains(probe) || told(probe);
        let mut due: Vec<_> = self.due.iter().filter(is_due).chain(&self.late).collect();
        let mut told: Vec<_> = self.told.iter().collect();
        if !self.late.is_empty() || self.is_backdated {
            // A late writer makes its generation the younger one.
            due.sort();
            told.sort();
        }
        assert_eq!(told, due, "told against due");
    }
}

fn gzip(path: &PathBuf) {
    let done = Command::new("gzip")
        .arg("-f")
        .arg(path)
        .status()
        .expect("gzip");
    assert!(done.success());
}

fn cases() -> u32 {
    let named = std::env::var("PROPTEST_CASES").ok();
    named.and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

proptest! {
    #![proptest_config(Config { cases: cases(), max_shrink_iters: 400, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_complete_row_is_told_once_and_in_order_or_a_gap_is_reported(steps in steps(), ways in ways()) {
        let mut model = Model::new(ways);
        for step in &steps {
            model.take(step);
        }
        model.finish();
    }
}
