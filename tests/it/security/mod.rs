//! Untrusted text, planted files, proxies and TLS.

mod hostile;
mod network;
mod planted;
mod threads;
mod tls;
