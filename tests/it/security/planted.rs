//! Links, FIFOs and other users' files where this program reads and writes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{ENGINE_TOKEN, Outcome, SLACK_TOKEN, Sandbox, World, wake};

const NOBODY: u32 = 65_534;
const METRICS: &str = "metrics/probe_wake.prom";

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mkfifo(path: &Path) {
    let _ = fs::remove_file(path);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// Only root can give a file away.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A world that writes metrics and has run.
fn world() -> World {
    let world = World::stamped();
    fs::create_dir(world.path("metrics")).unwrap();
    world.set("KORA_PROBE_WAKE_METRICS_FILE", world.path(METRICS));
    world
}

/// A file that must never be written.
fn victim(world: &Sandbox) -> PathBuf {
    world.give("given/victim", "precious\n")
}

#[track_caller]
fn assert_untouched(victim: &Path) {
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious\n");
}

#[test]
fn a_state_folder_that_others_can_write_is_refused() {
    for mode in [0o777, 0o770, 0o702, 0o1777] {
        let world = World::stamped().quiet();
        world.append([wake("fly")]);
        set_mode(&world.state_dir(), mode);
        let before = world.snapshot(&[]);
        for line in ["run", "status", "state show", "state reset --yes"] {
            world
                .command(line)
                .exits(1)
                .warns("can be written by others")
                .warns("chmod 700")
                .warns("--state-dir");
        }
        assert!(before == world.snapshot(&[]), "something was written");
    }
}

#[test]
fn a_state_folder_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let world = World::stamped().quiet();
    chown(world.state_dir(), Some(NOBODY), None).unwrap();
    world.run().exits(1).warns("another user").warns("chown");
}

#[test]
fn a_folder_in_the_state_folder_that_is_a_link_or_not_ours_alone_is_refused() {
    for folder in ["texts", "undelivered", "silences"] {
        for plant in ["link", "dangling link", "writable", "another user's"] {
            let world = World::stamped().quiet();
            world.append([wake("fly")]);
            let (path, given) = (world.state_dir().join(folder), world.path("elsewhere"));
            match plant {
                "link" => {
                    fs::create_dir(&given).unwrap();
                    symlink(&given, &path).unwrap();
                }
                "dangling link" => symlink(&given, &path).unwrap(),
                _ => fs::create_dir(&path).unwrap(),
            }
            match plant {
                "writable" => set_mode(&path, 0o770),
                "another user's" if is_root() => chown(&path, Some(NOBODY), None).unwrap(),
                "another user's" => return,
                _ => {}
            }
            let why = match plant {
                "writable" => "can be written by others: chmod go-w",
                "another user's" => "belongs to another user",
                _ => "is a symbolic link: remove it",
            };
            let before = world.snapshot(&[]);
            for line in ["run", "status", "silence fly", "undelivered"] {
                let outcome = world.command(line).exits(1);
                outcome.warns(&format!("{} {why}", path.display()));
            }
            assert!(
                before == world.snapshot(&[]),
                "{plant}: something was written"
            );
        }
    }
}

#[test]
fn a_new_state_folder_is_private() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(world.state_dir()), 0o700);
    for file in ["state.json", "state.lock", "outcomes.jsonl"] {
        assert_eq!(mode(world.state_dir().join(file)), 0o600, "{file}");
    }
}

#[test]
fn what_is_planted_in_place_of_a_new_file_is_replaced() {
    for plant in ["link", "file of another user", "fifo"] {
        let world = world();
        let victim = victim(&world);
        let new = [
            world.state_dir().join("state.json.new"),
            world.path(&format!("{METRICS}.new")),
        ];
        for new in &new {
            match plant {
                "link" => symlink(&victim, new).unwrap(),
                "fifo" => mkfifo(new),
                _ if is_root() => {
                    fs::write(new, "").unwrap();
                    set_mode(new, 0o666);
                    chown(new, Some(NOBODY), None).unwrap();
                }
                _ => return,
            }
        }
        world.raise([wake("fly")]).exits(0).silent();
        assert_untouched(&victim);
        for (path, mode) in [
            (world.state_dir().join("state.json"), 0o600),
            (world.path(METRICS), 0o644),
        ] {
            let meta = fs::symlink_metadata(&path).unwrap();
            let found = (meta.is_file(), meta.mode() & 0o777, meta.uid());
            let ours = rustix::process::geteuid().as_raw();
            assert_eq!(found, (true, mode, ours), "{plant}: {}", path.display());
        }
    }
}

#[test]
fn a_link_in_place_of_the_lock_or_the_state_is_not_followed() {
    for file in ["state.lock", "state.json"] {
        let world = World::stamped().quiet();
        let victim = victim(&world);
        let path = world.state_dir().join(file);
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        world.append([wake("fly")]);
        world.run().exits(1).warns(file).warns("symbolic link");
        assert_untouched(&victim);
    }
}

#[test]
fn a_link_or_a_fifo_in_place_of_the_outcomes_is_a_warning() {
    for plant in ["link", "fifo"] {
        let world = world();
        let victim = victim(&world);
        let path = world.state_dir().join("outcomes.jsonl");
        match plant {
            "link" => symlink(&victim, &path).unwrap(),
            _ => mkfifo(&path),
        }
        world.raise([wake("fly")]).exits(0).warns("outcomes.jsonl");
        assert_eq!(world.slack.texts().len(), 1);
        assert_untouched(&victim);
    }
}

#[test]
fn no_run_waits_for_a_fifo() {
    for file in ["state.json", "state.lock"] {
        let world = World::stamped().quiet();
        mkfifo(&world.state_dir().join(file));
        for line in ["run", "run --dry-run", "status"] {
            let outcome = world.command(line);
            let is_fine = file == "state.lock" && line != "run";
            assert_eq!(outcome.code, Some(i32::from(!is_fine)), "{file}, {line}");
        }
    }
    let world = World::stamped();
    mkfifo(&world.path("given/outcomes"));
    world.set("KORA_PROBE_OUTCOME_LOG", world.path("given/outcomes"));
    world.append([wake("fly")]);
    world.run().exits(0).warns("not a regular file");
    // Nor does one that somebody has open take half a row.
    let mut options = fs::File::options();
    let file = options.read(true).write(true);
    let _reader = file.open(world.path("given/outcomes")).unwrap();
    world.append([wake("sentry")]);
    world.run().exits(0).warns("not a regular file");
    assert_eq!(world.slack.texts().len(), 2);
}

/// Replacing a device or a FIFO as root would take it away from every other program.
#[test]
fn metrics_replace_regular_files_only() {
    let world = world().quiet();
    let path = world.path(METRICS);
    let link = |path: &Path| symlink("/dev/null", path).unwrap();
    for make in [&mkfifo as &dyn Fn(&Path), &link] {
        let _ = fs::remove_file(&path);
        make(&path);
        let before = fs::symlink_metadata(&path).unwrap().ino();
        world
            .run()
            .exits(0)
            .warns("cannot write the metrics")
            .warns("it is not a regular file");
        assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), before);
    }
}

#[test]
fn a_named_outcome_log_may_be_a_link() {
    let world = World::stamped();
    let file = world.give("given/outcomes", "");
    symlink(&file, world.path("outcomes-link")).unwrap();
    world.set("KORA_PROBE_OUTCOME_LOG", world.path("outcomes-link"));
    world.raise([wake("fly")]).exits(0).silent();
    assert!(fs::read_to_string(file).unwrap().contains("probe:fly:"));
}

#[test]
fn check_does_not_write_through_a_link() {
    let world = World::stamped();
    world.slack.maybe();
    world.engine.maybe();
    let victim = victim(&world);
    symlink(&victim, world.state_dir().join(".check")).unwrap();
    world.command("check").prints("ok       state folder");
    assert_untouched(&victim);
}

/// Runs `status` with this env file, whose folder has this mode.
#[track_caller]
fn status_with(sandbox: &Sandbox, env_file: &str, folder: &str, mode: u32) -> Outcome {
    set_mode(&sandbox.path(folder), mode);
    sandbox.command(&format!("status --env-file {env_file}"))
}

#[test]
fn an_env_file_in_a_folder_that_others_can_write_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.give("given/env", "KORA_PROBE_WAKE_POLL_SEC=60\n");
    for mode in [0o777, 0o707] {
        status_with(&sandbox, "given/env", "given", mode)
            .exits(2)
            .warns("given can be written by others: chmod go-w");
    }
    // As in /tmp, only its owner can replace a file.
    status_with(&sandbox, "given/env", "given", 0o1777)
        .exits(0)
        .hides("warning");
}

#[test]
fn an_env_file_may_be_a_link_from_one_safe_folder_into_another() {
    let sandbox = Sandbox::new();
    let file = sandbox.give("given/env", "KORA_PROBE_WAKE_POLL_SEC=60\n");
    fs::create_dir(sandbox.path("links")).unwrap();
    symlink(&file, sandbox.path("links/env")).unwrap();
    for (folder, mode, code) in [
        ("links", 0o755, 0),
        ("given", 0o777, 2),
        ("given", 0o755, 0),
        ("links", 0o777, 2),
    ] {
        status_with(&sandbox, "links/env", folder, mode).exits(code);
    }
    set_mode(&sandbox.path("links"), 0o1777);
    if is_root() {
        std::os::unix::fs::lchown(sandbox.path("links/env"), Some(NOBODY), None).unwrap();
        status_with(&sandbox, "links/env", "links", 0o1777)
            .exits(2)
            .warns("another user");
    }
}

#[test]
fn a_secret_file_that_others_can_write_or_replace_is_not_used() {
    let refused = |spoil: &dyn Fn(&World, &Path)| {
        let world = World::stamped().without_engine();
        world.slack.never();
        world.unset("KORA_SLACK_BOT_TOKEN");
        let file = world.give("given/secrets/token", SLACK_TOKEN);
        world.set("KORA_SLACK_BOT_TOKEN_FILE", &file);
        spoil(&world, &file);
        world.append([wake("fly")]);
        world.run().exits(3).warns("KORA_SLACK_BOT_TOKEN_FILE");
    };
    refused(&|_, file| set_mode(file, 0o602));
    refused(&|_, file| set_mode(file.parent().unwrap(), 0o777));
    refused(&|_, file| mkfifo(file));
    if is_root() {
        refused(&|_, file| chown(file, Some(NOBODY), None).unwrap());
        refused(&|_, file| chown(file.parent().unwrap(), Some(NOBODY), None).unwrap());
    }
}

/// Kubernetes mounts a secret as a link to a link, below a sticky folder that everybody can write.
#[test]
fn a_secret_that_kubernetes_mounted_is_used() {
    let world = World::stamped();
    world.give("given/secrets/..2026/token", ENGINE_TOKEN);
    set_mode(&world.path("given/secrets/..2026/token"), 0o444);
    symlink("..2026", world.path("given/secrets/..data")).unwrap();
    symlink("..data/token", world.path("given/secrets/token")).unwrap();
    set_mode(&world.path("given/secrets"), 0o1777);
    world.unset("KORA_PROBE_ENGINE_TOKEN");
    world.set(
        "KORA_PROBE_ENGINE_TOKEN_FILE",
        world.path("given/secrets/token"),
    );
    world.raise([wake("fly")]).exits(0).silent();
    let sent = world.engine.requests();
    let bearer = format!("Bearer {ENGINE_TOKEN}");
    assert_eq!(sent[0].header("authorization"), Some(bearer.as_str()));
}

/// The file that was checked is the file that is read, even if it is replaced in between.
#[test]
fn an_env_file_that_is_replaced_all_the_time_is_read_or_refused() {
    let sandbox = Sandbox::bare();
    let (new, file) = (sandbox.path("given/new"), sandbox.path("given/env"));
    let place = |text: &str, mode| {
        fs::write(&new, text).unwrap();
        set_mode(&new, mode);
        fs::rename(&new, &file).unwrap();
    };
    place("KORA_AUDIT_LOG_PATH=/ours\n", 0o600);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let replacing = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                place("KORA_AUDIT_LOG_PATH=/theirs\n", 0o666);
                place("KORA_AUDIT_LOG_PATH=/ours\n", 0o600);
            }
        });
        for _ in 0..100 {
            let status = sandbox.command("status --format json --env-file given/env");
            assert!(!status.stdout.contains("/theirs"), "{}", status.stdout);
        }
        is_over.store(true, Ordering::Relaxed);
        replacing.join().unwrap();
    });
}
