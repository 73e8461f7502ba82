//! The built binary against loopback servers, in a sandbox: a file for each theme of the contract.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod check;
mod config;
mod debounce;
mod dm;
mod dry_run;
mod engine_breaker;
mod engine_reasons;
mod env_file;
mod filters;
mod first_run;
mod heartbeat;
mod history;
mod journal;
mod kills;
mod man_pages;
mod metrics;
mod outcomes;
mod prompt;
mod replay;
mod rotations;
mod rows;
mod run_lifecycle;
mod schedule_cron;
mod schedule_systemd;
mod slack_answers;
mod state_commands;
mod status;
mod stdout_and_json;
mod support;
mod terminal;
mod unwatched;
