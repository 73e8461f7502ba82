//! The units of `schedule systemd` under a booted systemd, hardened, as another user than root.

use std::cell::Cell;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::commands::recipes::{post, recipe};
use crate::fallback::examples::smtp;
use crate::support::machine::Machine;
use crate::support::tools::is_passed_over;
use crate::support::{BINARY, Engine, Reply, SLACK_TOKEN, Server, Slack};

/// The timer's cadence here, in seconds.
const CADENCE: u64 = 5;

/// More than the path unit needs on a busy machine, and less than the timer.
const SOON: Duration = Duration::from_secs(4);

/// One machine is enough for the processors there are.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const LOG: &str = "/home/me/.kora/kora_audit_log.jsonl";

/// A machine whose `me` has settings, and no log, state or schedule yet.
struct Booted {
    machine: Machine,
    slack: Slack,
    engine: Engine,
    /// Whether the units are those of the user's own manager.
    is_own: bool,
    /// How many alerts waited for the timer that the path unit was to start a run for.
    late: Cell<u32>,
    _turn: MutexGuard<'static, ()>,
}

impl Booted {
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let (slack, engine) = (Slack::start(), Engine::start());
        let machine = Machine::boot(name, BINARY)?;
        let env = format!(
            "KORA_SLACK_API_URL={}\nKORA_SLACK_BOT_TOKEN={SLACK_TOKEN}\nKORA_SLACK_JOSHUA_USER_ID=U1\n\
             KORA_PROBE_ENGINE_URL={}\nKORA_PROBE_WAKE_POLL_SEC={CADENCE}\n",
            slack.base(),
            engine.url(),
        );
        machine.write("/run/env", &env);
        machine.sh("chmod 644 /run/env");
        machine
            .sh_as_me("mkdir -p .config/probe-wake; umask 077; cp /run/env .config/probe-wake/env");
        Some(Self {
            machine,
            slack,
            engine,
            is_own: name == "user",
            late: Cell::new(0),
            _turn: turn,
        })
    }

    /// Writes the units as `sudo` would, and runs the commands that are printed.
    fn schedule(&self) {
        self.machine.sh("export SUDO_UID=4242 SUDO_GID=4242
            probe-wake schedule systemd --write /etc/systemd/system > /run/printed
            sed -n 's/^  sudo //p' /run/printed > /run/commands
            . /run/commands");
    }

    fn settle(&self) {
        let line = "while SYSTEMCTL show -p ActiveState probe-wake.service | grep -q activating
            do sleep 0.01; done";
        match self.is_own {
            true => self
                .machine
                .sh_as_me(&line.replace("SYSTEMCTL", "systemctl --user")),
            false => self.machine.sh(&line.replace("SYSTEMCTL", "systemctl")),
        };
    }

    /// As `me`, raises a wake while no run is under way, and waits for its message; how long that took.
    #[track_caller]
    fn raise(&self, probe: &str, within: Duration) -> Duration {
        // What is written in the moment in which a run ends is read when the timer starts the next.
        self.settle();
        self.raise_at_any_time(probe, within)
    }

    #[track_caller]
    fn raise_at_any_time(&self, probe: &str, within: Duration) -> Duration {
        let line = format!("probe-wake raise --probe {probe} --severity critical --title T");
        self.machine.sh_as_me(&line);
        let most = within.max(Duration::from_secs(CADENCE) + SOON);
        let elapsed = self.wait_for(probe, Instant::now(), most);
        if elapsed > within {
            // It came while systemd did not watch the log yet, or could not start a run: that is seldom.
            self.late.set(self.late.get() + 1);
            assert!(self.late.get() < 3, "{probe} waited for {elapsed:?}");
        }
        elapsed
    }

    #[track_caller]
    fn wait_for(&self, probe: &str, since: Instant, within: Duration) -> Duration {
        loop {
            let elapsed = since.elapsed();
            let texts = self.slack.texts();
            if texts
                .iter()
                .any(|text| text.contains(&format!("· {probe}\n")))
            {
                return elapsed;
            }
            if elapsed > within {
                let journal = self
                    .machine
                    .sh("journalctl -n 50; systemctl status 'probe-wake.*'; true");
                panic!("no message of {probe} within {within:?}: {texts:?}\n{journal}");
            }
            sleep(Duration::from_millis(2));
        }
    }
}

#[test]
#[ignore = "boots a machine"]
fn alerts_leave_at_once_through_rotations_a_stop_and_a_reboot() {
    let Some(booted) = Booted::new("system") else {
        return;
    };
    let machine = &booted.machine;
    booted.schedule();
    // The first alert: neither the log nor its folder existed before.
    booted.raise("first", SOON);
    machine.sh(&format!(
        "test \"$(stat -c %U /home/me/.kora {LOG} | uniq)\" = me"
    ));
    booted.raise("second", SOON);
    booted.raise("third", SOON);

    for (number, rotation) in [
        "mv LOG LOG.1; install -o me -g me -m 640 /dev/null LOG",
        "mv LOG LOG.1",
        "cp -p LOG LOG.1; truncate -s 0 LOG",
        // Behind a link from now on, for which the units are written anew, and its target rotated.
        "mv LOG LOG.1; mkdir -p /srv/logs; chown me: /srv/logs; ln -s /srv/logs/audit.jsonl LOG
        export SUDO_UID=4242; probe-wake schedule systemd --write /etc/systemd/system
        systemctl daemon-reload",
        "mv /srv/logs/audit.jsonl /srv/logs/audit.jsonl.1",
    ]
    .into_iter()
    .enumerate()
    {
        machine.sh(&rotation.replace("LOG", LOG));
        booted.raise(&format!("rotated-{number}"), SOON);
        booted.raise(&format!("after-{number}"), SOON);
    }
    machine.sh(&format!("rm {LOG}"));
    booted.raise("no-link-again", SOON);

    stop_in_the_middle(&booted);
    reboot(&booted);
    let units = machine.sh("systemctl show -p Result,ActiveState probe-wake.path probe-wake.timer");
    assert_eq!(
        units.matches("Result=success\nActiveState=active").count(),
        2,
        "{units}"
    );
    let judged = machine.sh("systemd-analyze security --threshold=40 probe-wake.service");
    assert!(judged.contains("Overall exposure level"), "{judged}");

    // Without the path unit there is the timer.
    machine.sh("systemctl stop probe-wake.path");
    booted.raise("timer", Duration::from_secs(CADENCE) + SOON);
    take_away(&booted);
}

/// A stop while the engine is asked: the next run asks again.
fn stop_in_the_middle(booted: &Booted) {
    let asked = booted.engine.requests().len();
    booted.engine.script([Reply::Hang]);
    let line = "probe-wake raise --probe stopped --severity critical --title T";
    booted.machine.sh_as_me(line);
    booted.engine.wait_for(asked + 1);
    booted.machine.sh("systemctl stop probe-wake.service");
    assert!(!booted.slack.texts().concat().contains("stopped"));
    booted.wait_for(
        "stopped",
        Instant::now(),
        Duration::from_secs(CADENCE) + SOON,
    );
}

/// A wake that is raised while the machine is down is told after it is up again.
fn reboot(booted: &Booted) {
    let log = booted.machine.path(LOG);
    booted.machine.reboot(|| {
        let mut raise = Command::new(BINARY);
        raise.args([
            "raise",
            "--probe",
            "reboot",
            "--severity",
            "critical",
            "--title",
            "T",
        ]);
        let raised = raise.arg("--audit-log").arg(&log).status();
        assert!(raised.unwrap().success());
    });
    booted.wait_for(
        "reboot",
        Instant::now(),
        Duration::from_secs(CADENCE) + SOON,
    );
    booted.raise("after-reboot", SOON);
}

/// The units are removed with the commands that are printed, and nothing is left.
fn take_away(booted: &Booted) {
    booted.machine.sh("systemctl start probe-wake.path
        export SUDO_UID=4242 SUDO_GID=4242
        probe-wake schedule systemd --remove /etc/systemd/system > /run/printed
        sed -n 's/^  sudo //p' /run/printed > /run/commands
        . /run/commands
        test -z \"$(find /etc/systemd/system -name 'probe-wake*')\"
        test -z \"$(systemctl list-units --all --no-legend 'probe-wake*')\"");
}

#[test]
#[ignore = "boots a machine"]
fn a_log_that_is_written_all_the_time_costs_one_run_a_second_and_hides_no_alert() {
    let Some(booted) = Booted::new("busy") else {
        return;
    };
    booted.schedule();
    booted.raise("first", SOON);
    let log = booted.machine.path(LOG);
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let mut log = fs::OpenOptions::new().append(true).open(log).unwrap();
        for number in 0..400 {
            writeln!(log, "{{\"seam\":\"x\",\"number\":{number}}}").unwrap();
            sleep(Duration::from_millis(20));
        }
    });
    sleep(Duration::from_secs(1));
    let lock = || {
        fs::read_to_string(
            booted
                .machine
                .path("/home/me/.local/state/probe-wake/state.lock"),
        )
    };
    let runs = || {
        let note: Value = serde_json::from_str(lock().unwrap().trim()).unwrap();
        note["runs"].as_u64().unwrap()
    };
    let (before, begun) = (runs(), Instant::now());
    for number in 0..5 {
        booted.raise_at_any_time(&format!("busy-{number}"), SOON);
        sleep(Duration::from_millis(300));
    }
    let (count, seconds) = (runs() - before, begun.elapsed().as_secs());
    assert!(count <= seconds + 2, "{count} runs in {seconds} s");
    writer.join().unwrap();
    booted.raise("at-rest-again", SOON);
    let state = booted
        .machine
        .sh("systemctl is-active probe-wake.path probe-wake.timer");
    assert_eq!(state, "active\nactive\n");
    journal(&booted);
}

/// A run's problems have their priority in the journal, and systemd's lines about each run are not there.
fn journal(booted: &Booted) {
    booted.machine.sh_as_me(&format!(
        "echo '{{\"seam\":\"probe.wake_requested\",' >> {LOG}"
    ));
    let begun = Instant::now();
    let lines = loop {
        let read = "journalctl -u probe-wake.service -o json --output-fields=PRIORITY,MESSAGE";
        let lines = booted.machine.sh(read);
        if lines.contains("malformed") {
            break lines;
        }
        assert!(begun.elapsed() < SOON, "{lines}");
    };
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (said, priority) = (line["MESSAGE"].as_str(), line["PRIORITY"].as_str());
        let priority: u8 = priority.unwrap().parse().unwrap();
        let is_ours = said.unwrap().starts_with("probe-wake: warning: ");
        assert!(priority == 4 || !is_ours && priority < 6, "{line}");
    }
}

#[test]
#[ignore = "boots a machine"]
fn the_users_own_manager_runs_the_units_without_a_login() {
    let Some(booted) = Booted::new("user") else {
        return;
    };
    let machine = &booted.machine;
    // Before the first login there is no manager of the user's own.
    machine.sh("loginctl enable-linger me; until test -S /run/user/4242/bus; do sleep 0.05; done");
    machine.sh_as_me(
        "probe-wake schedule systemd --user --write ~/.config/systemd/user > printed
        sed -n 's/^  systemctl/systemctl/p' printed > commands
        grep -q '^  loginctl enable-linger me$' printed
        . ./commands",
    );
    booted.raise("own", SOON);
    booted.raise("own-again", SOON);
    machine.reboot(|| ());
    booted.raise("without-login", Duration::from_secs(CADENCE) + SOON);
    booted.raise("without-login-again", SOON);
}

#[test]
#[ignore = "boots a machine"]
fn the_recipes_for_systemd_raise_wakes_and_recoveries() {
    let Some(booted) = Booted::new("recipes") else {
        return;
    };
    let machine = &booted.machine;
    let put = |path: &str, text: &str| {
        let path = machine.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let rows = || -> Vec<Value> {
        let log = fs::read_to_string(machine.path(LOG)).unwrap();
        log.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let units = "/etc/systemd/system";
    booted.schedule();
    put(
        &format!("{units}/raise@.service"),
        &recipe("raise@.service"),
    );
    put(
        &format!("{units}/nginx@.service.d/raise.conf"),
        &recipe("raise.conf"),
    );
    let broken = "[Service]\nExecStart=/bin/sh -c 'echo \"it is\" broken; exit 7'\n";
    put(&format!("{units}/nginx@.service"), broken);
    machine.sh("systemctl daemon-reload; systemctl start nginx@1.service || true");
    booted.wait_for(
        "nginx_1.service",
        Instant::now(),
        Duration::from_secs(CADENCE) + SOON,
    );
    let wakes = rows();
    let wake = wakes
        .iter()
        .find(|row| row["seam"] == "probe.wake_requested")
        .unwrap();
    assert_eq!(
        wake["details"]["title"],
        "nginx@1.service failed (exit-code 7)"
    );
    let detail = wake["details"]["detail"].as_str().unwrap();
    assert!(detail.contains("it is broken"), "{detail}");

    // What root raised first belongs to whoever the runs are of.
    machine.sh(&format!("test \"$(stat -c %U {LOG})\" = me"));
    let before = rows().len();
    put(
        &format!("{units}/nginx@.service"),
        "[Service]\nExecStart=/bin/sleep 60\n",
    );
    machine.sh("systemctl daemon-reload; systemctl start nginx@1.service");
    let recovery = rows().pop().unwrap();
    assert_eq!(rows().len(), before + 1);
    assert_eq!(recovery["seam"], "probe.recovered");
    assert_eq!(recovery["details"]["probe"], "nginx_1.service");

    // The socket that Alertmanager and Gatus send to.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let socket = recipe("raise-http.socket").replace("127.0.0.1:9095", &address);
    put(&format!("{units}/raise-http.socket"), &socket);
    put(
        &format!("{units}/raise-http@.service"),
        &recipe("raise-http@.service"),
    );
    put("/usr/local/share/raise.jq", &recipe("raise.jq"));
    put("/usr/local/bin/raise-http", &recipe("raise-http"));
    machine.sh(
        "chmod 755 /usr/local/bin/raise-http; systemctl daemon-reload
        systemctl enable --now raise-http.socket",
    );
    let body = "{\"status\":\"firing\",\"alerts\":[{\"labels\":{\"alertname\":\"Slow\",\"job\":\"web\"}}]}";
    let answer = post(&address, "/", body);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    booted.wait_for("web", Instant::now(), Duration::from_secs(CADENCE) + SOON);
}

/// The fallback command, which also calls a setgid helper.
const PAGE: &str = r#"#!/bin/sh
{ cat; echo "$PROBE_WAKE_SEVERITY $NTFY_TOKEN helper: $(/usr/local/bin/helper -gn)"; } \
    >> "$HOME/.local/state/probe-wake/page"
"#;

#[test]
#[ignore = "boots a machine"]
fn the_fallback_command_is_run_in_the_unit_and_a_setgid_helper_gets_no_group() {
    let Some(booted) = Booted::new("fallback") else {
        return;
    };
    let machine = &booted.machine;
    machine.sh("install -g mail -m 2755 /usr/bin/id /usr/local/bin/helper");
    machine.write("/run/page", PAGE);
    machine.sh("chmod 644 /run/page");
    machine.sh_as_me(
        "mkdir bin; install -m 700 /run/page bin/page
        cat >> .config/probe-wake/env <<END
KORA_PROBE_FALLBACK_COMMAND=/home/me/bin/page
KORA_PROBE_FALLBACK_AFTER_SECONDS=0
NTFY_TOKEN=tk_mine
END",
    );
    booted.schedule();
    booted.raise("first", SOON);
    booted.settle();
    booted.slack.die();
    machine.sh_as_me("probe-wake raise --probe fly --severity critical --title T");
    let file = machine.path("/home/me/.local/state/probe-wake/page");
    let begun = Instant::now();
    let page = loop {
        let page = fs::read_to_string(&file).unwrap_or_default();
        if page.contains("helper: ") {
            break page;
        }
        if begun.elapsed() > SOON + Duration::from_secs(CADENCE) {
            panic!("{page}\n{}", machine.sh("journalctl -n 50"));
        }
        sleep(Duration::from_millis(20));
    };
    assert!(page.contains("Probe alert · fly\n"), "{page}");
    assert!(page.ends_with("critical tk_mine helper: me\n"), "{page}");
    // Outside of the unit the helper has its group.
    assert_eq!(machine.sh_as_me("/usr/local/bin/helper -gn"), "mail\n");
    examples(&booted);
    booted.slack.revive();
    booted.wait_for(
        "fly",
        Instant::now(),
        Duration::from_secs(2 * CADENCE) + SOON,
    );
    let text = booted.slack.texts().concat();
    assert!(
        text.contains(" · also sent by the fallback command "),
        "{text}"
    );
}

/// The examples of probe-wake(7) that need no helper.
fn examples(booted: &Booted) {
    let machine = &booted.machine;
    let is_there = !machine.sh("command -v curl || true").is_empty();
    if is_passed_over("curl in the machine", is_there) {
        return;
    }
    machine.sh_as_me("echo \"Authorization: Bearer tk_mine\" > .config/ntfy-header");
    let page = |probe: &str, script: String| {
        machine.write("/run/page", &script);
        machine.sh_as_me("install -m 700 /run/page bin/page");
        let raise = format!("probe-wake raise --probe {probe} --severity warning --title T");
        machine.sh_as_me(&raise);
    };
    let ntfy = Server::start("ntfy", |_, _| Reply::text(200, "{}"));
    let url = format!("http://{}", ntfy.address());
    page(
        "ntfy",
        recipe("page-by-ntfy").replace("https://ntfy.sh", &url),
    );
    ntfy.wait_for(1);
    let request = &ntfy.requests()[0];
    assert_eq!(request.header("title"), Some("ntfy: T"));
    assert_eq!(request.header("authorization"), Some("Bearer tk_mine"));

    booted.settle();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || smtp(&listener));
    page(
        "mail",
        recipe("page-by-mail").replace("smtp://localhost", &url),
    );
    let mail = served.join().unwrap();
    assert!(mail.contains("Subject: mail (warning)"), "{mail}");
}
