//! What differs between the engine APIs, and what each of them gets: an engine and a question.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::diagnosis::Diagnosis;
use super::failure::Failure;
use crate::audit::wake::Wake;
use crate::http::{Endpoint, Header};
use crate::secret::Secret;
use crate::text::label;

/// The description of an API.
#[derive(Debug)]
pub struct Api {
    /// The value of `KORA_PROBE_ENGINE_API`.
    pub name: &'static str,
    /// The variable that holds the token if `KORA_PROBE_ENGINE_TOKEN` is unset.
    pub token_variable: Option<&'static str>,
    /// The URL if a token is set but no URL.
    pub default_url: Option<&'static str>,
    pub model: Model,
    /// Appended to the engine's URL to ask a question.
    pub(super) path: &'static str,
    /// Appended to the engine's URL to list the models; with a slash and a model's name, to look up
    /// that one.
    pub(super) models_path: Option<&'static str>,
    pub(super) headers: fn(Option<&Secret>) -> Vec<Header>,
    pub(super) body: fn(&EngineConfig, &Question) -> Value,
    /// Reads a 2xx whose `error` is not set.
    pub(super) read: fn(&Map<String, Value>) -> Result<Diagnosis, Failure>,
    pub(super) usage: UsageFields,
}

/// The model if none is set.
#[derive(Debug)]
pub enum Model {
    /// The API has no field for it.
    Unused,
    Required,
    Default(&'static str),
}

/// The members of an answer that say what was used.
#[derive(Debug)]
pub(super) struct UsageFields {
    pub model: &'static str,
    /// The object that holds the numbers; `None`: they are at the top level.
    pub object: Option<&'static str>,
    pub input: &'static str,
    pub output: &'static str,
}

/// An engine that can be asked.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub api: &'static Api,
    /// The API's paths are appended to it.
    pub url: Endpoint,
    pub token: Option<Secret>,
    /// Set if the API has a field for it.
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
    pub metadata: Metadata,
}

/// A wake as Kora's own API describes it.
#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    pub probe_name: String,
    pub issue_category: String,
    pub severity: String,
    pub envelope_enabled: bool,
    pub envelope_fix_name: String,
}

impl Metadata {
    pub fn of(wake: &Wake) -> Self {
        Self {
            probe_name: wake.probe.clone(),
            issue_category: wake.category.clone(),
            severity: wake.severity.clone(),
            envelope_enabled: wake.envelope_enabled,
            envelope_fix_name: label(&wake.envelope_fix_name),
        }
    }
}

/// Returns the headers for an API with a bearer token.
pub(super) fn bearer(token: Option<&Secret>) -> Vec<Header> {
    token.map(Header::bearer).into_iter().collect()
}
