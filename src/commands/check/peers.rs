//! Who is asked over the network: the engine and Slack.

use std::time::Duration;

use super::{Finding, failed, ok, warning};
use crate::config::Config;
use crate::config::variables as var;
use crate::http::Http;
use crate::slack::{self, Posted};
use crate::terminal::Waiting;

const REACH_TIMEOUT: Duration = Duration::from_secs(10);
const TEST_DM: &str =
    "probe-wake: this is a test message. If you can read it, alerts can reach you here.";

/// An engine that is missing or down costs the diagnosis, not the alert.
pub(super) fn engine(config: &Config, http: &Http) -> Finding {
    let Some(engine) = &config.engine else {
        return warning(
            "engine",
            "none is configured: DMs come with the raw facts",
            "set KORA_PROBE_ENGINE_URL (kora), or KORA_PROBE_ENGINE_API and a token (openai: a model too)",
        );
    };
    let name = format!("{} at {}", engine.api.name, engine.url);
    let _waiting = Waiting::for_what("reaching for the engine");
    match http.get(&engine.url, &[], REACH_TIMEOUT) {
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

pub(super) fn operator(config: &Config) -> Finding {
    let variable = var::SLACK_USER_ID.name;
    match &config.slack.operator {
        None => failed(
            "operator",
            format!("{variable} is not set: every DM stays queued"),
            "set it to your Slack user id (profile, three dots, Copy member ID)",
        ),
        Some(id) if !id.starts_with(['U', 'W', 'D', 'C', 'G']) => warning(
            "operator",
            format!("{variable} is '{id}', which does not look like a Slack id"),
            "it begins with U or W",
        ),
        Some(id) => ok("operator", id.clone()),
    }
}

pub(super) fn slack(config: &Config, http: &Http) -> Finding {
    if config.slack.token.is_none() {
        let variable = var::SLACK_BOT_TOKEN.name;
        return failed(
            "slack",
            format!("{variable} is not set: every DM stays queued"),
            "set it to the app's bot token (xoxb-...), scope chat:write",
        );
    }
    let _waiting = Waiting::for_what("asking Slack who we are");
    match slack::auth_test(http, &config.slack) {
        Ok(owner) => ok("slack", format!("team {}, as {}", owner.team, owner.user)),
        Err(cause) => failed("slack", format!("auth.test: {cause}"), slack_step(&cause)),
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
