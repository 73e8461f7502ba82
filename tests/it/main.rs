//! The built binary against loopback servers, in a sandbox: a file for each theme of the contract.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod config;
mod crashes_at_each_call;
mod crashes_at_random;
mod debounce;
mod dm;
mod dry_run;
mod engine_anthropic;
mod engine_breaker;
mod engine_budget;
mod engine_openai;
mod engine_reasons;
mod engine_text;
mod faults_at_each_call;
mod faults_of_lines;
mod faults_of_the_disk;
mod first_run;
mod hostile;
mod kills;
mod long_texts;
mod network;
mod outcomes;
mod prompt;
mod replay;
mod rotations;
mod rows;
mod run_lifecycle;
mod slack_answers;
mod stand_in;
mod slack_long_messages;
mod state_commands;
mod stdout_and_json;
mod support;
mod tls;
