//! Section 5: debounce.

mod policies;
mod window;
