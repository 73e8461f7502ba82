//! What the operator wrote about a service, for whoever has to act on an alert: plain Markdown files in
//! one folder, trusted like the env file. They are read when a question is asked or a fallback is made.

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::audit::stat::modified;
use crate::files::read_trusted;
use crate::incident::Pair;
use crate::mask::Masker;
use crate::secret::masked;
use crate::text::{common_limit, cut};

/// The most bytes of all runbooks that go into a prompt.
const MOST_BYTES: usize = 8 * 1024;
/// A longer file is not a runbook.
const LONGEST_FILE: u64 = 1024 * 1024;

/// About the whole site; belongs to every alert.
const SITE: &str = "site.md";
/// For a pair that has no runbook of its own.
const DEFAULT: &str = "default.md";

/// What the runbooks say about an alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runbook {
    /// For the prompt; empty if there is none.
    pub text: String,
    /// The pair's own runbook, which messages quote.
    pub own: Option<String>,
    /// Files that were refused or cannot be read, and why.
    pub warnings: Vec<String>,
}

/// Reads what the folder holds for these pairs, the most important first.
pub fn read<'a>(dir: &Path, pairs: impl IntoIterator<Item = &'a Pair>, masker: Masker) -> Runbook {
    let mut runbook = Runbook::default();
    let mut texts = Vec::new();
    for name in used(dir, pairs) {
        let path = dir.join(&name);
        match read_trusted(&path, LONGEST_FILE) {
            Ok((text, _)) => {
                let text = masked(text.trim().to_owned(), masker.0);
                let is_own = name != SITE && name != DEFAULT && runbook.own.is_none();
                runbook.own = runbook.own.or_else(|| is_own.then(|| text.clone()));
                texts.push(text);
            }
            Err(error) => runbook
                .warnings
                .push(format!("runbook {} is not used: {error}", path.display())),
        }
    }
    texts.retain(|text| !text.is_empty());
    let lengths: Vec<_> = texts.iter().map(String::len).collect();
    let limit = common_limit(&lengths, MOST_BYTES - 2 * texts.len().min(100));
    let texts: Vec<_> = texts.iter().map(|text| cut(text, limit)).collect();
    runbook.text = texts.join("\n\n");
    runbook
}

/// Returns the names under which a pair's runbook is looked for; the first that exists counts.
fn names(pair: &Pair) -> impl Iterator<Item = String> + use<> {
    let is_unsafe = |c: char| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-');
    let [probe, category] = [&pair.probe, &pair.category].map(|name| name.replace(is_unsafe, "_"));
    let [of_pair, of_probe] = [format!("{probe}:{category}.md"), format!("{probe}.md")];
    let names = [of_pair, of_probe, DEFAULT.to_owned()].into_iter();
    names.filter(|name| name != SITE)
}

/// Returns the names of all runbooks in the folder, each with the time of its last change, or why it is
/// not used.
pub fn list(dir: &Path) -> Vec<(String, io::Result<Timestamp>)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    let changed = |name: &String| Ok(modified(&read_trusted(&dir.join(name), LONGEST_FILE)?.1));
    let listed = names.into_iter().map(|name| (name.clone(), changed(&name)));
    listed.collect()
}

/// Returns the names of the runbooks that alerts of these pairs use, each of them once.
pub fn used<'a>(dir: &Path, pairs: impl IntoIterator<Item = &'a Pair>) -> Vec<String> {
    let is_there = |name: &String| fs::symlink_metadata(dir.join(name)).is_ok();
    let site = Some(SITE.to_owned()).filter(is_there);
    let own = pairs
        .into_iter()
        .filter_map(|pair| names(pair).find(is_there));
    let mut used: Vec<String> = Vec::new();
    for name in site.into_iter().chain(own) {
        if !used.contains(&name) {
            used.push(name);
        }
    }
    used
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::context::Folder;
    use crate::secret::Secret;

    fn of(folder: &Folder, probe: &str, category: &str) -> Runbook {
        read(&folder.0, [&Pair::new(probe, category)], Masker::default())
    }

    #[test]
    fn the_first_that_exists_is_used_below_the_site_s() {
        let folder = Folder::new();
        for name in ["site", "default", "fly", "fly:down", "___", "a.b-c_ü:x_y"] {
            folder.write(&format!("{name}.md"), format!("about {name}\n"));
        }
        for (probe, category, used, own) in [
            ("fly", "down", "fly:down.md", Some("about fly:down")),
            ("fly", "slow", "fly.md", Some("about fly")),
            ("neon", "down", "default.md", None),
            ("site", "down", "default.md", None),
            ("default", "down", "default.md", None),
            ("../", "down", "default.md", None),
            ("/\0:", "down", "___.md", Some("about ___")),
            (
                "a.b-c_ü",
                "x:y",
                "a.b-c_ü:x_y.md",
                Some("about a.b-c_ü:x_y"),
            ),
            ("fly:down", "x", "default.md", None),
        ] {
            let runbook = of(&folder, probe, category);
            assert_eq!(runbook.own.as_deref(), own, "{probe} {category}");
            let about = used.strip_suffix(".md").unwrap();
            let text = format!("about site\n\nabout {about}");
            assert_eq!(runbook.text, text, "{probe} {category}");
            assert_eq!(runbook.warnings, [""; 0]);
        }
        let long = "p".repeat(300);
        let text = of(&folder, &long, "x").text;
        assert_eq!(text, "about site\n\nabout default");
    }

    #[test]
    fn without_a_folder_there_is_nothing_to_say() {
        let folder = Folder::new();
        assert_eq!(of(&folder, "fly", "down"), Runbook::default());
        let gone = folder.0.join("gone");
        assert_eq!(
            read(&gone, [&Pair::new("fly", "down")], Masker::default()),
            Runbook::default()
        );
        assert!(list(&gone).is_empty());
    }

    #[test]
    fn what_others_can_write_or_is_no_file_is_refused_with_a_warning() {
        let folder = Folder::new();
        fs::create_dir(folder.0.join("vercel.md")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.0.join("sentry.md")).unwrap();
        let open = folder.write("fly.md", "x");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
        for probe in ["fly", "vercel", "sentry"] {
            let runbook = of(&folder, probe, "down");
            assert_eq!((runbook.text.as_str(), runbook.own), ("", None));
            assert!(runbook.warnings[0].contains(&format!("{probe}.md is not used: ")));
        }
        let refused = list(&folder.0);
        assert_eq!(refused.len(), 3);
        assert!(refused.iter().all(|(_, changed)| changed.is_err()));
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(of(&folder, "fly", "down").text, "");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(of(&folder, "fly", "down").text, "x");
    }

    #[test]
    fn long_ones_share_the_prompt_and_our_tokens_are_masked() {
        let folder = Folder::new();
        folder.write("site.md", "s".repeat(1_000));
        folder.write("fly.md", format!("our-own-token-1 {}", "é".repeat(10_000)));
        let secrets = [Secret::new("our-own-token-1".to_owned())];
        let runbook = read(&folder.0, [&Pair::new("fly", "down")], Masker(&secrets));
        let own = runbook.own.unwrap();
        assert!(own.starts_with("[masked] éé") && own.len() > 20_000);
        assert!(runbook.text.contains("ss\n\n[masked] éé") && runbook.text.ends_with("é [cut]"));
        let length = runbook.text.len();
        assert!(length <= MOST_BYTES && length > MOST_BYTES - 10, "{length}");
    }

    #[test]
    fn a_digest_gets_each_runbook_once() {
        let folder = Folder::new();
        folder.write("fly.md", "about fly");
        folder.write("default.md", "the rest");
        let pairs = [("fly", "a"), ("neon", "a"), ("fly", "b"), ("vercel", "a")];
        let pairs = pairs.map(|(probe, category)| Pair::new(probe, category));
        let runbook = read(&folder.0, &pairs, Masker::default());
        assert_eq!(runbook.text, "about fly\n\nthe rest");
        let listed: Vec<_> = list(&folder.0).into_iter().map(|(name, _)| name).collect();
        assert_eq!(listed, ["default.md", "fly.md"]);
    }
}
