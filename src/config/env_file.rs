//! The env file: `KEY=value` lines in systemd's `EnvironmentFile` syntax, so that one file serves
//! cron, which has no profile, and a systemd unit alike.
//!
//! Syntax (systemd.exec(5), `EnvironmentFile=`): blank lines and lines that begin with `#` or `;`
//! are passed over; a backslash before a line end continues the line; a value may be quoted with
//! `'` or `"`, and within an unquoted one they stand for themselves; an unquoted backslash, and one
//! before `"`, `\`, `` ` `` or `$` in double quotes, is taken out; there is no `export` and no
//! expansion.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use log::warn;

use crate::files::read_trusted;

/// No env file is longer.
const MOST_BYTES: u64 = 1024 * 1024;

/// The assignments of the file, in order. A file that others can write or replace is refused, since
/// it holds secrets and says where they are sent.
pub fn read(path: &Path) -> Result<Vec<(String, String)>> {
    let shown = path.display();
    let (text, meta) =
        read_trusted(path, MOST_BYTES).with_context(|| format!("cannot read env file {shown}"))?;
    if meta.mode() & 0o044 != 0 {
        warn!("env file {shown} can be read by others: chmod 600 {shown}");
    }
    Ok(assignments(&text, path))
}

fn assignments(text: &str, path: &Path) -> Vec<(String, String)> {
    let mut scanner = Scanner { rest: text };
    let mut found = Vec::new();
    while let Some(line) = scanner.assignment() {
        match line {
            Ok(assignment) => found.push(assignment),
            // Not a word of the line itself: it may be a token.
            Err(line) => warn!(
                "env file {}: passed over line {}, which is not KEY=value",
                path.display(),
                line_number(text, line)
            ),
        }
    }
    found
}

/// Which line of the text this part of it begins in, from 1 on.
fn line_number(text: &str, part: &str) -> usize {
    let before = part.as_ptr() as usize - text.as_ptr() as usize;
    text[..before].matches('\n').count() + 1
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// The next assignment; `Err` is a line that is none; `None` is the end.
    fn assignment(&mut self) -> Option<Result<(String, String), &'a str>> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() {
                return None;
            }
            if !self.rest.starts_with(['#', ';']) {
                break;
            }
            self.skip_line();
        }
        let line_end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = &self.rest[..line_end];
        match line.split_once('=') {
            Some((key, _)) if is_name(key.trim()) => {
                self.rest = &self.rest[key.len() + 1..];
                Some(Ok((key.trim().to_owned(), self.value())))
            }
            _ => {
                self.skip_line();
                Some(Err(line))
            }
        }
    }

    fn skip_line(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
    }

    fn value(&mut self) -> String {
        let mut value = String::new();
        // White space at the end belongs to the value only where it was quoted or escaped.
        let mut keep = 0;
        // As in systemd, a quote is one only where a value begins, or right behind another.
        let mut may_quote = true;
        while let Some(next) = self.take() {
            match next {
                '\n' => break,
                '\'' | '"' if may_quote => {
                    self.quoted(next, &mut value);
                    keep = value.len();
                    continue;
                }
                ' ' | '\t' | '\r' if may_quote => continue,
                '\\' => {
                    if let Some(escaped) = self.take().filter(|escaped| *escaped != '\n') {
                        value.push(escaped);
                        keep = value.len();
                    }
                }
                other => {
                    value.push(other);
                    if !other.is_whitespace() {
                        keep = value.len();
                    }
                }
            }
            may_quote = false;
        }
        value.truncate(keep);
        value
    }

    fn quoted(&mut self, quote: char, value: &mut String) {
        while let Some(next) = self.take() {
            match next {
                end if end == quote => return,
                '\\' if quote == '"' => match self.take() {
                    Some('\n') | None => {}
                    Some(escaped @ ('"' | '\\' | '`' | '$')) => value.push(escaped),
                    Some(other) => value.extend(['\\', other]),
                },
                other => value.push(other),
            }
        }
    }

    fn take(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }
}

fn is_name(key: &str) -> bool {
    let mut letters = key.chars();
    letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Vec<(String, String)> {
        assignments(text, Path::new("env"))
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn comments_blank_lines_and_spaces_around_are_passed_over() {
        let text = "# a\n; b\n\n  A=1  \nB = 2\nC=\nnot a line\nD=4";
        let read = read_text(text);
        assert_eq!(
            read,
            [
                pair("A", "1"),
                pair("B", "2"),
                pair("C", ""),
                pair("D", "4")
            ]
        );
    }

    #[test]
    fn quotes_keep_spaces_and_hashes() {
        let text = "A=\" x # y \"\nB='it \"is\"'\nC=a#b # c\nD=\"two\nlines\"\n";
        let read = read_text(text);
        assert_eq!(
            read,
            [
                pair("A", " x # y "),
                pair("B", "it \"is\""),
                pair("C", "a#b # c"),
                pair("D", "two\nlines")
            ]
        );
    }

    #[test]
    fn a_quote_within_a_value_stands_for_itself() {
        let text = "A=it's\nB=x\"y\"\nC='a' \"b\" c's\nD=1\r\n";
        let read = read_text(text);
        assert_eq!(
            read,
            [
                pair("A", "it's"),
                pair("B", "x\"y\""),
                pair("C", "abc's"),
                pair("D", "1")
            ]
        );
    }

    #[test]
    fn backslashes_escape_and_continue() {
        let text = "A=a\\\nb\nB=\"q\\\"\\$\\n\"\nC=x\\ \nD='a\\b'\n";
        let read = read_text(text);
        assert_eq!(
            read,
            [
                pair("A", "ab"),
                pair("B", "q\"$\\n"),
                pair("C", "x "),
                pair("D", "a\\b")
            ]
        );
    }
}
