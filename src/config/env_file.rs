//! The env file: `KEY=value` lines in systemd's `EnvironmentFile` syntax, so that the same file
//! serves cron, which has no profile, and a systemd unit.
//!
//! Syntax (systemd.exec(5), `EnvironmentFile=`): blank lines and lines that begin with `#` or `;`
//! are ignored; a backslash before a line end continues the line; a value may be quoted with `'` or
//! `"`, and inside an unquoted value they stand for themselves; an unquoted backslash, and one
//! before `"`, `\`, `` ` `` or `$` in double quotes, is removed; there is no `export` and no
//! expansion.
//!
//! One thing is read differently: a quote that is never closed, or whose value would swallow a setting of
//! ours, ends at the end of its line, with a warning. systemd would take the settings below it as part of the
//! value.

use std::collections::HashMap;
use std::path::Path;
use std::str::Chars;

use anyhow::{Context, Result};

use super::Warning;
use super::variables::is_known;
use crate::files::{is_readable_by_others, read_trusted};

const MAX_BYTES: u64 = 1024 * 1024;

/// The content of an env file.
#[derive(Debug, Default)]
pub struct Content {
    pub settings: HashMap<String, String>,
    pub warnings: Vec<Warning>,
}

/// Reads the file. Refuses one that others can write or replace, since it holds secrets and says
/// where they are sent.
pub fn read(path: &Path) -> Result<Content> {
    let shown = path.display();
    let (text, meta) =
        read_trusted(path, MAX_BYTES).with_context(|| format!("cannot read env file {shown}"))?;
    let mut content = parse(&text, path);
    if is_readable_by_others(&meta) {
        let message = format!("env file {shown} can be read by others");
        let next_step = format!("chmod 600 {shown}");
        let warning = Warning::new("secrets", message, &next_step);
        content.warnings.push(warning);
    }
    Ok(content)
}

/// Parses the text. As in systemd, the last of several lines with the same name counts.
fn parse(text: &str, path: &Path) -> Content {
    let mut content = Content::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let before = &text[..text.len() - rest.len()];
        let (line, mut below) = rest.split_once('\n').unwrap_or((rest, ""));
        let key = line.split_once('=').map(|(key, _)| key);
        // A line that sets nothing may be a token: its text is not repeated.
        let doubt = if line.starts_with(['#', ';']) {
            None
        } else if let Some(key) = key.filter(|key| is_name(key.trim())) {
            let mut chars = rest[key.len() + 1..].chars();
            let name = key.trim();
            let value = Value::read(&mut chars, name);
            below = chars.as_str();
            let doubt = value.doubt(name);
            content.settings.insert(name.to_owned(), value.text);
            doubt.map(|(what, next_step)| (format!("{name}: {what}"), next_step))
        } else {
            let what = match line.starts_with("export ") {
                true => "ignored: 'export' is not part of the syntax",
                false => "ignored: it is not KEY=value",
            };
            Some((what.to_owned(), "write KEY=value"))
        };
        content.warnings.extend(doubt.map(|(what, next_step)| {
            let number = before.matches('\n').count() + 1;
            let message = format!("env file {}, line {number}: {what}", path.display());
            Warning::new("settings", message, next_step)
        }));
        rest = below.trim_start();
    }
    content
}

#[derive(Default)]
struct Value {
    text: String,
    /// Whether something unquoted looks like a comment after the value.
    holds_comment: bool,
    /// Whether a quote was not closed.
    is_unclosed: bool,
}

impl Value {
    /// Reads the value of this name.
    fn read(chars: &mut Chars, name: &str) -> Self {
        let mut read = Self::default();
        let text = &mut read.text;
        // White space at the end belongs to the value only if it was quoted or escaped.
        let mut keep = 0;
        // As in systemd, a quote counts as one only where a value begins, or directly after another.
        let mut may_quote = true;
        let mut last = '=';
        while let Some(next) = chars.next() {
            read.holds_comment |= next == '#' && last.is_whitespace();
            last = next;
            match next {
                '\n' => break,
                '\'' | '"' if may_quote => {
                    read.is_unclosed |= !quoted(chars, next, name, text);
                    keep = text.len();
                    continue;
                }
                ' ' | '\t' | '\r' if may_quote => continue,
                '\\' => {
                    let escaped = chars.next().filter(|escaped| *escaped != '\n');
                    text.extend(escaped);
                    keep = escaped.map_or(keep, |_| text.len());
                }
                other => {
                    text.push(other);
                    if !other.is_whitespace() {
                        keep = text.len();
                    }
                }
            }
            may_quote = false;
        }
        text.truncate(keep);
        read
    }

    /// Returns what is probably not meant as written, and what to write instead.
    fn doubt(&self, name: &str) -> Option<(&'static str, &'static str)> {
        let text = &self.text;
        if self.is_unclosed {
            let what = "the quote in its value is not closed";
            Some((what, "close it on the same line"))
        } else if !is_known(name) {
            None
        } else if text == "~" || text.starts_with("~/") {
            let what = "it begins with ~, which is not expanded";
            Some((what, "write the whole path"))
        } else if text.contains(char::REPLACEMENT_CHARACTER) {
            Some(("its value is not UTF-8", "write it in UTF-8"))
        } else if self.holds_comment {
            let what = "the # is part of its value: it is no comment";
            Some((what, "put the comment on a line of its own"))
        } else {
            None
        }
    }
}

/// Reads the rest of a quoted value. Returns false if the quote had to be ended at the end of its line.
fn quoted(chars: &mut Chars, quote: char, name: &str, value: &mut String) -> bool {
    let (begin, before) = (chars.clone(), value.len());
    if read_quoted(chars, quote, value, false) {
        let mut below = value[before..].split('\n').skip(1).peekable();
        let is_ours = |line: &str| {
            line.split_once('=')
                .is_some_and(|(key, _)| is_known(key.trim()))
        };
        if below.peek().is_none() || (!is_known(name) && !below.any(is_ours)) {
            return true;
        }
    }
    value.truncate(before);
    *chars = begin;
    read_quoted(chars, quote, value, true);
    value.truncate(value.trim_end().len());
    false
}

/// Reads up to the closing quote, anywhere or only before the line's end. Returns whether it was found.
fn read_quoted(chars: &mut Chars, quote: char, value: &mut String, on_one_line: bool) -> bool {
    while !(on_one_line && chars.as_str().starts_with('\n')) {
        match chars.next() {
            None => break,
            Some(end) if end == quote => return true,
            Some('\\') if quote == '"' => match chars.next() {
                Some('\n') | None => {}
                Some(escaped @ ('"' | '\\' | '`' | '$')) => value.push(escaped),
                Some(other) => value.extend(['\\', other]),
            },
            Some(other) => value.push(other),
        }
    }
    false
}

fn is_name(key: &str) -> bool {
    !key.starts_with(|c: char| c.is_ascii_digit())
        && !key.is_empty()
        && key.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_reads(text: &str, expected: &[(&str, &str)]) {
        let settings = parse(text, Path::new("env")).settings;
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        assert_eq!(settings, expected.iter().map(owned).collect(), "{text}");
    }

    #[test]
    fn the_syntax_is_systemds() {
        for (text, expected) in [
            (
                "# a\n; b\n\n  A=1  \nB = 2\nC=\nnot a line\nD=4",
                &[("A", "1"), ("B", "2"), ("C", ""), ("D", "4")][..],
            ),
            (
                "A=\" x # y \"\nB='it \"is\"'\nC=a#b # c\nD=\"two\nlines\"\n",
                &[
                    ("A", " x # y "),
                    ("B", "it \"is\""),
                    ("C", "a#b # c"),
                    ("D", "two\nlines"),
                ],
            ),
            // A quote inside a value stands for itself.
            (
                "A=it's\nB=x\"y\"\nC='a' \"b\" c's\nD=1\r\n",
                &[("A", "it's"), ("B", "x\"y\""), ("C", "abc's"), ("D", "1")],
            ),
            // Nothing is expanded, and the last one counts.
            ("A=/$HOME\nA=/a b/$X\n", &[("A", "/a b/$X")]),
            (
                "A=a\\\nb\nB=\"q\\\"\\$\\n\"\nC=x\\ \nD='a\\b'\n",
                &[("A", "ab"), ("B", "q\"$\\n"), ("C", "x "), ("D", "a\\b")],
            ),
        ] {
            assert_reads(text, expected);
        }
    }

    #[test]
    fn a_long_file_is_read_at_once() {
        let text = "# comment\n".repeat(100_000) + "A=1";
        let begun = std::time::Instant::now();
        assert_reads(&text, &[("A", "1")]);
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }

    #[test]
    fn an_unclosed_quote_swallows_no_setting() {
        let home = ("KORA_HOME", "/x");
        for (text, expected) in [
            ("KORA_HOME=\"/x", &[home][..]),
            ("KORA_HOME='/x \r\n\nA=1\n", &[home, ("A", "1")]),
            ("A=\"a\nKORA_HOME=/x\n", &[("A", "a"), home]),
            ("A=\"a\nKORA_HOME=\"/x\"\n", &[("A", "a"), home]),
            ("A='a\n KORA_HOME='/x'\n", &[("A", "a"), home]),
            (
                "KORA_HOME=\"/x\nB=\"2\"\nC=3",
                &[home, ("B", "2"), ("C", "3")],
            ),
        ] {
            assert_reads(text, expected);
            let warnings = parse(text, Path::new("env")).warnings;
            let [warning] = &warnings[..] else {
                panic!("{text}: {warnings:?}");
            };
            assert!(warning.message.ends_with("is not closed"), "{warning}");
        }
        assert_reads("A=\"a\nB=1\nC=\"\n", &[("A", "a\nB=1\nC=")]);
    }

    #[test]
    fn what_is_hardly_meant_is_warned_of_without_the_value() {
        for (text, warning) in [
            (
                "\nexport KORA_HOME=/x",
                "env file env, line 2: ignored: 'export' is not part of the syntax; write KEY=value",
            ),
            (
                "nonsense",
                "env file env, line 1: ignored: it is not KEY=value; write KEY=value",
            ),
            (
                "KORA_HOME=~/x",
                "env file env, line 1: KORA_HOME: it begins with ~, which is not expanded; write the whole path",
            ),
            (
                "A=1\nKORA_SLACK_JOSHUA_USER_ID=U1  # me",
                "env file env, line 2: KORA_SLACK_JOSHUA_USER_ID: the # is part of its value: \
                 it is no comment; put the comment on a line of its own",
            ),
            (
                "KORA_SLACK_BOT_TOKEN_FILE='/x' # mine",
                "env file env, line 1: KORA_SLACK_BOT_TOKEN_FILE: the # is part of its value: \
                 it is no comment; put the comment on a line of its own",
            ),
            (
                "\n\nKORA_HOME='/x\nA=1",
                "env file env, line 3: KORA_HOME: the quote in its value is not closed; \
                 close it on the same line",
            ),
            (
                "KORA_HOME=/\u{fffd}",
                "env file env, line 1: KORA_HOME: its value is not UTF-8; write it in UTF-8",
            ),
            (
                "KORA_HOME=/a#b\nKORA_HOME=\"/a # b\"\nOTHER=~/x # y\nKORA_HOME=/~/x\n# \u{fffd}",
                "",
            ),
        ] {
            let warnings = parse(text, Path::new("env")).warnings.into_iter();
            let warnings: Vec<_> = warnings.map(|one| one.to_string()).collect();
            assert_eq!(warnings.join("\n"), warning, "{text}");
        }
    }
}
