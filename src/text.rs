//! Filters for text from outside, before it reaches a terminal, a log line, a prompt or a file; and
//! the form in which this program writes a time.

use jiff::Timestamp;
use serde::Serializer;

/// The length of a quote or a label, in characters.
const MAX_SHORT: usize = 200;

/// Returns a peer's message on one line, cut at 200 characters.
pub fn quote(text: &str) -> String {
    on_one_line(short(text.trim()))
}

/// Returns a name from a row, cut at 200 characters, with spaces for control characters.
pub fn label(text: &str) -> String {
    replace(short(text), char::is_control, ' ')
}

/// Returns the first 200 characters.
pub fn short(text: &str) -> &str {
    let end = text.char_indices().nth(MAX_SHORT);
    end.map_or(text, |(end, _)| &text[..end])
}

/// Replaces what could control a terminal or change the writing direction with U+FFFD.
pub fn for_terminal(text: &str) -> String {
    replace(text, steers, char::REPLACEMENT_CHARACTER)
}

/// Returns the text on one line, with a space for each character that breaks it or controls a
/// terminal.
pub fn on_one_line(text: &str) -> String {
    let breaks = |c| matches!(c, '\n' | '\t' | '\u{2028}' | '\u{2029}');
    replace(text, |c| breaks(c) || steers(c), ' ')
}

/// Returns whether the character could control a terminal or change the writing direction: control characters
/// other than line feed and tab, and the bidirectional controls.
pub fn steers(c: char) -> bool {
    let is_bidirectional = matches!(
        c,
        '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    is_bidirectional || (c.is_control() && c != '\n' && c != '\t')
}

/// Formats a time as RFC 3339 in UTC with six digits after the second:
/// `2026-05-24T14:32:00.123456Z`.
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Serializes a time as [`rfc3339`] formats it.
pub fn serialize_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// Returns at most `limit` bytes, with a note if something was cut off.
pub fn cut(text: &str, limit: usize) -> String {
    const NOTE: &str = " [cut]";
    if text.len() <= limit {
        return text.to_owned();
    }
    let most = limit.saturating_sub(NOTE.len());
    let end = (0..=most).rev().find(|&at| text.is_char_boundary(at));
    format!("{}{NOTE}", &text[..end.unwrap_or(0)])
}

/// Returns the length at which to cut texts of these lengths, so that together they fit into `total` bytes.
pub fn common_limit(lengths: &[usize], total: usize) -> usize {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let mut left = total;
    for (index, &length) in sorted.iter().enumerate() {
        let share = left / (sorted.len() - index);
        if length > share {
            return share;
        }
        left -= length;
    }
    usize::MAX
}

/// Returns `what: why`, or `what` alone.
pub fn with_reason(what: &str, why: Option<&str>) -> String {
    match why {
        Some(why) => format!("{what}: {why}"),
        None => what.to_owned(),
    }
}

/// Lists the first of several names: `a, b and 4 more`.
pub fn first_few(names: &[String], most: usize) -> String {
    let (first, more) = names.split_at(names.len().min(most));
    let first = first.join(", ");
    match more.len() {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Returns the known names that somebody who wrote this one may have meant, the likeliest first: those that
/// contain it, and those that are nearly the same.
pub fn close_names(written: &str, known: impl Iterator<Item = String>) -> Vec<String> {
    let written = written.to_lowercase();
    let likeness = |known: &str| {
        let known = known.to_lowercase();
        match known.contains(&written) {
            true => 1.0,
            false => strsim::jaro(&written, &known),
        }
    };
    let mut close: Vec<_> = known.map(|known| (likeness(&known), known)).collect();
    close.retain(|(likeness, _)| *likeness > 0.75);
    close.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    close.into_iter().map(|(_, known)| known).take(3).collect()
}

fn replace(text: &str, is_bad: impl Fn(char) -> bool, by: char) -> String {
    text.chars()
        .map(|c| if is_bad(c) { by } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = " a\u{1b}[2J\u{9b}b\u{202e}c\n\td\u{2028}\r\n";

    #[test]
    fn nothing_that_controls_a_terminal_is_printed() {
        assert_eq!(
            for_terminal(HOSTILE),
            " a\u{fffd}[2J\u{fffd}b\u{fffd}c\n\td\u{2028}\u{fffd}\n"
        );
        assert_eq!(on_one_line(HOSTILE), " a [2J b c  d   ");
    }

    #[test]
    fn a_quote_is_one_short_line() {
        assert_eq!(quote(HOSTILE), "a [2J b c  d");
        assert_eq!(quote(&"é".repeat(300)), "é".repeat(200));
    }

    #[test]
    fn the_first_few_of_many_names_are_listed() {
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(first_few(&[], 2), "");
        assert_eq!(first_few(&names, 3), "a, b, c");
        assert_eq!(first_few(&names, 2), "a, b and 1 more");
    }

    #[test]
    fn names_that_are_meant_are_close() {
        let close = |written: &str| {
            let known = ["fly:service", "flying:circus", "vercel:service"];
            close_names(written, known.into_iter().map(str::to_owned))
        };
        assert_eq!(close("fly"), ["fly:service", "flying:circus"]);
        assert_eq!(close("fly:servce"), ["fly:service"]);
        assert_eq!(close("Fly"), ["fly:service", "flying:circus"]);
        assert_eq!(close("neon"), [""; 0]);
    }

    #[test]
    fn a_label_has_spaces_for_control_characters() {
        assert_eq!(label(HOSTILE), " a [2J b\u{202e}c  d\u{2028}  ");
        assert_eq!(label(&"é".repeat(201)), "é".repeat(200));
    }

    #[test]
    fn a_time_has_six_digits_after_the_second() {
        let micro = Timestamp::UNIX_EPOCH + std::time::Duration::from_nanos(1_999);
        assert_eq!(
            rfc3339(Timestamp::UNIX_EPOCH),
            "1970-01-01T00:00:00.000000Z"
        );
        assert_eq!(rfc3339(micro), "1970-01-01T00:00:00.000001Z");
    }
}
