//! Resolves names within a request's time-out. The system's resolver has time-outs of its own, which may be
//! longer, so it is asked on another thread, which nobody has to wait for. If no thread can be started, it is
//! asked on this one: late is better than never. (ureq's own resolver panics then.)

use std::sync::mpsc;
use std::thread;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Duration;

use super::endpoint::address;

#[derive(Debug)]
pub(super) struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (sender, resolved) = mpsc::sync_channel(1);
        let (its_uri, its_config) = (uri.clone(), config.clone());
        let ask = move || drop(sender.send(ask_system(&its_uri, &its_config)));
        let is_address = address(uri.host().unwrap_or_default()).is_some();
        if is_address || thread::Builder::new().spawn(ask).is_err() {
            return ask_system(uri, config);
        }
        let in_time = resolved.recv_timeout(*timeout.after);
        in_time.unwrap_or(Err(Error::Timeout(timeout.reason)))
    }
}

/// Asks the system's resolver on this thread: without a time-out, ureq starts no other.
fn ask_system(uri: &Uri, config: &Config) -> Result<ResolvedSocketAddrs, Error> {
    let timeout = NextTimeout {
        after: Duration::NotHappening,
        ..NextTimeout::default()
    };
    DefaultResolver::default().resolve(uri, config, timeout)
}
