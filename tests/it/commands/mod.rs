//! Section 9: commands, settings and output.

mod check;
mod check_engine;
mod command_line;
mod config;
mod cron;
mod dry_run;
mod env_file;
mod heartbeat;
mod history;
mod journal;
mod man_pages;
mod metrics;
mod page;
mod raise;
mod readme;
pub mod recipes;
mod replay;
mod state;
mod status;
mod stdout_and_json;
mod systemd;
mod terminal;
mod undelivered;
