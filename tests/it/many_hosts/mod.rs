//! Audit logs of several hosts, brought into one file by real rsyslogd processes on loopback. The
//! configurations are those of the man page; only names, ports and paths differ.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{World, other_row, plain, wake};

const SENDER: &str = include_str!("../../../man/rsyslog/sender.conf");
const RECEIVER: &str = include_str!("../../../man/rsyslog/receiver.conf");
const LOGROTATE: &str = include_str!("../../../man/rsyslog/logrotate.conf");

const HOSTS: usize = 2;
const ROWS_PER_HOST: usize = 1_000;
const STEPS: usize = 20;
/// Every so many rows a host raises a wake.
const WAKE_EVERY: usize = 20;
/// Each host's pairs; each is raised twice.
const PAIRS_PER_HOST: usize = ROWS_PER_HOST / WAKE_EVERY / 2;

/// How long rsyslogd may take to start, to stop, and to bring the last rows.
const PATIENCE: Duration = Duration::from_secs(50);

/// One rsyslogd with a folder and a configuration of its own. Dropped, it is killed.
struct Rsyslogd {
    child: Child,
    folder: PathBuf,
}

impl Rsyslogd {
    fn start(world: &World, name: &str, config: &str) -> Self {
        let folder = world.path(name);
        fs::create_dir_all(folder.join("work")).unwrap();
        let main = format!(
            "global(workDirectory=\"{}/work\")\nmodule(load=\"immark\")\n{config}",
            folder.display()
        );
        world.give(&format!("{name}/rsyslog.conf"), &main);
        let child = Self::spawn(&folder);
        Self { child, folder }
    }

    fn spawn(folder: &Path) -> Child {
        let mut log = OpenOptions::new();
        let log = log.create(true).append(true).open(folder.join("said"));
        let log = log.unwrap();
        Command::new("rsyslogd")
            .args(["-n", "-i"])
            .arg(folder.join("pid"))
            .arg("-f")
            .arg(folder.join("rsyslog.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("rsyslogd")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it with this signal, and waits for that.
    fn end(&mut self, signal: Signal) {
        self.signal(signal);
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "rsyslogd does not end");
            sleep(Duration::from_millis(10));
        }
    }

    fn start_again(&mut self) {
        self.child = Self::spawn(&self.folder);
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text with each of these replaced; all of them must be there.
fn with(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no {from} in:\n{text}");
        text.replace(from, to)
    })
}

/// Two senders, a receiver, and probe-wake beside the receiver.
struct Hosts {
    world: World,
    senders: Vec<Rsyslogd>,
    receiver: Rsyslogd,
    logs: Vec<File>,
    written: HashSet<String>,
}

impl Hosts {
    fn start() -> Self {
        let world = World::stamped();
        let port = free_port();
        let hub = world.log().display().to_string();
        let receiver = with(
            RECEIVER,
            &[
                ("\"20514\"", &format!("\"{port}\"")),
                ("0.0.0.0", "127.0.0.1"),
                ("/var/lib/kora/kora_audit_log.jsonl", &hub),
                ("fileOwner=\"kora\" fileGroup=\"kora\"", ""),
            ],
        );
        let receiver = Rsyslogd::start(&world, "receiver", &receiver);
        let mut hosts = Self {
            senders: Vec::new(),
            receiver,
            logs: Vec::new(),
            written: HashSet::new(),
            world,
        };
        (0..HOSTS).for_each(|host| hosts.add_sender(host, port));
        hosts
    }

    fn add_sender(&mut self, host: usize, port: u16) {
        let name = format!("sender{host}");
        let log = self.world.give(&format!("{name}/log"), "");
        let config = with(
            SENDER,
            &[
                ("hub.example.net\"", "127.0.0.1\""),
                ("\"20514\"", &format!("\"{port}\"")),
                (
                    "/home/kora/.kora/kora_audit_log.jsonl",
                    &log.display().to_string(),
                ),
            ],
        );
        self.senders
            .push(Rsyslogd::start(&self.world, &name, &config));
        self.logs
            .push(OpenOptions::new().append(true).open(log).unwrap());
    }

    /// Each host's rows of this step, written one after another.
    fn write(&mut self, step: usize) {
        let rows = ROWS_PER_HOST / STEPS;
        for row in step * rows..(step + 1) * rows {
            for host in 0..HOSTS {
                let line = line(host, row);
                writeln!(self.logs[host], "{line}").unwrap();
                assert!(self.written.insert(line));
            }
        }
    }

    /// One forced rotation of the receiver's file by the man page's configuration.
    fn rotate(&self) {
        let log = self.world.log().display().to_string();
        let hup = format!("kill -HUP {}", self.receiver.child.id());
        let su = if rustix::process::geteuid().is_root() {
            "    su root root\n    daily"
        } else {
            "    daily"
        };
        let text = with(
            LOGROTATE,
            &[
                ("/var/lib/kora/kora_audit_log.jsonl", &log),
                ("    daily", su),
                (
                    "systemctl kill -s HUP --kill-whom=main rsyslog.service",
                    &hup,
                ),
            ],
        );
        let config = self.world.give("given/logrotate.conf", &text);
        let state = self.world.path("given/logrotate.state");
        let mut command = Command::new("logrotate");
        let command = command.arg("--force").arg("--state").arg(state);
        let done = command.arg(config).output().expect("logrotate");
        assert!(done.status.success(), "{done:?}");
    }

    /// Every line that has come, those of the rotated file first.
    fn arrived(&self) -> Vec<String> {
        let log = self.world.log();
        let rotated = log.with_extension("jsonl.1");
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let text = read(rotated) + &read(log);
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until every row is at the other end; returns how many came twice.
    fn wait_for_all(&self) -> usize {
        let begun = Instant::now();
        loop {
            let lines = self.arrived();
            let came: HashSet<&String> = lines.iter().collect();
            let missing = self.written.iter().filter(|row| !came.contains(row));
            let missing: Vec<String> = missing.map(|row| row.chars().take(190).collect()).collect();
            if missing.is_empty() {
                return lines.len() - came.len();
            }
            let said: String = self.senders.iter().map(Rsyslogd::said).collect();
            assert!(
                begun.elapsed() < PATIENCE,
                "{} rows did not come, such as {}; rsyslogd said:\n{said}{}",
                missing.len(),
                missing[0],
                self.receiver.said()
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// One run; a row that the kill tore is the only reason to end with 3.
    fn run(&self) {
        let outcome = self.world.run();
        let torn = outcome.code == Some(3) && outcome.stderr.contains("malformed");
        assert!(
            outcome.code == Some(0) || torn,
            "{:?} {}",
            outcome.code,
            outcome.stderr
        );
    }
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn probe(host: usize, number: usize) -> String {
    format!("probe{number}-host{host}")
}

/// A wake now and then, else another row; one of these is nearly as long as a row may be.
fn line(host: usize, row: usize) -> String {
    if row.is_multiple_of(WAKE_EVERY) {
        let number = row / WAKE_EVERY % PAIRS_PER_HOST;
        return wake(&probe(host, number)).line();
    }
    let padding = if row == ROWS_PER_HOST / 2 + 1 {
        4_000_000
    } else {
        row % 400
    };
    let text = format!(
        "  host {host}, row {row}: 91 % · 接続 {}",
        "x".repeat(padding)
    );
    other_row(&text)
}

#[test]
#[ignore = "three rsyslogd processes and twenty runs: ten seconds"]
fn rows_of_two_hosts_are_sent_once_though_the_receiver_is_killed() {
    needs!("rsyslogd");
    needs!("logrotate");
    let mut hosts = Hosts::start();
    for step in 0..STEPS {
        hosts.write(step);
        match step {
            5 => hosts.rotate(),
            9 => hosts.receiver.end(Signal::KILL),
            13 => hosts.receiver.start_again(),
            // A sender that is stopped before it has found the receiver again loses rows: the man page says so.
            16 => {
                hosts.wait_for_all();
            }
            17 => hosts.senders[0].end(Signal::TERM),
            18 => hosts.senders[0].start_again(),
            _ => {}
        }
        hosts.run();
    }
    let twice = hosts.wait_for_all();
    hosts.run();
    println!("{} rows, {twice} of them twice", hosts.written.len());
    let sent = hosts.world.slack.texts();
    for host in 0..HOSTS {
        for number in 0..PAIRS_PER_HOST {
            let about = plain(&probe(host, number));
            let times = sent.iter().filter(|text| text.starts_with(&about)).count();
            assert_eq!(times, 1, "{about}\n{sent:?}");
        }
    }
    assert_eq!(sent.len(), HOSTS * PAIRS_PER_HOST);
}
