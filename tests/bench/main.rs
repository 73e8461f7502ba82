//! `cargo bench`: the program beside `/bin/true`, `rg`, `grep`, `logtail2` and `jq`, in one session on
//! one machine. It makes its own data, interleaves the contenders so that a busy moment hits all of
//! them, and prints medians and ratios as tables. Peers that are not installed are left out.
//! `BENCH_MIB=64 cargo bench` takes a smaller log than 1 GiB, `cargo bench -- idle storm` only these
//! parts of: idle, catch-up, gzip, dispatch, context, storm, latency. The last takes twelve minutes and root, and boots
//! the machine that `.ci/run` makes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod data;
mod latency;
#[path = "../it/support/machine.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod machine;
mod peers;
mod storm;
mod timing;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use data::Bench;
use peers::Peers;
use timing::{Contender, machine, table};

const PROGRAM: &str = env!("CARGO_BIN_EXE_probe-wake");

fn main() {
    println!("{}\n", machine());
    let size = std::env::var("BENCH_MIB")
        .ok()
        .and_then(|mib| mib.parse().ok())
        .unwrap_or(1_024);
    let bench = Bench::new();
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    if is_wanted("idle") {
        idle(&bench);
    }
    if is_wanted("catch-up") {
        catch_up(&bench, size);
    }
    if is_wanted("gzip") {
        from_gzip(&bench, size);
    }
    if is_wanted("dispatch") {
        dispatches(&bench);
    }
    if is_wanted("context") {
        context(&bench);
    }
    if is_wanted("storm") {
        storm::storm(&bench);
    }
    if wanted.iter().any(|word| word == "latency") {
        latency::latency();
    }
    let length = std::fs::metadata(PROGRAM).unwrap().len();
    println!(
        "\nThe binary has {length} bytes ({:.2} MiB).",
        length as f64 / 1_048_576.0
    );
}

fn is_installed(tool: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {tool}")])
        .output()
        .unwrap()
        .status
        .success()
}

/// A run that finds nothing new, over a small log and over a huge one.
fn idle(bench: &Bench) {
    let small = bench.log("small", |log| data::write_rows(log, 2 * 1_024));
    let huge = bench.log("huge", |log| data::write_sparse(log, 10 << 30));
    let mut contenders = vec![
        Contender::new("/bin/true", Command::new("/bin/true")),
        Contender::new("probe-wake run, nothing new, 2 KiB log", bench.run(&small)),
        Contender::new(
            "probe-wake run, nothing new, 10 GiB log (sparse)",
            bench.run(&huge),
        ),
    ];
    if is_installed("logtail2") {
        let mut logtail = Command::new("logtail2");
        logtail
            .arg("-f")
            .arg(&small)
            .arg("-o")
            .arg(bench.path("logtail.offset"));
        contenders.push(Contender::new("logtail2, nothing new, 2 KiB log", logtail));
    }
    for log in [&small, &huge] {
        timing::once(&mut bench.run(log));
    }
    let peers = Peers::start(Duration::ZERO);
    contenders.extend(with_work_left(bench, &peers));
    table("Idle", &mut contenders, 400);
}

/// Runs that find nothing new: one with an investigation that is not due yet, one that asks about it
/// again and sends the diagnosis, and one that delivers a queued message.
fn with_work_left(bench: &Bench, peers: &Peers) -> [Contender; 3] {
    let settings = |command: &mut Command| {
        peers.wire(command);
        command
            .env("KORA_PROBE_LATE_DIAGNOSIS_SECONDS", "86400")
            .env("KORA_PROBE_DIGEST_WAKES", "10")
            .env("KORA_PROBE_TELL_RECOVERY", "true");
    };
    let log = bench.log("owed", |log| data::write_rows(log, 2 * 1_024));
    timing::once(&mut bench.run(&log));
    data::append_wakes(&log, 1);
    let mut failing = bench.run(&log);
    settings(&mut failing);
    failing.env("KORA_PROBE_ENGINE_URL", "http://127.0.0.1:1/");
    timing::once(&mut failing);
    let later = bench.keep_state(&log, |state| {
        state["queue"][0]["stage"]["retrying"]["asked_at"] = "2026-01-01T00:00:00Z".into();
    });
    let mut waiting = bench.run(&log);
    settings(&mut waiting);
    let queued_log = bench.log("queued", |log| data::write_rows(log, 2 * 1_024));
    timing::once(&mut bench.run(&queued_log));
    bench.fill_state(&queued_log, 0, 1);
    let queued = bench.keep_state(&queued_log, |_| {});
    let due_log = bench.log("due", |log| {
        std::fs::copy(bench.path("owed/kora_audit_log.jsonl"), log).unwrap();
    });
    timing::once(&mut bench.run(&due_log));
    let due = bench.keep_state(&due_log, |state| {
        state["queue"] = later["queue"].clone();
    });
    [
        Contender::new("the same, a late diagnosis that is not due", waiting),
        bench.wired("it is due, asked for and sent", &due_log, &due, settings),
        bench.wired(
            "a queued message is delivered",
            &queued_log,
            &queued,
            settings,
        ),
    ]
}

/// All of a log is new. One row in a thousand is a wake of one of 24 pairs, so that 24 are
/// dispatched, or none where each pair has an open window already.
fn catch_up(bench: &Bench, mib: u64) {
    let log = bench.log("big", |log| data::write_rows(log, mib << 20));
    bench.stamp_at_start(&log);
    let held_back = bench.path("held-back.json");
    bench.begin_incidents(&log, &held_back);
    let wanted = "\"probe.wake_requested\"";
    let mut contenders = Vec::new();
    for (tool, arguments) in [
        ("rg", vec!["--no-mmap", "-j1", "-cF", wanted]),
        ("grep", vec!["-cF", wanted]),
    ] {
        if is_installed(tool) {
            let mut command = Command::new(tool);
            command.args(&arguments).arg(&log);
            contenders.push(Contender::new(
                &format!("{tool} {}", arguments[..arguments.len() - 1].join(" ")),
                command,
            ));
        }
    }
    let kept = log.with_file_name("kept.json");
    let mut dispatching = bench.run_from("probe-wake run, 24 dispatched", &log, &kept);
    let memory = dispatching.peak_memory();
    contenders.push(bench.run_from("probe-wake run, all held back", &log, &held_back));
    contenders.push(dispatching);
    if is_installed("logtail2") {
        let mut logtail = Command::new("sh");
        let offset = bench.path("logtail.big");
        let line = format!(
            "rm -f {0}; logtail2 -f {1} -o {0}",
            offset.display(),
            log.display()
        );
        logtail.args(["-c", &line]);
        contenders.push(Contender::new("logtail2, all new", logtail));
    }
    table(
        &format!("Catch-up over {mib} MiB, one wake in a thousand rows"),
        &mut contenders,
        15,
    );
    println!("\nPeak memory with 24 dispatched: {memory}");
    through_jq(&log);
}

fn through_jq(log: &Path) {
    if !is_installed("jq") {
        return;
    }
    let mut jq = Command::new("jq");
    let filter = "select(.seam == \"probe.wake_requested\") | .details.probe";
    jq.args(["-c", filter]).arg(log);
    table("The same with jq, once", &mut [Contender::new("jq", jq)], 1);
}

/// The log was rotated into a `.gz` since the last run.
fn from_gzip(bench: &Bench, mib: u64) {
    let log = bench.log("gz", |log| data::write_rows(log, mib << 20));
    bench.stamp_at_start(&log);
    let rotated = bench.rotate_to_gzip(&log);
    let mut contenders = Vec::new();
    if is_installed("rg") {
        let mut pipe = Command::new("sh");
        let line = format!(
            "zcat {} | rg -cF '\"probe.wake_requested\"'",
            rotated.display()
        );
        pipe.args(["-c", &line]);
        contenders.push(Contender::new("zcat | rg -cF", pipe));
    }
    let kept = log.with_file_name("kept.json");
    let mut rotating = bench.run_from("probe-wake run, rotated to .gz", &log, &kept);
    let memory = rotating.peak_memory();
    contenders.push(rotating);
    table(&format!("A rotation to .gz, {mib} MiB"), &mut contenders, 7);
    println!("\nPeak memory of that run: {memory}");
    let _ = std::fs::remove_file(rotated);
}

/// What the log around an alert costs: one wake, asked and sent, with and without the rows of the last hour.
fn context(bench: &Bench) {
    let peers = Peers::start(Duration::ZERO);
    for rows in [2_000, 100_000] {
        let log = bench.log("context", |log| data::write_last_hour(log, rows));
        timing::once(&mut bench.run(&log));
        let state = bench.keep_state(&log, |_| {});
        data::append_wakes(&log, 1);
        let contender = |mode: &str| {
            bench.wired(
                &format!("KORA_PROBE_CONTEXT={mode}"),
                &log,
                &state,
                |command| {
                    peers.wire(command);
                    command.env("KORA_PROBE_CONTEXT", mode);
                },
            )
        };
        let title = format!("A context, {rows} rows in the last hour");
        table(&title, &mut [contender("off"), contender("rows")], 25);
    }
}

/// What a dispatched wake costs with all its commits, over an engine and a Slack that answer at once.
fn dispatches(bench: &Bench) {
    const WAKES: usize = 50;
    let peers = Peers::start(Duration::ZERO);
    println!("\n### A dispatched wake ({WAKES} a run, stand-ins that answer at once)\n");
    println!("| state | ms a wake, median of 9 runs |\n|---|---|");
    for (name, incidents, outbox) in [
        ("empty", 0, 0),
        ("1,000 incidents", 1_000, 0),
        ("10,000 incidents", 10_000, 0),
        ("1,000 messages in the outbox, --to stdout", 0, 1_000),
    ] {
        let log = bench.log("dispatch", |log| data::write_rows(log, 2_048));
        let run = || {
            let mut run = bench.run(&log);
            peers.wire(&mut run);
            if outbox > 0 {
                run.args(["--to", "stdout"]);
            }
            run
        };
        let mut times = Vec::new();
        for _ in 0..9 {
            bench.forget(&log);
            timing::once(&mut bench.run(&log));
            bench.fill_state(&log, incidents, outbox);
            data::append_wakes(&log, WAKES);
            times.push(timing::once(&mut run()) * 1_000.0 / WAKES as f64);
        }
        println!("| {name} | {:.2} |", timing::median(&mut times));
    }
    println!(
        "\nThe stand-ins' own round trips: {:.2} ms a wake.",
        peers.round_trips_ms()
    );
    assert!(Path::new(PROGRAM).exists());
}
