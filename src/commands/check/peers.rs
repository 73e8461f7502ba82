//! What `check` asks over the network: the engine and Slack.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::audit::wake::Wake;
use crate::commands::finding::{Finding, failed, ok, warning};
use crate::config::Config;
use crate::config::variables as var;
use crate::engine::{self, Failure, Knowledge, Lookup, Metadata, Question, Reason};
use crate::http::Http;
use crate::slack::{self, Posted};
use crate::terminal::Waiting;
use crate::text::{first_few, quote};

const REACH_TIMEOUT: Duration = Duration::from_secs(10);
const NOT_ASKED: &str = "no question was asked";
const SET_ENGINE: &str =
    "set KORA_PROBE_ENGINE_URL (kora), or KORA_PROBE_ENGINE_API and a token (openai: a model too)";
const TEST_DM: &str =
    "probe-wake: this is a test message. If you can read it, alerts can reach you here.";

/// Without an engine the alert still arrives, only the diagnosis is missing: that is a warning. An
/// engine that refuses the token or the model is set up wrong: that fails.
pub(super) fn engine(config: &Config, http: &Http) -> Finding {
    let Some(engine) = &config.engine else {
        return warning(
            "none is configured: DMs come with the raw facts",
            SET_ENGINE,
        );
    };
    let name = format!("{} at {}", engine.api.name, engine.url);
    let model = engine.model.as_deref().unwrap_or_default();
    let _waiting = Waiting::for_what("reaching for the engine");
    match engine::look_up_model(engine, http, REACH_TIMEOUT) {
        Ok(Lookup::Known) => ok(format!("{name} has the model {model}; {NOT_ASKED}")),
        Ok(Lookup::Unlisted(status)) => ok(format!("{name} answers (HTTP {status}); {NOT_ASKED}")),
        Ok(Lookup::NoList(status)) => warning(
            format!("{name} answers (HTTP {status}), but lists no models; {NOT_ASKED}"),
            "try it with: probe-wake check --ask-engine",
        ),
        Ok(Lookup::Unknown(models)) => failed(
            format!("{name} has no model {model}; {}", listed(&models)),
            format!("set {} to one of its models", var::ENGINE_MODEL.name),
        ),
        Err(failure) => {
            let is_refused = failure.status.is_some() && !failure.passes();
            let level = if is_refused { failed } else { warning };
            level(format!("{name}: {failure}"), engine_step(&failure))
        }
    }
}

fn listed(models: &[String]) -> String {
    const MOST: usize = 10;
    let names: Vec<_> = models.iter().map(|name| quote(name)).collect();
    match names.is_empty() {
        true => "it has none".to_owned(),
        false => format!("it has {}", first_few(&names, MOST)),
    }
}

fn engine_step(failure: &Failure) -> String {
    let (url, token) = (var::ENGINE_URL.name, var::ENGINE_TOKEN.name);
    let (model, timeout) = (var::ENGINE_MODEL.name, var::ENGINE_TIMEOUT_SECONDS.name);
    match (&failure.reason, failure.status) {
        (Reason::Timeout, _) => format!("look whether it is overloaded, or raise {timeout}"),
        (Reason::ConnectionError, _) => format!("start it, or correct {url}"),
        (_, Some(401 | 403)) => format!("set {token} to a token that it takes"),
        (_, Some(400..=499)) => format!("correct {url}, {token} or {model}"),
        _ => "look at the engine's own log".to_owned(),
    }
}

/// Asks one real question, about an alert that nobody raised.
pub(super) fn question(config: &Config, http: &Http) -> Finding {
    let Some(engine) = &config.engine else {
        return failed("not asked: no engine is configured", SET_ENGINE);
    };
    let wake = made_up_wake();
    let (fence, now) = (engine::fence(), Timestamp::now());
    let nothing = Knowledge {
        now,
        runbook: "",
        context: "",
    };
    let question = Question {
        prompt: engine::prompt(&[&wake], &nothing, &fence),
        key: fence,
        asked_at: now,
        caller_session_id: wake.caller_session_id(),
        metadata: Metadata::of(&wake),
    };
    let _waiting = Waiting::for_what("asking the engine about a made-up alert");
    let begun = Instant::now();
    let answer = engine::ask(engine, http, &question);
    let seconds = begun.elapsed().as_secs_f32();
    match answer.result {
        Ok(diagnosis) => {
            let model = answer.usage.model_used.or_else(|| engine.model.clone());
            let model = model.unwrap_or_else(|| "the engine".to_owned());
            let text = diagnosis.text();
            ok(format!("{model} answered in {seconds:.1} s: {text}"))
        }
        Err(failure) => failed(
            format!("no diagnosis after {seconds:.1} s: {failure}"),
            engine_step(&failure),
        ),
    }
}

fn made_up_wake() -> Wake {
    Wake {
        probe: "probe-wake-check".to_owned(),
        category: "made_up".to_owned(),
        severity: "info".to_owned(),
        title: "Made-up alert: example service unreachable: HTTP 401".to_owned(),
        detail:
            "Raised by hand to try the engine. There is no such service, and nothing is to be done."
                .to_owned(),
        snapshot_details: r#"{"apps_running":0}"#.to_owned(),
        envelope_fix_name: "(none)".to_owned(),
        ..Wake::default()
    }
}

pub(super) fn operator(config: &Config) -> Finding {
    let variable = var::SLACK_USER_ID.name;
    match &config.slack.operator {
        None => failed(
            format!("{variable} is not set: every DM stays queued"),
            "set it to your Slack user id (profile, three dots, Copy member ID)",
        ),
        Some(id) if !id.starts_with(['U', 'W', 'D', 'C', 'G']) => warning(
            format!("{variable} is '{id}', which does not look like a Slack id"),
            "it begins with U or W",
        ),
        Some(id) => ok(id.clone()),
    }
}

pub(super) fn slack(config: &Config, http: &Http) -> Finding {
    if config.slack.token.is_none() {
        let variable = var::SLACK_BOT_TOKEN.name;
        return failed(
            format!("{variable} is not set: every DM stays queued"),
            "set it to the app's bot token (xoxb-...), scope chat:write",
        );
    }
    let _waiting = Waiting::for_what("asking Slack who we are");
    match slack::auth_test(http, &config.slack) {
        Ok(owner) => ok(format!("team {}, as {}", owner.team, owner.user)),
        Err(cause) => failed(format!("auth.test: {cause}"), slack_step(&cause)),
    }
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

pub(super) fn test_dm(config: &Config, http: &Http) -> Finding {
    if config.slack.token.is_none() || config.slack.operator.is_none() {
        return failed("not sent", "mend what stands above");
    }
    let _waiting = Waiting::for_what("sending the test DM to Slack");
    match slack::post(http, &config.slack, TEST_DM, None) {
        Posted::Delivered(_) => ok("sent: look at Slack"),
        posted => failed(posted.cause(), slack_step(posted.cause())),
    }
}
