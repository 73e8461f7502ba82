//! Section 6: the engine.

mod anthropic;
mod breaker;
mod budget;
mod digest;
mod fakellm;
mod late;
mod openai;
mod prompt;
mod reasons;
mod text;
