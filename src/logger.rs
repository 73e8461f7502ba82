//! Writes problems and progress to stderr, one line each. Drops the records of libraries, which
//! could contain a secret: ureq traces whole requests.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::terminal::write_line;
use crate::text::on_one_line;

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
        write_line(&format!("{priority}probe-wake: {kind}{line}"));
    }

    fn flush(&self) {}
}
