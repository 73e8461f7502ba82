//! What the engine is asked, and what becomes of its answers.

mod api;
mod breaker;
mod budget;
mod digest;
mod fakellm;
mod late;
mod prompt;
mod reasons;
mod text;
