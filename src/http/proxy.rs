//! Whether a request goes through `HTTPS_PROXY`: not to loopback, and not to the hosts in
//! `NO_PROXY`.

use std::net::IpAddr;

use ureq::{Proxy, ProxyProtocol};

use super::RequestError;
use super::endpoint::{Endpoint, address};

/// `HTTPS_PROXY` and `NO_PROXY` as they are set.
#[derive(Clone, Default)]
pub struct ProxySettings {
    pub https_proxy: Option<String>,
    pub no_proxy: Option<String>,
}

impl ProxySettings {
    /// Returns the proxy for this URL; `None`: it is reached directly.
    pub(super) fn for_url(&self, url: &Endpoint) -> Result<Option<Proxy>, RequestError> {
        let is_direct = url.is_loopback() || self.is_exempt(url.host());
        let Some(text) = self.https_proxy.as_deref().filter(|_| !is_direct) else {
            return Ok(None);
        };
        // Without its SOCKS feature ureq would silently bypass a SOCKS proxy.
        let usable =
            |proxy: &Proxy| matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https);
        match Proxy::new(text).ok().filter(usable) {
            Some(proxy) => Ok(Some(proxy)),
            None => Err(RequestError::NotSent(
                "HTTPS_PROXY is not the URL of an http or https proxy".to_owned(),
            )),
        }
    }

    /// Reads `NO_PROXY` as curl does: `*`, a host with all its subdomains (with or without a leading dot), an
    /// address, or a network such as `10.0.0.0/8`. ureq itself does not match the subdomains of a bare host.
    fn is_exempt(&self, host: &str) -> bool {
        let list = self.no_proxy.as_deref().unwrap_or_default();
        let entries = list.split([',', ' ']);
        entries.filter(|entry| !entry.is_empty()).any(|entry| {
            entry == "*"
                || address(host).map_or_else(|| covers(entry, host), |ip| covers_address(entry, ip))
        })
    }
}

fn covers(entry: &str, host: &str) -> bool {
    let entry = entry.trim_start_matches('*').trim_matches('.');
    let entry = entry.to_ascii_lowercase();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let rest = host.strip_suffix(&entry).filter(|_| !entry.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn covers_address(entry: &str, ip: IpAddr) -> bool {
    let Some((base, length)) = entry.split_once('/') else {
        return address(entry) == Some(ip);
    };
    let (Some(base), Ok(length)) = (address(base), length.parse::<u32>()) else {
        return false;
    };
    let bits = |ip| match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let ((base, base_width), (ip, width)) = (bits(base), bits(ip));
    // A shift by all bits leaves nothing.
    let differ = (base ^ ip).checked_shr(width - length.min(width));
    base_width == width && length <= width && differ.unwrap_or(0) == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_read_as_curl_reads_it() {
        let exempt = |list: &str, host: &str| {
            ProxySettings {
                https_proxy: None,
                no_proxy: Some(list.to_owned()),
            }
            .is_exempt(host)
        };
        for (list, host) in [
            ("*", "example.com"),
            ("a.com, example.com", "EXAMPLE.com"),
            ("example.com", "api.example.com"),
            (".example.com", "example.com"),
            ("*.example.com", "api.example.com"),
            ("10.0.0.0/8", "10.9.8.7"),
            ("0.0.0.0/0", "10.9.8.7"),
            ("10.9.8.7", "10.9.8.7"),
            ("2001:db8::/32", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
        ] {
            assert!(exempt(list, host), "{list} {host}");
        }
        for (list, host) in [
            ("", "example.com"),
            (",", "example.com"),
            (".", "example.com"),
            ("ample.com", "example.com"),
            ("api.example.com", "example.com"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/33", "10.0.0.1"),
            ("0.1", "10.0.0.1"),
        ] {
            assert!(!exempt(list, host), "{list} {host}");
        }
    }
}
