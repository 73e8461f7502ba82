//! The storm: 200 wakes of 200 pairs at once, and an engine that takes a while for each.

use std::time::{Duration, Instant};

use super::data::{self, Bench};
use super::peers::Peers;
use super::timing;

const WAKES: usize = 200;
/// What an engine takes unless `BENCH_ENGINE_MS` says otherwise: a tenth of the second that a real
/// one may take, so that the bench ends within a minute.
const ENGINE_MS: u64 = 100;
/// Every so many wakes one is critical.
const CRITICAL: usize = 20;

pub fn storm(bench: &Bench) {
    let given = std::env::var("BENCH_ENGINE_MS").ok();
    let engine_ms = given.and_then(|ms| ms.parse().ok()).unwrap_or(ENGINE_MS);
    // Time for a quarter of the wakes.
    let short = (engine_ms * WAKES as u64 / 4).div_ceil(1_000).to_string();
    println!("\n### The storm: {WAKES} wakes of {WAKES} pairs, {engine_ms} ms an investigation\n");
    println!(
        "| setting | runs | first DM s | first critical DM s | last critical DM s | last DM s |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, max_runtime) in [
        ("one run", "300"),
        ("a quarter of the time for each run", short.as_str()),
    ] {
        one_storm(bench, name, Duration::from_millis(engine_ms), max_runtime);
    }
}

fn one_storm(bench: &Bench, name: &str, engine: Duration, max_runtime: &str) {
    let peers = Peers::start(engine);
    let log = bench.log("storm", |log| data::write_rows(log, 2_048));
    timing::once(&mut bench.run(&log));
    let rows: Vec<_> = (0..WAKES)
        .map(|wake| match wake % CRITICAL {
            rest if rest == CRITICAL - 1 => (format!("critical-{wake}"), "critical"),
            _ => (format!("probe-{wake}"), "warning"),
        })
        .collect();
    data::append(
        &log,
        rows.iter()
            .map(|(probe, severity)| (probe.as_str(), *severity)),
    );
    let begun = Instant::now();
    let mut runs = 0;
    while peers.messages.lock().unwrap().len() < WAKES && runs < 100 {
        let mut run = bench.run(&log);
        peers.wire(&mut run);
        run.args(["--max-runtime", max_runtime]);
        timing::once(&mut run);
        runs += 1;
    }
    let messages = peers.messages.lock().unwrap();
    let mut names: Vec<_> = messages.iter().map(|(_, name)| name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(
        (messages.len(), names.len()),
        (WAKES, WAKES),
        "each pair is told once"
    );
    let at = |message: Option<&(Instant, String)>| {
        message.map_or(0.0, |(at, _)| at.duration_since(begun).as_secs_f64())
    };
    let is_critical = |message: &&(Instant, String)| message.1.starts_with("critical");
    println!(
        "| {name} | {runs} | {:.1} | {:.1} | {:.1} | {:.1} |",
        at(messages.first()),
        at(messages.iter().find(is_critical)),
        at(messages.iter().rfind(is_critical)),
        at(messages.last()),
    );
}
