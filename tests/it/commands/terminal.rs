//! Issue 5: what a person sees at a real terminal, and that nothing of it appears elsewhere.

use crate::support::{Engine, Reply, World, at_once, wake};

#[test]
fn a_run_tells_what_it_waits_for_and_closes_with_one_line() {
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
fn a_warning_does_not_stand_behind_the_line_of_waiting() {
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
fn a_first_run_says_what_it_did() {
    let world = World::new().quiet();
    world.append([wake("fly")]);
    let seen = world.at_terminal(100, "run");
    assert!(
        seen.contains("first run: the position is stamped at byte"),
        "{seen:?}"
    );
}

#[test]
fn colour_obeys_no_color_and_a_dumb_terminal() {
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
fn long_causes_are_cut_at_the_terminals_width() {
    let world = World::stamped();
    world.slack.never();
    world.queue([wake("fly").set("category", "c".repeat(150))]);
    let seen = world.at_terminal(72, "status");
    let outbox = seen
        .lines()
        .find(|line| line.contains("has waited"))
        .or_else(|| seen.lines().find(|line| line.contains("outbox")));
    let plain = outbox
        .unwrap()
        .replace("\u{1b}[33m", "")
        .replace("\u{1b}[0m", "");
    assert_eq!(plain.trim_end().chars().count(), 72, "{plain}");
}

/// A world with one DM in the outbox.
fn queued() -> World {
    let world = World::stamped();
    world.slack.never();
    world.queue([wake("fly")]);
    world
}

#[test]
fn a_reset_asks_and_takes_no_for_an_answer() {
    at_once(["n", "", "no", "what"], |answer| {
        let world = queued();
        let seen = world.answering_at_terminal(answer, "state reset");
        assert!(seen.contains("1 DM was not delivered."), "{seen}");
        assert!(seen.contains("[y/N]"), "{seen}");
        assert!(
            seen.contains("Nothing was reset.") && seen.contains("[exit 1]"),
            "{seen}"
        );
        assert_eq!(world.state_file("undelivered.jsonl"), "");
    });
    let world = queued();
    let seen = world.answering_at_terminal("y", "state reset");
    assert!(
        seen.contains("1 DM went to undelivered.jsonl.") && seen.contains("[exit 0]"),
        "{seen}"
    );
    assert!(
        world
            .state_file("undelivered.jsonl")
            .contains("alert · fly")
    );
}

#[test]
fn where_stderr_is_no_terminal_there_is_silence() {
    let world = World::stamped();
    world
        .engine
        .script([Engine::answer("Found.").after(std::time::Duration::from_millis(500))]);
    world.append([wake("fly")]);
    world.run().exits(0).silent();
    world.run().exits(0).silent();
}
