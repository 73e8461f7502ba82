//! Faults that a run is put through: system calls that fail or kill, by strace, and file systems that are full
//! or read-only, by mounts that only the run sees.

use std::fs;
use std::process::{Command, Stdio};

use super::outcome::Outcome;
use super::sandbox::{Sandbox, arguments};

/// What happens at a system call.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It fails with this error.
    Error(&'static str),
    /// The process is killed before it.
    Kill,
}

/// One run with this fault at the n-th call of this name; None where the run makes fewer of them.
#[track_caller]
pub fn run_with(sandbox: &Sandbox, fault: Fault, syscall: &str, n: usize) -> Option<Outcome> {
    let what = match fault {
        Fault::Error(error) => format!("error={error}"),
        Fault::Kill => "signal=KILL".to_owned(),
    };
    let inject = format!("inject={syscall}:{what}:when={n}");
    let trace = format!("trace={syscall}");
    let mut strace = vec!["strace", "-f", "-s", "0", "-o", "trace"];
    strace.extend(["-e", &trace, "-e", &inject, "--"]);
    let run = sandbox.start_through(&strace, &arguments("run"));
    let outcome = run.finish();
    let trace = fs::read_to_string(sandbox.path("trace")).expect("strace's output");
    let reached = trace.contains("(INJECTED)") || trace.contains("killed by SIGKILL");
    reached.then_some(outcome)
}

/// A wrapper that runs these shell commands and then the binary, in a view of the file systems of its own in
/// which it may mount. None where the system does not allow that, which in CI is a failure.
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
