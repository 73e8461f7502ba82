//! Section 10: security.

mod hostile;
mod network;
mod planted;
mod tls;
