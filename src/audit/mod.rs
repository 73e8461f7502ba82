//! The audit log: bytes → complete lines (`lines`) → wakes (`row`, `wake`), with the offset behind
//! each row, and where the old content went when the log was rotated (`rotation`).

pub mod checkpoint;
pub mod generation;
pub mod hash;
pub mod lines;
pub mod position;
pub mod reader;
pub mod rotation;
pub mod row;
mod search;
mod siblings;
pub mod source;
pub mod wake;
