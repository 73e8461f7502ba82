//! Section 8: state and outcomes.

mod disk;
mod outcomes;
mod torn_lines;
