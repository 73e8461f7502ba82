//! The storm: 200 wakes of 200 pairs at once, and an engine that takes a while for each.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::data::{self, Bench};
use super::peers::Peers;
use super::timing;

const WAKES: usize = 200;
/// What an engine takes unless `BENCH_ENGINE_MS` says otherwise.
const ENGINE_MS: u64 = 1_000;
/// Every so many wakes one is critical.
const CRITICAL: usize = 20;
const DIAGNOSIS: &str = "Rotate it.";

pub fn storm(bench: &Bench) {
    let given = std::env::var("BENCH_ENGINE_MS").ok();
    let engine_ms = given.and_then(|ms| ms.parse().ok()).unwrap_or(ENGINE_MS);
    // The setting's default with an engine of a second.
    let facts_after = (30.0 * engine_ms as f64 / 1_000.0).to_string();
    println!("\n### The storm: {WAKES} wakes of {WAKES} pairs, {engine_ms} ms an investigation\n");
    println!("First word of an alert, in seconds after the rows were written:\n");
    println!(
        "| setting | first alert | first critical | last alert | last diagnosis | questions |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, facts_after, digest) in [
        ("one after another (facts after: never)", "never", "0"),
        ("facts first (the default)", &facts_after, "0"),
        ("facts first, at once", "0", "0"),
        ("a digest", &facts_after, "10"),
    ] {
        one_storm(
            bench,
            name,
            Duration::from_millis(engine_ms),
            facts_after,
            digest,
        );
    }
}

fn one_storm(bench: &Bench, name: &str, engine: Duration, facts_after: &str, digest: &str) {
    let peers = Peers::start(engine);
    let log = bench.log("storm", |log| data::write_rows(log, 2_048));
    timing::once(&mut bench.run(&log));
    let rows: Vec<_> = (0..WAKES)
        .map(|wake| match wake % CRITICAL {
            rest if rest == CRITICAL - 1 => (format!("critical-{wake}."), "critical"),
            _ => (format!("probe-{wake}."), "warning"),
        })
        .collect();
    let named = rows.iter();
    data::append(
        &log,
        named.map(|(probe, severity)| (probe.as_str(), *severity)),
    );
    let begun = Instant::now();
    let mut run = bench.run(&log);
    peers.wire(&mut run);
    run.args(["--max-runtime", "0"]);
    run.env("KORA_PROBE_FACTS_AFTER_SECONDS", facts_after);
    run.env("KORA_PROBE_DIGEST_WAKES", digest);
    timing::once(&mut run);

    let messages = peers.messages.lock().unwrap();
    let seconds = |at: Instant| at.duration_since(begun).as_secs_f64();
    let first_of = |probe: &str| {
        let first = messages.iter().find(|(_, body)| body.contains(probe));
        seconds(first.expect("each alert is told").0)
    };
    let told: Vec<f64> = rows.iter().map(|(probe, _)| first_of(probe)).collect();
    let is_critical = |(probe, _): &&(String, &str)| probe.starts_with("critical");
    let critical = rows
        .iter()
        .filter(is_critical)
        .map(|(probe, _)| first_of(probe));
    let diagnosed = messages.iter().rfind(|(_, body)| body.contains(DIAGNOSIS));
    println!(
        "| {name} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
        told.iter().copied().fold(f64::MAX, f64::min),
        critical.fold(f64::MAX, f64::min),
        told.iter().copied().fold(0.0, f64::max),
        seconds(diagnosed.expect("a diagnosis").0),
        peers.questions.load(Ordering::Relaxed),
    );
}
