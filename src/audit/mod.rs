//! The audit log: bytes → complete lines → wakes with their end offsets, and where the old content
//! went when the log was rotated.

pub mod generation;
pub mod json;
pub mod lines;
pub mod position;
pub mod rotation;
pub mod row;
