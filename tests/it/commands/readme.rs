//! The README's sample row becomes the README's message, and the picture in `man` shows what Slack really gets.
//! `UPDATE_DOCS=1 cargo test readme` draws it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use maud::{PreEscaped, html};

use crate::support::{BINARY, Engine, Post, SLACK_TOKEN, Sandbox, Slack, World};

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// The README's first block in this language.
fn block(language: &str) -> String {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let begin = format!("```{language}\n");
    let start = readme.find(&begin).expect("a block") + begin.len();
    let length = readme[start..].find("\n```").expect("its end");
    readme[start..start + length].to_owned()
}

/// What Slack gets for the README's row with its diagnosis.
fn posts(facts_after: &str) -> Vec<Post> {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", facts_after);
    let message = block("text");
    let diagnosis = message.split_once('\n').expect("a first line").1;
    let diagnosis = diagnosis.split("\n\n").next().expect("a diagnosis");
    world.engine.script([Engine::answer(diagnosis)]);
    let row = block("json").replace('\n', "");
    // The age of a wake that was raised long ago would be in its status line.
    let now = jiff::Timestamp::now();
    world.append_raw(row.replace("2026-05-24T14:32:00.123456Z", &now.to_string()) + "\n");
    world.run().exits(0).silent();
    let mut posts = world.slack.posts();
    for post in &mut posts {
        post.text = post.text.replace("HH:MM", "14:32");
    }
    posts
}

#[test]
fn the_sample_row_becomes_the_sample_message() {
    let posts = posts("30");
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].text, block("text"));
}

#[test]
fn the_picture_shows_what_slack_gets() {
    let posts = posts("0");
    assert_eq!(posts.len(), 2);
    assert_eq!(posts[1].thread_ts, posts[0].ts);
    let picture = picture(&posts[0].text, &posts[1].text);
    let path = repository("man/dm.svg");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &picture).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == picture,
        "stale: UPDATE_DOCS=1 cargo test readme"
    );
}

/// The commands of "Without Kora", in an empty home folder. The first installs the program, which `.ci/run` tries.
#[test]
fn five_commands_lead_to_a_first_alert_without_kora() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let (_, section) = readme.split_once("## Without Kora\n").expect("the section");
    let (_, commands) = section.split_once("```sh\n").expect("its commands");
    let (commands, _) = commands.split_once("```").expect("their end");
    let commands: Vec<_> = commands.lines().collect();
    assert_eq!(commands.len(), 5);
    assert_eq!(commands[0], "cargo install --locked --path .");
    let (slack, sandbox) = (Slack::start(), Sandbox::bare());
    let binaries = Path::new(BINARY).parent().unwrap().display();
    let path = std::env::var("PATH").unwrap();
    sandbox.set("PATH", format!("{binaries}:{path}"));
    sandbox.set("KORA_SLACK_API_URL", slack.base());
    for command in &commands[1..] {
        assert!(slack.requests().is_empty(), "{command}");
        let command = command.replace("xoxb-...", SLACK_TOKEN);
        sandbox.shell(&command).finish().exits(0);
    }
    let text = slack.texts().concat();
    assert!(text.starts_with("🚨 Probe alert · nginx\n"), "{text}");

    // The crontab's line, whose job fails.
    let (_, line) = section
        .split_once("17 3 * * * backup ||")
        .expect("a crontab's line");
    let line = line.lines().next().expect("a line");
    let line = line.replace("~/.cargo/bin/", "");
    sandbox.shell(&format!("false || {line}")).finish().exits(0);
    sandbox.command("run").exits(0);
    let text = slack.texts().concat();
    assert!(text.contains("Probe alert · backup\n"), "{text}");
}

const WIDTH: usize = 720;
const LINE: usize = 22;
const STYLE: &str = "text{font:15px/1.4 Lato,'Helvetica Neue',Arial,sans-serif;fill:#1d1c1d}\
    .name{font-weight:700}.weak{fill:#616061;font-size:12px}.page{fill:#fff;stroke:#ddd}\
    .face{fill:#4a154b}.rule{stroke:#ddd}\
    @media(prefers-color-scheme:dark){text{fill:#d1d2d3}.weak{fill:#ababad}\
    .page{fill:#1a1d21;stroke:#35373b}.face{fill:#7c4a8d}.rule{stroke:#35373b}}";

/// A message and the reply in its thread, drawn as Slack shows them.
fn picture(message: &str, reply: &str) -> String {
    let (first, first_end) = drawn(message, 16, 20, "14:32");
    let (second, second_end) = drawn(reply, 64, first_end + 40, "14:33");
    let height = second_end + 8;
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (WIDTH) " " (height) } width=(WIDTH)
            height=(height) role="img" aria-label="A direct message and the reply in its thread" {
            style { (PreEscaped(STYLE)) }
            rect.page x="0.5" y="0.5" width=(WIDTH - 1) height=(height - 1) rx="8" {}
            (first)
            text.weak x="64" y=(first_end + 16) { "1 reply" }
            line.rule x1="112" y1=(first_end + 12) x2=(WIDTH - 16) y2=(first_end + 12) {}
            (second)
        }
    };
    picture.into_string() + "\n"
}

/// One message from this corner on, and where it ends.
fn drawn(text: &str, x: usize, y: usize, at: &str) -> (PreEscaped<String>, usize) {
    let indent = x + 48;
    // About 8 pixels a letter, in a wide font.
    let lines: Vec<String> = text
        .lines()
        .flat_map(|line| wrapped(line, (WIDTH - 16 - indent) / 8))
        .collect();
    let end = y + 24 + LINE * lines.len();
    let markup = html! {
        rect.face x=(x) y=(y) width="36" height="36" rx="6" {}
        text x=(x + 9) y=(y + 24) { "🔔" }
        text x=(indent) y=(y + 13) {
            tspan.name { "probe-wake" }
            tspan.weak { "  APP  " (at) }
        }
        @for (number, line) in lines.iter().enumerate() {
            text x=(indent) y=(y + 36 + LINE * number) { (line) }
        }
    };
    (markup, end)
}

/// Lines of at most so many characters.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > most {
            lines.push(word.to_owned());
        } else {
            let gap = if last.is_empty() { "" } else { " " };
            let _ = write!(last, "{gap}{word}");
        }
    }
    lines
}
