//! The logs and states that are measured on, in a folder that is removed at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::PROGRAM;
use super::timing::Contender;

pub struct Bench {
    dir: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A log in a folder of its own.
    pub fn log(&self, name: &str, write: impl Fn(&Path)) -> PathBuf {
        let folder = self.path(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let log = folder.join("kora_audit_log.jsonl");
        write(&log);
        log
    }

    fn state_dir(log: &Path) -> PathBuf {
        log.with_file_name("state")
    }

    /// A run over the log, with nothing configured but what the bench adds.
    pub fn run(&self, log: &Path) -> Command {
        let mut command = Command::new(PROGRAM);
        self.environment(&mut command, log);
        command.arg("run");
        command
    }

    fn environment(&self, command: &mut Command, log: &Path) {
        command
            .env_clear()
            .env("HOME", &self.dir)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KORA_AUDIT_LOG_PATH", log)
            .env("KORA_PROBE_WAKE_STATE_DIR", Self::state_dir(log));
    }

    /// Makes the whole log new, and keeps that state.
    pub fn stamp_at_start(&self, log: &Path) {
        let mut command = Command::new(PROGRAM);
        self.environment(&mut command, log);
        fs::create_dir_all(Self::state_dir(log)).unwrap();
        command.args(["state", "reset", "--position", "start"]);
        super::timing::once(&mut command);
        fs::copy(
            Self::state_dir(log).join("state.json"),
            log.with_file_name("kept.json"),
        )
        .unwrap();
    }

    /// A run to stdout that goes on from this state, however often it is run.
    pub fn run_from(&self, name: &str, log: &Path, kept: &Path) -> Contender {
        let mut command = self.run(log);
        command.args(["--to", "stdout"]);
        command.env("KORA_PROBE_DEBOUNCE_SECONDS", "86400");
        let (kept, state) = (kept.to_owned(), Self::state_dir(log).join("state.json"));
        Contender::new(name, command).after(move || {
            fs::copy(&kept, &state).unwrap();
        })
    }

    /// The log's state, changed, for [`Self::wired`].
    pub fn keep_state(&self, log: &Path, change: impl Fn(&mut Value)) -> Value {
        let path = Self::state_dir(log).join("state.json");
        let mut state = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        change(&mut state);
        state
    }

    /// A run with these settings that goes on from this state, however often it is run.
    pub fn wired(
        &self,
        name: &str,
        log: &Path,
        state: &Value,
        settings: impl Fn(&mut Command),
    ) -> Contender {
        let mut command = self.run(log);
        settings(&mut command);
        let (state, path) = (state.to_string(), Self::state_dir(log).join("state.json"));
        Contender::new(name, command).after(move || fs::write(&path, &state).unwrap())
    }

    /// Keeps a state in which each of the log's pairs has an open window.
    pub fn begin_incidents(&self, log: &Path, kept: &Path) {
        let whole = log.with_file_name("whole");
        fs::rename(log, &whole).unwrap();
        let pairs: Vec<_> = (0..PAIRS).map(pair).collect();
        File::create(log).unwrap();
        append(log, pairs.iter().map(|pair| (pair.as_str(), "warning")));
        super::timing::once(&mut self.run(log));
        let begun = self.keep_state(log, |_| {});
        fs::rename(&whole, log).unwrap();
        let at_start = fs::read(log.with_file_name("kept.json")).unwrap();
        let mut state: Value = serde_json::from_slice(&at_start).unwrap();
        let name = log.to_str().unwrap();
        state["logs"][name]["incidents"] = begun["logs"][name]["incidents"].clone();
        fs::write(kept, state.to_string()).unwrap();
    }

    /// Reads the first row of the log, so that the position is proven, and rotates it to `.gz`.
    pub fn rotate_to_gzip(&self, log: &Path) -> PathBuf {
        let first = fs::File::open(log)
            .map(std::io::BufReader::new)
            .map(|mut reader| {
                let mut line = Vec::new();
                std::io::BufRead::read_until(&mut reader, b'\n', &mut line).unwrap();
                line
            });
        let whole = log.with_file_name("whole");
        fs::rename(log, &whole).unwrap();
        fs::write(log, first.unwrap()).unwrap();
        super::timing::once(&mut self.run(log));
        let state = Self::state_dir(log).join("state.json");
        fs::copy(state, log.with_file_name("kept.json")).unwrap();
        let rotated = log.with_file_name("kora_audit_log.jsonl.1");
        fs::rename(&whole, &rotated).unwrap();
        super::timing::once(Command::new("gzip").arg(&rotated));
        fs::write(log, "").unwrap();
        rotated.with_extension("1.gz")
    }

    pub fn forget(&self, log: &Path) {
        let _ = fs::remove_dir_all(Self::state_dir(log));
    }

    /// Adds so many open incidents and queued messages to the log's state, each like that of one wake.
    pub fn fill_state(&self, log: &Path, incidents: usize, messages: usize) {
        append(log, [("seed", "warning")].into_iter());
        super::timing::once(&mut self.run(log));
        let path = Self::state_dir(log).join("state.json");
        let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let copies = |seed: &Value, number: usize| -> Value {
            let seed = seed.to_string();
            let copy = |at: usize| {
                let copy = seed.replace("seed", &format!("seed-{at}"));
                let mut copy: Value = serde_json::from_str(&copy).unwrap();
                if copy["id"].is_string() {
                    copy["id"] = format!("{at:016x}").into();
                }
                copy
            };
            (0..number).map(copy).collect()
        };
        let kept = &mut state["logs"][log.to_str().unwrap()]["incidents"];
        *kept = copies(&kept[0], incidents);
        state["outbox"] = copies(&state["outbox"][0], messages);
        fs::write(&path, state.to_string()).unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn wake(probe: &str, severity: &str) -> String {
    let now = jiff::Timestamp::now();
    format!(
        r#"{{"emitted_at":"{now}","seam":"probe.wake_requested","details":{{"probe":"{probe}","severity":"{severity}","category":"service_unhealthy","title":"{probe} unreachable: HTTP 401","detail":"{probe} probe reported status=unhealthy. error='HTTP 401'.","snapshot_details":{{"apps_running":0}},"envelope_enabled":false,"envelope_fix_name":"restart_unhealthy_machine"}},"caller_session_id":null,"source":null}}"#
    )
}

/// How many pairs the wakes of a log are spread over.
pub const PAIRS: u64 = 24;

/// Rows of 250 to 600 bytes until the file is so long. One in a thousand is a wake of one of 24
/// pairs, two in a thousand quote one, and a third begin like one.
pub fn write_rows(log: &Path, bytes: u64) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(log).unwrap());
    let (mut written, mut row) = (0, 0_u64);
    while written < bytes {
        row += 1;
        let line = match row % 1_000 {
            0 => wake(&pair(row / 1_000), "warning"),
            333 | 666 => decoy(row),
            _ => other_row(row),
        };
        writeln!(out, "{line}").unwrap();
        written += line.len() as u64 + 1;
    }
    out.flush().unwrap();
}

/// Writes this many rows, spread evenly over the hour before now.
pub fn write_last_hour(log: &Path, rows: u64) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(log).unwrap());
    let begin = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
    for row in 0..rows {
        let at = begin + jiff::SignedDuration::from_micros((3_600_000_000 / rows * row) as i64);
        let line = other_row(row);
        let (_, rest) = line.split_once(',').unwrap();
        writeln!(out, r#"{{"emitted_at":"{at}",{rest}"#).unwrap();
    }
    out.flush().unwrap();
}

/// The probe of the pair of this number.
pub fn pair(number: u64) -> String {
    format!("probe-{}", number % PAIRS)
}

fn other_row(row: u64) -> String {
    if row.is_multiple_of(3) {
        let text = "the probe found every machine of the service well and said so; ";
        return row_of("probe.ran", "probe", row, text);
    }
    let text = "the tool answered with a list of machines and their states; ";
    row_of("reasoning.tool_called", "reasoning", row, text)
}

/// A row of another seam that quotes a wake.
fn decoy(row: u64) -> String {
    let text = r#"{\"seam\":\"probe.wake_requested\",\"details\":{\"probe\":\"fly\"}} was read; "#;
    row_of("mcp.tool_called", "mcp", row, text)
}

/// A row of 250 to 600 bytes, filled up with this text.
fn row_of(seam: &str, source: &str, row: u64, text: &str) -> String {
    let (second, micros) = (row / 1_000_000 % 60, row % 1_000_000);
    let begin = format!(
        r#"{{"emitted_at":"2026-05-24T14:32:{second:02}.{micros:06}Z","seam":"{seam}","details":{{"call":{row},"answer":""#
    );
    let end =
        format!(r#""}},"caller_session_id":"probe:fly:service_unhealthy","source":"{source}"}}"#);
    let length = usize::try_from(250 + row * 7_919 % 351).unwrap();
    let fill = length
        .saturating_sub(begin.len() + end.len())
        .max(text.len());
    let mut answer = text.to_owned();
    while answer.len() < fill {
        answer.push_str("one of them was restarted and came back within a minute; ");
    }
    answer.truncate(fill);
    begin + &answer + &end
}

/// A log whose middle is a hole: as long as said, with rows at both ends.
pub fn write_sparse(log: &Path, bytes: u64) {
    write_rows(log, 2 * 1_024);
    let mut file = OpenOptions::new().write(true).open(log).unwrap();
    file.seek(SeekFrom::Start(bytes - 4_096)).unwrap();
    writeln!(file).unwrap();
    for row in 0..3 {
        writeln!(file, "{}", other_row(row)).unwrap();
    }
}

pub fn append_wakes(log: &Path, wakes: usize) {
    let rows: Vec<_> = (0..wakes)
        .map(|wake| (format!("new-{wake}"), "warning"))
        .collect();
    append(
        log,
        rows.iter()
            .map(|(probe, severity)| (probe.as_str(), *severity)),
    );
}

pub fn append<'a>(log: &Path, wakes: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut file = OpenOptions::new().append(true).open(log).unwrap();
    let rows: String = wakes
        .map(|(probe, severity)| wake(probe, severity) + "\n")
        .collect();
    file.write_all(rows.as_bytes()).unwrap();
}
