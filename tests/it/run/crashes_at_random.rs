//! Runs killed at random moments while wakes keep coming, the log is rotated, and facts go first or not. By default a few dozen kills; the long run is
//!
//!     PROBE_WAKE_KILLS=1000 cargo test --release --test it crashes_at_random -- --nocapture

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::{World, assert_all_sent, is_marked, wake};

/// A small generator of its own, so that a run's seed says all (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// How long a run over this many wakes takes, in microseconds.
fn time_of_a_run(world: &World, wakes: usize) -> u64 {
    world.append((0..wakes).map(|n| wake(&format!("warm-{n}."))));
    let begun = Instant::now();
    world.run().exits(0);
    begun.elapsed().as_micros().try_into().unwrap()
}

#[test]
fn runs_killed_at_random_moments_lose_nothing() {
    let wanted = number("PROBE_WAKE_KILLS").unwrap_or(20);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("PROBE_WAKE_SEED").unwrap_or(now.as_nanos() as u64);
    println!("PROBE_WAKE_SEED={seed}");
    let mut random = Random(seed);
    let world = World::stamped();
    let longest = time_of_a_run(&world, 4);
    let (mut kills, mut runs, mut probes) = (0, 0, Vec::new());
    while (kills as u64) < wanted {
        let new: Vec<_> = (0..random.below(4))
            .map(|n| format!("probe-{runs}-{n}."))
            .collect();
        world.append(new.iter().map(|probe| wake(probe)));
        probes.extend(new);
        let facts_after = ["0", "30"][random.below(2) as usize];
        world.set("KORA_PROBE_FACTS_AFTER_SECONDS", facts_after);
        let run = world.start("run");
        sleep(Duration::from_micros(random.below(longest)));
        match run.kill_if_running().code {
            None => kills += 1,
            code => assert_eq!(code, Some(0)),
        }
        runs += 1;
        if random.below(5) == 0 && world.log().exists() {
            let rotated = format!("kora_audit_log.jsonl-{runs:06}");
            fs::rename(world.log(), world.path(&rotated)).unwrap();
        }
    }
    world.raise([wake("last.")]).exits(0);
    let repeats = assert_all_sent(&world, &probes, kills);
    let texts = world.slack.texts();
    let marked = texts.iter().filter(|text| is_marked(text)).count();
    let interrupted = texts
        .iter()
        .filter(|text| text.contains("returned: interrupted"))
        .count();
    println!(
        "{runs} runs, {kills} kills, {} wakes: none missing, {repeats} sent twice, {marked} marked, \
         {interrupted} sent without a diagnosis after two kills, {} questions to the engine",
        probes.len(),
        world.engine.requests().len(),
    );
}
