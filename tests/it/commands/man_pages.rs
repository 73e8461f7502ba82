//! The man pages: man(1) shows all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name)
}

fn pages() -> Vec<PathBuf> {
    let folder = page("");
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = entries
        .filter(|path| {
            path.extension()
                .is_some_and(|end| ["1", "5", "7"].iter().any(|section| end == *section))
        })
        .collect();
    pages.sort();
    pages
}

/// Returns a page as a terminal of 80 columns shows it, without bold and underlined letters.
fn shown(page: &Path) -> String {
    let mut command = Command::new("mandoc");
    command.args(["-T", "utf8", "-O", "width=80"]).arg(page);
    let bytes = command.output().expect("mandoc").stdout;
    let mut plain = String::new();
    for letter in String::from_utf8(bytes).unwrap().chars() {
        if letter == '\u{8}' {
            plain.pop();
        } else {
            plain.push(letter);
        }
    }
    plain
}

#[test]
fn mandoc_finds_no_fault() {
    needs!("mandoc");
    assert!(pages().len() >= 10);
    for page in pages() {
        let judged = Command::new("mandoc")
            .args(["-T", "lint"])
            .arg(&page)
            .output();
        let judged = judged.expect("mandoc");
        let said = String::from_utf8_lossy(&judged.stdout).into_owned();
        assert!(judged.status.success() && said.is_empty(), "{said}");
    }
}

#[test]
fn the_pages_have_their_sections_in_order() {
    needs!("mandoc");
    let main: &[&str] = &[
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "SUBCOMMANDS",
        "EXIT STATUS",
        "EXAMPLES",
        "SEE ALSO",
    ];
    let formats: &[&str] = &["NAME", "ENVIRONMENT", "FILES", "SEE ALSO"];
    for (name, sections) in [("probe-wake.1", main), ("probe-wake.5", formats)] {
        let page = shown(&page(name));
        let mut rest = page.as_str();
        for section in sections {
            let heading = format!("\n{section}\n");
            let at = rest
                .find(&heading)
                .unwrap_or_else(|| panic!("no {section} in its place:\n{page}"));
            rest = &rest[at + heading.len()..];
        }
    }
}

#[test]
fn the_page_of_a_command_has_its_options() {
    needs!("mandoc");
    for (command, option) in [
        ("run", "--max-runtime"),
        ("check", "--send-test-dm"),
        ("history", "--since"),
        ("replay", "--ask-engine"),
        ("state-reset", "--position"),
        ("schedule", "systemd"),
    ] {
        let page = shown(&page(&format!("probe-wake-{command}.1")));
        assert!(page.contains(option), "{page}");
    }
}
