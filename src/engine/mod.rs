//! The reasoning engine: it is asked once about a wake and returns a diagnosis that is fit to send,
//! or a reason why there is none. Each API is described in a file of its own and listed in
//! [`APIS`]; `api` says what such a description holds, `answer` reads what all APIs have in common.

mod answer;
mod anthropic;
mod api;
mod diagnosis;
mod failure;
mod kora;
mod models;
mod openai;
mod prompt;
#[cfg(test)]
mod tests;

use std::time::Instant;

use crate::http::{Header, Http};

pub use answer::{Answer, Usage};
pub use api::{Api, EngineConfig, Question};
pub use diagnosis::Diagnosis;
pub use failure::{Failure, Reason};
pub use kora::metadata;
pub use models::{Lookup, look_up_model};
pub use prompt::{Knowledge, prompt};

/// All APIs, the default first.
pub static APIS: [&Api; 3] = [&kora::API, &openai::API, &anthropic::API];

/// Asks the engine with exactly one request.
pub fn ask(config: &EngineConfig, http: &Http, question: &Question) -> Answer {
    let api = config.api;
    // A key may contain a row's text, and a header carries only printable ASCII.
    let key = question.key.escape_default().to_string();
    let mut headers = (api.headers)(config.token.as_ref());
    headers.push(Header::new("idempotency-key", &key));
    let body = (api.body)(config, question);
    let begun = Instant::now();
    let posted = http.post(&config.url.join(api.path), &headers, &body, config.timeout);
    let took = begun.elapsed();
    let answer = posted.map_or_else(Answer::without, |reply| answer::read(api, &reply));
    Answer { took, ..answer }
}
