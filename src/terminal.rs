//! What a person at a terminal sees besides plain lines: colour that obeys `NO_COLOR`, the width of
//! a table, and a line that tells what is being waited for. Under cron none of it appears.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::text::on_one_line;

/// A table is not cut narrower, and is not cut at all where stdout is no terminal.
const LEAST_WIDTH: usize = 60;
const TICK: Duration = Duration::from_millis(120);
const FRAMES: [char; 8] = ['⣾', '⣽', '⣻', '⢿', '⡿', '⣟', '⣯', '⣷'];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Bold = 1,
}

/// Paints for stdout, or leaves the text as it is.
#[derive(Clone, Copy, Debug)]
pub struct Painter {
    colours: bool,
}

impl Painter {
    /// `no_color`: whether `NO_COLOR` is set, to anything but nothing (no-color.org).
    pub fn for_stdout(no_color: bool) -> Self {
        Self {
            colours: io::stdout().is_terminal() && !no_color,
        }
    }

    pub fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colours {
            format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8)
        } else {
            text.into()
        }
    }
}

/// The columns of the terminal at stdout; `None` where there is none.
pub fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col).max(LEAST_WIDTH))
}

/// Cuts a line to the terminal's width; where there is none it is left whole.
pub fn fit_line(line: &str) -> String {
    width().map_or_else(|| line.to_owned(), |columns| fit(line, columns))
}

/// Cuts a text to so many columns of a terminal, on which some characters take two and some none.
pub fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut used = 0;
    let fitting = text.chars().take_while(|c| {
        used += c.width().unwrap_or(0);
        used < columns
    });
    format!("{}…", fitting.collect::<String>().trim_end())
}

/// Breaks a text at its spaces into lines of at most so many columns; a longer word has a line of its
/// own.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut used = 0;
    for word in text.split(' ') {
        let wide = word.width();
        match lines.last_mut() {
            Some(line) if used + 1 + wide <= columns => {
                line.push(' ');
                line.push_str(word);
                used += 1 + wide;
            }
            _ => {
                lines.push(word.to_owned());
                used = wide;
            }
        }
    }
    lines
}

/// Breaks a text as [`wrap`] does, and a word that is longer than a line within it: no line is wider.
pub fn wrap_whole(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in wrap(text, columns) {
        let mut part = String::new();
        let mut used = 0;
        for c in line.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > columns && !part.is_empty() {
                lines.push(std::mem::take(&mut part));
                used = 0;
            }
            part.push(c);
            used += wide;
        }
        lines.push(part);
    }
    lines
}

/// Fills a text up with spaces to so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(text.width());
    format!("{text}{:missing$}", "")
}

/// Whether such a line stands there now.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// What takes the line away that is drawn now, for who has something to say.
pub fn clear_line() -> &'static str {
    match IS_DRAWN.swap(false, Ordering::Relaxed) {
        true => "\r\u{1b}[K",
        false => "",
    }
}

/// A line at stderr's terminal that tells what is being waited for and for how long; it is gone
/// when this is dropped.
pub struct Waiting {
    /// `None` where stderr is no terminal.
    line: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Waiting {
    /// `what`: as in "asking the engine".
    pub fn for_what(what: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self { line: None };
        }
        let (stop, stopped) = mpsc::channel::<()>();
        let what = on_one_line(what);
        let draw = thread::spawn(move || {
            let begun = Instant::now();
            for frame in FRAMES.iter().cycle() {
                match stopped.recv_timeout(TICK) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => break,
                }
                let seconds = begun.elapsed().as_secs();
                let mut stderr = io::stderr().lock();
                let _ = write!(stderr, "\r{frame} {what} ({seconds} s)\u{1b}[K");
                IS_DRAWN.store(true, Ordering::Relaxed);
            }
            let _ = write!(io::stderr().lock(), "{}", clear_line());
        });
        Self {
            line: Some((stop, draw)),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((stop, draw)) = self.line.take() {
            drop(stop);
            let _ = draw.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_wrapped_at_spaces_and_nothing_is_dropped() {
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("a b c", 3), ["a b", "c"]);
        assert_eq!(wrap("/a/long/path is long", 7), ["/a/long/path", "is long"]);
        assert_eq!(wrap("\u{5168}\u{5168} b", 5), ["\u{5168}\u{5168}", "b"]);
    }

    #[test]
    fn a_long_word_is_broken_where_no_line_may_be_wider() {
        assert_eq!(wrap_whole("", 5), [""]);
        assert_eq!(wrap_whole("a abcdefg b", 3), ["a", "abc", "def", "g", "b"]);
        assert_eq!(wrap_whole("\u{5168}\u{5168}", 3), ["\u{5168}", "\u{5168}"]);
        assert_eq!(wrap_whole("\u{5168}", 1), ["\u{5168}"]);
    }

    #[test]
    fn a_text_is_cut_and_filled_up_by_the_columns_it_takes() {
        assert_eq!(fit("abcdef", 6), "abcdef");
        assert_eq!(fit("abcdef", 5), "abcd…");
        assert_eq!(fit("机器故障了", 10), "机器故障了");
        assert_eq!(fit("机器故障了", 9), "机器故障…");
        assert_eq!(fit("机器故障了", 8), "机器故…");
        assert_eq!(fit("e\u{301}e\u{301}", 2), "e\u{301}e\u{301}");
        assert_eq!(pad("机", 4), "机  ");
        assert_eq!(pad("abc", 2), "abc");
    }
}
