//! Which engine is asked, at which URL, with which token and model.

use std::time::Duration;

use super::endpoint;
use super::environment::Environment;
use super::variables as var;
use crate::engine::{APIS, EngineConfig};
use crate::exit::Problem;

/// Returns the engine, or `None` if a setting is missing that its API needs.
pub(super) fn engine(
    env: &Environment,
    timeout: Duration,
) -> Result<Option<EngineConfig>, Problem> {
    let name = env.text(&var::ENGINE_API);
    let api = APIS.into_iter().find(|api| api.name == name);
    let api = api.ok_or_else(|| {
        let names = APIS.map(|api| api.name).join(", ");
        let variable = var::ENGINE_API.name;
        Problem::usage(format!("{variable} is '{name}': it must be one of {names}"))
    })?;
    let token = env.secret(var::ENGINE_TOKEN.name);
    let token = token.or_else(|| env.secret(api.token_variable?));
    let default_url = api.default_url.filter(|_| token.is_some());
    let url = env.get(var::ENGINE_URL.name);
    let Some(url) = url.as_deref().or(default_url) else {
        return Ok(None);
    };
    let url = endpoint(&var::ENGINE_URL, url)?;
    let default_model = api.default_model.map(str::to_owned);
    let model = env.get(var::ENGINE_MODEL.name).or(default_model);
    if api.needs_model && model.is_none() {
        return Ok(None);
    }
    Ok(Some(EngineConfig {
        api,
        url,
        token,
        model,
        max_tokens: env.optional_number(&var::ENGINE_MAX_TOKENS, 1..=10_000_000),
        timeout,
    }))
}
