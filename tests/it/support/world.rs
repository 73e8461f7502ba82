//! A sandbox with an engine and a Slack that are well, wired together.

use std::fs;
use std::ops::Deref;

use serde_json::Value;

use super::engine::{DIAGNOSIS, Engine};
use super::outcome::Running;
use super::row::Row;
use super::sandbox::{ENGINE_TOKEN, SLACK_TOKEN, Sandbox};
use super::slack::Slack;
use super::wire::Reply;

/// Nobody listens there: a port below those the system hands out.
pub const DEAD_URL: &str = "http://127.0.0.1:1/api";

pub struct World {
    pub engine: Engine,
    pub slack: Slack,
    sandbox: Sandbox,
}

impl World {
    /// Nothing has run yet, and there is no log.
    pub fn new() -> Self {
        Self::with(Slack::start())
    }

    /// An empty log and the first run behind it: the next row is new.
    pub fn stamped() -> Self {
        Self::stamped_with(Slack::start())
    }

    pub fn stamped_with(slack: Slack) -> Self {
        let world = Self::with(slack);
        fs::write(world.log(), "").expect("a log");
        world.run().exits(0).silent();
        world
    }

    fn with(slack: Slack) -> Self {
        let (engine, sandbox) = (Engine::start(), Sandbox::new());
        sandbox.set("KORA_PROBE_ENGINE_URL", engine.url());
        sandbox.set("KORA_PROBE_ENGINE_TOKEN", ENGINE_TOKEN);
        sandbox.set("KORA_SLACK_API_URL", slack.base());
        sandbox.set("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN);
        sandbox.set("KORA_SLACK_JOSHUA_USER_ID", "U0JOSHUA");
        // The pause after a run in which Slack was at fault is one cadence.
        sandbox.set("KORA_PROBE_WAKE_POLL_SEC", "0.1");
        Self {
            engine,
            slack,
            sandbox,
        }
    }

    /// The engine speaks this API under the usual path, and the model is `m1`.
    pub fn speaking(self, api: &str) -> Self {
        let path = if api == "openai" { "/v1" } else { "" };
        self.set("KORA_PROBE_ENGINE_API", api);
        self.set("KORA_PROBE_ENGINE_MODEL", "m1");
        self.set(
            "KORA_PROBE_ENGINE_URL",
            format!("http://{}{path}", self.engine.address()),
        );
        self
    }

    /// No engine is configured.
    pub fn without_engine(self) -> Self {
        self.unset("KORA_PROBE_ENGINE_URL");
        self.engine.never();
        self
    }

    /// Every wake is dispatched.
    pub fn without_debounce(self) -> Self {
        self.set("KORA_PROBE_DEBOUNCE_SECONDS", "0");
        self
    }

    /// Neither peer may be asked.
    pub fn quiet(self) -> Self {
        self.engine.never();
        self.slack.never();
        self
    }

    /// The peers may be asked or not.
    pub fn asked_or_not(self) -> Self {
        self.engine.maybe();
        self.slack.maybe();
        self
    }

    /// Leaves the messages about these rows in the outbox: a run without a token for Slack.
    #[track_caller]
    pub fn queue(&self, rows: impl IntoIterator<Item = Row>) {
        self.unset("KORA_SLACK_BOT_TOKEN");
        self.append(rows);
        self.run().exits(3);
        self.set("KORA_SLACK_BOT_TOKEN", SLACK_TOKEN);
    }

    /// A run that asks the engine about these rows, and waits until the engine is released.
    #[track_caller]
    pub fn start_held(&self, rows: impl IntoIterator<Item = Row>) -> Running {
        let asked = self.engine.requests().len();
        self.engine.script([Engine::answer(DIAGNOSIS).held()]);
        self.append(rows);
        let run = self.start("run");
        self.engine.wait_for(asked + 1);
        run
    }

    /// A run that is killed while it asks the engine.
    #[track_caller]
    pub fn kill_while_asking(&self) {
        let asked = self.engine.requests().len();
        self.engine.script([Reply::Hang]);
        let run = self.start("run");
        self.engine.wait_for(asked + 1);
        assert_eq!(run.kill().code, None);
    }

    /// Waits until the pause is over that follows a run in which Slack was at fault.
    pub fn wait_for_pause(&self) {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }

    /// Slack is another server now, or none at all.
    pub fn reach_slack_at(&self, base: impl Into<String>) {
        self.set("KORA_SLACK_API_URL", base.into());
    }

    /// Raises a wake of its own that this reply answers, in a run that ends well: the reason, or null, and the
    /// diagnosis, with the lines after the status line.
    #[track_caller]
    pub fn told(&self, reply: Reply) -> (Value, String) {
        let probe = format!("p{}", self.slack.requests().len());
        let row = super::wake(&probe);
        self.engine.script([reply]);
        self.append([row.clone()]);
        let mut wakes = self.report(0)["wakes"].take();
        let text = self.slack.texts().pop().expect("a DM");
        let error = wakes[0]["error"].take();
        assert_eq!(wakes[0]["reasoning_invoked"], error.is_null());
        if let Some(reason) = error.as_str() {
            assert_eq!(text, row.fallback(reason));
            return (error, String::new());
        }
        let headline = row.headline() + "\n";
        let facts = format!("\n\n{}\n{}", row.fact_line(), row.status_line());
        let text = text.strip_prefix(&headline).expect("the headline");
        let (diagnosis, notes) = text.split_once(&facts).expect("the facts");
        (error, format!("{diagnosis}{notes}"))
    }

    /// The reason why this reply is no diagnosis.
    #[track_caller]
    pub fn reason(&self, reply: Reply) -> String {
        let (error, text) = self.told(reply);
        error
            .as_str()
            .unwrap_or_else(|| panic!("a diagnosis: {text}"))
            .to_owned()
    }

    /// The text that this reply is sent as.
    #[track_caller]
    pub fn diagnosis(&self, reply: Reply) -> String {
        let (error, text) = self.told(reply);
        assert_eq!(error, Value::Null);
        text
    }
}

impl Deref for World {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}
