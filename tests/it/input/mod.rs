//! Section 2: rows and wakes.

mod rows;
