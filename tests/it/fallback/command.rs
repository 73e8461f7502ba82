//! Commands that behave badly, and the run beside them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{PAGE, paged, pass, set_command, without_slack};
use crate::support::{Sandbox, Slack, World, at_once, wake};

/// Raises a wake whose hand-over fails with a warning that has this part. It stays queued, and the run after
/// that leaves the command alone.
#[track_caller]
fn fails(world: &World, part: &str) {
    let outcome = world.raise([wake("fly")]).exits(3);
    let outcome = outcome
        .warns("warning: the fallback command failed: ")
        .warns(part);
    assert!(
        outcome.stderr.contains("probe-wake check --test-fallback"),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.stderr.matches("fallback command failed").count(), 1);
    world.run().exits(3).hides("fallback");
    assert_eq!(world.outbox().len(), 1);
    world
        .command("check --test-fallback")
        .exits(1)
        .prints("FAILED   fallback");
}

#[test]
#[ignore = "some dozen runs"]
fn a_command_that_fails_is_a_warning() {
    for (script, part) in [
        ("#!/bin/sh\nexit 7\n", "exit status: 7"),
        ("#!/bin/sh\nkill -9 $$\n", "signal: 9"),
        ("no program", "Exec format error"),
        ("#!/no/such/interpreter\n", "No such file"),
    ] {
        fails(&without_slack(script), part);
    }
}

#[test]
#[ignore = "some dozen runs"]
fn a_command_that_others_could_change_is_not_run() {
    let broken = |path: &str, mode: u32, part: &str| {
        let world = without_slack(PAGE);
        fs::set_permissions(world.path(path), Permissions::from_mode(mode)).unwrap();
        fails(&world, part);
        assert_eq!(paged(&world), Vec::<String>::new());
    };
    broken("given/bin/page", 0o600, "is not executable");
    broken(
        "given/bin/page",
        0o722,
        "can be written by others: chmod go-w",
    );
    broken("given/bin", 0o777, "can be written by others: chmod go-w");
    let world = without_slack(PAGE);
    fs::remove_file(world.path("given/bin/page")).unwrap();
    fails(&world, "No such file");
    fs::create_dir(world.path("given/bin/page")).unwrap();
    world
        .command("check --test-fallback")
        .exits(1)
        .prints("not a regular file");
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for path in ["given/bin/page", "given/bin"] {
        let world = without_slack(PAGE);
        chown(world.path(path), Some(4242), None).unwrap();
        fails(&world, "belongs to another user");
        assert_eq!(paged(&world), Vec::<String>::new());
    }
}

#[test]
fn a_link_to_a_command_is_followed() {
    let world = without_slack(PAGE);
    let link = world.path("given/bin/link");
    symlink("page", &link).unwrap();
    world.set("KORA_PROBE_FALLBACK_COMMAND", link);
    world.raise([wake("fly")]).exits(3);
    assert_eq!(paged(&world), ["fly"]);
}

#[test]
#[ignore = "the command takes seconds"]
fn a_command_that_prints_megabytes_forks_or_reads_nothing_has_done_its_work() {
    for script in [
        "head -c 50000000 /dev/zero; head -c 50000000 /dev/zero >&2",
        "sleep 8 & exit 0",
        "true",
    ] {
        let world = without_slack(&format!(
            "#!/bin/sh\necho \"== x\" >> \"$HOME/pages\"\n{script}\n"
        ));
        let begun = Instant::now();
        let row = wake("fly").set("detail", "x".repeat(400_000));
        world.raise([row]).exits(3).hides("fallback");
        assert!(begun.elapsed() < Duration::from_secs(6), "{script}");
        world.run().exits(3);
        assert_eq!(paged(&world).len(), 1, "{script}");
    }
}

#[test]
#[ignore = "the command is killed after 20 s"]
fn a_command_that_hangs_is_killed_with_its_children() {
    let hanging = |script: &str| {
        let world = without_slack(script);
        let begun = Instant::now();
        fails(&world, "it did not end within 20 s and was killed");
        assert!(begun.elapsed() >= Duration::from_secs(20));
        let child = fs::read_to_string(world.path("home/child")).unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    };
    at_once(
        [
            "#!/bin/sh\nsleep 300 & echo $! > \"$HOME/child\"\nwait\n",
            "#!/bin/sh\ntrap '' TERM INT\nsleep 300 & echo $! > \"$HOME/child\"\nkill -STOP $$\n",
        ],
        hanging,
    );
}

/// Waits until there is this file.
#[track_caller]
fn wait_for(sandbox: &Sandbox, name: &str) {
    let begun = Instant::now();
    while !sandbox.path(name).exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "no {name}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "the command takes seconds"]
fn the_run_looks_sends_and_asks_while_the_command_runs() {
    let world = World::stamped_with(Slack::refusing("fly", "restricted_action"));
    set_command(
        &world,
        "#!/bin/sh\ntouch \"$HOME/begun\"\nwhile [ ! -e \"$HOME/go\" ]; do sleep 0.05; done\n",
    );
    world.append([wake("fly")]);
    let run = world.start("run");
    wait_for(&world, "home/begun");
    world.append([wake("sentry")]);
    // The refused one, and the other one with its diagnosis.
    world.slack.wait_for(2);
    assert_eq!(world.engine.questions().len(), 2);
    world.give("home/go", "");
    run.finish().exits(3);
    assert!(world.outbox()[0]["hand_over"]["done"].is_string());
    assert_eq!(world.outbox().len(), 1);
}

#[test]
fn it_is_tried_again_after_1_2_4_and_at_most_15_minutes() {
    let world = without_slack("#!/bin/sh\necho x >> \"$HOME/calls\"\nexit 1\n");
    world.unset("KORA_SLACK_BOT_TOKEN");
    let calls = || {
        fs::read_to_string(world.path("home/calls"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    world.raise([wake("fly"), wake("sentry")]).exits(3);
    assert_eq!(calls(), 1, "one a run");
    for (number, minutes) in [1, 2, 4, 8, 15, 15].into_iter().enumerate() {
        pass(&world, minutes * 60 - 20);
        world.run().exits(3);
        assert_eq!(calls(), number + 1, "{minutes} min are not over");
        pass(&world, 20);
        world.run().exits(3);
        assert_eq!(calls(), number + 2, "{minutes} min are over");
    }
    // When it works again, all that waited are handed over.
    set_command(&world, PAGE);
    pass(&world, 15 * 60);
    world.run().exits(3);
    assert_eq!(paged(&world).len(), 2);
    // The pauses begin anew.
    set_command(&world, "#!/bin/sh\nexit 1\n");
    world
        .raise([wake("vercel")])
        .exits(3)
        .warns("fallback command failed");
    pass(&world, 61);
    world.run().exits(3).warns("fallback command failed");
}

#[test]
fn a_message_on_which_it_always_fails_keeps_no_other_one_back() {
    let script = PAGE.replace(
        "{ echo",
        "[ \"$PROBE_WAKE_PROBE\" = bad ] && exit 1\n{ echo",
    );
    let world = without_slack(&script);
    world.unset("KORA_SLACK_BOT_TOKEN");
    world.append([
        wake("bad"),
        wake("fly"),
        wake("sentry").set("severity", "info"),
    ]);
    world.run().exits(3).warns("fallback command failed");
    assert_eq!(paged(&world), Vec::<String>::new());
    pass(&world, 61);
    world.run().exits(3).warns("fallback command failed");
    assert_eq!(paged(&world), ["fly", "sentry"]);
}

#[test]
fn check_runs_it_with_a_test_text() {
    let world = without_slack("#!/bin/sh\n{ env; cat; } > \"$HOME/got\"\n");
    world.command("check").prints("it was not run");
    assert!(!world.path("home/got").exists());
    world
        .command("check --test-fallback")
        .prints("took a test text");
    let got = fs::read_to_string(world.path("home/got")).unwrap();
    assert!(
        got.contains("PROBE_WAKE_SEVERITY=info\n") && got.contains("probe-wake"),
        "{got}"
    );
    world.unset("KORA_PROBE_FALLBACK_COMMAND");
    world.command("check").hides("  fallback  ");
    world
        .command("check --test-fallback")
        .exits(1)
        .prints("no fallback command is set");
}
