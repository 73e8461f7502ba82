//! Filters for text from outside, before it reaches a terminal, a log line or a state file.

/// The most of a peer's words that an error, a cause or a code repeats, in characters.
const MAX_QUOTE: usize = 200;

/// A peer's words, fit to stand in one line of a log, a message or a state file: at most 200
/// characters, without line breaks, control characters and changes of the writing direction.
pub fn quote(text: &str) -> String {
    let harmless = |c: char| match c {
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
        c if c.is_control() => ' ',
        c => c,
    };
    text.trim().chars().take(MAX_QUOTE).map(harmless).collect()
}

/// Takes out what could steer a terminal, or turn the direction of the text around it: control
/// characters other than line ends and tabs, and the bidirectional controls.
pub fn for_terminal(text: &str) -> String {
    text.chars()
        .map(|c| {
            if steers(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// The same for what must stay on one line.
pub fn on_one_line(text: &str) -> String {
    for_terminal(text).replace(['\n', '\t'], " ")
}

/// Whether the character could steer a terminal, or turn the direction of the text around it.
pub fn steers(c: char) -> bool {
    let bidirectional = matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}')
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c);
    bidirectional || (c.is_control() && c != '\n' && c != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_printed() {
        assert_eq!(
            for_terminal("a\u{1b}[2J\u{9b}b\u{202e}c\n\td"),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}c\n\td"
        );
        assert_eq!(on_one_line("a\nb\tc"), "a b c");
    }
}
