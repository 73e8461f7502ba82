//! A server of the engines' APIs that others wrote. `.ci/run` installs fakellm into the target folder.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::{World, wake};

const RULES: &str = r#"
version: 1
rules:
  - name: limited
    when: {messages_contain: "detail: too many"}
    respond: {status: 429, error: "Rate limit exceeded (mock)"}
  - name: down
    when: {messages_contain: "probe reported status=unhealthy"}
    respond: {content: "The app is down.\nNext step: restart it."}
"#;

/// fakellm on a free port of loopback. Dropped, it is killed.
struct Fakellm {
    child: Child,
    url: String,
}

impl Fakellm {
    fn start(program: PathBuf, world: &World) -> Self {
        let rules = world.give("fakellm.yaml", RULES);
        let mut child = Command::new(program)
            .args(["serve", "--port", "0", "--config"])
            .arg(rules)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("fakellm");
        let log = BufReader::new(child.stderr.take().expect("its stderr"));
        let (sender, url) = channel();
        // Read to its end, so that it never waits for room in the pipe.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let url = line.split_once("running on ").map(|(_, rest)| rest);
                if let Some(url) = url.and_then(|rest| rest.split(' ').next()) {
                    let _ = sender.send(url.to_owned());
                }
            }
        });
        let mut fakellm = Self {
            child,
            url: String::new(),
        };
        fakellm.url = url
            .recv_timeout(Duration::from_secs(60))
            .expect("fakellm says where it listens");
        fakellm
    }
}

impl Drop for Fakellm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where fakellm is: what the variable names, or what `.ci/run` installed.
fn program() -> Option<PathBuf> {
    let installed = PathBuf::from(concat!(
        env!("CARGO_TARGET_TMPDIR"),
        "/../fakellm/bin/fakellm"
    ));
    let named = std::env::var_os("PROBE_WAKE_FAKELLM").map(PathBuf::from);
    let program = named.unwrap_or(installed);
    if program.exists() {
        return Some(program);
    }
    let how = "python3 -m venv target/fakellm && target/fakellm/bin/pip install fakellm==0.3.5";
    assert!(
        std::env::var_os("CI").is_none(),
        "fakellm is missing: {how}"
    );
    eprintln!("passed over, since fakellm is missing: {how}");
    None
}

#[test]
fn fakellm_diagnoses_and_refuses_over_both_apis() {
    let Some(program) = program() else { return };
    let first = World::stamped();
    first.engine.maybe();
    first.slack.maybe();
    let fakellm = Fakellm::start(program, &first);
    for (api, base, slash) in [("openai", "/v1", ""), ("anthropic", "", "/")] {
        let world = World::stamped().speaking(api);
        world.engine.never();
        world.set(
            "KORA_PROBE_ENGINE_URL",
            format!("{}{base}{slash}", fakellm.url),
        );
        let limited = wake("sentry").set("detail", "too many");
        let fly = wake("fly");
        world.append([fly.clone(), limited.clone()]);
        world.run().exits(0).warns("Rate limit exceeded");
        let diagnosed = fly.diagnosed("The app is down.\nNext step: restart it.");
        assert_eq!(
            world.slack.texts(),
            [diagnosed, limited.fallback("mock_error")],
            "{api}"
        );
        let details = &world.state_rows("outcomes.jsonl")[0]["details"];
        assert_eq!(details["model_used"], json!("m1"), "{api}");
        assert!(
            details["input_tokens"].as_u64() > Some(50)
                && details["output_tokens"].as_u64() > Some(2)
        );
    }
}
