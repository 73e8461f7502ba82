//! A sandbox with an engine and a Slack that are well, wired together.

use std::fs;
use std::ops::Deref;

use super::engine::Engine;
use super::row::Row;
use super::sandbox::{ENGINE_TOKEN, SLACK_TOKEN, Sandbox};
use super::slack::Slack;

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
        Self {
            engine,
            slack,
            sandbox,
        }
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

    /// The end of a test that this system cannot run: nobody was asked.
    pub fn quiet_if_skipped(self) {
        self.engine.maybe();
        self.slack.maybe();
    }

    /// Leaves the DMs about these rows in the outbox: a run that cannot reach Slack.
    #[track_caller]
    pub fn queue(&self, rows: impl IntoIterator<Item = Row>) {
        self.reach_slack_at(DEAD_URL);
        self.append(rows);
        self.run().exits(3);
        self.reach_slack_at(self.slack.base());
    }

    /// Slack is another server now, or none at all.
    pub fn reach_slack_at(&self, base: impl Into<String>) {
        self.set("KORA_SLACK_API_URL", base.into());
    }
}

impl Deref for World {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}
