//! The built binary against loopback servers, in a sandbox: a folder for each part of what it does.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[macro_use]
mod support;

mod booted;
mod commands;
mod debounce;
mod fallback;
mod input;
mod investigation;
mod many_hosts;
mod messages;
mod operator;
mod position;
mod run;
mod security;
mod state;
