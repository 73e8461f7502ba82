//! The built binary against loopback servers, in a sandbox: a folder for each section of the contract.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[macro_use]
mod support;

mod booted;
mod commands;
mod debounce;
mod dm;
mod input;
mod investigation;
mod many_hosts;
mod position;
mod run;
mod security;
mod state;
