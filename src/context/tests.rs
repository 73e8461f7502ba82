//! Whole incidents as a log tells them: what an investigation needs to know is in its prompt.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::earlier::Past;
use super::*;
use crate::audit::row::read_rows;
use crate::audit::tail::Window;
use crate::engine::{self, Knowledge};
use crate::secret::Secret;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const FENCE: &str = "0123456789abcdef";

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// A folder of its own, removed when it is dropped.
pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("context-{}", crate::random::random_id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// All that is said of the last wake of a log, asked about at `now` as a replay asks.
struct Asked {
    prompt: String,
    context: String,
}

fn ask(log: &Path, snapshot: Option<&Path>, runbook: &str, mode: Mode, now: Timestamp) -> Asked {
    let secrets = [Secret::new("our-own-token-1".to_owned())];
    let masker = Masker { secrets: &secrets };
    let text = fs::read(log).unwrap();
    let wakes = text.split(|byte| *byte == b'\n');
    let wakes = wakes.filter(|line| memchr::memmem::find(line, SEAM.as_bytes()).is_some());
    let mut wakes: Vec<Wake> = wakes
        .flat_map(|line| read_rows(line).wakes().cloned().collect::<Vec<_>>())
        .collect();
    let wake = wakes.pop().unwrap();
    let raised = wake.raised_at().unwrap();
    let window = Window {
        from: raised - HOUR,
        until: now,
    };
    let mut others: Vec<OtherAlert> = Vec::new();
    let mut incident = IncidentSoFar {
        since: Some(raised),
        wakes: 1,
        ..IncidentSoFar::default()
    };
    for other in wakes.iter().rev() {
        let time = other.raised_at().unwrap();
        if (&other.probe, &other.category) == (&wake.probe, &wake.category) {
            // An incident is over after two windows without a wake.
            if incident.since.unwrap().duration_since(time) < SignedDuration::from_mins(20) {
                incident.since = Some(time);
                incident.wakes += 1;
                incident.messages += 1;
            }
        } else if time >= window.from {
            match others.iter_mut().find(|one| one.probe == other.probe) {
                Some(known) => {
                    known.first = time;
                    known.wakes += 1;
                }
                None => others.push(OtherAlert {
                    probe: other.probe.clone(),
                    category: other.category.clone(),
                    first: time,
                    last: time,
                    wakes: 1,
                    severity: other.severity.clone(),
                    title: other.title.clone(),
                    detail: other.detail.clone(),
                    recovered: None,
                }),
            }
        }
    }
    let past = Past::read([log].into_iter(), u64::MAX, masker);
    let earlier = past.last(&wake.probe, &wake.category, incident.since.unwrap());
    let snapshot = snapshot.and_then(|path| Snapshot::read(path, now));
    let tail = Tail::of_replay(log, text.len() as u64, window, masker);
    let context = Context {
        mode,
        now,
        subjects: vec![Subject {
            wake: &wake,
            incident,
            earlier,
        }],
        snapshot: snapshot.as_ref(),
        others,
        tail: Some(&tail),
        masker,
    };
    let context = context.render();
    let knowledge = Knowledge {
        now,
        runbook,
        context: &context,
    };
    Asked {
        prompt: engine::prompt(&[&wake], &knowledge, FENCE),
        context,
    }
}

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/scenarios")
        .join(name)
}

fn ask_about(name: &str, log: &Path, mode: Mode) -> Asked {
    let folder = scenario(name);
    let runbook = fs::read_to_string(folder.join("runbook.md")).unwrap_or_default();
    let snapshot = folder.join("daemon_snapshot.json");
    let now = at("2026-05-24T14:33:00Z");
    ask(log, Some(&snapshot), runbook.trim(), mode, now)
}

/// Each scenario with what its truth names, and of this what only the details of rows can say.
const SCENARIOS: [(&str, &[&str], &[&str]); 8] = [
    (
        "bad_deploy",
        &["mcp.tool_called tool_name=vercel_promote_deployment status=ok: once, 14:27:00"],
        &["dpl_B71", "dpl_9Qx", "production"],
    ),
    (
        "downstream_of_database",
        &[
            "supabase service_unhealthy (critical), 2 times, 14:21:00 to 14:26:00",
            "too many connections",
            "sorry, too many clients already",
            "webhook.dead_letter endpoint=/hooks/stripe: once, 14:28:00",
            "supabase unhealthy",
        ],
        &["db pool timeout"],
    ),
    (
        "every_night",
        &[
            "2026-05-21 14:33:00",
            "2026-05-22 14:34:00",
            "2026-05-23 14:33:00",
            "nightly pg_dump backup",
            "ended by itself after about 20 minutes",
            "guess",
        ],
        &[],
    ),
    (
        "fix_did_not_hold",
        &[
            "tool.probe_autofix_attempted action=restart_machine status=ok in probe:fly:service_unhealthy: 2 times, 13:42:00 to 14:15:00",
            "probe.wake_requested in probe:fly:service_unhealthy: 3 times, 13:41:00 to 14:32:48",
            "exit_code=137",
            "2 alerts since 14:14:00",
        ],
        &[r#""target_id":"148e21","status":"ok""#],
    ),
    (
        "our_own_network",
        &[
            "fly service_unhealthy (critical), once, 14:32:00",
            "vercel service_unhealthy (critical), once, 14:32:06",
            "supabase service_unhealthy (critical), once, 14:32:12",
            "sentry service_unhealthy (warning), once, 14:32:18",
            "Temporary failure in name resolution",
        ],
        &[],
    ),
    (
        "planned",
        &[
            "booked for the first Monday of the month (OPS-212)",
            "STRIPE_WEBHOOK_SECRET",
        ],
        &[],
    ),
    (
        "rotated_token",
        &[
            "mcp.tool_called tool_name=doppler_set_secret status=ok: once, 14:24:00",
            "mcp.tool_called tool_name=fly_list_machines status=error: once, 14:30:00",
            "doppler healthy",
        ],
        &[
            "FLY_API_TOKEN",
            "kora-runtime-gateways",
            "HTTP 401 unauthorized",
        ],
    ),
    (
        "sentry_follows_release",
        &[
            "mcp.tool_called tool_name=vercel_promote_deployment status=ok: once, 14:09:00",
            "mcp.tool_called tool_name=github_merge_pr status=ok: once, 14:08:00",
            "TypeError: cannot read properties of undefined (reading cart)",
        ],
        &[
            "2026.11.29-2",
            "dpl_B99",
            "checkout: read cart from session",
        ],
    ),
];

#[test]
fn what_the_truth_names_is_in_the_prompt() {
    for (name, told, only_with_rows) in SCENARIOS {
        let log = scenario(name).join("log.jsonl");
        for mode in [Mode::Rows, Mode::Kinds] {
            let asked = ask_about(name, &log, mode);
            assert!(
                asked.context.len() <= MOST_BYTES,
                "{name}: {}",
                asked.context.len()
            );
            assert!(!asked.context.contains("[cut"), "{name}: {}", asked.context);
            for words in told {
                assert!(
                    asked.prompt.contains(words),
                    "{name} {mode:?}: {words}\n{}",
                    asked.prompt
                );
            }
            for words in only_with_rows {
                let is_told = asked.prompt.contains(words);
                assert_eq!(
                    is_told,
                    mode == Mode::Rows,
                    "{name}: {words}\n{}",
                    asked.prompt
                );
            }
            assert_eq!(asked.prompt, ask_about(name, &log, mode).prompt);
        }
        let off = ask_about(name, &log, Mode::Off);
        let own = "- this is its first alert.\n";
        assert!(
            off.context.ends_with(own) || name == "fix_did_not_hold",
            "{}",
            off.context
        );
        assert_eq!(off.context.lines().count(), 2, "{}", off.context);
    }
}

/// The log with 25 times as many rows of noise around what happened.
fn with_more_noise(log: &Path, folder: &Folder) -> PathBuf {
    let text = fs::read_to_string(log).unwrap();
    let mut noisy = String::new();
    let is_noise = |line: &str| {
        ["get_state", "\"digest\"", "/hooks/github"]
            .iter()
            .any(|part| line.contains(part))
    };
    for line in text.lines() {
        let times = if is_noise(line) { 25 } else { 1 };
        noisy.push_str(&format!("{line}\n").repeat(times));
    }
    assert!(noisy.lines().count() > 10_000);
    folder.write("noisy.jsonl", noisy)
}

#[test]
fn noise_drowns_nothing() {
    let folder = Folder::new();
    for (name, told, only_with_rows) in SCENARIOS {
        let log = with_more_noise(&scenario(name).join("log.jsonl"), &folder);
        let asked = ask_about(name, &log, Mode::Rows);
        assert!(asked.context.len() <= MOST_BYTES);
        for words in told.iter().chain(only_with_rows) {
            assert!(
                asked.prompt.contains(words),
                "{name}: {words}\n{}",
                asked.prompt
            );
        }
    }
}
