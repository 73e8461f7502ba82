//! The man pages, made from the help text and the table of settings. They are committed, and the
//! tests here fail where they are stale. To write them again: `UPDATE_DOCS=1 cargo test docs`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::cli::Cli;
use crate::config::variables::VARIABLES;
use crate::context;
use crate::engine::Reason;
use crate::exit::Exit;

/// The date on the pages; it moves with the version.
const RELEASED: &str = "2026-11-22";

const FILES: &[(&str, &str)] = &[
    (
        "~/.config/probe-wake/env",
        "Settings: KEY=value lines in the syntax of systemd's EnvironmentFile.",
    ),
    (
        "~/.local/state/probe-wake/state.json",
        "The state: what is remembered between runs, as JSON. probe-wake state show prints it.",
    ),
    (
        "~/.local/state/probe-wake/state.json.old",
        "The state before the last reset.",
    ),
    (
        "~/.local/state/probe-wake/state.lock",
        "The lock of a run; it holds when the last run began and ended, its exit code, since when nothing was \
         watched, and which lasting problems were printed when.",
    ),
    (
        "~/.local/state/probe-wake/texts/",
        "A file for each long text of a queued message or investigation.",
    ),
    (
        "~/.local/state/probe-wake/undelivered/",
        "A file for each message that was given up.",
    ),
    (
        "~/.local/state/probe-wake/silences/",
        "A file for each silence.",
    ),
    (
        "~/.local/state/probe-wake/outcomes.jsonl",
        "A row for each dispatch and each later event; over 8 MiB it moves to outcomes.jsonl.1.",
    ),
];

/// The meaning of each exit code.
const EXIT_STATUS: &[(Exit, &str)] = &[
    (
        Exit::Done,
        "Done: also if nothing is new, on a first run, and if all wakes are held back.",
    ),
    (
        Exit::Failed,
        "The run could not be done; the error says what failed and what to do.",
    ),
    (Exit::Usage, "Wrong usage or configuration."),
    (
        Exit::Unfinished,
        "Done, but a message is still queued or was given up, or rows may have been missed.",
    ),
    (Exit::Locked, "Another run holds the lock."),
];

const EXAMPLES: &[(&str, &str)] = &[
    (
        "probe-wake replay tests/data/kora_audit_log.jsonl",
        "Show what would have happened on a day: no account, no network, no state.",
    ),
    (
        "probe-wake run --dry-run",
        "Show what the next run would do.",
    ),
    (
        "probe-wake check --send-test-dm",
        "Check the set-up, and send yourself a message.",
    ),
    (
        "probe-wake schedule systemd",
        "Print the systemd units that start the runs.",
    ),
    (
        "probe-wake silence fly --for 2h --reason 'db move'",
        "Hold back alerts of one service during planned work.",
    ),
    (
        "probe-wake ack fly",
        "Say that you are on it: no more alerts about this incident for now.",
    ),
    (
        "probe-wake history --probe fly --since 30d",
        "List what was wrong with a service, and what was said about it.",
    ),
    (
        "probe-wake raise --probe nginx --severity critical --title 'nginx does not answer'",
        "Raise an alert from a script.",
    ),
    (
        "tail -n 50 backup.log | probe-wake raise --probe backup --severity warning --title 'The backup failed' --detail -",
        "Raise an alert with the last lines of a log.",
    ),
    (
        "probe-wake raise --probe nginx --recovered",
        "Say that the service is healthy again.",
    ),
    (
        "probe-wake state reset --position end",
        "Skip what is in the log so far.",
    ),
];

/// The formats, described in words.
const FORMATS: &[(&str, &[&str])] = &[
    (
        "THE AUDIT LOG",
        &[
            "One JSON object a line, UTF-8, ended by a line feed, written in append mode. A row is a wake if its own \
             seam is probe.wake_requested; all others are skipped. Its details: probe, category, severity \
             (info, warning, critical), title, detail, snapshot_details (an object), envelope_enabled and \
             envelope_fix_name. Anything may be missing.",
            "probe-wake raise appends such a row.",
        ],
    ),
    (
        "THE ENV FILE",
        &[
            "KEY=value lines in the syntax of systemd's EnvironmentFile: no export, no comment after a value, no ~ for \
             the home folder. A quote that is not closed ends with its line, with a warning. The real environment wins \
             over the file. A file that others can write, or that lies in a folder that others can write, is refused; \
             write permission for the owner's own group is fine. Every secret X can also be set as X_FILE, the name of \
             a file that holds it.",
        ],
    ),
    (
        "OUTCOME ROWS",
        &[
            "A row for each dispatched wake, in the audit log's own shape: seam probe.investigation_completed. Its details \
             say what became of it: dm_status (sent, failed_send, engine_unavailable_fallback, \
             engine_unavailable_failed_send), the diagnosis or the fallback's text, tokens and cost, reasoning_error and \
             reasoning_error_message if there is one, autofix_attempted, facts_first, late_diagnosis, digest_size and \
             digest_session. Later events add rows of the seams probe.dm_delivered, probe.dm_undelivered, \
             probe.recovery_told and probe.silence_over, but never to a file that KORA_PROBE_OUTCOME_LOG names.",
        ],
    ),
];

const SEE_ALSO: &str = "probe-wake(1), probe-wake(5), probe-wake(7)";

fn command() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

/// What can be typed, with the names of the values.
fn synopsis(name: &str, command: &Command) -> String {
    let mut command = command.clone();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").replace(['<', '>'], "");
    if command.has_subcommands() || command.get_name() == "raise" {
        let lines = usage.lines().map(str::trim);
        return lines.collect::<Vec<_>>().join("\n.br\n");
    }
    let own = |one: &&Arg| !one.is_global_set() && !one.is_positional() && one.get_id() != "help";
    let options = command.get_arguments().filter(own);
    let options = options.map(|one| format!("[{one}]").replace(['<', '>'], ""));
    let arguments = command.get_positionals();
    let arguments = arguments.map(|one| one.to_string().replace(['<', '>'], ""));
    let words = [verb(name)].into_iter().chain(options).chain(arguments);
    words.collect::<Vec<_>>().join(" ")
}

/// Returns what is typed for the command of a page: `probe-wake state reset`.
fn verb(name: &str) -> String {
    let words = name.replacen("probe-wake-", "probe-wake ", 1);
    match words.split_once(' ') {
        Some((program, rest)) => format!("{program} {}", rest.replace('-', " ")),
        None => words,
    }
}

fn render_synopsis(name: &str, command: &Command, page: &mut Vec<u8>) {
    let text = synopsis(name, command).replace('-', "\\-");
    page.extend(format!(".SH SYNOPSIS\n{text}\n").into_bytes());
}

fn main_page() -> String {
    let man = dated(
        Man::new(command().after_help("").after_long_help("")),
        "probe-wake",
    );
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    render_synopsis("probe-wake", &command(), &mut page);
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    man.render_subcommands_section(&mut page).unwrap();
    let mut roff = Roff::new();
    exit_status(&mut roff);
    section(&mut roff, "EXAMPLES", EXAMPLES, bold);
    roff.control("SH", ["SEE ALSO"]);
    let pages = subcommands().into_iter();
    let pages = pages.map(|(name, _)| format!("{name}(1)"));
    let pages: Vec<_> = pages
        .chain(["probe-wake(5)".into(), "probe-wake(7)".into()])
        .collect();
    roff.text([roman(pages.join(", "))]);
    let mut page = String::from_utf8(page).unwrap();
    page.push_str(&roff.to_roff());
    page
}

/// probe-wake(5): what it reads and writes.
fn files_page() -> String {
    let mut roff = Roff::new();
    roff.control(
        "TH",
        ["PROBE-WAKE", "5", RELEASED, "probe-wake", "File Formats"],
    );
    roff.control("SH", ["NAME"]);
    roff.text([roman(
        "probe-wake - settings, rows and files of probe-wake(1)",
    )]);
    for (title, paragraphs) in FORMATS {
        roff.control("SH", [*title]);
        for paragraph in *paragraphs {
            roff.control("PP", []);
            roff.text([roman(*paragraph)]);
        }
    }
    environment(&mut roff);
    section(&mut roff, "FILES", FILES, italic);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("probe-wake(1), probe-wake(7), systemd.exec(5)")]);
    roff.to_roff()
}

fn environment(roff: &mut Roff) {
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text([roman(
        "An empty value is unset, and white space around a value is ignored. What is not in the environment is read \
         from the env file. Numbers are whole unless it says that fractions are taken. A switch is true, 1, yes or on, \
         or else false, 0, no or off, in any case. A value that does not parse or is out of range is a warning, and \
         the default is used. No time is longer than 366 days.",
    )]);
    for variable in VARIABLES {
        let default = match variable.default {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        entry(roff, [bold(variable.name), roman(default)], variable.help);
    }
}

fn exit_status(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in EXIT_STATUS {
        entry(roff, [bold((*exit as u8).to_string())], meaning);
    }
}

/// Sets the title in capitals and a date, as man(7) wants them.
fn dated(man: Man, name: &str) -> Man {
    man.title(name.to_uppercase())
        .date(RELEASED)
        .source(concat!("probe-wake ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands")
}

fn section(
    roff: &mut Roff,
    title: &str,
    entries: &[(&'static str, &'static str)],
    style: impl Fn(&'static str) -> Inline,
) {
    roff.control("SH", [title]);
    for (name, text) in entries {
        entry(roff, [style(name)], text);
    }
}

fn entry(roff: &mut Roff, heading: impl Into<Vec<Inline>>, text: &str) {
    roff.control("TP", []);
    roff.text(heading);
    roff.text([roman(text)]);
}

/// Returns every command with its page's name: `state reset` with `probe-wake-state-reset`.
fn subcommands() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    let mut open = vec![("probe-wake".to_owned(), command())];
    while let Some((name, command)) = open.pop() {
        let subcommands = command.get_subcommands();
        for command in subcommands {
            let name = format!("{name}-{}", command.get_name());
            found.push((name.clone(), command.clone()));
            open.push((name, command.clone()));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

fn command_page(name: &str, command: &Command) -> String {
    let man = dated(Man::new(command.clone()), name);
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    render_synopsis(name, command, &mut page);
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page).unwrap();
    }
    let mut roff = Roff::new();
    let examples = EXAMPLES.iter().filter(|(example, _)| {
        let verb = name
            .replacen("probe-wake-", "probe-wake ", 1)
            .replace('-', " ");
        example.contains(&verb)
    });
    let examples: Vec<_> = examples.copied().collect();
    if !examples.is_empty() {
        section(&mut roff, "EXAMPLES", &examples, bold);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(SEE_ALSO)]);
    String::from_utf8(page).unwrap() + &roff.to_roff()
}

fn pages() -> Vec<(String, String)> {
    let commands = subcommands()
        .into_iter()
        .map(|(name, command)| (format!("{name}.1"), tidy(&command_page(&name, &command))));
    let main_pages = [
        ("probe-wake.1".to_owned(), tidy(&main_page())),
        ("probe-wake.5".to_owned(), tidy(&files_page())),
    ];
    main_pages.into_iter().chain(commands).collect()
}

/// Formats the page as mandoc wants it: no text line over 80 bytes, and no empty paragraph.
fn tidy(page: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in page.replace("\n.br\n\n.br\n", "\n.sp\n").lines() {
        let line = line.trim_end();
        let is_section_begun = lines.last().is_some_and(|last| last.starts_with(".SH"));
        match line {
            title if title.starts_with(".TH ") => {
                lines.push(title.to_owned());
                // Names and paths are not to be broken or stretched.
                lines.extend([".nh".to_owned(), ".ad l".to_owned()]);
            }
            ".PP" if is_section_begun => {}
            macro_call if macro_call.starts_with('.') => lines.push(macro_call.to_owned()),
            text => lines.extend(wrapped(text)),
        }
    }
    lines.join("\n") + "\n"
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        // A line that begins with a dot is a macro.
        let fits = line.len() + 1 + word.len() <= 80 || word.starts_with(['.', '\'']);
        match line.is_empty() {
            true => line.push_str(word),
            false if fits => *line += &format!(" {word}"),
            false => lines.push(word.to_owned()),
        }
    }
    lines
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Fails if a committed file is stale, or writes it again.
fn hold(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, expected).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == expected,
        "{} is stale: UPDATE_DOCS=1 cargo test docs",
        path.display()
    );
}

#[test]
fn the_man_pages_are_up_to_date() {
    for (name, page) in pages() {
        hold(&repository().join("man").join(name), &page);
    }
}

/// The marks around the example of a prompt in probe-wake(7).
const PROMPT_BEGINS: &str = ".\\\" A prompt begins.\n.nf\n";
const PROMPT_ENDS: &str = ".fi\n.\\\" A prompt ends.\n";

#[test]
fn the_prompt_in_the_man_page_is_what_the_program_says() {
    let path = repository().join("man/probe-wake.7");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(PROMPT_BEGINS).unwrap();
    let (_, after) = rest.split_once(PROMPT_ENDS).unwrap();
    let mut example = String::new();
    for line in context::example().lines() {
        let pieces = in_pieces(line, 76);
        example += &pieces.join("\n  ").replace('\\', "\\e");
        example.push('\n');
    }
    hold(
        &path,
        &[before, PROMPT_BEGINS, &example, PROMPT_ENDS, after].concat(),
    );
}

/// The line in pieces of at most `most` bytes, cut at spaces where there are any.
fn in_pieces(line: &str, most: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in line.split_inclusive([' ', ',']) {
        let last = pieces.len() - 1;
        match pieces[last].len() + word.len() > most {
            true => pieces.push(word.to_owned()),
            false => pieces[last].push_str(word),
        }
    }
    pieces
        .iter()
        .map(|piece| piece.trim_end().to_owned())
        .collect()
}

#[test]
fn each_reason_is_explained() {
    let page = fs::read_to_string(repository().join("man/probe-wake.7")).unwrap();
    for reason in [
        Reason::EngineUnavailable,
        Reason::Timeout,
        Reason::ConnectionError,
        Reason::Http(503),
        Reason::InvalidResponse,
        Reason::EmptyResponseText,
        Reason::Refusal,
        Reason::ContentFilter,
        Reason::IncompleteResponse,
        Reason::BudgetSpent,
        Reason::Interrupted,
        Reason::Backlog,
        Reason::Expired,
    ] {
        assert!(page.contains(&reason.to_string()), "{reason}");
    }
}

#[test]
fn every_man_page_has_a_command() {
    let known: Vec<String> = pages().into_iter().map(|(name, _)| name).collect();
    for entry in fs::read_dir(repository().join("man")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_command = name.ends_with(".1");
        assert!(!is_command || known.contains(&name), "man/{name}");
    }
}

#[test]
fn the_help_text_explains_every_exit_code() {
    let help = Cli::command().render_long_help().to_string();
    for (exit, _) in EXIT_STATUS {
        assert!(help.contains(&(*exit as u8).to_string()), "{exit:?}");
    }
}
