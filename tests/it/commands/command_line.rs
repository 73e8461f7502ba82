//! What every Unix tool does: help, completions, closed pipes, exit codes.

use std::process::Command;

use crate::support::{BINARY, Sandbox, World, wake};

#[test]
fn without_arguments_it_shows_its_help_and_exits_2() {
    let sandbox = Sandbox::bare();
    sandbox.command("").exits(2).warns("Usage: probe-wake");
    sandbox
        .command("state")
        .exits(2)
        .warns("Usage: probe-wake state");
}

#[test]
fn every_command_has_help_that_exits_0() {
    let sandbox = Sandbox::bare();
    for command in [
        "",
        "run",
        "replay",
        "state",
        "state show",
        "state reset",
        "status",
        "history",
        "check",
        "schedule",
        "completions",
    ] {
        let long = sandbox.command(&format!("{command} --help")).exits(0);
        assert!(long.stdout.contains("Usage: probe-wake") && long.stderr.is_empty());
        sandbox
            .command(&format!("help {command}"))
            .exits(0)
            .prints("Usage: probe-wake");
    }
    let version = format!("probe-wake {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(sandbox.command("--version").exits(0).stdout, version);
}

#[test]
fn wrong_usage_exits_2_and_names_the_word() {
    let sandbox = Sandbox::bare();
    for line in [
        "--frob",
        "run --frob",
        "frob",
        "history --since",
        "schedule at",
        "run --wait soon",
        "run --to email",
        "run --format yaml",
    ] {
        let word = line.split(' ').next_back().unwrap();
        let outcome = sandbox.command(line).exits(2).warns(word);
        assert_eq!(outcome.stdout, "", "{line:?}");
    }
}

#[test]
fn shellcheck_finds_no_fault_in_the_scripts() {
    needs!("shellcheck");
    let sandbox = Sandbox::new();
    let script = sandbox.command("completions bash").exits(0);
    let script = sandbox.give("given/completions", &script.stdout);
    let ci = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/run");
    // SC2207: how clap_complete writes each list.
    let script = script.display();
    let judge = format!("shellcheck {ci} && shellcheck -s bash -S warning -e SC2207 {script}");
    sandbox.shell(&judge).finish().exits(0).silent();
}

#[test]
fn every_shell_accepts_its_completions() {
    let sandbox = Sandbox::bare();
    for (shell, check) in [
        ("bash", "bash -n"),
        ("zsh", "zsh -n"),
        ("fish", "fish --no-execute"),
    ] {
        let script = sandbox.command(&format!("completions {shell}")).exits(0);
        for word in ["--send-test-dm", "replay", "--max-runtime"] {
            assert!(
                script.stdout.contains(word.trim_start_matches('-')),
                "{shell}: {word}"
            );
        }
        let file = sandbox.give(&format!("given/{shell}"), &script.stdout);
        let program = check.split(' ').next().unwrap();
        if Command::new(program).arg("--version").output().is_ok() {
            sandbox
                .shell(&format!("{check} {}", file.display()))
                .finish()
                .exits(0)
                .silent();
        }
    }
    let mut help = sandbox.command("completions --help").exits(0);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        help = help.prints(&format!("probe-wake completions {shell} >"));
    }
    for shell in ["elvish", "powershell"] {
        sandbox.command(&format!("completions {shell}")).exits(0);
    }
}

#[test]
fn bash_completes_flags_and_no_file_names_for_other_values() {
    let sandbox = Sandbox::bare();
    let line = "eval \"$($B completions bash)\"; COMP_WORDS=(probe-wake check --se); COMP_CWORD=2; \
        _probe__wake probe-wake --se check; printf '%s\\n' \"${COMPREPLY[@]}\"; \
        COMP_WORDS=(probe-wake history --since ''); COMP_CWORD=3; \
        _probe__wake probe-wake '' --since; printf 'since: %s\\n' \"${COMPREPLY[@]}\"";
    let mut command = Command::new("bash");
    command.args(["-c", &line.replace("$B", BINARY)]);
    let completed = sandbox.spawn(&mut command).finish().exits(0);
    assert_eq!(completed.stdout, "--send-test-dm\nsince: \n");
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let world = World::stamped().quiet();
    world.unset("KORA_PROBE_ENGINE_URL");
    world.append((0..300).map(|number| wake(&format!("probe-{number}"))));
    for line in [
        "replay kora_audit_log.jsonl",
        "replay --format json kora_audit_log.jsonl",
        "run --dry-run",
        "status",
        "status --format json",
        "state show",
        "history",
        "check",
        "schedule systemd",
        "schedule cron",
        "completions bash",
    ] {
        world.slack.maybe();
        world
            .shell(&format!("$B {line} | true"))
            .finish()
            .exits(0)
            .silent();
        let first = world.shell(&format!("$B {line} | head -n 1")).finish();
        let printed = (first.stderr.as_str(), first.stdout.lines().count());
        assert_eq!(printed, ("", 1), "{line}");
    }
}

#[test]
fn a_full_disk_at_stdout_is_an_error() {
    let world = World::stamped().quiet();
    for line in [
        "status",
        "history",
        "schedule cron",
        "completions bash",
        "state show",
    ] {
        let full = world.shell(&format!("$B {line} >/dev/full")).finish();
        full.exits(1).warns("No space left on device");
    }
}

#[test]
fn verbose_says_what_is_done_and_very_verbose_each_step() {
    let world = World::stamped();
    world.append([wake("fly"), wake("fly")]);
    world
        .command("run -v")
        .exits(0)
        .warns("probe-wake: the message about fly was delivered")
        .warns("probe-wake: held back (repeat): probe:fly:service_unhealthy")
        .warns("probe-wake: 2 rows, 2 wakes, 1 dispatched, 1 sent")
        .hides("env file");
    world
        .command("run -vv")
        .exits(0)
        .warns("env file: none")
        .warns("audit log: ");
}
