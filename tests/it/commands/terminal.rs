//! What a real terminal shows, and that nothing of it appears without one.

use crate::support::{Engine, Reply, World, at_once, wake};

#[test]
fn a_run_shows_what_it_is_waiting_for_and_closes_with_one_line() {
    let world = World::stamped();
    world.engine.script([Engine::answer("Found.").held()]);
    world.append([wake("fly"), wake("fly")]);
    let running = world.start_at_terminal(100, "run");
    world.engine.wait_for(1);
    std::thread::sleep(std::time::Duration::from_millis(1_400));
    world.engine.release();
    let seen = running.finish().stdout;
    assert!(
        seen.contains("asking the engine about fly (1 s)\u{1b}[K"),
        "{seen:?}"
    );
    let closing =
        "\rprobe-wake: 2 rows, 2 wakes, 1 dispatched, 1 sent, 1 held back\r\n[exit 0]\r\n";
    let closing = closing.trim_start_matches('\r');
    assert!(seen.ends_with(closing), "{seen:?}");
}

#[test]
fn a_warning_replaces_the_line_about_the_wait() {
    let world = World::stamped();
    world
        .engine
        .script([Reply::Cut.after(std::time::Duration::from_millis(400))]);
    world.append([wake("fly")]);
    let seen = world.at_terminal(100, "run -vv");
    for line in seen.split("\r\n") {
        let last = line.rsplit('\r').next().unwrap();
        let said = last.strip_prefix("\u{1b}[K").unwrap_or(last);
        assert!(!said.contains(" s)\u{1b}[K"), "{line:?}");
        assert!(
            said.is_empty() || said.starts_with("probe-wake: ") || said.starts_with("[exit"),
            "{line:?}"
        );
    }
}

#[test]
fn an_interrupted_run_says_that_nothing_is_lost() {
    let world = World::stamped();
    world.engine.script([Reply::Hang]);
    world.append([wake("fly")]);
    let seen = world.answering_at_terminal("\\003", "run");
    let said =
        "\u{1b}[Kprobe-wake: interrupted; nothing is lost: the next run goes on from here\r\n";
    assert!(seen.contains(said), "{seen:?}");
    world.engine.script([Engine::answer("Found.")]);
    world.run().exits(0);
    assert_eq!(world.slack.texts().len(), 1);
}

#[test]
fn a_first_run_says_what_it_did() {
    let world = World::new().quiet();
    world.append([wake("fly")]);
    let seen = world.at_terminal(100, "run");
    assert!(seen.contains("first run: the log's first "), "{seen:?}");
}

#[test]
fn there_is_no_colour_with_no_color_or_at_a_dumb_terminal() {
    let world = World::stamped().quiet();
    world.slack.maybe();
    world.engine.maybe();
    world.set("TERM", "xterm");
    let coloured = |line: &str| world.at_terminal(100, line).contains("\u{1b}[");
    assert!(coloured("status") && coloured("check") && coloured("--help"));
    world.set("NO_COLOR", "1");
    assert!(!coloured("status") && !coloured("check") && !coloured("--help"));
    world.set("NO_COLOR", "");
    assert!(coloured("status"));
    world.set("TERM", "dumb");
    assert!(!coloured("status"));
}

#[test]
fn text_is_wrapped_at_the_terminals_width_and_nothing_is_cut() {
    let world = World::stamped();
    world.raise([wake("sentry")]).exits(0);
    world.queue([wake("fly")
        .set("category", "c".repeat(150))
        .set("severity", "page me now")]);
    world.command("state reset --outbox --yes").exits(0);
    world.command("undelivered --retry").exits(0);
    world.queue([wake("a name of several words ".repeat(5).trim())]);
    world.age_lock(60);
    for line in ["status", "undelivered"] {
        let whole = world.command(line).stdout;
        let seen = without_escapes(&world.at_terminal(80, line));
        let seen = seen.replace("[exit 0]", "");
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(squeezed(&seen), squeezed(&whole), "{line}");
        let is_path = |line: &&str| line.contains('/') && line.split_whitespace().count() < 6;
        for line in seen.lines().filter(|line| !is_path(line)) {
            assert!(line.trim_end().chars().count() <= 80, "{line:?}");
        }
    }
}

fn without_escapes(text: &str) -> String {
    [
        "\u{1b}[31m",
        "\u{1b}[32m",
        "\u{1b}[33m",
        "\u{1b}[1m",
        "\u{1b}[0m",
    ]
    .iter()
    .fold(text.to_owned(), |text, escape| text.replace(escape, ""))
}

#[test]
fn a_dumb_terminal_and_a_c_locale_get_plain_text() {
    let cases = [
        ("TERM", "dumb"),
        ("LC_ALL", "C"),
        ("LC_CTYPE", "POSIX"),
        ("LANG", "en_US.ISO-8859-1"),
    ];
    at_once(cases, |(name, value)| {
        let world = World::stamped();
        world.set("TERM", "xterm");
        world.set("LANG", "C.UTF-8");
        if name != "TERM" {
            world.unset("LANG");
        }
        world.set(name, value);
        world.engine.script([Engine::answer("Found.").held()]);
        world.append([wake("fly")]);
        let running = world.start_at_terminal(80, "run -v");
        world.engine.wait_for(1);
        std::thread::sleep(std::time::Duration::from_millis(1_400));
        world.engine.release();
        let mut seen = running.finish().stdout;
        // The wait is mentioned once, and nothing is drawn over.
        let mention = "probe-wake: asking the engine about fly\r\n";
        assert_eq!(seen.matches(mention).count(), 1, "{name}={value}: {seen:?}");
        world.age_lock(60);
        world.engine.maybe();
        world.slack.maybe();
        for line in ["status", "check", "history", "--help", "state reset"] {
            seen += &world.at_terminal(80, line);
        }
        assert!(seen.is_ascii(), "{name}={value}: {seen:?}");
        assert!(
            !seen.contains('\u{1b}') && seen.contains("overdue"),
            "{name}={value}"
        );
        // The next step of a finding.
        assert!(seen.contains(" -> "), "{name}={value}: {seen:?}");
    });
}

#[test]
fn a_unicode_terminal_gets_unicode() {
    let is_braille = |c| ('\u{2800}'..='\u{28ff}').contains(&c);
    at_once([("C.UTF-8", true), ("", false)], |(locale, expected)| {
        let world = World::stamped();
        world.set("LC_ALL", locale);
        let answer = Engine::answer("Found.");
        world
            .engine
            .script([answer.after(std::time::Duration::from_millis(500))]);
        world.append([wake("fly")]);
        let seen = world.at_terminal(80, "run");
        assert!(
            seen.contains("asking the engine about fly (0 s)"),
            "{seen:?}"
        );
        assert_eq!(seen.contains(is_braille), expected, "{seen:?}");
    });
}

/// Several programs may write to the same terminal or journal.
#[test]
fn each_line_on_stderr_is_one_write() {
    needs!("strace");
    let world = World::stamped();
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "soon");
    let flags = ["-s", "999", "-e", "trace=write", "-e", "write=2"];
    world.append([wake("fly")]);
    let (outcome, trace) = world.traced(&flags, "run -vv");
    outcome.exits(0);
    let written = trace.lines().filter(|line| line.contains("write(2, "));
    let written: Vec<_> = written.collect();
    assert!(written.len() > 3, "{trace}");
    let is_whole = |line: &&str| line.contains("write(2, \"probe-wake: ") && line.contains("\\n\"");
    assert!(written.iter().all(is_whole), "{written:#?}");
}

/// Returns a world with one message in the outbox.
fn queued() -> World {
    let world = World::stamped();
    world.slack.never();
    world.queue([wake("fly")]);
    world
}

#[test]
fn a_reset_goes_on_only_after_a_yes() {
    at_once(["n", "", "no", "what"], |answer| {
        let world = queued();
        let seen = world.answering_at_terminal(answer, "state reset");
        assert!(seen.contains("This gives up 1 queued message."), "{seen}");
        assert!(seen.contains("[y/N]"), "{seen}");
        assert!(
            seen.contains("Nothing was reset.") && seen.contains("[exit 1]"),
            "{seen}"
        );
        assert_eq!(world.undelivered().len(), 0);
    });
    let world = queued();
    let seen = world.answering_at_terminal("y", "state reset");
    assert!(
        seen.contains("1 message went to undelivered/.") && seen.contains("[exit 0]"),
        "{seen}"
    );
    assert_eq!(world.undelivered().len(), 1);
}

#[test]
fn without_a_terminal_there_is_silence() {
    let world = World::stamped();
    world
        .engine
        .script([Engine::answer("Found.").after(std::time::Duration::from_millis(500))]);
    world.raise([wake("fly")]).exits(0).silent();
    world.run().exits(0).silent();
}
