//! Rotation while a run is at work: what is rotated, truncated or killed in the middle of it, and
//! what is left unread by a full queue.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::rotating::told;
use crate::support::{Engine, Reply, Rotating, World, assert_all_sent, other_row, wake};

/// A run that stands still in its first question to the engine while `meanwhile` happens; what it told.
fn during_a_run(log: &Rotating, meanwhile: impl FnOnce()) -> Vec<String> {
    let engine = Engine::start();
    engine.script([Engine::answer("At last.").held()]);
    log.set("KORA_PROBE_ENGINE_URL", engine.url());
    let running = log.start("run --to stdout --format json");
    engine.wait_for(1);
    meanwhile();
    engine.release();
    let report = running.finish().exits(0).json();
    log.unset("KORA_PROBE_ENGINE_URL");
    told(&report)
}

/// More rows of another seam than a run reads at once.
fn megabytes(count: usize) -> String {
    (other_row(&"x".repeat(1_000)) + "\n").repeat(count * 1_000)
}

#[test]
fn a_log_renamed_under_a_run_is_followed_by_the_same_run() {
    needs!("logrotate");
    for directives in ["create", "create\ncompress", "nocreate"] {
        let log = Rotating::begun();
        log.write(&["a", "b"]);
        let probes = during_a_run(&log, || {
            log.write(&["c"]);
            log.logrotate(directives);
            log.write(&["d"]);
        });
        assert_eq!(probes, ["a", "b", "c", "d"]);
        log.is_idle();
    }
}

#[test]
fn a_log_truncated_and_regrown_under_a_run_mixes_no_generations() {
    needs!("logrotate");
    let log = Rotating::begun();
    log.append_raw(Rotating::line("a") + &megabytes(3) + &Rotating::line("b"));
    let probes = during_a_run(&log, || {
        log.logrotate("copytruncate");
        log.append_raw(megabytes(4) + &Rotating::line("c"));
    });
    assert_eq!(probes, ["a", "b", "c"]);
    log.is_idle();
}

#[test]
fn the_wakes_of_a_line_are_told_once_where_a_run_is_killed_between_them() {
    for rotates in [false, true] {
        let world = World::stamped();
        let line = wake("first").line() + &wake("second").line() + "\n";
        world.append_raw(line + &Rotating::line("third"));
        world.engine.script([Engine::answer("Found."), Reply::Hang]);
        let running = world.start("run");
        world.engine.wait_for(2);
        assert_eq!(running.kill().code, None);
        if rotates {
            fs::rename(world.log(), world.path("kora_audit_log.jsonl.1")).unwrap();
            File::create(world.log()).unwrap();
        }
        world.run().exits(0);
        let told = ["first", "second", "third"].map(str::to_owned);
        assert_all_sent(&world, &told, 0);
    }
}

/// The queue takes 4 MiB of wakes that were told nothing: the rest is read as it empties.
#[test]
fn a_full_queue_stops_among_the_rotated_files_and_loses_no_late_row() {
    let log = Rotating::begun();
    let mut old = log.writer();
    fs::rename(log.log(), log.rotated(".1")).unwrap();
    log.write(&["after"]);
    log.follows(&["after"]);
    for probe in ["late1", "late2"] {
        let row = wake(probe).set("detail", "x".repeat(2_200_000)).line() + "\n";
        old.write_all(row.as_bytes()).unwrap();
    }
    Rotating::write_late(&old, "late3");
    log.shift_state(-1);
    log.write(&["rest"]);
    fs::rename(log.log(), log.rotated(".2")).unwrap();
    log.write(&["new"]);
    log.tells(&["late1", "late2", "late3", "rest", "new"]);
}

/// Renames as fast as it goes while runs follow: no listing of the folder is ever of one moment.
#[test]
fn a_log_rotated_all_the_time_is_followed() {
    let log = Rotating::begun();
    let (is_over, path) = (AtomicBool::new(false), log.log());
    let mut seen = Vec::new();
    let written = thread::scope(|scope| {
        let rotator = scope.spawn(|| {
            let rotated = |number| format!("{}.{number}", path.display());
            let mut written = Vec::new();
            while !is_over.load(Ordering::Relaxed) && written.len() < 100 {
                let probe = format!("p{}", written.len());
                let mut writer = File::options().append(true).open(&path).unwrap();
                writer.write_all(Rotating::line(&probe).as_bytes()).unwrap();
                written.push(probe);
                for number in (1..=written.len()).rev() {
                    let _ = fs::rename(rotated(number), rotated(number + 1));
                }
                fs::rename(&path, rotated(1)).unwrap();
                File::create(&path).unwrap();
                thread::sleep(Duration::from_millis(40));
            }
            written
        });
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            seen.extend(told(&log.look(0).0));
        }
        is_over.store(true, Ordering::Relaxed);
        rotator.join().unwrap()
    });
    seen.extend(told(&log.look(0).0));
    // Their order is kept as well, unless a rotation takes no longer than a look at the folder.
    let number = |probe: &String| probe[1..].parse::<usize>().unwrap();
    seen.sort_by_key(number);
    assert_eq!(seen, written);
}
