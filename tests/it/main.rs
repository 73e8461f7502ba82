//! Tests of the built binary, in a sandbox and against servers on loopback: for what crosses a process. Rules that are
//! pure have tables of unit tests beside their code.

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
