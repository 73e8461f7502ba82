//! `check`: a doctor for the set-up. Each line is a finding, with a next step where there is
//! something to do; it fails where anything would keep an alert from arriving.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::status;
use crate::audit::rotation;
use crate::cli::{CheckArgs, Format, Global};
use crate::config::Config;
use crate::config::variables as var;
use crate::engine::{Api, EngineConfig};
use crate::exit::{Ended, Exit};
use crate::http::Http;
use crate::message::{on_one_line, span};
use crate::report::{count, print_json};
use crate::slack::{self, Posted};
use crate::state::{Store, UNDELIVERED_FILE, lock};
use crate::terminal::{Colour, Painter, Waiting};

const REACH_TIMEOUT: Duration = Duration::from_secs(10);
const TEST_DM: &str =
    "probe-wake: this is a test message. If you can read it, alerts can reach you here.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    /// It would keep an alert from arriving.
    Failed,
}

#[derive(Debug, Serialize)]
struct Finding {
    subject: &'static str,
    level: Level,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step: Option<String>,
}

#[derive(Debug, Serialize)]
struct Findings {
    version: u32,
    ok: bool,
    findings: Vec<Finding>,
}

fn ok(subject: &'static str, message: impl Into<String>) -> Finding {
    Finding {
        subject,
        level: Level::Ok,
        message: message.into(),
        next_step: None,
    }
}

fn warning(subject: &'static str, message: impl Into<String>, next: impl Into<String>) -> Finding {
    let (message, next_step) = (message.into(), Some(next.into()));
    Finding {
        subject,
        level: Level::Warning,
        message,
        next_step,
    }
}

fn failed(subject: &'static str, message: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding {
        level: Level::Failed,
        ..warning(subject, message, next)
    }
}

pub fn check(flags: &Global, args: &CheckArgs) -> Ended {
    let config = Config::load(flags)?;
    let http = config.http();
    let mut findings = settings(&config);
    findings.push(audit_log(&config));
    findings.extend(state(&config));
    findings.push(engine(&config, &http));
    findings.extend(slack(&config, &http));
    if args.send_test_dm {
        findings.push(test_dm(&config, &http));
    }
    let is_ok = findings
        .iter()
        .all(|finding| finding.level != Level::Failed);
    let findings = Findings {
        version: 1,
        ok: is_ok,
        findings,
    };
    match args.format.format {
        Format::Json => print_json(&findings),
        Format::Text => print(&findings, Painter::for_stdout(config.paths.no_color)),
    }
    .context("cannot print the findings")?;
    Ok(if is_ok { Exit::Done } else { Exit::Failed })
}

fn settings(config: &Config) -> Vec<Finding> {
    let mut findings = vec![match &config.env_file {
        Some(path) => ok("settings", format!("environment and {}", path.display())),
        None => Finding {
            next_step: Some(
                "put them into ~/.config/probe-wake/env: cron and systemd have no profile".into(),
            ),
            ..ok("settings", "environment only; there is no env file")
        },
    }];
    for file in config.secret_files.iter().chain(&config.env_file) {
        findings.extend(secret_file(file));
    }
    findings
}

fn secret_file(path: &Path) -> Option<Finding> {
    let shown = path.display();
    match File::open(path).and_then(|file| file.metadata()) {
        // Whether the alert needs it is told below: a token that cannot be read is not set.
        Err(error) => Some(warning(
            "secrets",
            format!("{shown} cannot be read: {error}"),
            "name a file that the runs can read",
        )),
        Ok(meta) if meta.mode() & 0o077 != 0 => Some(warning(
            "secrets",
            format!(
                "{shown} can be read or written by others (mode {:03o})",
                meta.mode() & 0o777
            ),
            format!("chmod 600 {shown}"),
        )),
        Ok(_) => None,
    }
}

fn audit_log(config: &Config) -> Finding {
    let path = config.paths.audit_log.display();
    match rotation::open_log(&config.paths.audit_log) {
        Ok(Some(log)) => ok(
            "audit log",
            format!("{path}, {}", count(log.length, "byte", "bytes")),
        ),
        Ok(None) => failed(
            "audit log",
            format!("{path} does not exist"),
            "name the right file with KORA_AUDIT_LOG_PATH, or wait until Kora has written its first row",
        ),
        Err(problem) => failed(
            "audit log",
            problem.what(),
            "let the runs' user read it, or name the right file with KORA_AUDIT_LOG_PATH",
        ),
    }
}

fn state(config: &Config) -> Vec<Finding> {
    let dir = &config.paths.state_dir;
    let store = Store::at(dir);
    let mut findings = vec![state_dir(dir)];
    match store.load() {
        Err(problem) => findings.push(failed(
            "state",
            problem.what(),
            problem.next_step().unwrap_or_default(),
        )),
        Ok(state) if state.log(&config.paths.audit_log).is_none() => findings.push(warning(
            "runs",
            "no run has stamped this log yet",
            "start one with: probe-wake run",
        )),
        Ok(state) => {
            findings.push(last_run(config, &store));
            if !state.outbox.is_empty() {
                let queued = count(state.outbox.len() as u64, "DM is", "DMs are");
                let cause = state.outbox[0].cause.as_deref().unwrap_or("not tried yet");
                findings.push(warning(
                    "outbox",
                    format!("{queued} queued: {cause}"),
                    "the next run tries again; see: probe-wake status",
                ));
            }
        }
    }
    if fs::metadata(store.path(UNDELIVERED_FILE)).is_ok_and(|meta| meta.len() > 0) {
        let path = store.path(UNDELIVERED_FILE);
        findings.push(warning(
            "undelivered",
            format!("{} holds DMs that were given up", path.display()),
            "read them, then remove the file",
        ));
    }
    findings
}

/// Whether a file can be made in the folder, or the folder where it is missing.
fn state_dir(dir: &Path) -> Finding {
    let shown = dir.display();
    let Ok(meta) = fs::metadata(dir) else {
        let parent = dir
            .ancestors()
            .find(|folder| folder.exists())
            .unwrap_or(dir);
        return match rustix::fs::access(parent, rustix::fs::Access::WRITE_OK) {
            Ok(()) => ok(
                "state folder",
                format!("{shown} will be made by the first run"),
            ),
            Err(error) => failed(
                "state folder",
                format!("{shown} cannot be made: {error}"),
                "name another with KORA_PROBE_WAKE_STATE_DIR",
            ),
        };
    };
    match trial(dir) {
        Err(error) => failed(
            "state folder",
            format!("{shown} cannot be written: {error}"),
            "let the runs' user write it, or free some space",
        ),
        Ok(()) if meta.mode() & 0o077 != 0 => warning(
            "state folder",
            format!(
                "{shown} is open to others (mode {:03o})",
                meta.mode() & 0o777
            ),
            format!("chmod 700 {shown}"),
        ),
        Ok(()) => ok("state folder", shown.to_string()),
    }
}

/// Writes a file and opens the lock, as a run does.
fn trial(dir: &Path) -> io::Result<()> {
    let trial = dir.join(".check");
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&trial);
    let made = made.and_then(|mut file| file.write_all(b"x"));
    let _ = fs::remove_file(&trial);
    // A run by hand as root leaves files that the scheduled ones cannot open.
    let lock = OpenOptions::new().write(true).open(dir.join(lock::FILE));
    let lock = lock.map(drop).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", lock::FILE),
        )),
    });
    made.and(lock)
}

fn last_run(config: &Config, store: &Store) -> Finding {
    let now = Timestamp::now();
    match status::last_run(store) {
        Some(at) if now.duration_since(at) <= config.patience() => ok(
            "runs",
            format!("the last was {} ago", span(now.duration_since(at))),
        ),
        Some(at) => failed(
            "runs",
            format!("the last was {} ago", span(now.duration_since(at))),
            schedule_step(&store.dir),
        ),
        None => failed(
            "runs",
            "there was none yet",
            "start one with: probe-wake run",
        ),
    }
}

/// A unit keeps its state elsewhere than a run by hand does, and may be well.
fn schedule_step(state_dir: &Path) -> &'static str {
    let of_the_unit = Path::new("/var/lib/probe-wake");
    if state_dir != of_the_unit && of_the_unit.exists() {
        "this is not the systemd unit's state: probe-wake --state-dir /var/lib/probe-wake check"
    } else {
        "install a schedule: probe-wake schedule systemd (or cron)"
    }
}

/// An engine that is missing or down costs the diagnosis, not the alert.
fn engine(config: &Config, http: &Http) -> Finding {
    let Some(engine) = &config.engine else {
        return warning(
            "engine",
            "none is configured: DMs come with the raw facts",
            "set KORA_PROBE_ENGINE_URL (kora), or KORA_PROBE_ENGINE_API and a token (openai: a model too)",
        );
    };
    let name = format!("{:?} at {}", engine.api, engine.url).to_lowercase();
    let _waiting = Waiting::for_what("reaching for the engine");
    match http.get(&asked_for(engine), REACH_TIMEOUT) {
        Ok(reply) if reply.status < 500 => ok(
            "engine",
            format!(
                "{name} answers (HTTP {} without a token); no question was asked",
                reply.status
            ),
        ),
        Ok(reply) => warning(
            "engine",
            format!("{name} answers HTTP {}", reply.status),
            "look at the engine's own log",
        ),
        Err(error) => warning(
            "engine",
            format!("{name} cannot be reached: {error}"),
            "start it, or mend the URL",
        ),
    }
}

/// What costs nothing to ask for: any answer shows that the engine is there.
fn asked_for(engine: &EngineConfig) -> crate::http::Endpoint {
    match engine.api {
        Api::Kora => engine.url.clone(),
        Api::Openai => engine.url.join("/models"),
        Api::Anthropic => engine.url.join("/v1/models"),
    }
}

fn slack(config: &Config, http: &Http) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &config.slack.operator {
        None => findings.push(failed(
            "operator",
            format!(
                "{} is not set: every DM stays queued",
                var::SLACK_USER_ID.name
            ),
            "set it to your Slack user id (profile, three dots, Copy member ID)",
        )),
        Some(id) if !id.starts_with(['U', 'W', 'D', 'C', 'G']) => findings.push(warning(
            "operator",
            format!(
                "{} is '{id}', which does not look like a Slack id",
                var::SLACK_USER_ID.name
            ),
            "it begins with U or W",
        )),
        Some(id) => findings.push(ok("operator", id.clone())),
    }
    findings.push(if config.slack.token.is_none() {
        failed(
            "slack",
            format!(
                "{} is not set: every DM stays queued",
                var::SLACK_BOT_TOKEN.name
            ),
            "set it to the app's bot token (xoxb-...), scope chat:write",
        )
    } else {
        let _waiting = Waiting::for_what("asking Slack who we are");
        match slack::auth_test(http, &config.slack) {
            Ok(us) => ok("slack", format!("team {}, as {}", us.team, us.user)),
            Err(cause) => failed("slack", format!("auth.test: {cause}"), slack_step(&cause)),
        }
    });
    findings
}

fn slack_step(cause: &str) -> &'static str {
    match cause {
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            "install the app anew and copy its bot token"
        }
        "missing_scope" | "no_permission" => {
            "give the app the scope chat:write and install it anew"
        }
        "channel_not_found" => "copy the operator's member id anew, from the token's workspace",
        _ => "look at the network, the proxy and KORA_SLACK_API_URL",
    }
}

fn test_dm(config: &Config, http: &Http) -> Finding {
    if config.slack.token.is_none() || config.slack.operator.is_none() {
        return failed("test DM", "not sent", "mend what stands above");
    }
    let _waiting = Waiting::for_what("sending the test DM to Slack");
    match slack::post(http, &config.slack, TEST_DM, None) {
        Posted::Delivered(_) => ok("test DM", "sent: look at Slack"),
        Posted::NotSent { cause }
        | Posted::RateLimited { cause, .. }
        | Posted::Unknown { cause }
        | Posted::MessageFault { cause }
        | Posted::ThreadGone { cause }
        | Posted::Refused { cause } => failed("test DM", cause.clone(), slack_step(&cause)),
    }
}

fn print(findings: &Findings, painter: Painter) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in &findings.findings {
        let (colour, sign) = match finding.level {
            Level::Ok => (Colour::Green, "ok     "),
            Level::Warning => (Colour::Yellow, "warning"),
            Level::Failed => (Colour::Red, "FAILED "),
        };
        let sign = painter.paint(colour, sign);
        writeln!(
            out,
            "{sign}  {:<12}  {}",
            finding.subject,
            on_one_line(&finding.message)
        )?;
        if let Some(next) = &finding.next_step {
            writeln!(out, "{:23}→ {}", "", on_one_line(next))?;
        }
    }
    let verdict = if findings.ok {
        painter.paint(Colour::Bold, "Alerts can arrive.")
    } else {
        painter.paint(
            Colour::Bold,
            "Alerts cannot arrive until what FAILED is mended.",
        )
    };
    writeln!(out, "{verdict}")?;
    out.flush()
}
