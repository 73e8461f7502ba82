//! The audit log: bytes → complete lines (`lines`) → wakes (`row`, `wake`), pulled one by one
//! (`wakes`), with a table of how far each generation of the log was read (`generations`). A look
//! (`look`) lists the files of the log when something changed (`names`), examines them (`file`),
//! and works out which file holds which generation (`matching`).

mod compression;
pub mod file;
pub mod generations;
pub mod lag;
mod lines;
pub mod look;
mod matching;
pub mod names;
pub mod proof;
pub mod row;
pub mod seams;
pub mod stat;
pub mod tail;
pub mod wake;
pub mod wakes;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
