//! Section 6: the engine.

mod api;
mod breaker;
mod budget;
mod digest;
mod fakellm;
mod late;
mod prompt;
mod reasons;
mod text;
