//! The table of generations against a model: whatever the writer and the rotation do between the
//! looks, every complete row is read exactly once and in order, or a gap is reported.
//! `PROPTEST_CASES` sets how many histories are tried.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::generations::Checkpoint;
use super::lag::lag;
use super::look::Summary;
use super::row::Event;
use super::wakes::look;

const CASES: u32 = 400;
/// Not 0, which gzip has no place for.
const LONG_AGO: Duration = Duration::from_secs(1_000_000_000);

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    /// Several rows in one line.
    AppendGlued(usize),
    /// The first half of a row, left as it is until it is completed.
    Begin,
    /// A row through the descriptor that was opened before the last rename.
    AppendLate,
    /// Rows of another seam.
    Noise(usize),
    Create,
    /// Create, and the row that was begun is completed in what was moved away.
    CreateTorn,
    NoCreate,
    CopyTruncate,
    /// The copy is made, and a look comes before the log is truncated.
    CopyLookTruncate,
    /// Create, and what was moved away before is compressed.
    DelayCompress,
    Compress,
    /// The file that was moved away last gets a time long ago, as by a clock that was set back.
    Backdate,
    /// The same bytes under another inode.
    Restore,
    /// A copy of the log as it is, which is no rotation.
    Copy,
    /// The log emptied with no copy kept: what was not read of it is lost.
    Truncate,
    Look,
    /// A look that is stopped after so many events.
    LookAt(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1usize..4).prop_map(Step::Append),
        1 => (2usize..4).prop_map(Step::AppendGlued),
        2 => Just(Step::Begin),
        2 => Just(Step::AppendLate),
        1 => (1usize..12).prop_map(Step::Noise),
        2 => Just(Step::Create),
        2 => Just(Step::CreateTorn),
        1 => Just(Step::NoCreate),
        2 => Just(Step::CopyTruncate),
        1 => Just(Step::CopyLookTruncate),
        2 => Just(Step::DelayCompress),
        2 => Just(Step::Compress),
        1 => Just(Step::Backdate),
        1 => Just(Step::Restore),
        1 => Just(Step::Copy),
        1 => Just(Step::Truncate),
        6 => Just(Step::Look),
        2 => (1usize..4).prop_map(Step::LookAt),
    ];
    prop::collection::vec(step, 1..24)
}

/// The first row of every generation, where the writer begins each with the same one.
#[derive(Clone, Copy, Debug)]
enum FirstRow {
    None,
    Undated,
    Dated,
    /// Longer than what is compared to see whether a file is another one.
    Long,
}

impl FirstRow {
    fn text(self) -> String {
        let time = r#""emitted_at":"2026-01-01T00:00:00Z","#;
        let padding = "x".repeat(1_500);
        match self {
            Self::None => String::new(),
            Self::Undated => "{\"seam\":\"daemon.started\"}\n".to_owned(),
            Self::Dated => format!("{{{time}\"seam\":\"daemon.started\"}}\n"),
            Self::Long => format!("{{{time}\"seam\":\"daemon.started\",\"a\":\"{padding}\"}}\n"),
        }
    }
}

/// How the log is written and rotated; logrotate keeps to one way for one log.
#[derive(Clone, Copy, Debug)]
struct Ways {
    first_row: FirstRow,
    /// By a date and a time, not by a number that rises with each rotation.
    dated: bool,
    /// In a folder below.
    olddir: bool,
    /// The number or date before the extension.
    extension: bool,
}

fn ways() -> impl Strategy<Value = Ways> {
    let first_row = prop_oneof![
        3 => Just(FirstRow::None),
        1 => Just(FirstRow::Undated),
        1 => Just(FirstRow::Dated),
        1 => Just(FirstRow::Long),
    ];
    (first_row, any::<[bool; 3]>()).prop_map(|(first_row, [dated, olddir, extension])| Ways {
        first_row,
        dated,
        olddir,
        extension,
    })
}

/// What was written, and what of it was read.
struct Model {
    folder: PathBuf,
    checkpoint: Checkpoint,
    written: usize,
    /// Rows in the order in which they must be read; those of a late writer come whenever they come.
    due: Vec<String>,
    late: Vec<String>,
    read: Vec<String>,
    /// The first half of a row that was begun, and its rest.
    begun: Option<(String, String)>,
    /// The rest of a row that was begun before the last rename, and is due in `old`.
    torn: Option<(String, String)>,
    /// Opened before the last rename.
    old: Option<File>,
    ways: Ways,
    rotations: usize,
    copies: usize,
    /// What was moved away last, while it is not compressed.
    last: Option<PathBuf>,
    /// A time says no longer which file is the older one.
    is_unordered: bool,
    gaps: usize,
    truncations: usize,
    /// Rows that a truncate took before a look could see them.
    lost: Vec<String>,
    in_log: Vec<String>,
}

static FOLDERS: AtomicUsize = AtomicUsize::new(0);

impl Model {
    fn new(ways: Ways) -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("probe-wake-model-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(folder.join("old")).unwrap();
        let log = folder.join("kora.jsonl");
        File::create(&log).unwrap();
        Self {
            checkpoint: Checkpoint::begin(&log, false, Timestamp::now()).unwrap(),
            folder,
            written: 0,
            due: Vec::new(),
            late: Vec::new(),
            read: Vec::new(),
            begun: None,
            torn: None,
            old: None,
            ways,
            rotations: 0,
            copies: 0,
            last: None,
            is_unordered: false,
            gaps: 0,
            truncations: 0,
            lost: Vec::new(),
            in_log: Vec::new(),
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("kora.jsonl")
    }

    fn next_row(&mut self) -> (String, String) {
        self.written += 1;
        let probe = format!("p{}", self.written);
        let time = Timestamp::UNIX_EPOCH + Duration::from_micros(self.written as u64);
        let row = format!(
            "{{\"emitted_at\":\"{time}\",\"seam\":\"probe.wake_requested\",\
             \"details\":{{\"probe\":\"{probe}\"}}}}"
        );
        (row, probe)
    }

    /// Whoever appends completes the row that was begun.
    fn complete(&mut self) {
        if let Some((rest, probe)) = self.begun.take() {
            self.write(&rest);
            self.note(probe);
        }
    }

    fn complete_torn(&mut self) {
        if let (Some((rest, probe)), Some(old)) = (self.torn.take(), &mut self.old) {
            old.write_all(rest.as_bytes()).unwrap();
            self.late.push(probe);
        }
    }

    fn write(&self, text: &str) {
        let mut options = OpenOptions::new();
        let mut log = options.create(true).append(true).open(self.log()).unwrap();
        let mut text = text.to_owned();
        if log.metadata().unwrap().len() == 0 {
            text.insert_str(0, &self.ways.first_row.text());
        }
        log.write_all(text.as_bytes()).unwrap();
    }

    fn note(&mut self, probe: String) {
        self.due.push(probe.clone());
        self.in_log.push(probe);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(rows) | Step::AppendGlued(rows) => {
                self.complete();
                for number in 1..=*rows {
                    let (mut row, probe) = self.next_row();
                    if number == *rows || matches!(step, Step::Append(_)) {
                        row.push('\n');
                    }
                    self.write(&row);
                    self.note(probe);
                }
            }
            Step::Begin => {
                self.complete();
                let (row, probe) = self.next_row();
                let (half, rest) = row.split_at(row.len() / 2);
                self.write(half);
                self.begun = Some((format!("{rest}\n"), probe));
            }
            Step::AppendLate => self.append_late(),
            Step::Noise(rows) => {
                self.complete();
                for _ in 0..*rows {
                    let (row, _) = self.next_row();
                    self.write(&(row.replace("probe.wake_requested", "mcp.tool_called") + "\n"));
                }
            }
            Step::Backdate => {
                // Where generations begin with the same time, a time must not lie.
                let is_dated = matches!(self.ways.first_row, FirstRow::Dated | FirstRow::Long);
                if let (Some(last), false) = (&self.last, is_dated) {
                    let file = File::open(last).unwrap();
                    file.set_modified(UNIX_EPOCH + LONG_AGO).unwrap();
                    self.is_unordered = true;
                }
            }
            Step::Restore => {
                let copy = self.folder.join("restored");
                if fs::copy(self.log(), &copy).is_ok() {
                    fs::rename(copy, self.log()).unwrap();
                    self.old = None;
                }
            }
            Step::Copy => {
                self.copies += 1;
                let name = format!("kora.jsonl.{}", 500 + self.copies);
                self.is_unordered |= fs::copy(self.log(), self.folder.join(name)).is_ok();
            }
            Step::Truncate => {
                self.complete();
                if let Ok(log) = OpenOptions::new().write(true).open(self.log()) {
                    log.set_len(0).unwrap();
                }
                self.truncations += 1;
                self.lost.append(&mut self.in_log);
            }
            Step::Look => self.look(usize::MAX),
            Step::LookAt(events) => self.look(*events),
            rotation => self.rotate(rotation),
        }
    }

    fn append_late(&mut self) {
        self.complete_torn();
        // Of two files with the same content that were never seen before, one is taken for a copy.
        if self.old.is_some() && self.copies == 0 {
            let (row, probe) = self.next_row();
            let old = self.old.as_mut().unwrap();
            old.write_all((row + "\n").as_bytes()).unwrap();
            self.late.push(probe);
        }
    }

    fn rotate(&mut self, step: &Step) {
        self.complete_torn();
        if matches!(step, Step::CreateTorn) && self.copies == 0 && self.log().exists() {
            self.torn = self.begun.take();
        }
        self.complete();
        self.rotations += 1;
        let log = self.log();
        if !log.exists() {
            return;
        }
        let first = self.make_room();
        if matches!(step, Step::CopyTruncate | Step::CopyLookTruncate) {
            fs::copy(&log, &first).unwrap();
            if matches!(step, Step::CopyLookTruncate) {
                self.look(usize::MAX);
            }
            let file = OpenOptions::new().write(true).open(&log).unwrap();
            file.set_len(0).unwrap();
            self.old = None;
        } else {
            self.old = OpenOptions::new().append(true).open(&log).ok();
            fs::rename(&log, &first).unwrap();
        }
        if !matches!(step, Step::NoCreate) {
            drop(OpenOptions::new().create(true).append(true).open(&log));
        }
        match step {
            Step::Compress => {
                // What is compressed is not written to any more.
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
        let folder = self.folder.join(if self.ways.olddir { "old" } else { "" });
        let file = |stamp: &str, end: &str| {
            folder.join(match self.ways.extension {
                true => format!("kora{stamp}.jsonl{end}"),
                false => format!("kora.jsonl{stamp}{end}"),
            })
        };
        if self.ways.dated {
            return file(&format!("-20260524-{:06}", self.rotations), "");
        }
        for number in (1..30).rev() {
            for end in ["", ".gz"] {
                let (from, to) = (format!(".{number}"), format!(".{}", number + 1));
                let (from, to) = (file(&from, end), file(&to, end));
                if from.exists() {
                    fs::rename(&from, &to).unwrap();
                    if self.last.as_ref() == Some(&from) {
                        self.last = Some(to);
                    }
                }
            }
        }
        file(".1", "")
    }

    fn look(&mut self, most: usize) {
        let now = Timestamp::now();
        let log = self.log();
        let lag = lag(&log, &self.checkpoint, now).unwrap();
        let mut wakes = look(&log, &mut self.checkpoint, now).unwrap();
        let mut read = Vec::new();
        for event in wakes.by_ref().take(most) {
            match event.unwrap() {
                Event::Wake(wake) => read.push(wake.probe),
                Event::Recovery(recovery) => panic!("{recovery:?}"),
            }
        }
        let Summary {
            malformed,
            missed,
            gap,
            warnings,
            ..
        } = wakes.finish();
        assert_eq!(
            (malformed, missed, warnings.len()),
            (0, 0, usize::from(gap))
        );
        assert_eq!((lag.gap, lag.waiting), (gap, None));
        // A line holds three at most.
        assert!(
            3 * lag.rows as usize + 3 >= read.len(),
            "{} {read:?}",
            lag.rows
        );
        let text = serde_json::to_string(&self.checkpoint).unwrap();
        assert_eq!(
            serde_json::from_str::<Checkpoint>(&text).unwrap(),
            self.checkpoint
        );
        self.gaps += usize::from(gap);
        self.read.append(&mut read);
        // What this look has seen is not lost by a later truncate.
        self.in_log.retain(|probe| !self.read.contains(probe));
    }

    /// Two more looks: one that reads what is left, and one that must find nothing.
    fn finish(mut self) {
        self.complete_torn();
        self.take(&Step::Append(1));
        self.look(usize::MAX);
        let now = Timestamp::now();
        let before = self.checkpoint.clone();
        let mut wakes = look(&self.log(), &mut self.checkpoint, now).unwrap();
        assert!(wakes.next().is_none(), "an idle look found something");
        assert!(
            !wakes.finish().moved,
            "an idle look moved {before:#?} to {:#?}",
            self.checkpoint
        );
        if self.gaps > 0 {
            assert!(self.truncations > 0, "a gap where nothing was lost");
            return;
        }
        let is_read = |probe: &&String| self.read.contains(probe);
        let is_due = |probe: &&String| !self.lost.contains(probe) || is_read(probe);
        let mut due: Vec<_> = self.due.iter().filter(is_due).chain(&self.late).collect();
        let mut read: Vec<_> = self.read.iter().collect();
        if !self.late.is_empty() || self.is_unordered {
            // A late writer makes its generation the younger one.
            due.sort();
            read.sort();
        }
        assert_eq!(read, due, "read against due");
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn gzip(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let file = File::create(&name).unwrap();
    let mut encoder = GzEncoder::new(file, Compression::fast());
    encoder.write_all(&fs::read(path).unwrap()).unwrap();
    let file = encoder.finish().unwrap();
    file.set_modified(modified).unwrap();
    fs::remove_file(path).unwrap();
}

fn cases() -> u32 {
    let named = std::env::var("PROPTEST_CASES").ok();
    named.and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

proptest! {
    #![proptest_config(Config { cases: cases(), max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_complete_row_is_read_once_and_in_order_or_a_gap_is_reported(steps in steps(), ways in ways()) {
        let mut model = Model::new(ways);
        for step in &steps {
            model.take(step);
        }
        model.finish();
    }
}

#[test]
fn a_compressed_copy_of_a_file_that_did_not_change_is_not_read() {
    let mut model = Model::new(Ways {
        first_row: FirstRow::None,
        dated: false,
        olddir: false,
        extension: false,
    });
    // A time long ago shows that a file did not change.
    let steps = [Step::Append(2), Step::Create, Step::Backdate, Step::Look];
    steps.iter().for_each(|step| model.take(step));
    let copy = model.folder.join("kora.jsonl.2");
    fs::copy(model.folder.join("kora.jsonl.1"), &copy).unwrap();
    gzip(&copy);
    model.take(&Step::Append(1));
    model.take(&Step::Look);
    model.finish();
}

/// Returns what a look says, or the error.
fn said(log: &Path, checkpoint: &mut Checkpoint) -> Result<Vec<String>, String> {
    let mut wakes =
        look(log, checkpoint, Timestamp::now()).map_err(|error| format!("{error:#}"))?;
    wakes.by_ref().for_each(|event| drop(event.unwrap()));
    Ok(wakes.finish().warnings)
}

#[test]
fn a_file_that_cannot_be_looked_at_is_never_known_again() {
    let folder = std::env::temp_dir().join(format!("probe-wake-unseen-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let log = folder.join("kora.jsonl");
    fs::write(&log, "{}\n").unwrap();
    let too_long = "a".repeat(300);
    symlink(&too_long, folder.join("kora.jsonl.1")).unwrap();
    let mut checkpoint = Checkpoint::begin(&log, false, Timestamp::now()).unwrap();
    fs::write(&log, "{}\n{}\n").unwrap();
    let warnings = said(&log, &mut checkpoint).unwrap();
    assert!(warnings[0].contains("cannot read"), "{warnings:?}");
    fs::remove_file(&log).unwrap();
    symlink(&too_long, &log).unwrap();
    let error = said(&log, &mut checkpoint).unwrap_err();
    assert!(error.contains("cannot read the audit log"), "{error}");
    fs::remove_dir_all(&folder).unwrap();
}
