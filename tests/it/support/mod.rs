//! What the tests stand on: a sandbox that runs the built binary with nothing but what a test set, a loopback
//! server that answers, hangs, cuts and lies as told, and the two peers built on it. Nothing here knows the
//! program's inside; all of it speaks the contract's words.

#[macro_use]
pub mod tools;
pub mod apis;
pub mod engine;
pub mod faults;
pub mod outcome;
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

pub use engine::{DIAGNOSIS, Engine};
pub use faults::{Fault, mounting, run_with};
pub use outcome::Outcome;
pub use rotating::{Rotating, at_both_paces};
pub use row::{Row, other_row, wake};
pub use sandbox::{BINARY, ENGINE_TOKEN, SLACK_TOKEN, Sandbox, arguments};
pub use slack::Slack;
pub use telling::{assert_told, fallback, is_marked, plain};
pub use wire::{Reply, Request};
pub use world::{DEAD_URL, World};
