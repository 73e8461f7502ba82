//! What a person at a terminal sees besides plain lines: colour that obeys `NO_COLOR`, texts wrapped
//! to its width, and a line that tells what is being waited for. Under cron none of it appears.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::text::on_one_line;

/// A table is not cut narrower, and is not cut at all where stdout is no terminal.
const LEAST_WIDTH: usize = 60;
const TICK: Duration = Duration::from_millis(120);
/// A terminal without escapes is told what is waited for once it has lasted so long.
const TOLD_AFTER: Duration = Duration::from_secs(1);
const BRAILLE: &[char] = &['⣾', '⣽', '⣻', '⢿', '⡿', '⣟', '⣯', '⣷'];
const ASCII: &[char] = &['|', '/', '-', '\\'];

/// What the terminal takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Colours, and lines that are drawn anew.
    pub escapes: bool,
    /// Characters beyond ASCII in what this program draws.
    pub unicode: bool,
}

static SCREEN: OnceLock<Screen> = OnceLock::new();

/// To be called once, before anything is printed.
pub fn init(screen: Screen) {
    // A second call would change nothing.
    let _ = SCREEN.set(screen);
}

fn screen() -> Screen {
    *SCREEN.get_or_init(|| Screen {
        escapes: true,
        unicode: true,
    })
}

/// A sign, or what stands for it where only ASCII is drawn.
pub fn drawn(sign: &'static str, ascii: &'static str) -> &'static str {
    if screen().unicode { sign } else { ascii }
}

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
            colours: io::stdout().is_terminal() && !no_color && screen().escapes,
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

/// Breaks a text at its spaces into lines of at most so many columns, and a longer word within it.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    wrap_but(text, columns, |_| false)
}

/// As [`wrap`]; a word that is to stay whole has a line of its own, however long.
fn wrap_but(text: &str, columns: usize, stays_whole: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut used = 0;
    for word in text.split(' ') {
        let pieces = match stays_whole(word) {
            true => vec![word],
            false => pieces(word, columns),
        };
        for (index, piece) in pieces.into_iter().enumerate() {
            let wide = piece.width();
            match lines.last_mut() {
                Some(line) if index == 0 && used + 1 + wide <= columns => {
                    line.push(' ');
                    line.push_str(piece);
                    used += 1 + wide;
                }
                _ => {
                    lines.push(piece.to_owned());
                    used = wide;
                }
            }
        }
    }
    lines
}

/// Pieces of at most so many columns, of at least one character each.
fn pieces(word: &str, columns: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut used = 0;
    for (at, c) in word.char_indices() {
        let wide = c.width().unwrap_or(0);
        if used + wide > columns && at > start {
            pieces.push(&word[start..at]);
            start = at;
            used = 0;
        }
        used += wide;
    }
    pieces.push(&word[start..]);
    pieces
}

/// A text on as many lines of stdout's terminal as it takes, all but the first one indented by so
/// many columns; on one line where there is no terminal. A path stays whole, so that it can be
/// copied.
pub fn wrapped(text: &str, indent: usize) -> String {
    let text = on_one_line(text);
    let Some(columns) = width() else {
        return text;
    };
    let lines = wrap_but(&text, columns.saturating_sub(indent), |word| {
        word.contains('/')
    });
    lines.join(&format!("\n{:indent$}", ""))
}

/// Fills a text up with spaces to so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(text.width());
    format!("{text}{:missing$}", "")
}

/// Asks at the terminal and gives whether the answer was yes; `None` where nobody can be asked.
pub fn ask(question: &str) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let _ = write_stderr(&format!("{question} [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(Some(matches!(answer.as_str(), "y" | "yes")))
}

/// A line on stderr in one write, so that it does not mix with what others write there.
pub fn write_line(line: &str) {
    // Nobody can be told that stderr is gone.
    let _ = write_stderr(&format!("{line}\n"));
}

fn write_stderr(text: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(format!("{}{text}", clear_line()).as_bytes())
}

/// Whether a line of waiting stands there now.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// All that is waited for; the last one is told.
static WAITED_FOR: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn waited_for<T>(change: impl FnOnce(&mut Vec<String>) -> T) -> T {
    change(&mut WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What takes the line away that is drawn now, for who has something to say.
fn clear_line() -> &'static str {
    match IS_DRAWN.swap(false, Ordering::Relaxed) {
        true => "\r\u{1b}[K",
        false => "",
    }
}

/// A line at stderr's terminal that tells what is being waited for and for how long; it is gone
/// when this is dropped.
pub struct Waiting {
    /// `None` where stderr is no terminal.
    line: Option<(String, Sender<()>, JoinHandle<()>)>,
}

impl Waiting {
    /// `what`: as in "asking the engine".
    pub fn for_what(what: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self { line: None };
        }
        let what = on_one_line(what);
        waited_for(|all| all.push(what.clone()));
        let (stop, stopped) = mpsc::channel::<()>();
        let shown = what.clone();
        let draw = thread::spawn(move || {
            let is_over = |length| stopped.recv_timeout(length) != Err(RecvTimeoutError::Timeout);
            match screen().escapes {
                true => draw(&shown, is_over),
                false if is_over(TOLD_AFTER) => {}
                false => write_line(&format!("probe-wake: {shown}")),
            }
        });
        Self {
            line: Some((what, stop, draw)),
        }
    }
}

fn draw(what: &str, is_over: impl Fn(Duration) -> bool) {
    let begun = Instant::now();
    let frames = if screen().unicode { BRAILLE } else { ASCII };
    for frame in frames.iter().cycle() {
        if is_over(TICK) {
            break;
        }
        let is_last = waited_for(|all| all.last().is_some_and(|last| last == what));
        if is_last {
            let seconds = begun.elapsed().as_secs();
            let mut stderr = io::stderr().lock();
            let line = format!("\r{frame} {what} ({seconds} s)\u{1b}[K");
            let _ = stderr.write_all(line.as_bytes());
            IS_DRAWN.store(true, Ordering::Relaxed);
        }
    }
    let _ = write_stderr("");
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((what, stop, draw)) = self.line.take() {
            waited_for(|all| {
                let index = all.iter().rposition(|one| *one == what);
                index.map(|index| all.remove(index))
            });
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
        assert_eq!(wrap("\u{5168}\u{5168} b", 5), ["\u{5168}\u{5168}", "b"]);
        assert_eq!(wrap("a bbbbbbb c", 3), ["a", "bbb", "bbb", "b c"]);
        assert_eq!(wrap("\u{5168}\u{5168}", 3), ["\u{5168}", "\u{5168}"]);
        assert_eq!(wrap("\u{5168}", 1), ["\u{5168}"]);
    }

    #[test]
    fn a_word_that_is_to_stay_whole_has_a_line_of_its_own() {
        let lines = wrap_but("see /a/long/path abcdefghi", 7, |word| word.contains('/'));
        assert_eq!(lines, ["see", "/a/long/path", "abcdefg", "hi"]);
    }

    #[test]
    fn a_text_is_filled_up_by_the_columns_it_takes() {
        assert_eq!(pad("机", 4), "机  ");
        assert_eq!(pad("abc", 2), "abc");
    }
}
