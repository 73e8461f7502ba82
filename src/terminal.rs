//! What a terminal shows besides plain lines: colours, which obey `NO_COLOR`, texts wrapped to its
//! width, and a line that says what the program waits for. Without a terminal there is none of it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::text::on_one_line;

/// A narrower terminal gets lines of this width.
const LEAST_WIDTH: usize = 60;
const TICK: Duration = Duration::from_millis(120);
/// On a terminal without escapes, the line of waiting is printed once the wait has lasted so long.
const TOLD_AFTER: Duration = Duration::from_secs(1);
const BRAILLE: &[char] = &['⣾', '⣽', '⣻', '⢿', '⡿', '⣟', '⣯', '⣷'];
const ASCII: &[char] = &['|', '/', '-', '\\'];

/// What the terminal takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Whether it shows colours and takes lines that are drawn again.
    pub escapes: bool,
    /// Whether this program may draw characters beyond ASCII.
    pub unicode: bool,
}

static SCREEN: OnceLock<Screen> = OnceLock::new();

/// Must be called once, before anything is printed.
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

/// The sign, or its ASCII form if the terminal does not show Unicode.
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

/// Colours texts for stdout, if that is a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Painter {
    colours: bool,
}

impl Painter {
    /// `no_color`: whether `NO_COLOR` is set and not empty (no-color.org).
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

/// The columns of the terminal at stdout; `None` without a terminal.
pub fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col).max(LEAST_WIDTH))
}

/// Breaks a text at its spaces into lines of at most so many columns. A longer word is broken too.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    wrap_at(text, columns, false)
}

/// As [`wrap`]. If it keeps paths, a word with a slash is not broken, however long it is.
fn wrap_at(text: &str, columns: usize, keeps_paths: bool) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut used = 0;
    for word in text.split(' ') {
        let pieces = match keeps_paths && word.contains('/') {
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

/// Breaks a word into pieces of at most so many columns, with at least one character each.
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

/// A text wrapped at the width of stdout's terminal, all lines but the first indented by so many
/// columns. Without a terminal it stays on one line. A path stays whole, so that it can be copied.
pub fn wrapped(text: &str, indent: usize) -> String {
    let text = on_one_line(text);
    let Some(columns) = width() else {
        return text;
    };
    let lines = wrap_at(&text, columns.saturating_sub(indent), true);
    lines.join(&format!("\n{:indent$}", ""))
}

/// Asks at the terminal whether to go on; `None` if stdin is no terminal.
pub fn ask(question: &str) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    write_stderr(&format!("{question} [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(Some(matches!(answer.as_str(), "y" | "yes")))
}

/// A line on stderr in one write, so that it does not mix with what others write there.
pub fn write_line(line: &str) {
    write_stderr(&format!("{line}\n"));
}

fn write_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    // If stderr is gone, there is nowhere to report it.
    let _ = stderr.write_all(format!("{}{text}", clear_line()).as_bytes());
}

/// Whether the line of waiting is on the terminal now.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// All that the program waits for. The last entry is shown.
static WAITED_FOR: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn waited_for<T>(change: impl FnOnce(&mut Vec<String>) -> T) -> T {
    change(&mut WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The escapes that remove the line of waiting, to be written before other text.
fn clear_line() -> &'static str {
    match IS_DRAWN.swap(false, Ordering::Relaxed) {
        true => "\r\u{1b}[K",
        false => "",
    }
}

/// A line on stderr's terminal that says what the program waits for, and for how long. Dropping this
/// removes the line.
pub struct Waiting {
    /// `None` if stderr is no terminal.
    line: Option<(String, Sender<()>, JoinHandle<()>)>,
}

impl Waiting {
    /// `what` is said as in "asking the engine".
    pub fn for_what(what: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self { line: None };
        }
        let what = on_one_line(what);
        waited_for(|all| all.push(what.clone()));
        let (stop, stopped) = mpsc::channel::<()>();
        let shown = what.clone();
        let draw = thread::Builder::new().spawn(move || {
            let is_over = |length| stopped.recv_timeout(length) != Err(RecvTimeoutError::Timeout);
            match screen().escapes {
                true => draw(&shown, is_over),
                false if is_over(TOLD_AFTER) => {}
                false => write_line(&format!("probe-wake: {shown}")),
            }
        });
        Self {
            // Without a thread nothing is drawn.
            line: draw.ok().map(|draw| (what, stop, draw)),
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
    write_stderr("");
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
    fn a_path_stays_whole_on_a_line_of_its_own() {
        let lines = wrap_at("see /a/long/path abcdefghi", 7, true);
        assert_eq!(lines, ["see", "/a/long/path", "abcdefg", "hi"]);
    }
}
