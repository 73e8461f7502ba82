//! Writes problems and progress to stderr, one line each. Drops the records of libraries, which
//! could contain a secret: ureq traces whole requests.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use log::{Level, LevelFilter, Log, Metadata, Record, warn};

use crate::state::lock::Printed;
use crate::terminal::write_line;
use crate::text::on_one_line;

/// The kind of a problem with reading reactions, which is printed once a day.
pub const REACTIONS: &str = "reactions";
/// How often a lasting problem is printed.
const PRINT_AGAIN: SignedDuration = SignedDuration::from_hours(1);
const PRINT_RARELY: SignedDuration = SignedDuration::from_hours(24);

/// The last problem that was logged.
static LAST: Mutex<Option<String>> = Mutex::new(None);
/// The lasting problems that earlier runs printed, and those of this run.
static LASTING: Mutex<Option<[BTreeMap<String, Printed>; 2]>> = Mutex::new(None);

struct Logger {
    /// Whether each line begins with its priority, as journald reads it (sd-daemon(3)).
    priorities: bool,
}

/// Problems are always logged; `-v` adds what is done, `-vv` each step.
pub fn init(verbose: u8, priorities: bool) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    if log::set_boxed_logger(Box::new(Logger { priorities })).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (priority, kind) = match record.level() {
            Level::Error => ("<3>", "error: "),
            Level::Warn => ("<4>", "warning: "),
            Level::Info => ("<6>", ""),
            Level::Debug | Level::Trace => ("<7>", ""),
        };
        let priority = if self.priorities { priority } else { "" };
        let line = on_one_line(&record.args().to_string());
        if record.level() <= Level::Warn {
            note_problem(&line);
        }
        write_line(&format!("{priority}probe-wake: {kind}{line}"));
    }

    fn flush(&self) {}
}

fn note_problem(line: &str) {
    if let Ok(mut last) = LAST.lock() {
        *last = Some(line.to_owned());
    }
}

/// Returns the last problem of this process, whether it was printed or not.
pub fn last_problem() -> Option<String> {
    LAST.lock().ok()?.clone()
}

/// Begins a run, with the lasting problems that earlier ones printed.
pub fn begin_lasting(printed: BTreeMap<String, Printed>) {
    if let Ok(mut lasting) = LASTING.lock() {
        *lasting = Some([printed, BTreeMap::new()]);
    }
}

/// Returns the lasting problems of this run, with when each was printed.
pub fn end_lasting() -> BTreeMap<String, Printed> {
    let lasting = LASTING.lock().ok().and_then(|mut lasting| lasting.take());
    let [before, mut now] = lasting.unwrap_or_default();
    // These are not looked for in every run.
    let rare = before.into_iter().filter(|(kind, _)| kind == REACTIONS);
    for (kind, printed) in rare {
        now.entry(kind).or_insert(printed);
    }
    now
}

/// Warns of a problem that is found again by every run: it is printed when it begins, when its cause changes,
/// and once an hour; always at a terminal and with `-v`. `kind`: one word for what it is about.
pub fn warn_lasting(kind: &str, cause: &str, message: &str) {
    let now = Timestamp::now();
    let period = match kind {
        REACTIONS => PRINT_RARELY,
        _ => PRINT_AGAIN,
    };
    let is_known = |before: &Printed| {
        let since = now.duration_since(before.at);
        before.cause == cause && !since.is_negative() && since < period
    };
    let mut lasting = LASTING.lock().ok();
    let lasting = lasting.as_mut().and_then(|lasting| lasting.as_mut());
    let printed = lasting.and_then(|[before, now_found]| {
        let printed = before.get(kind).filter(|before| is_known(before)).cloned();
        let entry = printed.clone().unwrap_or_else(|| Printed {
            cause: cause.to_owned(),
            at: now,
        });
        now_found.insert(kind.to_owned(), entry);
        printed
    });
    let is_shown = io::stderr().is_terminal() || log::log_enabled!(Level::Info);
    match printed.is_some() && !is_shown {
        true => note_problem(message),
        false => warn!("{message}"),
    }
}
