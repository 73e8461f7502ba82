//! The env file: `KEY=value` lines in systemd's `EnvironmentFile` syntax, so that one file serves
//! cron, which has no profile, and a systemd unit alike.
//!
//! Syntax (systemd.exec(5), `EnvironmentFile=`): blank lines and lines that begin with `#` or `;`
//! are passed over; a backslash before a line end continues the line; a value may be quoted with
//! `'` or `"`, and within an unquoted one they stand for themselves; an unquoted backslash, and one
//! before `"`, `\`, `` ` `` or `$` in double quotes, is taken out; there is no `export` and no
//! expansion.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::Warning;
use super::names::is_known;
use crate::files::read_trusted;

/// No env file is longer.
const MOST_BYTES: u64 = 1024 * 1024;

/// What an env file says.
#[derive(Debug, Default)]
pub struct Content {
    pub settings: HashMap<String, String>,
    pub warnings: Vec<Warning>,
}

/// Reads the file. One that others can write or replace is refused, since it holds secrets and says
/// where they are sent.
pub fn read(path: &Path) -> Result<Content> {
    let shown = path.display();
    let (text, meta) =
        read_trusted(path, MOST_BYTES).with_context(|| format!("cannot read env file {shown}"))?;
    let mut content = parse(&text, path);
    if meta.mode() & 0o044 != 0 {
        let cure = format!("chmod 600 {shown}");
        content.warnings.push(Warning {
            subject: "secrets",
            message: format!("env file {shown} can be read by others: {cure}"),
            next_step: cure,
        });
    }
    Ok(content)
}

/// Of two lines with one name the second counts, as in systemd.
fn parse(text: &str, path: &Path) -> Content {
    let mut scanner = Scanner { rest: text };
    let mut content = Content::default();
    while let Some((line, assignment)) = scanner.line() {
        let doubt = match &assignment {
            Some(assignment) => doubt(assignment),
            // Not a word of the line itself: it may be a token.
            None if line.starts_with("export ") => {
                Some("passed over: 'export' is not part of the syntax".to_owned())
            }
            None => Some("passed over: it is not KEY=value".to_owned()),
        };
        if let Some(doubt) = doubt {
            let (shown, number) = (path.display(), line_number(text, line));
            content.warnings.push(Warning {
                subject: "settings",
                message: format!("env file {shown}, line {number}: {doubt}"),
                next_step: "write KEY=value, the whole path, and comments on lines of their own"
                    .to_owned(),
            });
        }
        if let Some(Assignment { name, value, .. }) = assignment {
            content.settings.insert(name, value);
        }
    }
    content
}

/// What is hardly meant as it is written, where the setting is one of ours.
fn doubt(assignment: &Assignment) -> Option<String> {
    let Assignment { name, value, .. } = assignment;
    if !is_known(name) {
        return None;
    }
    if value == "~" || value.starts_with("~/") {
        return Some(format!("{name} begins with ~, which is not expanded"));
    }
    assignment
        .holds_comment
        .then(|| format!("what begins with # belongs to the value of {name}: it is no comment"))
}

/// Which line of the text this part of it begins in, from 1 on.
fn line_number(text: &str, part: &str) -> usize {
    let before = part.as_ptr() as usize - text.as_ptr() as usize;
    text[..before].matches('\n').count() + 1
}

struct Scanner<'a> {
    rest: &'a str,
}

struct Assignment {
    name: String,
    value: String,
    /// Whether something without quotes looks like a comment behind the value.
    holds_comment: bool,
}

impl<'a> Scanner<'a> {
    /// The next line, with the assignment that begins in it, where one does; `None` is the end.
    fn line(&mut self) -> Option<(&'a str, Option<Assignment>)> {
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
        let key = line.split_once('=').map(|(key, _)| key);
        let Some(key) = key.filter(|key| is_name(key.trim())) else {
            self.skip_line();
            return Some((line, None));
        };
        self.rest = &self.rest[key.len() + 1..];
        let (value, holds_comment) = self.value();
        let assignment = Assignment {
            name: key.trim().to_owned(),
            value,
            holds_comment,
        };
        Some((line, Some(assignment)))
    }

    fn skip_line(&mut self) {
        self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
    }

    /// The value, and whether a `#` behind white space stands in it without quotes.
    fn value(&mut self) -> (String, bool) {
        let mut value = String::new();
        // White space at the end belongs to the value only where it was quoted or escaped.
        let mut keep = 0;
        // As in systemd, a quote is one only where a value begins, or right behind another.
        let mut may_quote = true;
        let (mut holds_comment, mut last) = (false, '=');
        while let Some(next) = self.take() {
            holds_comment |= next == '#' && last.is_whitespace();
            last = next;
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
        (value, holds_comment)
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

    #[track_caller]
    fn says(text: &str, expected: &[(&str, &str)]) {
        let read = parse(text, Path::new("env")).settings;
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        assert_eq!(read, expected.iter().map(owned).collect());
    }

    #[test]
    fn comments_blank_lines_and_spaces_around_are_passed_over() {
        let text = "# a\n; b\n\n  A=1  \nB = 2\nC=\nnot a line\nD=4";
        says(text, &[("A", "1"), ("B", "2"), ("C", ""), ("D", "4")]);
    }

    #[test]
    fn quotes_keep_spaces_and_hashes() {
        let text = "A=\" x # y \"\nB='it \"is\"'\nC=a#b # c\nD=\"two\nlines\"\n";
        says(
            text,
            &[
                ("A", " x # y "),
                ("B", "it \"is\""),
                ("C", "a#b # c"),
                ("D", "two\nlines"),
            ],
        );
    }

    #[test]
    fn a_quote_within_a_value_stands_for_itself() {
        let text = "A=it's\nB=x\"y\"\nC='a' \"b\" c's\nD=1\r\n";
        says(
            text,
            &[("A", "it's"), ("B", "x\"y\""), ("C", "abc's"), ("D", "1")],
        );
    }

    #[test]
    fn nothing_is_expanded_and_the_second_of_two_counts() {
        says("A=/$HOME\nA=/a b/$X\n", &[("A", "/a b/$X")]);
    }

    #[test]
    fn backslashes_escape_and_continue() {
        let text = "A=a\\\nb\nB=\"q\\\"\\$\\n\"\nC=x\\ \nD='a\\b'\n";
        says(
            text,
            &[("A", "ab"), ("B", "q\"$\\n"), ("C", "x "), ("D", "a\\b")],
        );
    }

    #[test]
    fn what_is_hardly_meant_is_told_without_the_value() {
        let of = |text: &str| {
            let warnings = parse(text, Path::new("env")).warnings;
            let told: Vec<_> = warnings.into_iter().map(|one| one.message).collect();
            told.join("\n")
        };
        for (text, told) in [
            (
                "\nexport KORA_HOME=/x",
                "env file env, line 2: passed over: 'export' is not part of the syntax",
            ),
            (
                "nonsense",
                "env file env, line 1: passed over: it is not KEY=value",
            ),
            (
                "KORA_HOME=~/x",
                "env file env, line 1: KORA_HOME begins with ~, which is not expanded",
            ),
            (
                "A=1\nKORA_SLACK_JOSHUA_USER_ID=U1  # me",
                "env file env, line 2: what begins with # belongs to the value of \
                 KORA_SLACK_JOSHUA_USER_ID: it is no comment",
            ),
            (
                "KORA_SLACK_BOT_TOKEN_FILE='/x' # mine",
                "env file env, line 1: what begins with # belongs to the value of \
                 KORA_SLACK_BOT_TOKEN_FILE: it is no comment",
            ),
            (
                "KORA_HOME=/a#b\nKORA_HOME=\"/a # b\"\nOTHER=~/x # y\nKORA_HOME=/~/x",
                "",
            ),
        ] {
            assert_eq!(of(text), told, "{text}");
        }
    }
}
