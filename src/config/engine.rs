//! Which engine is asked, where and by which name: the settings of its API, and what is usual for
//! that.

use std::time::Duration;

use super::endpoint;
use super::environment::Environment;
use super::variables as var;
use crate::engine::{Api, EngineConfig};
use crate::exit::Problem;
use crate::http::Endpoint;
use crate::secret::Secret;

/// In seconds.
pub(super) const TIMEOUT_RANGE: std::ops::RangeInclusive<u64> = 1..=86_400;

/// The engine; `None` where what its API cannot do without is not set.
pub(super) fn engine(env: &Environment) -> Result<Option<EngineConfig>, Problem> {
    let api = api(env)?;
    let named = env.get(var::ENGINE_URL.name);
    let named = named.map(|url| endpoint(var::ENGINE_URL.name, &url));
    let named = named.transpose()?;
    let token = token(env, api);
    let model = env.get(var::ENGINE_MODEL.name);
    let Some(url) = named.or(usual_url(api, token.is_some())?) else {
        return Ok(None);
    };
    if api == Api::Openai && model.is_none() {
        return Ok(None);
    }
    Ok(Some(EngineConfig {
        api,
        url,
        token,
        model,
        max_tokens: env.optional_number(&var::ENGINE_MAX_TOKENS, 1..=10_000_000),
        timeout: Duration::from_secs(env.number(&var::ENGINE_TIMEOUT_SECONDS, TIMEOUT_RANGE)),
    }))
}

fn api(env: &Environment) -> Result<Api, Problem> {
    match env.text(&var::ENGINE_API).as_str() {
        "kora" => Ok(Api::Kora),
        "openai" => Ok(Api::Openai),
        "anthropic" => Ok(Api::Anthropic),
        other => Err(Problem::usage(format!(
            "KORA_PROBE_ENGINE_API is '{other}': it is one of kora, openai, anthropic"
        ))),
    }
}

/// The engine's own token, or the one that its API's other clients use.
fn token(env: &Environment, api: Api) -> Option<Secret> {
    let usual = match api {
        Api::Kora => None,
        Api::Openai => Some(&var::OPENAI_API_KEY),
        Api::Anthropic => Some(&var::ANTHROPIC_API_KEY),
    };
    env.secret(&var::ENGINE_TOKEN)
        .or_else(|| env.secret(usual?))
}

/// Where the API's vendor has it, for whoever has a token.
fn usual_url(api: Api, has_token: bool) -> Result<Option<Endpoint>, Problem> {
    let usual = match api {
        Api::Kora => None,
        Api::Openai => Some("https://api.openai.com/v1"),
        Api::Anthropic => Some("https://api.anthropic.com"),
    };
    let usual = usual.filter(|_| has_token);
    usual
        .map(|url| endpoint(var::ENGINE_URL.name, url))
        .transpose()
}
