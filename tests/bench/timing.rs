//! Wall time of whole commands, medians, and the tables.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub struct Contender {
    name: String,
    command: Command,
    prepare: Box<dyn Fn()>,
    times: Vec<f64>,
}

impl Contender {
    pub fn new(name: &str, command: Command) -> Self {
        Self {
            name: name.to_owned(),
            command,
            prepare: Box::new(|| {}),
            times: Vec::new(),
        }
    }

    /// What is done before each run and not measured.
    pub fn after(mut self, prepare: impl Fn() + 'static) -> Self {
        self.prepare = Box::new(prepare);
        self
    }
}

impl Contender {
    /// The most memory that one run held, watched from outside.
    pub fn peak_memory(&mut self) -> String {
        (self.prepare)();
        let mut child = self
            .command
            .stdout(Stdio::null())
            .spawn()
            .expect("the command runs");
        let path = format!("/proc/{}/status", child.id());
        let mut most = String::from("unknown");
        while child.try_wait().expect("a child").is_none() {
            let status = fs::read_to_string(&path).unwrap_or_default();
            if let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:")) {
                most = line.trim_start_matches("VmHWM:").trim().to_owned();
            }
            thread::sleep(Duration::from_micros(200));
        }
        most
    }
}

/// Runs a command once and gives its seconds.
pub fn once(command: &mut Command) -> f64 {
    // Not /dev/null, for which grep stops at the first match.
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let begun = Instant::now();
    let status = command.output().expect("the command runs").status;
    let seconds = begun.elapsed().as_secs_f64();
    let code = status.code().unwrap_or(-1);
    assert!(code == 0 || code == 3, "{command:?} ended with {status}");
    seconds
}

pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Runs the contenders in turn, so often, and prints a line each; ratios are to the first.
pub fn table(title: &str, contenders: &mut [Contender], repetitions: usize) {
    for _ in 0..repetitions {
        for contender in contenders.iter_mut() {
            (contender.prepare)();
            let seconds = once(&mut contender.command);
            contender.times.push(seconds);
        }
    }
    println!("\n### {title} ({repetitions} runs each, in turn)\n");
    println!("| command | median ms | least ms | ratio of medians |\n|---|---|---|---|");
    let mut first = None;
    for contender in contenders {
        let median = median(&mut contender.times);
        let ratio = median / *first.get_or_insert(median);
        let least = contender.times[0];
        println!(
            "| {} | {:.2} | {:.2} | {ratio:.2} |",
            contender.name,
            median * 1e3,
            least * 1e3
        );
    }
}

/// What this machine is.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores,{}, Linux {}",
        model.trim_start_matches([' ', '\t', ':']).replace(':', " "),
        kernel.trim()
    )
}
