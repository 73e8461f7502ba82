//! The built binary against loopback servers, in a sandbox: a file for each theme of the contract.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod config;
mod crashes_at_each_call;
mod crashes_at_random;
mod debounce;
mod debounce_policies;
mod dm;
mod dry_run;
mod engine_breaker;
mod engine_reasons;
mod faults_at_each_call;
mod faults_of_lines;
mod faults_of_the_disk;
mod first_run;
mod kills;
mod outcomes;
mod prompt;
mod replay;
mod rotations;
mod rows;
mod run_lifecycle;
mod runs_left_half_way;
mod slack_answers;
mod slack_long_messages;
mod slack_queue;
mod state_commands;
mod stdout_and_json;
mod support;
