//! What `check` asks over the network: the engine and Slack.

use jiff::Timestamp;

use crate::audit::wake::Wake;
use crate::commands::finding::{Finding, failed, ok, warning};
use crate::config::Config;
use crate::config::variables as var;
use crate::engine::{self, EngineConfig, Failure, Knowledge, Lookup, Question, Reason};
use crate::http::Http;
use crate::random::random_id;
use crate::run::hand_over;
use crate::slack::{self, NotPosted, Thread};
use crate::state::queue::Subject;
use crate::terminal::Waiting;
use crate::text::{first_few, quote};

const NOT_ASKED: &str = "no question was asked";
/// What to do if no engine is configured.
pub const SET_ENGINE: &str =
    "set KORA_PROBE_ENGINE_URL (kora), or KORA_PROBE_ENGINE_API and a token (openai: a model too)";
const TEST_MESSAGE: &str =
    "probe-wake: this is a test message. If you can read it, alerts can reach you here.";

/// Checks the engine. Without one, alerts still arrive, but without a diagnosis: a warning. An engine that
/// refuses the token or the model is set up wrong: that fails.
pub(super) fn engine(config: &Config, http: &Http) -> Finding {
    let Some(engine) = &config.engine else {
        let variable = var::ENGINE_API.name;
        let what = match config.env.get(variable) {
            Some(api) => format!("{variable} is {api}, but its token, URL or model is missing"),
            None => "none is configured".to_owned(),
        };
        let message = format!("{what}: alerts come with the raw facts");
        return warning(message, SET_ENGINE);
    };
    let name = format!("{} at {}", engine.api.name, engine.url);
    let model = engine.model.as_deref().unwrap_or_default();
    let _waiting = Waiting::for_what("asking the engine for its models");
    match engine::look_up_model(engine, http) {
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
            level(format!("{name}: {failure}"), engine_step(engine, &failure))
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

fn engine_step(engine: &EngineConfig, failure: &Failure) -> String {
    let (url, token) = (var::ENGINE_URL.name, var::ENGINE_TOKEN.name);
    let token = match engine.api.token_variable {
        Some(variable) => format!("{token} or {variable}"),
        None => token.to_owned(),
    };
    let (model, timeout) = (var::ENGINE_MODEL.name, var::ENGINE_TIMEOUT_SECONDS.name);
    match (&failure.reason, failure.status) {
        (Reason::Timeout, _) => format!("see whether it is overloaded, or raise {timeout}"),
        (Reason::ConnectionError, _) => format!("start it, or correct {url}"),
        (_, Some(401 | 403)) => format!("set {token} to a token that it accepts"),
        (_, Some(400..=499)) => format!("correct {url}, {token} or {model}"),
        _ => "see the engine's own log".to_owned(),
    }
}

/// Asks one real question, about a made-up alert.
pub(super) fn question(config: &Config, http: &Http) -> Finding {
    let Some(engine) = &config.engine else {
        return failed("not asked: no engine is configured", SET_ENGINE);
    };
    let wake = made_up_wake();
    let (fence, now) = (random_id(), Timestamp::now());
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
        metadata: engine::metadata(&wake),
    };
    let _waiting = Waiting::for_what("asking the engine about a made-up alert");
    let answer = engine::ask(engine, http, &question);
    let seconds = answer.took.as_secs_f32();
    match answer.result {
        Ok(diagnosis) => {
            let model = answer.usage.model_used.or_else(|| engine.model.clone());
            let model = model.unwrap_or_else(|| "the engine".to_owned());
            let text = &diagnosis.text;
            ok(format!("{model} answered in {seconds:.1} s: {text}"))
        }
        Err(failure) => failed(
            format!("no diagnosis after {seconds:.1} s: {failure}"),
            engine_step(engine, &failure),
        ),
    }
}

/// Checks that reactions can be read, if they acknowledge: asks about a made-up message that Slack does not
/// have.
pub(super) fn reactions(config: &Config, http: &Http) -> Option<Finding> {
    let name = config.ack_reaction.as_ref()?;
    let made_up = Thread {
        channel: "D0000000000".to_owned(),
        ts: "1.000000".to_owned(),
        operator: None,
    };
    let cause = slack::has_reaction(http, &config.slack, &made_up, name).err();
    Some(match cause.as_deref() {
        None | Some("channel_not_found" | "message_not_found") => {
            ok(format!(":{name}: on an alert acknowledges its incident"))
        }
        Some("missing_scope") => warning(
            format!(":{name}: acknowledges nothing: Slack says missing_scope"),
            "add the scope reactions:read to the Slack app, and install it again",
        ),
        Some(cause) => warning(
            format!("whether :{name}: can be read is unknown: {cause}"),
            "correct the findings about slack first",
        ),
    })
}

/// Checks that the fallback command can be run. `is_tried`: runs it, with a test text.
pub(super) fn fallback(config: &Config, is_tried: bool) -> Option<Finding> {
    let variable = var::FALLBACK_COMMAND.name;
    let Some(command) = &config.fallback_command else {
        let set = format!("set {variable} to an executable file");
        return is_tried.then(|| failed("not run: no fallback command is set", set));
    };
    let shown = command.display();
    let result = match is_tried {
        true => {
            let made_up = Subject {
                probe: "probe-wake-check".to_owned(),
                category: "made_up".to_owned(),
                severity: "info".to_owned(),
            };
            let title = "A test of the fallback command";
            let run = hand_over::command(config, command, &made_up, title);
            hand_over::run(run, &format!("{TEST_MESSAGE}\n"))
        }
        false => hand_over::check(command),
    };
    Some(match result {
        Ok(()) if is_tried => ok(format!("{shown} took a test text")),
        Ok(()) => ok(format!("{shown}; it was not run"))
            .with_next_step("try it with: probe-wake check --test-fallback"),
        Err(error) => failed(
            format!("{shown}: {error:#}"),
            "see FALLBACK COMMAND in probe-wake(7) for what it has to be",
        ),
    })
}

fn made_up_wake() -> Wake {
    Wake {
        probe: "probe-wake-check".to_owned(),
        category: "made_up".to_owned(),
        severity: "info".to_owned(),
        title: "Made-up alert: example service unreachable: HTTP 401".to_owned(),
        detail: "Raised to try the engine. There is no such service, and there is nothing to do."
            .to_owned(),
        snapshot_details: r#"{"apps_running":0}"#.to_owned(),
        envelope_fix_name: "(none)".to_owned(),
        ..Wake::default()
    }
}

pub(super) fn operator(config: &Config) -> Finding {
    const COPY: &str = "set it to your Slack user id (profile, three dots, Copy member ID)";
    let variable = var::SLACK_USER_ID.name;
    let is_id = |id: &str| {
        let is_capital_or_digit = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        id.starts_with(['U', 'W', 'D', 'C', 'G']) && id.chars().all(is_capital_or_digit)
    };
    let wrong = match &config.slack.operator {
        None => "is not set: every message stays queued".to_owned(),
        Some(id) if id.starts_with('@') => format!("is '{id}', a name and not an id"),
        Some(id) if !is_id(id) => format!("is '{id}', which is not a Slack user id (U...)"),
        Some(id) => return ok(id),
    };
    failed(format!("{variable} {wrong}"), COPY)
}

/// Checks the Slack token. `is_message_sent`: whether a test message is sent, too.
pub(super) fn slack(config: &Config, http: &Http, is_message_sent: bool) -> Finding {
    const SET_TOKEN: &str = "set it to the app's bot token (xoxb-...), scope chat:write";
    let variable = var::SLACK_BOT_TOKEN.name;
    let wrong = |what| failed(format!("{variable} {what}"), SET_TOKEN);
    let token = match &config.slack.token {
        None => return wrong("is not set: every message stays queued"),
        Some(token) => token.expose(),
    };
    if token.ends_with("...") {
        return wrong("is a placeholder, not a token");
    }
    let _waiting = Waiting::for_what("asking Slack whose token this is");
    let owner = match slack::auth_test(http, &config.slack) {
        Ok(owner) => owner,
        Err(cause) => return failed(format!("auth.test: {cause}"), slack_step(&cause)),
    };
    if token.starts_with("xoxp-") {
        let message = format!("{owner}: {variable} is a user token (xoxp-...), not a bot token");
        return warning(message, SET_TOKEN);
    }
    match is_message_sent {
        true => ok(owner),
        false => ok(format!("{owner}; no message was tried"))
            .with_next_step("try one with: probe-wake check --send-test-dm"),
    }
}

fn slack_step(cause: &str) -> &'static str {
    match cause {
        "invalid_auth"
        | "not_authed"
        | "token_revoked"
        | "token_expired"
        | "account_inactive"
        | "not_allowed_token_type" => {
            "copy the app's bot token again (xoxb-...); if it was revoked, reinstall the app"
        }
        "missing_scope" | "no_permission" => "give the app the scope chat:write and reinstall it",
        "channel_not_found" | "user_not_found" | "cannot_dm_bot" => {
            "copy the operator's member id again, from the token's workspace"
        }
        "ratelimited" => "wait a minute, and check again",
        _ => "check the network, the proxy and KORA_SLACK_API_URL",
    }
}

pub(super) fn test_message(config: &Config, http: &Http) -> Finding {
    if config.slack.token.is_none() || config.slack.operator.is_none() {
        return failed("not sent", "fix the failures above first");
    }
    let _waiting = Waiting::for_what("sending the test message to Slack");
    match slack::post(http, &config.slack, TEST_MESSAGE, None) {
        Ok(_) => ok("sent: look at Slack"),
        Err(NotPosted { cause, .. }) => failed(&cause, slack_step(&cause)),
    }
}
