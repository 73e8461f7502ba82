//! A message's text as Slack takes it: escaped, and cut into parts that each fit into one message. Pure.

use crate::text::steers;

/// The most that one message holds, in code points after escaping: Slack recommends 4,000, and
/// 4,041 were seen to come out as two messages.
pub const PART_LIMIT: usize = 3_900;

/// Returns the text as it goes to Slack: the three characters that are markup even without mrkdwn are
/// escaped, and those that could steer a reader's screen are replaced.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let text = text.replace("\r\n", "\n");
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if steers(c) => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Cuts a text in two: a part of at most `limit` code points after escaping, and the rest, which is empty if
/// all of it fits. Together they are the text. The cut is after the last line end in the part's second half,
/// else after the last white space there, else after any character: a headline alone makes a poor message.
/// The part is empty only if the text is.
fn split(text: &str, limit: usize) -> (&str, &str) {
    let end = fitting(text, limit);
    if end == text.len() {
        return (text, "");
    }
    let after_last = |is_end: fn(char) -> bool| {
        let part = text[..end].trim_end_matches(|c| !is_end(c));
        Some(part.len()).filter(|at| at * 2 > end)
    };
    let line_end = after_last(|c| c == '\n');
    let word_end = line_end.or_else(|| after_last(char::is_whitespace));
    text.split_at(word_end.unwrap_or(end))
}

/// Returns the next message with something to read, and what is left after it. Slack takes no message of
/// nothing but white space: such a part is skipped, and so is such a rest.
pub fn next_message(mut text: &str, limit: usize) -> (&str, &str) {
    loop {
        let (part, rest) = split(text, limit);
        if rest.trim().is_empty() {
            return (part, "");
        }
        if !part.trim().is_empty() {
            return (part, rest);
        }
        text = rest;
    }
}

/// Returns how many bytes of the text fit into `limit` code points after escaping; at least one character.
fn fitting(text: &str, limit: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += match c {
            '&' => 5,
            '<' | '>' => 4,
            _ => 1,
        };
        if used > limit && at > 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_parts(mut text: &str, limit: usize) -> Vec<&str> {
        let mut parts = Vec::new();
        while !text.is_empty() {
            let (part, rest) = split(text, limit);
            parts.push(part);
            text = rest;
        }
        parts
    }

    #[test]
    fn nothing_that_steers_reaches_slack() {
        assert_eq!(
            escape("a\u{1b}[2J\u{202e}b\r\nc\td<&>"),
            "a\u{fffd}[2J\u{fffd}b\nc\td&lt;&amp;&gt;"
        );
    }

    #[test]
    fn a_text_is_cut_at_a_line_end_a_word_end_or_anywhere() {
        for (text, limit, parts) in [
            ("whole", 5, vec!["whole"]),
            ("line one\nline two", 12, vec!["line one\n", "line two"]),
            ("a\nsome words here", 12, vec!["a\nsome ", "words here"]),
            ("abcdefgh", 3, vec!["abc", "def", "gh"]),
            ("äöüß", 2, vec!["äö", "üß"]),
            ("a&b<c", 6, vec!["a&", "b<c"]),
            ("&&", 1, vec!["&", "&"]),
        ] {
            assert_eq!(all_parts(text, limit), parts, "{text}");
        }
    }

    #[test]
    fn no_message_is_blank() {
        for (text, message, rest) in [
            ("whole", "whole", ""),
            ("word         ", "word ", ""),
            ("          word", "word", ""),
            ("one            two three", "one  ", "          two three"),
            ("          two three", "two ", "three"),
        ] {
            assert_eq!(next_message(text, 5), (message, rest), "{text:?}");
        }
    }

    #[test]
    fn parts_are_whole_and_within_the_limit_as_sent() {
        let text = "<a> & 🚨 wörd\n\nlonglonglonglonglonglong ".repeat(400);
        for limit in [5, 6, 17, 100, PART_LIMIT] {
            let parts = all_parts(&text, limit);
            assert!(
                parts
                    .iter()
                    .all(|part| escape(part).chars().count() <= limit),
                "{limit}"
            );
            assert_eq!(parts.concat(), text);
        }
    }
}
