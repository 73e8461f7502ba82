//! Debounce over many runs: what the state keeps, and what the operator reads of what was held back.

mod held_back;
mod incidents;
mod window;
