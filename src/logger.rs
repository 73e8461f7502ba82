//! Writes problems and progress to stderr, one line each. Drops the records of libraries, which
//! could contain a secret: ureq traces whole requests.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, IsTerminal};
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use log::{Level, LevelFilter, Log, Metadata, Record, warn};

use crate::state::lock::Printed;
use crate::terminal::write_line;
use crate::text::on_one_line;
use crate::time::within;

/// The kinds of problems that not every run looks for, and that are remembered by a run that does not: with
/// reading reactions (printed once a day), with runbooks, and with silences.
pub const REACTIONS: &str = "reactions";
pub const RUNBOOK: &str = "runbook";
pub const SILENCE: &str = "silence";
/// How often a lasting problem is printed.
const PRINT_AGAIN: SignedDuration = SignedDuration::from_hours(1);
const PRINT_RARELY: SignedDuration = SignedDuration::from_hours(24);
/// How many causes of one kind are remembered; if there are more, some are printed again.
const MOST_CAUSES: usize = 32;

/// The last problem that was logged.
static LAST: Mutex<Option<String>> = Mutex::new(None);
/// The lasting problems that earlier runs printed, and those of this run.
static LASTING: Mutex<Option<[Printed; 2]>> = Mutex::new(None);

struct Logger {
    /// Whether each line begins with its priority, as journald reads it (sd-daemon(3)).
    priorities: bool,
}

/// Sets up logging. Problems are always logged; `-v` adds what is done, `-vv` each step.
pub fn init(verbose: u8, priorities: bool) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    let _ = log::set_boxed_logger(Box::new(Logger { priorities }));
    log::set_max_level(level);
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

/// Begins a run, with the lasting problems that earlier runs printed.
pub fn begin_lasting(printed: Printed) {
    if let Ok(mut lasting) = LASTING.lock() {
        *lasting = Some([printed, Printed::new()]);
    }
}

/// Returns the lasting problems of this run, with the time each was printed.
pub fn end_lasting() -> Printed {
    let lasting = LASTING.lock().ok().and_then(|mut lasting| lasting.take());
    let [mut before, mut found] = lasting.unwrap_or_default();
    for kind in [REACTIONS, RUNBOOK, SILENCE] {
        let mut kept = before.remove(kind).unwrap_or_default();
        kept.retain(|_, at| is_recent(kind, *at, Timestamp::now()));
        kept.extend(found.remove(kind).unwrap_or_default());
        if !kept.is_empty() {
            found.insert(kind.to_owned(), kept);
        }
    }
    for causes in found.values_mut() {
        while causes.len() > MOST_CAUSES {
            causes.pop_last();
        }
    }
    found
}

/// Warns of a problem that every run finds again. It is printed when it begins, when its cause changes, and
/// once an hour; always at a terminal and with `-v`. `kind`: one word for its subject.
pub fn warn_lasting(kind: &str, cause: &str, message: &str) {
    let is_known = note_lasting(kind, cause, Timestamp::now());
    match is_known && !is_talkative() {
        true => note_problem(message),
        false => warn!("{message}"),
    }
}

/// Notes a lasting problem, and returns whether it was printed recently. Outside of a run, none was.
fn note_lasting(kind: &str, cause: &str, now: Timestamp) -> bool {
    let mut lasting = LASTING.lock().ok();
    let Some([before, found]) = lasting.as_mut().and_then(|lasting| lasting.as_mut()) else {
        return false;
    };
    let cause = BuildHasherDefault::<DefaultHasher>::new().hash_one(cause);
    let at = |printed: &Printed| printed.get(kind)?.get(&cause).copied();
    let printed = at(found).or(at(before));
    let printed = printed.filter(|at| is_recent(kind, *at, now));
    let causes = found.entry(kind.to_owned()).or_default();
    causes.insert(cause, printed.unwrap_or(now));
    printed.is_some()
}

/// Returns whether it is too early to print a problem again that was last printed at `at`.
fn is_recent(kind: &str, at: Timestamp, now: Timestamp) -> bool {
    let period = match kind {
        REACTIONS => PRINT_RARELY,
        _ => PRINT_AGAIN,
    };
    within(now, at, period)
}

/// Returns whether somebody is reading along, so that everything is printed: at a terminal, and with `-v`.
pub fn is_talkative() -> bool {
    io::stderr().is_terminal() || log::log_enabled!(Level::Info)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems of one run, each with whether it is to be printed.
    fn run(printed: Printed, at: Timestamp, problems: &[(&str, &str, bool)]) -> Printed {
        begin_lasting(printed);
        for (kind, cause, is_printed) in problems {
            let is_known = note_lasting(kind, cause, at);
            assert_eq!(!is_known, *is_printed, "{kind} {cause} at {at}");
        }
        end_lasting()
    }

    #[test]
    fn a_lasting_problem_is_printed_when_it_begins_changes_and_once_an_hour() {
        let at = |minutes| Timestamp::now() + SignedDuration::from_mins(minutes);
        let mut printed = Printed::new();
        for (minutes, problems) in [
            // The second message with the same cause is no other problem.
            (
                0,
                &[("outbox", "timeout", true), ("outbox", "timeout", false)][..],
            ),
            (1, &[("outbox", "timeout", false)]),
            // Another kind with the same words, and another cause.
            (2, &[("outbox", "timeout", false), ("log", "timeout", true)]),
            (
                3,
                &[("outbox", "HTTP 503", true), ("outbox", "timeout", false)],
            ),
            (
                4,
                &[("outbox", "timeout", false), ("outbox", "HTTP 503", false)],
            ),
            (
                59,
                &[("outbox", "timeout", false), ("outbox", "HTTP 503", false)],
            ),
            (
                60,
                &[("outbox", "timeout", true), ("outbox", "HTTP 503", false)],
            ),
            (
                63,
                &[("outbox", "timeout", false), ("outbox", "HTTP 503", true)],
            ),
            // It was over for one run.
            (64, &[]),
            (65, &[("outbox", "timeout", true)]),
            // The clock was set back.
            (5, &[("outbox", "timeout", true)]),
            (6, &[("outbox", "timeout", false)]),
        ] {
            printed = run(printed, at(minutes), problems);
        }
        // Not every run looks for these.
        let now = Timestamp::now();
        printed = run(
            printed,
            now,
            &[(RUNBOOK, "a", true), (REACTIONS, "a", true)],
        );
        printed = run(printed, now, &[(RUNBOOK, "b", true)]);
        printed = run(
            printed,
            now,
            &[(RUNBOOK, "a", false), (REACTIONS, "a", false)],
        );
        run(
            printed,
            at(61),
            &[(RUNBOOK, "a", true), (REACTIONS, "a", false)],
        );

        let many: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
        let many: Vec<_> = many
            .iter()
            .map(|cause| ("log", cause.as_str(), true))
            .collect();
        let length = serde_json::to_string(&run(Printed::new(), now, &many)).map(|json| json.len());
        assert!(
            length.is_ok_and(|length| length < 4_000),
            "it has to fit into the lock's note"
        );
    }
}
