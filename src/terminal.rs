//! What a terminal shows besides plain lines: colours, which obey `NO_COLOR`, text wrapped to its
//! width, and a line that says what the program is waiting for. Without a terminal there is none of
//! this.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::text::{for_terminal, on_one_line};

/// The shortest width that lines are wrapped at, even on a narrower terminal.
const MIN_WIDTH: usize = 60;
const TICK: Duration = Duration::from_millis(120);
/// On a terminal without escapes, a wait is mentioned once it has lasted this long.
const MENTIONED_AFTER: Duration = Duration::from_secs(1);
const BRAILLE: &[char] = &['⣾', '⣽', '⣻', '⢿', '⡿', '⣟', '⣯', '⣷'];
const ASCII: &[char] = &['|', '/', '-', '\\'];

/// What the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Whether it shows colours, and lines can be drawn over.
    pub escapes: bool,
    /// Whether it shows characters beyond ASCII.
    pub unicode: bool,
}

static SCREEN: OnceLock<Screen> = OnceLock::new();

/// Sets what the terminal can show. Must be called once, before anything is printed.
pub fn init(screen: Screen) {
    // A second call would change nothing.
    let _ = SCREEN.set(screen);
}

fn screen() -> Screen {
    SCREEN.get().copied().unwrap_or_default()
}

/// Returns the sign, or its ASCII form if the terminal does not show Unicode.
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

/// Colours text for stdout, if that is a terminal.
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
        match self.colours {
            true => format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8),
            false => text.to_owned(),
        }
    }
}

/// Returns the width of stdout's terminal in columns; `None` without a terminal.
pub fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col).max(MIN_WIDTH))
}

/// Breaks a text at its spaces into lines of at most this many columns. A longer word is broken,
/// too, unless the text holds a path, which somebody may want to copy.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let options = textwrap::Options::new(columns)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .break_words(!text.contains('/'));
    let lines = textwrap::wrap(text, options).into_iter();
    lines.map(|line| line.into_owned()).collect()
}

/// Wraps a text at the width of stdout's terminal; all lines but the first are indented by this
/// many columns. Without a terminal it stays on one line.
pub fn wrapped(text: &str, indent: usize) -> String {
    let text = on_one_line(text);
    let Some(columns) = width() else {
        return text;
    };
    let lines = wrap(&text, columns.saturating_sub(indent));
    lines.join(&format!("\n{:indent$}", ""))
}

/// Returns the lines of a text with a margin before each, broken at the width of stdout's terminal.
pub fn with_margin(text: &str, margin: &str) -> Vec<String> {
    let columns = width().map(|columns| columns - margin.len());
    let text = for_terminal(text);
    let broken = |line| match columns {
        Some(columns) => wrap(line, columns),
        None => vec![line.to_owned()],
    };
    let lines = text.lines().flat_map(broken);
    let is_blank = |line: &str| line.is_empty() && margin.trim().is_empty();
    let shown = |line: String| match is_blank(&line) {
        true => line,
        false => format!("{margin}{line}"),
    };
    lines.map(shown).collect()
}

/// Writes a line to stderr in one write, so that it does not mix with what others write there.
pub fn write_line(line: &str) {
    write_stderr(&format!("{line}\n"));
}

/// Writes to stderr in place of the line about the wait.
pub fn write_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    // If stderr is gone, there is nowhere to report it.
    let _ = stderr.write_all(format!("{}{text}", clear_line()).as_bytes());
}

/// At a terminal, makes an interrupt (Ctrl-C) say that nothing is lost before it ends the program.
pub fn explain_interrupt() {
    if !io::stderr().is_terminal() {
        return;
    }
    // Without a thread, an interrupt ends the program as it always does.
    let _ = thread::Builder::new().spawn(|| {
        let mut signals = Signals::new([SIGINT])?;
        if signals.forever().next().is_some() {
            // Removes the terminal's `^C`, too.
            IS_DRAWN.store(screen().escapes, Ordering::Relaxed);
            write_line("probe-wake: interrupted; nothing is lost: the next run goes on from here");
        }
        emulate_default_handler(SIGINT)
    });
}

/// Whether the line about the wait is on the terminal now.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// Returns the escapes that remove the line about the wait, to be written before other text.
fn clear_line() -> &'static str {
    match IS_DRAWN.swap(false, Ordering::Relaxed) {
        true => "\r\u{1b}[K",
        false => "",
    }
}

/// Everything the program is waiting for, by when each wait began. The last entry is shown.
static WAITED_FOR: Mutex<BTreeMap<Instant, String>> = Mutex::new(BTreeMap::new());

fn waited_for() -> MutexGuard<'static, BTreeMap<Instant, String>> {
    WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line on stderr's terminal that says what the program is waiting for, and for how long.
/// Dropping this removes it. `None` if stderr is not a terminal.
pub struct Waiting(Option<Instant>);

impl Waiting {
    /// Shows the line; `what` reads as in "asking the engine".
    pub fn for_what(what: &str) -> Self {
        static DRAWING: Once = Once::new();
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        // Without a thread nothing is drawn.
        DRAWING.call_once(|| drop(thread::Builder::new().spawn(draw)));
        let begun = Instant::now();
        waited_for().insert(begun, on_one_line(what));
        Self(Some(begun))
    }
}

fn draw() {
    let frames = if screen().unicode { BRAILLE } else { ASCII };
    let mut mentioned = None;
    for frame in frames.iter().cycle() {
        thread::sleep(TICK);
        let all = waited_for();
        let Some((begun, what)) = all.last_key_value() else {
            continue;
        };
        let length = begun.elapsed();
        if screen().escapes && length >= TICK {
            let mut stderr = io::stderr().lock();
            let line = format!("\r{frame} {what} ({} s)\u{1b}[K", length.as_secs());
            let _ = stderr.write_all(line.as_bytes());
            IS_DRAWN.store(true, Ordering::Relaxed);
        } else if length >= MENTIONED_AFTER && mentioned != Some(*begun) {
            mentioned = Some(*begun);
            write_line(&format!("probe-wake: {what}"));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(begun) = self.0 {
            waited_for().remove(&begun);
            write_stderr("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_wrapped_at_its_spaces_and_nothing_is_dropped() {
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("a b c", 3), ["a b", "c"]);
        assert_eq!(wrap("\u{5168}\u{5168} b", 5), ["\u{5168}\u{5168}", "b"]);
        assert_eq!(wrap("a bbbbbbb c", 3), ["a", "bbb", "bbb", "b c"]);
        assert_eq!(wrap("\u{5168}\u{5168}", 3), ["\u{5168}", "\u{5168}"]);
        assert_eq!(wrap("\u{5168}", 1), ["\u{5168}"]);
    }

    #[test]
    fn a_path_stays_whole() {
        let lines = wrap("see /a/long/path there", 7);
        assert_eq!(lines, ["see", "/a/long/path", "there"]);
    }
}
