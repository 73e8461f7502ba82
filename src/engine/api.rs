//! What differs between the engine APIs, and what each of them gets: an engine and a question.

use std::time::Duration;

use serde_json::Value;

use super::diagnosis::Diagnosis;
use super::failure::Failure;
use crate::http::{Endpoint, Header};
use crate::secret::Secret;

/// The description of an API.
#[derive(Debug)]
pub struct Api {
    /// The value of `KORA_PROBE_ENGINE_API`.
    pub name: &'static str,
    /// The variable that holds the token if `KORA_PROBE_ENGINE_TOKEN` is unset.
    pub token_variable: Option<&'static str>,
    /// The URL if a token is set but no URL is.
    pub default_url: Option<&'static str>,
    /// The model if none is set.
    pub default_model: Option<&'static str>,
    /// Whether a question must name a model.
    pub needs_model: bool,
    /// Appended to the engine's URL to ask a question.
    pub(super) path: &'static str,
    /// Appended to the engine's URL to list the models; with a slash and a model's name, to look up
    /// that one.
    pub(super) models_path: Option<&'static str>,
    pub(super) headers: fn(Option<&Secret>) -> Vec<Header>,
    pub(super) body: fn(&EngineConfig, &Question) -> Value,
    /// Reads a 2xx whose `error` is not set.
    pub(super) read: fn(&Value) -> Result<Diagnosis, Failure>,
}

/// An engine that can be asked.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub api: &'static Api,
    /// The API's paths are appended to it.
    pub url: Endpoint,
    pub token: Option<Secret>,
    /// Set if the API needs it.
    pub model: Option<String>,
    pub max_tokens: Option<u32>,
    /// For the whole request.
    pub timeout: Duration,
}

/// One question to an engine.
#[derive(Clone, Debug)]
pub struct Question {
    pub prompt: String,
    /// Sent as `Idempotency-Key`: the investigation's id, the same when it is asked again.
    pub key: String,
    pub asked_at: jiff::Timestamp,
    pub caller_session_id: String,
    /// The wake as Kora's own API describes it.
    pub metadata: Value,
}

/// Returns the headers for an API with a bearer token.
pub(super) fn bearer(token: Option<&Secret>) -> Vec<Header> {
    token.map(Header::bearer).into_iter().collect()
}
