//! What the operator wrote about a service, for whoever has to act on an alert: plain Markdown files in
//! one folder, trusted like the env file. They are read when a question is asked or a fallback is made.

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::audit::stat::modified;
use crate::files::read_trusted;
use crate::mask::Masker;
use crate::text::{common_limit, cut};

/// What a prompt holds of all runbooks.
const MOST_BYTES: usize = 8 * 1024;
/// A longer file is no runbook.
const LONGEST_FILE: u64 = 1024 * 1024;

/// About the whole site; belongs to every alert.
const SITE: &str = "site.md";
/// For a pair that has no runbook of its own.
const DEFAULT: &str = "default.md";

/// What the runbooks say about an alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runbook {
    /// For the prompt; empty where there is none.
    pub text: String,
    /// The pair's own runbook, which messages quote.
    pub own: Option<String>,
    /// The names of the files that were used.
    pub used: Vec<String>,
    /// Files that were refused or cannot be read, and why.
    pub warnings: Vec<String>,
}

/// Reads what the folder holds for these pairs, the most important first.
pub fn read<'a>(
    dir: &Path,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    masker: Masker,
) -> Runbook {
    let mut runbook = Runbook::default();
    let mut texts = Vec::new();
    for name in used(dir, pairs) {
        let path = dir.join(&name);
        match read_trusted(&path, LONGEST_FILE) {
            Ok((text, _)) => {
                let text = masker.own_tokens(text.trim().to_owned());
                let is_own = name != SITE && name != DEFAULT && runbook.own.is_none();
                runbook.own = runbook.own.or_else(|| is_own.then(|| text.clone()));
                texts.push(text);
                runbook.used.push(name);
            }
            Err(error) => {
                let shown = path.display();
                runbook
                    .warnings
                    .push(format!("runbook {shown} is not used: {error}"));
            }
        }
    }
    texts.retain(|text| !text.is_empty());
    let lengths: Vec<_> = texts.iter().map(String::len).collect();
    let limit = common_limit(&lengths, MOST_BYTES - 2 * texts.len().min(100));
    let texts: Vec<_> = texts.iter().map(|text| cut(text, limit)).collect();
    runbook.text = texts.join("\n\n");
    runbook
}

/// The names under which a pair's runbook is looked for, the first that exists counts.
fn names(probe: &str, category: &str) -> impl Iterator<Item = String> + use<> {
    let safe = |name: &str| {
        let is_safe = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        name.chars()
            .map(|c| if is_safe(c) { c } else { '_' })
            .collect::<String>()
    };
    let (probe, category) = (safe(probe), safe(category));
    let of_probe = format!("{probe}.md");
    let of_probe = (of_probe != SITE && of_probe != DEFAULT).then_some(of_probe);
    let of_pair = format!("{probe}:{category}.md");
    [Some(of_pair), of_probe, Some(DEFAULT.to_owned())]
        .into_iter()
        .flatten()
}

/// Returns the names of all runbooks in the folder, each with the time of its last change, or why it is
/// not used.
pub fn list(dir: &Path) -> Vec<(String, io::Result<Timestamp>)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    let changed = |name: &String| Ok(modified(&read_trusted(&dir.join(name), LONGEST_FILE)?.1));
    names
        .into_iter()
        .map(|name| (name.clone(), changed(&name)))
        .collect()
}

/// Returns the names of the runbooks that alerts of these pairs use, without those that come again.
pub fn used<'a>(dir: &Path, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let is_there = |name: &String| fs::symlink_metadata(dir.join(name)).is_ok();
    let site = Some(SITE.to_owned()).filter(is_there);
    let own = pairs.into_iter();
    let own = own.filter_map(|(probe, category)| names(probe, category).find(is_there));
    let mut used: Vec<String> = Vec::new();
    for name in site.into_iter().chain(own) {
        if !used.contains(&name) {
            used.push(name);
        }
    }
    used
}
