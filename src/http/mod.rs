//! The one HTTP client. `endpoint` says which URLs a request may go to, `header` what it carries, `proxy`
//! whether it goes through a proxy, `resolver` how names are resolved, `roots` which certificates are
//! trusted, `answer` what is read from an answer. ureq's agents are built with the first request: a run
//! without one loads no certificates. An error says whether the request may have reached its peer, since that
//! decides whether it may be sent again.

mod answer;
mod endpoint;
#[cfg(test)]
pub(crate) mod fake_server;
mod header;
mod proxy;
mod resolver;
mod roots;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::tls::TlsConfig;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Proxy, RequestBuilder, SendBody};

use crate::secret::Secret;
use crate::text::quote;
pub use answer::Reply;
pub use endpoint::Endpoint;
pub use header::Header;
pub use proxy::ProxySettings;
use resolver::SystemResolver;
use roots::roots;

/// How much of an answer's body is read, in bytes.
pub const MAX_BODY: u64 = 1024 * 1024;

/// Node.js and uvicorn close an idle connection after 5 s. If a POST crossed with the close, nobody could say
/// whether it was processed.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// Why there is no answer. The texts are for people, and contain no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// Nothing of the request's body left: the name, the connection or TLS failed.
    NotSent(String),
    /// The same, because time ran out.
    NotSentInTime,
    /// The request left, at least in part, and the answer was not complete in time.
    Timeout,
    /// The request left, at least in part, and the connection ended or the peer did not speak HTTP.
    Cut(String),
    /// A 2xx (this status) with a body over [`MAX_BODY`].
    TooLarge(u16),
}

impl RequestError {
    fn from_error(error: &ureq::Error, left: bool) -> Self {
        let cause = match error {
            ureq::Error::Timeout(_) if left => return Self::Timeout,
            ureq::Error::Timeout(_) => return Self::NotSentInTime,
            ureq::Error::Io(inner) if inner.kind() == io::ErrorKind::UnexpectedEof => {
                "the connection was closed".to_owned()
            }
            ureq::Error::Io(inner) => quote(&inner.to_string()),
            other => quote(&other.to_string()),
        };
        match left {
            true => Self::Cut(cause),
            false => Self::NotSent(cause),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(cause) | Self::Cut(cause) => f.write_str(cause),
            Self::NotSentInTime => f.write_str("timeout before the request could be sent"),
            Self::Timeout => f.write_str("timeout"),
            Self::TooLarge(status) => write!(f, "HTTP {status} with an answer over 1 MiB"),
        }
    }
}

/// The request's body, which notes when its first byte is read. ureq reads it after it has
/// connected, TLS included, and written the head: before that, no peer can have acted on the
/// request.
struct Outgoing<'a> {
    rest: &'a [u8],
    left: bool,
}

impl Read for Outgoing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.left = true;
        self.rest.read(buffer)
    }
}

/// The client. It keeps connections and uses them again as long as it lives.
#[derive(Default)]
pub struct Http {
    proxy: ProxySettings,
    /// The certificates to trust in place of the system's.
    ca_file: Option<PathBuf>,
    /// What is masked in every answer. A peer may know more tokens than the one it was sent: that
    /// of another peer on the same machine, or one from a row.
    secrets: Arc<[Secret]>,
    agents: Mutex<Vec<(AgentKey, Agent)>>,
}

/// What an agent was built for: the proxy, the time-out, and whether it is https.
type AgentKey = (Option<Proxy>, Duration, bool);

impl Http {
    pub fn new(proxy: ProxySettings, ca_file: Option<PathBuf>, secrets: Vec<Secret>) -> Self {
        Self {
            proxy,
            ca_file,
            secrets: secrets.into(),
            agents: Mutex::default(),
        }
    }

    /// POSTs `body` as JSON, once. `timeout` covers all of it, from resolving the name to the end
    /// of the answer. Follows no redirect. `content-type` is `application/json` unless the headers
    /// have one.
    pub fn post(
        &self,
        url: &Endpoint,
        headers: &[Header],
        body: &serde_json::Value,
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        let body = body.to_string();
        // Without the length ureq would send chunks, which not every small server reads.
        let mut request = with_headers(self.agent(url, timeout)?.post(&url.uri), headers)?
            .header("content-length", body.len());
        if !headers.iter().any(|header| header.name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        let mut outgoing = Outgoing {
            rest: body.as_bytes(),
            left: false,
        };
        let answer = request.send(SendBody::from_reader(&mut outgoing));
        let answer = answer.map_err(|error| RequestError::from_error(&error, outgoing.left))?;
        Reply::read(answer, Arc::clone(&self.secrets))
    }

    /// GETs `url`, once. Every failure counts as if the request had left.
    pub fn get(
        &self,
        url: &Endpoint,
        headers: &[Header],
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        let request = with_headers(self.agent(url, timeout)?.get(&url.uri), headers)?;
        let answer = request.call();
        let answer = answer.map_err(|error| RequestError::from_error(&error, true))?;
        Reply::read(answer, Arc::clone(&self.secrets))
    }

    /// Returns the agent for this URL and time-out. Per-request settings would make ureq load the roots again
    /// for every connection.
    fn agent(&self, url: &Endpoint, timeout: Duration) -> Result<Agent, RequestError> {
        let (proxy, is_https) = (self.proxy.for_url(url)?, url.is_https());
        let key = (proxy.clone(), timeout, is_https);
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, agent)) = agents.iter().find(|(known, _)| *known == key) {
            return Ok(agent.clone());
        }
        let roots = roots(self.ca_file.as_deref().filter(|_| is_https))?;
        let config = Agent::config_builder()
            .proxy(proxy) // also if it is `None`: ureq's default reads the environment
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_age(MAX_IDLE)
            .user_agent(concat!("probe-wake/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::new(), SystemResolver);
        agents.push((key, agent.clone()));
        Ok(agent)
    }
}

fn with_headers<B>(
    mut request: RequestBuilder<B>,
    headers: &[Header],
) -> Result<RequestBuilder<B>, RequestError> {
    for header in headers {
        request = request.header(header.name, header.value()?);
    }
    Ok(request)
}
