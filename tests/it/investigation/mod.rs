//! Section 6: the engine.

mod anthropic;
mod breaker;
mod budget;
mod fakellm;
mod openai;
mod prompt;
mod reasons;
mod text;
