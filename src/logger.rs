//! Problems and progress to stderr, one line each. Only this program's own records are let through:
//! what a library logs (ureq traces whole requests) could hold a secret.

use std::io::{self, Write};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::message::on_one_line;

struct Logger;

/// Problems are always told; `-v` adds what is done, `-vv` each step.
pub fn init(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    if log::set_logger(&Logger).is_ok() {
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
        let kind = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        let line = on_one_line(&record.args().to_string());
        // Nobody can be told that stderr is gone.
        let _ = writeln!(io::stderr().lock(), "probe-wake: {kind}{line}");
    }

    fn flush(&self) {}
}
