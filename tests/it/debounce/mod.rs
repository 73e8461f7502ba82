//! Section 5: debounce.

mod escalation;
mod policies;
mod window;
