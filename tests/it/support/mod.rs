//! What the tests share: a sandbox that runs the built binary with nothing but what a test set, a fake server
//! that answers, hangs, cuts and lies as scripted, and an engine and a Slack built on it. Nothing here knows
//! how the program works inside.

#[macro_use]
pub mod tools;
pub mod browser;
pub mod engine;
pub mod faults;
#[allow(dead_code, reason = "the benchmark uses more of it")]
pub mod machine;
pub mod outcome;
pub mod parallel;
pub mod rotating;
pub mod row;
pub mod sandbox;
pub mod server;
pub mod slack;
pub mod telling;
pub mod terminal;
pub mod tls;
pub mod wire;
pub mod world;

pub use engine::{DIAGNOSIS, Engine, completion, key, message};
pub use faults::{Calls, Fault, at_each_call, at_each_call_of, mounting, run_with, with_fault};
pub use outcome::{Outcome, column};
pub use parallel::at_once;
pub use rotating::Rotating;
pub use row::{Row, other_row, outcome_row, recovery, wake};
pub use sandbox::{BINARY, ENGINE_TOKEN, SLACK_TOKEN, Sandbox, copy_binary};
pub use server::Server;
pub use slack::{Post, Slack, without_times};
pub use telling::{
    assert_all_sent, assert_nothing_is_left, assert_sent, assert_sent_in_threads, is_marked, plain,
    reply, unable, unmarked,
};
pub use wire::{Reply, Request};
pub use world::{DEAD_URL, World};
