//! Injects faults into a run: with strace, system calls that fail or kill; with mounts that only the run sees,
//! file systems that are full or read-only.

use std::collections::BTreeMap;
use std::fmt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::outcome::Outcome;
use super::sandbox::Sandbox;
use super::world::World;

/// What happens at a system call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It fails with this error.
    Error(&'static str),
    /// The process is killed before it.
    Kill,
}

/// The system calls at which the fault is injected.
#[derive(Clone, Copy)]
pub enum Calls {
    All,
    /// Those that change a file or reach a peer. A kill at any other call leaves the same as a kill at the next
    /// of these.
    Visible,
    Named(&'static [&'static str]),
}

/// The n-th call of this name, counted from 1.
#[derive(PartialEq)]
pub struct Call {
    pub name: String,
    pub n: usize,
}

const VISIBLE: &[&str] = &[
    "chmod",
    "close",
    "connect",
    "exit_group",
    "fchmod",
    "fdatasync",
    "flock",
    "fsync",
    "ftruncate",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "pwrite64",
    "rename",
    "renameat",
    "renameat2",
    "sendmsg",
    "sendto",
    "shutdown",
    "unlink",
    "unlinkat",
    "utimensat",
    "write",
    "writev",
];

/// Injects this fault into one run after the other, each time at the next of its system calls and in a new
/// world from `prepare`; `judge` checks the result. Returns the number of calls.
#[track_caller]
pub fn at_each_call(
    fault: Fault,
    calls: Calls,
    prepare: impl Fn() -> World + Sync,
    judge: impl Fn(&World, &Call, Outcome) + Sync,
) -> usize {
    at_each_call_of("run", fault, calls, prepare, judge)
}

/// The same for another command.
#[track_caller]
pub fn at_each_call_of(
    line: &str,
    fault: Fault,
    calls: Calls,
    prepare: impl Fn() -> World + Sync,
    judge: impl Fn(&World, &Call, Outcome) + Sync,
) -> usize {
    let calls = calls_of(&prepare().asked_or_not(), line, calls);
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
            println!("{fault:?} at {call}");
            let world = prepare().asked_or_not();
            let outcome = with_fault(&world, line, fault, &call.name, call.n);
            judge(&world, call, outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    calls.len()
}

/// Returns the calls of one run in this sandbox, beginning with its first access to a file there.
fn calls_of(sandbox: &Sandbox, line: &str, calls: Calls) -> Vec<Call> {
    let (_, trace) = sandbox.traced(&["-s", "0"], line);
    let root = sandbox.path("").display().to_string();
    let (mut counts, mut begun, mut found) = (BTreeMap::new(), false, Vec::new());
    for line in trace.lines() {
        let Some((thread, name, rest)) = begun_call(line) else {
            continue;
        };
        // strace counts the calls of each thread by themselves; the first thread that gets so far meets the fault.
        let n = counts.entry((thread, name)).or_insert(0);
        *n += 1;
        begun |= rest.contains(&root);
        let is_wanted = match calls {
            Calls::All => true,
            Calls::Visible => VISIBLE.contains(&name) || rest.contains("O_CREAT"),
            Calls::Named(names) => names.contains(&name),
        };
        let call = Call {
            name: name.to_owned(),
            n: *n,
        };
        if begun && is_wanted && !found.contains(&call) {
            found.push(call);
        }
    }
    found
}

/// Returns thread, name and rest of a line such as `4711 write(2, ""..., 4) = 4`; None if no call begins there.
fn begun_call(line: &str) -> Option<(&str, &str, &str)> {
    let (thread, call) = line.split_once(' ')?;
    let (name, rest) = call.trim_start().split_once('(')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_name).then_some((thread, name, rest))
}

/// Runs with this fault at the n-th call of this name. If there are fewer calls, nothing is injected.
#[track_caller]
pub fn run_with(sandbox: &Sandbox, fault: Fault, syscall: &str, n: usize) -> Outcome {
    with_fault(sandbox, "run", fault, syscall, n)
}

/// The same for another command.
#[track_caller]
pub fn with_fault(sandbox: &Sandbox, line: &str, fault: Fault, syscall: &str, n: usize) -> Outcome {
    let what = match fault {
        Fault::Error(error) => format!("error={error}"),
        Fault::Kill => "signal=KILL".to_owned(),
    };
    let inject = format!("inject={syscall}:{what}:when={n}");
    let trace = format!("trace={syscall}");
    let flags = ["-s", "0", "-e", &trace, "-e", &inject];
    sandbox.traced(&flags, line).0
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.n)
    }
}

/// Returns a wrapper that runs these shell commands and then the binary, in a mount namespace of its own. None
/// if the system does not allow that, which in CI is a failure.
pub fn mounting(script: &str) -> Option<Vec<String>> {
    let root = rustix::process::geteuid().is_root();
    let flags = if root { "-m" } else { "-rm" };
    let tried = Command::new("unshare")
        .args([flags, "mount", "-t", "tmpfs", "none", "/mnt"])
        .stdin(Stdio::null())
        .output()
        .expect("unshare, of util-linux");
    if !tried.status.success() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no mounts: {}",
            String::from_utf8_lossy(&tried.stderr)
        );
        eprintln!("skipped: this system allows no mounts");
        return None;
    }
    let script = format!("set -e; {script}\n\"$0\" \"$@\"");
    Some(
        ["unshare", flags, "sh", "-c", &script]
            .map(str::to_owned)
            .into(),
    )
}
