//! The audit log: bytes → complete lines (`lines`) → wakes (`row`, `wake`), with the offset behind
//! each row, and where the old content went when the log was rotated (`rotation`).

pub mod checkpoint;
mod compression;
mod found;
pub mod generation;
pub mod hash;
pub mod identity;
pub mod known;
pub mod lines;
pub mod plan;
pub mod position;
pub mod reader;
pub mod rotation;
pub mod row;
pub mod seams;
mod search;
mod siblings;
pub mod source;
#[allow(dead_code)]
pub mod tail;
pub mod wake;
