//! Which URLs a request may go to: `https`, or plain `http` to loopback. Whether a host is loopback
//! is decided by how it is written, never by what it resolves to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ureq::http::Uri;

/// A URL that a request may go to: `https`, or `http` to loopback, without user and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) uri: Uri,
}

// Why a URL is refused. No text repeats the URL, which may hold a password.
const MALFORMED: &str = "it is not a URL such as https://host/path";
const SCHEME: &str = "a URL here begins with https:// (or http:// for loopback)";
const USER_INFO: &str = "a URL with a user or password is refused";
const PLAIN_HTTP: &str = "plain http is for localhost, 127.0.0.0/8 and [::1] only; use https";

impl Endpoint {
    /// Parses and checks a URL. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| MALFORMED)?;
        let authority = uri.authority().ok_or(MALFORMED)?.as_str();
        if authority.contains('@') {
            return Err(USER_INFO);
        }
        let host = uri.host().unwrap_or_default();
        let port = authority.strip_prefix(host).unwrap_or_default();
        if host.is_empty() || (!port.is_empty() && uri.port_u16().is_none_or(|number| number == 0))
        {
            return Err(MALFORMED);
        }
        let endpoint = Self { uri };
        match endpoint.uri.scheme_str() {
            Some("https") => Ok(endpoint),
            Some("http") if endpoint.is_loopback() => Ok(endpoint),
            Some("http") => Err(PLAIN_HTTP),
            _ => Err(SCHEME),
        }
    }

    /// Appends `path`, which begins with a slash, to this URL's own path; a query stays last. An
    /// empty path changes nothing.
    pub fn join(&self, path: &str) -> Self {
        if path.is_empty() {
            return self.clone();
        }
        let mut joined = self.uri.path().trim_end_matches('/').to_owned() + path;
        if let Some(query) = self.uri.query() {
            joined = joined + "?" + query;
        }
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = joined.parse().ok().or(parts.path_and_query);
        Uri::from_parts(parts).map_or_else(|_| self.clone(), |uri| Self { uri })
    }

    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    pub(super) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Returns whether the host is `localhost` or a loopback address. A name that resolves to one
    /// (`127.1`, `127.0.0.1.example.com`) is not.
    pub fn is_loopback(&self) -> bool {
        match address(self.host()) {
            Some(IpAddr::V4(ip)) => ip.is_loopback(),
            Some(IpAddr::V6(ip)) => ip == Ipv6Addr::LOCALHOST,
            None => self.host().eq_ignore_ascii_case("localhost"),
        }
    }
}

/// Displayed as it was written, but without its query, which may hold a key.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.uri.to_string();
        f.write_str(shown.split('?').next().unwrap_or_default())
    }
}

/// Parses the host as an address; an IPv6 one may have brackets.
pub(super) fn address(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[');
    match inner.and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None => host.parse().ok(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn https_and_loopback_are_accepted() {
        for url in [
            "https://slack.com/api",
            "HTTPS://slack.com",
            "https://10.0.0.1:8443/x?y=z",
            "https://[2001:db8::1]/",
            "http://localhost:8642/v1",
            "http://LOCALHOST",
            "http://127.0.0.1",
            "http://127.255.0.9:1/x",
            "http://[::1]:8080",
        ] {
            assert!(Endpoint::parse(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_host_that_only_looks_like_loopback_is_refused() {
        for url in [
            "http://example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://localhost.",
            "http://127.1",
            "http://2130706433",
            "http://0x7f.0.0.1",
            "http://0177.0.0.1",
            "http://127.0.0.256",
            "http://127.0.0.1.",
            "http://xlocalhost",
            "http://0",
            "http://128.0.0.1",
            "http://169.254.169.254",
            "http://0.0.0.0",
            "http://[::ffff:127.0.0.1]",
            "http://[::]",
            "http://[::2]",
            "http://evil.example?@127.0.0.1",
        ] {
            assert_eq!(Endpoint::parse(url), Err(PLAIN_HTTP), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_the_reason() {
        for (url, error) in [
            ("https://user:hunter2@example.com", USER_INFO),
            ("https://token@example.com", USER_INFO),
            ("https://@example.com", USER_INFO),
            ("http://127.0.0.1@example.com", USER_INFO),
            ("http://localhost:80@example.com/", USER_INFO),
            ("ftp://example.com", SCHEME),
            ("", MALFORMED),
            ("example.com", SCHEME),
            ("/v1", MALFORMED),
            ("https://", MALFORMED),
            ("https:///v1", MALFORMED),
            ("https://:443/v1", MALFORMED),
            ("https://example.com:99999", MALFORMED),
            ("https://example.com:0", MALFORMED),
            ("https://example.com:", MALFORMED),
            ("http://127.0.0.1\\@example.com", MALFORMED),
            ("http://127.0.0.1%2eexample.com", MALFORMED),
            ("http://１２７.0.0.1", MALFORMED),
            ("http://127.0.0.1:", MALFORMED),
            ("https://exa mple.com", MALFORMED),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn a_path_is_appended_before_the_query() {
        for (base, joined) in [
            ("https://h", "https://h/x/y"),
            ("https://h/", "https://h/x/y"),
            ("https://h:1/v1/", "https://h:1/v1/x/y"),
            (
                "https://h/v1?api-version=2",
                "https://h/v1/x/y?api-version=2",
            ),
        ] {
            assert_eq!(
                Endpoint::parse(base).unwrap().join("/x/y").uri.to_string(),
                joined
            );
        }
    }

    #[test]
    fn a_url_is_shown_as_written_but_without_its_query() {
        let url = "https://Engine.Example:8443/V1/Ask?key=s3cret&x=?";
        let endpoint = Endpoint::parse(url).unwrap();
        assert_eq!(endpoint.to_string(), "https://Engine.Example:8443/V1/Ask");
        assert_eq!(endpoint.join("").uri.to_string(), url);
    }
}
