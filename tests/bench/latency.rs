//! How long an alert takes from its row to Slack under a booted systemd, and what a busy log costs.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::PROGRAM;
use super::machine::Machine;
use super::peers::Peers;
use super::timing;

const LOG: &str = "/home/me/.kora/kora_audit_log.jsonl";

/// No alert takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn latency() {
    println!("\n### From a row to Slack, under a booted systemd\n");
    let peers = Peers::start(Duration::ZERO);
    let Some(machine) = Machine::boot("latency", PROGRAM) else {
        return;
    };
    machine.write("/run/env", &peers.settings());
    machine.sh("chmod 644 /run/env
        systemd-analyze --version | head -n 1 > /run/version
        export SUDO_UID=4242 SUDO_GID=4242
        probe-wake schedule systemd --env-file /run/env --write /etc/systemd/system > /run/printed
        sed -n 's/^  sudo //p' /run/printed > /run/commands
        . /run/commands");
    machine.sh_as_me(&format!("mkdir -p ~/.kora; : >> {LOG}"));
    print!("{}", machine.sh("cat /run/version"));
    println!(
        "\n| started by | rows a second | alerts | median | longest | processor time in a minute |"
    );
    println!("|---|---|---|---|---|---|");
    let mut bench = Latency {
        machine,
        peers,
        alerts: 0,
    };
    for (starter, samples, spread) in [("timer and path unit", 20, 1_000), ("timer", 6, 30_000)] {
        if starter == "timer" {
            bench.machine.sh("systemctl stop probe-wake.path");
        }
        for rate in [0, 10, 50] {
            bench.measure(starter, rate, samples, spread);
        }
    }
}

struct Latency {
    machine: Machine,
    peers: Peers,
    alerts: usize,
}

impl Latency {
    fn log(&self) -> PathBuf {
        self.machine.path(LOG)
    }

    fn measure(&mut self, starter: &str, rate: u32, samples: usize, spread: u64) {
        let writer = Writer::start(self.log(), rate);
        let (begun, processor) = (Instant::now(), self.machine.processor_time());
        let mut times: Vec<_> = (0..samples).map(|_| self.one(spread)).collect();
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        let processor = (self.machine.processor_time() - processor).as_secs_f64() / minutes;
        drop(writer);
        let longest = times.iter().copied().fold(0.0, f64::max);
        let median = timing::median(&mut times);
        println!(
            "| {starter} | {rate} | {samples} | {median:.2} s | {longest:.2} s | {processor:.2} s |"
        );
    }

    /// Writes a wake of a pair of its own at some moment, and waits for its message.
    fn one(&mut self, spread: u64) -> f64 {
        self.alerts += 1;
        // In milliseconds, spread over the time between two runs. At rest none has begun within the second before.
        sleep(Duration::from_millis(
            1_500 + self.alerts as u64 * 7_331 % spread,
        ));
        let probe = format!("probe-{}.", self.alerts);
        let row = format!(
            "{{\"seam\":\"probe.wake_requested\",\"details\":{{\"probe\":\"{probe}\",\"severity\":\"critical\",\
             \"category\":\"c\",\"title\":\"T\"}}}}\n"
        );
        let mut log = OpenOptions::new().append(true).open(self.log()).unwrap();
        let begun = Instant::now();
        log.write_all(row.as_bytes()).unwrap();
        drop(log);
        loop {
            let messages = self.peers.messages.lock().unwrap();
            let arrived = messages.iter().find(|(_, body)| body.contains(&probe));
            if let Some((at, _)) = arrived {
                return at.duration_since(begun).as_secs_f64();
            }
            drop(messages);
            assert!(begun.elapsed() < PATIENCE, "no message of {probe}");
            sleep(Duration::from_millis(1));
        }
    }
}

/// Another program that writes rows which are no wakes, until it is dropped.
struct Writer(Arc<AtomicU32>);

impl Writer {
    fn start(log: PathBuf, rate: u32) -> Self {
        let left = Arc::new(AtomicU32::new(rate));
        let rate_now = Arc::clone(&left);
        thread::spawn(move || {
            while let Some(pause) =
                Duration::from_secs(1).checked_div(rate_now.load(Ordering::Relaxed))
            {
                let mut log = OpenOptions::new().append(true).open(&log).unwrap();
                let row = format!(
                    "{{\"seam\":\"mcp.tool_called\",\"details\":\"{}\"}}\n",
                    "x".repeat(300)
                );
                log.write_all(row.as_bytes()).unwrap();
                drop(log);
                sleep(pause);
            }
        });
        Self(left)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
