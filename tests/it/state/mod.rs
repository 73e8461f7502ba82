//! The state folder: commits on bad disks, outcome rows, torn files.

mod disk;
mod outcomes;
mod torn_lines;
