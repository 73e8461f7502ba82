//! The recipes of probe-wake(7) for those who have no Kora, with the programs that they are for. Those for systemd are
//! tested in `crate::booted`.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cron::CRON;
use crate::support::{BINARY, Sandbox};

const PAGE: &str = include_str!("../../../man/probe-wake.7");

/// A recipe as a reader of the page types it.
pub fn recipe(name: &str) -> String {
    let begin = format!(".\\\" recipe: {name}\n");
    let (_, text) = PAGE.split_once(&begin).expect("a recipe");
    let (text, _) = text.split_once("\n.\\\" end\n").expect("its end");
    text.replace("\\e", "\\") + "\n"
}

/// A sandbox with these recipes as files, in which they name each other, the log and the binary.
fn kitchen(files: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    for name in files {
        let file = sandbox.give(name, &here(&sandbox, name));
        fs::set_permissions(file, Permissions::from_mode(0o700)).unwrap();
    }
    sandbox
}

fn here(sandbox: &Sandbox, name: &str) -> String {
    let mut text = recipe(name);
    let shown = |file: &str| sandbox.path(file).display().to_string();
    for (from, to) in [
        ("/usr/local/bin/probe-wake", BINARY.to_owned()),
        (
            "/home/me/.kora/kora_audit_log.jsonl",
            shown("kora_audit_log.jsonl"),
        ),
        ("/usr/local/share/raise.jq", shown("raise.jq")),
        ("/usr/local/bin/monit-raise", shown("monit-raise")),
        ("/usr/local/bin/or-raise", shown("or-raise")),
        ("/usr/local/bin/backup", shown("backup")),
        ("/run/nginx.pid", shown("nginx.pid")),
    ] {
        text = text.replace(from, &to);
    }
    text
}

fn rows(sandbox: &Sandbox) -> Vec<Value> {
    let log = fs::read_to_string(sandbox.log()).unwrap_or_default();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The log's rows, as soon as there are so many.
#[track_caller]
fn wait_for_rows(sandbox: &Sandbox, count: usize, seconds: u64) -> Vec<Value> {
    let begun = Instant::now();
    while rows(sandbox).len() < count {
        assert!(begun.elapsed().as_secs() < seconds, "{:?}", rows(sandbox));
        sleep(Duration::from_millis(20));
    }
    rows(sandbox)
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn monit_raises_a_wake_and_a_recovery() {
    needs!("monit");
    let sandbox = kitchen(&["monit-raise"]);
    let files =
        ["id", "state", "pid", "nginx.pid"].map(|name| sandbox.path(name).display().to_string());
    let [id, state, pid, nginx] = &files;
    let config =
        format!("set daemon 1\nset idfile {id}\nset statefile {state}\nset pidfile {pid}\n");
    let config = sandbox.give("monitrc", &(config + &here(&sandbox, "monit.conf")));
    let mut monit = Command::new("monit");
    monit
        .arg("-c")
        .arg(config)
        .arg("-I")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _monit = Running(monit.spawn().unwrap());
    let wake = &wait_for_rows(&sandbox, 1, 30)[0];
    assert_eq!(wake["seam"], "probe.wake_requested");
    assert_eq!(wake["details"]["probe"], "nginx");
    assert_eq!(wake["details"]["title"], "nginx: Does not exist");
    assert_eq!(wake["details"]["detail"], "process is not running");
    assert!(wake["details"]["snapshot_details"]["host"].is_string());
    fs::write(nginx, std::process::id().to_string()).unwrap();
    let recovery = &wait_for_rows(&sandbox, 2, 30)[1];
    assert_eq!(
        recovery["details"],
        json!({"probe": "nginx", "ends": "probe.wake_requested"})
    );
}

/// A backup that fails, and what its crontab's line runs.
fn backup() -> (Sandbox, String) {
    let sandbox = kitchen(&["or-raise"]);
    let script = sandbox.give("backup", "#!/bin/sh\necho $1: \"it's\" full\nexit 7\n");
    fs::set_permissions(script, Permissions::from_mode(0o700)).unwrap();
    let line = here(&sandbox, "crontab");
    (sandbox, line)
}

#[track_caller]
fn assert_backup_failed(row: &Value) {
    let expected = json!({"probe": "backup", "severity": "warning", "category": "service_unhealthy",
        "title": "backup failed with exit code 7", "detail": "--all: it's full", "snapshot_details": {}});
    assert_eq!(row["details"], expected);
}

#[test]
fn a_failing_job_raises_a_wake_and_one_that_succeeds_none() {
    let (sandbox, line) = backup();
    let command = line.strip_prefix("17 3 * * * ").unwrap();
    sandbox.shell(command).finish().exits(0).silent();
    assert_backup_failed(&rows(&sandbox)[0]);
    sandbox
        .shell(&command.replace("/backup --all", "/or-raise true"))
        .finish()
        .exits(0)
        .silent();
    assert_eq!(rows(&sandbox).len(), 1);
}

#[test]
#[ignore = "cron starts its jobs at the next full minute"]
fn a_failing_cron_job_raises_a_wake() {
    needs!("cron");
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (sandbox, line) = backup();
    let line = line.replace("17 3", "* *");
    let crontab = sandbox.give("given/crontab", &format!("MAILTO=\"\"\n{line}"));
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", CRON, "sh"])
        .arg(crontab);
    let cron = sandbox.spawn(&mut command);
    assert_backup_failed(&wait_for_rows(&sandbox, 1, 75)[0]);
    cron.kill();
}

/// Takes connections as a systemd socket with `Accept=yes` does, and runs `raise-http` for each.
fn listen(sandbox: &Sandbox) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = sandbox.path("raise-http");
    thread::spawn(move || {
        for connection in listener.incoming() {
            let socket: OwnedFd = connection.unwrap().into();
            let mut command = Command::new(&script);
            command
                .stdin(socket.try_clone().unwrap())
                .stdout(socket)
                .stderr(Stdio::null());
            command.status().unwrap();
        }
    });
    port
}

/// A real Alertmanager with the receiver of the page; where it is reached.
fn alertmanager(sandbox: &Sandbox, receiver: u16) -> (Running, String) {
    let route = "route:\n  receiver: probe-wake\n  group_wait: 0s\n  group_interval: 1s\n";
    let receivers = recipe("alertmanager.yml").replace("9095", &receiver.to_string());
    let config = sandbox.give("alertmanager.yml", &(route.to_owned() + &receivers));
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut command = Command::new("prometheus-alertmanager");
    command.arg("--config.file").arg(config);
    command
        .arg("--storage.path")
        .arg(sandbox.path("alertmanager"));
    command.args([
        "--web.listen-address",
        &address,
        "--cluster.listen-address=",
    ]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().unwrap());
    let begun = Instant::now();
    while TcpStream::connect(&address).is_err() {
        assert!(
            begun.elapsed().as_secs() < 30,
            "Alertmanager does not listen"
        );
        sleep(Duration::from_millis(20));
    }
    (running, address)
}

/// Posts this JSON; the answer.
pub fn post(address: &str, path: &str, body: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n"
    );
    let json = "Content-Type: application/json\r\n\r\n";
    connection
        .write_all(format!("{head}{json}{body}").as_bytes())
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn alertmanagers_alerts_are_fetched_and_sent() {
    needs!("prometheus-alertmanager");
    needs!("jq");
    needs!("curl");
    let sandbox = kitchen(&["raise.jq", "raise-http"]);
    let (_running, address) = alertmanager(&sandbox, listen(&sandbox));
    let alert = |ends: &str| {
        json!([{"labels": {"alertname": "DiskFull", "job": "node@1", "severity": "page"}, "endsAt": ends,
            "annotations": {"summary": "It's \"full\"", "description": "98 %\nof /"}}])
        .to_string()
    };
    let answer = post(&address, "/api/v2/alerts", &alert("2099-01-01T00:00:00Z"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let sent = &wait_for_rows(&sandbox, 1, 30)[0];
    let poll = here(&sandbox, "alertmanager-poll").replace("127.0.0.1:9093", &address);
    sandbox.shell(&poll).finish().exits(0).silent();
    let fetched = &wait_for_rows(&sandbox, 2, 30)[1];
    for row in [sent, fetched] {
        let details = &row["details"];
        assert_eq!(row["seam"], "probe.wake_requested");
        assert_eq!(details["probe"], "node_1");
        assert_eq!(details["category"], "DiskFull");
        assert_eq!(details["severity"], "critical");
        assert_eq!(details["title"], "It's \"full\"");
        assert_eq!(details["detail"], "98 %\nof /");
        assert_eq!(details["snapshot_details"]["labels"]["job"], "node@1");
    }
    let now = jiff::Timestamp::now().to_string();
    post(&address, "/api/v2/alerts", &alert(&now));
    let recovery = &wait_for_rows(&sandbox, 3, 30)[2];
    let expected =
        json!({"probe": "node_1", "category": "DiskFull", "ends": "probe.wake_requested"});
    assert_eq!(recovery["details"], expected);
    // Nothing is active any more.
    sandbox.shell(&poll).finish().exits(0).silent();
    assert_eq!(rows(&sandbox).len(), 3);
}

#[test]
fn a_request_that_raises_nothing_is_answered_with_an_error() {
    needs!("jq");
    let sandbox = kitchen(&["raise.jq", "raise-http"]);
    let address = format!("127.0.0.1:{}", listen(&sandbox));
    for body in [
        "",
        "nonsense",
        "{\"probe\":\"\",\"title\":\"T\"}",
        "[{\"labels\":{}},1]",
    ] {
        let answer = post(&address, "/", body);
        let is_ok = body.is_empty();
        assert_eq!(
            answer.starts_with("HTTP/1.1 200 OK"),
            is_ok,
            "{body}: {answer}"
        );
        assert_eq!(
            answer.starts_with("HTTP/1.1 500"),
            !is_ok,
            "{body}: {answer}"
        );
    }
    assert_eq!(rows(&sandbox), Vec::<Value>::new());
}

/// The body of the recipe with its placeholders filled as Gatus documents it.
#[test]
fn gatus_sends_wakes_and_recoveries() {
    needs!("jq");
    let sandbox = kitchen(&["raise.jq", "raise-http"]);
    let address = format!("127.0.0.1:{}", listen(&sandbox));
    let recipe = recipe("gatus.yaml");
    let (_, body) = recipe.split_once("body: |\n").unwrap();
    let (body, _) = body.split_once("    placeholders:").unwrap();
    for (state, is_recovery) in [("TRIGGERED", false), ("RESOLVED", true)] {
        let value = recipe.split_once(&format!("{state}: \"")).unwrap().1;
        let value = value.split_once('"').unwrap().0;
        let mut filled = body.to_owned();
        for (placeholder, value) in [
            ("[ENDPOINT_NAME]", "front-end"),
            ("[ENDPOINT_GROUP]", "core"),
            ("[ENDPOINT_URL]", "https://example.org/"),
            ("[ALERT_DESCRIPTION]", "health check failed"),
            ("[ALERT_TRIGGERED_OR_RESOLVED]", value),
        ] {
            filled = filled.replace(placeholder, value);
        }
        assert!(post(&address, "/", &filled).starts_with("HTTP/1.1 200 OK"));
        let row = rows(&sandbox).pop().unwrap();
        assert_eq!(row["details"]["probe"], "front-end");
        assert_eq!(row["details"]["category"], "core");
        assert_eq!(row["seam"] == "probe.recovered", is_recovery);
    }
    assert_eq!(rows(&sandbox)[0]["details"]["title"], "front-end is down");
}
