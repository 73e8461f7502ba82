//! What a run did: as JSON for a program, as one line for a person, and as the exit code.

use std::io::{self, Write};

use rustix::fs::{OFlags, fcntl_getfl, fstat, major, minor};
use serde::Serialize;

use crate::audit::wake::Wake;
use crate::exit::Exit;
use crate::incident::{Decision, Reason};
use crate::text::steers;

/// The JSON object of `run` and `replay`: its fields are the program's interface.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    version: u32,
    pub audit_log: String,
    pub first_run: bool,
    pub dry_run: bool,
    pub position: PositionReport,
    pub rows: RowsReport,
    /// Wakes in the queue for which nothing has been sent yet.
    pub left_for_next_run: u64,
    pub wakes: Vec<WakeReport>,
    pub outbox: OutboxReport,
    pub investigations: InvestigationsReport,
    #[serde(skip)]
    pub tally: Tally,
}

/// Offsets in bytes, before and after the run.
#[derive(Debug, Default, Serialize)]
pub struct PositionReport {
    pub before: u64,
    pub after: u64,
    pub rotated: bool,
    pub gap: bool,
}

#[derive(Debug, Default, Serialize)]
pub struct RowsReport {
    /// Complete lines.
    pub read: u64,
    pub malformed: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct OutboxReport {
    /// Messages from earlier runs that were delivered in this one.
    pub delivered: u64,
    /// Messages that are queued when the run ends.
    pub pending: u64,
    /// Messages that were too old and went to `undelivered/`.
    pub expired: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct InvestigationsReport {
    /// Investigations that are left to the next run.
    pub owed: u64,
}

/// What became of one wake.
#[derive(Debug, Default, Serialize)]
pub struct WakeReport {
    pub probe: String,
    pub category: String,
    pub severity: String,
    pub emitted_at: Option<String>,
    pub dispatched: bool,
    pub debounce_skipped: bool,
    pub buffered_skipped: bool,
    pub silenced: bool,
    pub reasoning_invoked: bool,
    pub dm_sent: bool,
    /// Whether its facts were announced before its result.
    pub facts_first: bool,
    pub error: Option<String>,
    pub caller_session_id: String,
    pub dm_text: Option<String>,
    /// In a dry run, what the engine would be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Whether an earlier run dispatched it.
    #[serde(skip)]
    pub was_queued: bool,
}

/// What the summary and the exit code are made of.
#[derive(Debug, Default)]
pub struct Tally {
    pub wakes: u64,
    pub dispatched: u64,
    pub held_back: u64,
    pub sent: u64,
    /// Messages of this run that were delivered or printed.
    pub sent_messages: u64,
    /// Messages that went to `undelivered/`.
    pub undelivered: u64,
    /// Parts of the log that could not be read: wakes may have been in them.
    pub missed: u64,
}

impl Report {
    pub fn new(audit_log: String, dry_run: bool) -> Self {
        Self {
            version: 1,
            audit_log,
            dry_run,
            ..Self::default()
        }
    }

    /// Returns the exit code for the run's outcome. A dry run's is always 0.
    pub fn exit(&self) -> Exit {
        let is_settled = self.outbox.pending == 0 && self.tally.undelivered == 0;
        let complete = self.tally.missed == 0 && self.rows.malformed == 0 && !self.position.gap;
        match self.dry_run || (is_settled && complete) {
            true => Exit::Done,
            false => Exit::Unfinished,
        }
    }

    /// Returns one line for a person at a terminal.
    pub fn summary(&self) -> String {
        if self.first_run {
            let at = self.position.after;
            return format!(
                "first run: the log's first {at} bytes are passed over; alerts are sent from here on"
            );
        }
        let tally = &self.tally;
        let mut parts = vec![
            count(self.rows.read, "row", "rows"),
            count(tally.wakes, "wake", "wakes"),
            format!("{} dispatched", tally.dispatched),
            format!("{} sent", tally.sent),
        ];
        parts.extend(counted([
            (tally.held_back, "held back"),
            (self.outbox.delivered, "delivered from the outbox"),
            (self.outbox.pending, "still queued"),
            (tally.undelivered, "undelivered"),
            (self.rows.malformed, "malformed"),
            (self.investigations.owed, "left for the next run"),
        ]));
        parts.join(", ")
    }
}

/// Returns a number with what it counts: `1 row`, `2 rows`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Returns each number that is not 0, with what it counts, as in `2 sent`.
pub fn counted<'a>(parts: impl IntoIterator<Item = (u64, &'a str)>) -> Vec<String> {
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    parts
        .map(|(number, what)| format!("{number} {what}"))
        .collect()
}

/// Prints a line about what was done to stdout. If nobody reads it, that is no reason to stop.
pub fn tell(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Fails if stdout was closed when this process was started. The runtime then opened `/dev/null` in its place
/// for reading and writing; nobody who redirects stdout there on purpose does that.
pub fn check_stdout() -> io::Result<()> {
    let stdout = io::stdout();
    let is_open_for_both = fcntl_getfl(&stdout)?.contains(OFlags::RDWR);
    let meta = fstat(&stdout)?;
    let is_null = (major(meta.st_rdev), minor(meta.st_rdev)) == (1, 3);
    match is_null && is_open_for_both {
        true => Err(io::Error::other("it is closed")),
        false => Ok(()),
    }
}

/// Prints one JSON object to stdout. Characters that could steer a terminal are written as escapes: they can
/// only occur within strings.
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_string_pretty(value)?;
    let mut safe = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        match steers(c) {
            true => safe += &format!("\\u{:04x}", u32::from(c)),
            false => safe.push(c),
        }
    }
    safe.push('\n');
    print(&safe)
}

/// Prints lines for a person to stdout.
pub fn print_lines(lines: &[String]) -> io::Result<()> {
    let ended = lines.iter().flat_map(|line| [line, "\n"]);
    print(&ended.collect::<String>())
}

/// Prints a text to stdout, as it is.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

impl WakeReport {
    pub fn new(wake: &Wake, decision: &Decision) -> Self {
        use Decision::HeldBack;
        use Reason::{Acknowledged, Repeat, Resent};
        Self {
            probe: wake.probe.clone(),
            category: wake.category.clone(),
            severity: wake.severity.clone(),
            emitted_at: wake.emitted_at.clone(),
            dispatched: matches!(decision, Decision::Dispatch(_)),
            debounce_skipped: matches!(decision, HeldBack(Repeat | Resent | Acknowledged)),
            buffered_skipped: *decision == HeldBack(Reason::Buffered),
            silenced: *decision == HeldBack(Reason::Silenced),
            caller_session_id: wake.caller_session_id(),
            ..Self::default()
        }
    }
}
