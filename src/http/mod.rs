//! The one HTTP client: who may be asked (`endpoint`), with what (`header`), by which key (`proxy`),
//! trusting whom (`roots`), for how long, and what is read of an answer (`answer`). It relies on ureq,
//! whose agents are built with the first request: a run that asks nobody loads no certificates. What
//! went wrong is told by whether the request can have reached its peer, since that decides whether it
//! may be sent again.

mod answer;
mod endpoint;
#[cfg(test)]
pub(crate) mod fake_server;
mod header;
mod proxy;
mod roots;

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy, RequestBuilder, SendBody};

use crate::secret::Secret;
use crate::text::quote;
pub use answer::Reply;
pub use endpoint::Endpoint;
pub use header::Header;
pub use proxy::ProxySettings;
use roots::roots;

/// The most of an answer's body that is read, in bytes.
pub const MAX_BODY: u64 = 1024 * 1024;

/// Below the 5 s after which Node.js and uvicorn close an idle connection: a POST that crosses with
/// the close could have been processed or not, and nobody could say which.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// Why there is no answer. The texts are causes for a person, with no secret in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nothing of the request's body left: no name, no connection, no TLS, or no time left for these.
    NotSent { cause: String, timed_out: bool },
    /// The request left, at least in part, and the answer was not whole in time.
    Timeout(String),
    /// The request left, at least in part, and the connection ended or did not speak HTTP.
    Cut(String),
    /// A 2xx (this status) with a body over [`MAX_BODY`].
    TooLarge(u16),
}

impl Failed {
    fn not_sent(cause: impl Into<String>) -> Self {
        Self::NotSent {
            cause: cause.into(),
            timed_out: false,
        }
    }

    fn from_error(error: &ureq::Error, left: bool) -> Self {
        let timed_out = matches!(error, ureq::Error::Timeout(_));
        let cause = match error {
            ureq::Error::Timeout(_) if left => "timeout".to_owned(),
            ureq::Error::Timeout(_) => "timeout before the request could be sent".to_owned(),
            ureq::Error::Io(inner) if inner.kind() == io::ErrorKind::UnexpectedEof => {
                "the connection was closed".to_owned()
            }
            ureq::Error::Io(inner) => quote(&inner.to_string()),
            other => quote(&other.to_string()),
        };
        match (left, timed_out) {
            (false, _) => Self::NotSent { cause, timed_out },
            (true, true) => Self::Timeout(cause),
            (true, false) => Self::Cut(cause),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent { cause, .. } | Self::Timeout(cause) | Self::Cut(cause) => {
                f.write_str(cause)
            }
            Self::TooLarge(status) => write!(f, "HTTP {status} with an answer over 1 MiB"),
        }
    }
}

/// The request's body, which notes when its first byte is taken. ureq takes it once the connection
/// stands, TLS included, and the head is written: untaken, no peer can have acted on the request.
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

/// The client. Connections are kept and used again, over both methods, for as long as it lives.
pub struct Http {
    proxy: ProxySettings,
    ca_file: Option<PathBuf>,
    agents: Mutex<Vec<(AgentKey, Agent)>>,
}

/// What an agent is built for.
#[derive(Clone, PartialEq)]
struct AgentKey {
    proxy: Option<Proxy>,
    timeout: Duration,
    is_https: bool,
}

impl Http {
    pub fn new(proxy: ProxySettings) -> Self {
        Self {
            proxy,
            ca_file: None,
            agents: Mutex::default(),
        }
    }

    /// Trusts the certificates of this file in place of the system's.
    pub fn trusting(mut self, ca_file: Option<PathBuf>) -> Self {
        self.ca_file = ca_file;
        self
    }

    /// POSTs `body` as JSON, once. `timeout` holds for all of it, from the name to the body's end.
    /// Redirects are not followed. `content-type` is `application/json` unless given.
    pub fn post(
        &self,
        url: &Endpoint,
        headers: &[Header<'_>],
        body: &serde_json::Value,
        timeout: Duration,
    ) -> Result<Reply, Failed> {
        let body = body.to_string();
        // Without the length ureq would send a reader in chunks, which not every small server reads.
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
        let answer = answer.map_err(|error| Failed::from_error(&error, outgoing.left))?;
        Reply::read(answer, tokens(headers))
    }

    /// GETs `url`, once. A failure counts as after the request left, though it need not be.
    pub fn get(
        &self,
        url: &Endpoint,
        headers: &[Header<'_>],
        timeout: Duration,
    ) -> Result<Reply, Failed> {
        let request = with_headers(self.agent(url, timeout)?.get(&url.uri), headers)?;
        let answer = request.call();
        let answer = answer.map_err(|error| Failed::from_error(&error, true))?;
        Reply::read(answer, tokens(headers))
    }

    /// The agent for this key. Each has its own, since a setting given with the request makes ureq
    /// load the roots again for every connection.
    fn agent(&self, url: &Endpoint, timeout: Duration) -> Result<Agent, Failed> {
        let key = AgentKey {
            proxy: self.proxy.for_url(url)?,
            timeout,
            is_https: url.is_https(),
        };
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, agent)) = agents.iter().find(|(known, _)| *known == key) {
            return Ok(agent.clone());
        }
        let roots = roots(self.ca_file.as_deref().filter(|_| key.is_https))?;
        let agent = build(key.clone(), roots);
        agents.push((key, agent.clone()));
        Ok(agent)
    }
}

fn with_headers<B>(
    mut request: RequestBuilder<B>,
    headers: &[Header<'_>],
) -> Result<RequestBuilder<B>, Failed> {
    for header in headers {
        request = request.header(header.name, header.value()?);
    }
    Ok(request)
}

/// The secrets that a request carries, to be masked in its answer.
fn tokens(headers: &[Header<'_>]) -> Vec<Secret> {
    headers.iter().filter_map(Header::token).cloned().collect()
}

fn build(key: AgentKey, roots: RootCerts) -> Agent {
    Agent::config_builder()
        .proxy(key.proxy) // also where there is none: ureq's default reads the environment
        .timeout_global(Some(key.timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_age(MAX_IDLE)
        .user_agent(concat!("probe-wake/", env!("CARGO_PKG_VERSION")))
        .accept("application/json")
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build()
        .into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::thread::sleep;
    use std::time::Instant;

    use serde_json::json;

    use super::fake_server::{Server, answer, answering, server};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn direct() -> Http {
        Http::new(ProxySettings::default())
    }

    fn by_proxy(proxy: &Server, no_proxy: &str) -> Http {
        Http::new(ProxySettings {
            https_proxy: Some(proxy.url.clone()),
            no_proxy: Some(no_proxy.to_owned()),
        })
    }

    fn post(http: &Http, url: &str) -> Result<Reply, Failed> {
        http.post(
            &Endpoint::parse(url).unwrap(),
            &[],
            &json!({"a": 1}),
            SECOND,
        )
    }

    fn status(result: Result<Reply, Failed>) -> u16 {
        result.unwrap().status
    }

    #[test]
    fn many_posts_share_one_connection() {
        let server = answering(answer("200 OK", "{}"));
        let http = direct();
        for _ in 0..5 {
            assert_eq!(status(post(&http, &server.url)), 200);
        }
        assert_eq!(server.requests.try_iter().count(), 5);
        assert_eq!(server.connections.try_iter().count(), 1);
    }

    #[test]
    fn a_connection_that_was_closed_while_idle_fails_no_post() {
        let close =
            |stream: &mut TcpStream| stream.write_all(answer("200 OK", "{}").as_bytes()).is_err();
        let server = server(close);
        let http = direct();
        for _ in 0..3 {
            assert_eq!(status(post(&http, &server.url)), 200);
            sleep(Duration::from_millis(50));
        }
        assert_eq!(server.connections.try_iter().count(), 3);
    }

    #[test]
    fn a_request_carries_its_headers_and_its_length() {
        let server = answering(answer("200 OK", "{}"));
        let (url, token) = (
            Endpoint::parse(&server.url).unwrap(),
            Secret::new("t0ken".to_owned()),
        );
        let headers = [
            Header::bearer(&token),
            Header::secret("x-api-key", &token),
            Header::new("x-y", "z"),
        ];
        direct()
            .post(&url, &headers, &json!({"a": 1}), SECOND)
            .unwrap();
        let request = server.requests.recv().unwrap();
        for line in [
            "POST / HTTP/1.1\r\n",
            "authorization: Bearer t0ken\r\n",
            "x-api-key: t0ken\r\n",
            "x-y: z\r\n",
            "content-type: application/json\r\n",
            "content-length: 7\r\n",
            "accept: application/json\r\n",
            concat!("user-agent: probe-wake/", env!("CARGO_PKG_VERSION"), "\r\n"),
            "\r\n\r\n{\"a\":1}",
        ] {
            assert!(request.contains(line), "{line} in {request}");
        }
    }

    #[test]
    fn silence_and_dripping_end_in_time() {
        let drip = |stream: &mut TcpStream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
                .ok();
            while stream.write_all(b" ").is_ok() {
                sleep(Duration::from_millis(20));
            }
            false
        };
        let hang = |_: &mut TcpStream| {
            sleep(3 * SECOND);
            false
        };
        for server in [server(drip), server(hang)] {
            let start = Instant::now();
            assert_eq!(
                post(&direct(), &server.url).unwrap_err(),
                Failed::Timeout("timeout".to_owned())
            );
            assert!((SECOND..2 * SECOND).contains(&start.elapsed()));
        }
    }

    #[test]
    fn a_cut_answer_is_neither_an_answer_nor_unsent() {
        for part in [
            "",
            "HTTP/1.1 200 OK\r\nconte",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
            "SSH-2.0-x\r\n\r\n",
        ] {
            let server = server(move |stream| stream.write_all(part.as_bytes()).is_err());
            assert!(
                matches!(post(&direct(), &server.url), Err(Failed::Cut(_))),
                "{part}"
            );
        }
    }

    #[test]
    fn a_failing_status_stands_though_its_body_is_cut() {
        let server = server(|stream| {
            stream
                .write_all(b"HTTP/1.1 503 X\r\ncontent-length: 9\r\n\r\n{")
                .is_err()
        });
        assert_eq!(status(post(&direct(), &server.url)), 503);
    }

    #[test]
    fn a_body_of_one_mebibyte_is_read_and_no_more() {
        let limit = usize::try_from(MAX_BODY).unwrap();
        let whole = answering(answer("200 OK", &" ".repeat(limit)));
        assert_eq!(post(&direct(), &whole.url).unwrap().body().len(), limit);
        let over = answering(answer("200 OK", &" ".repeat(limit + 1)));
        assert_eq!(
            post(&direct(), &over.url).unwrap_err(),
            Failed::TooLarge(200)
        );
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let other = answering(answer("200 OK", "{}"));
        let away = format!(
            "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
            other.url
        );
        let server = answering(away);
        assert_eq!(status(post(&direct(), &server.url)), 302);
        assert!(other.connections.try_recv().is_err());
    }

    #[test]
    fn a_refused_connection_has_sent_nothing() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let failed = post(&direct(), &format!("http://{free}")).unwrap_err();
        assert!(
            matches!(
                failed,
                Failed::NotSent {
                    timed_out: false,
                    ..
                }
            ),
            "{failed:?}"
        );
    }

    #[test]
    fn a_handshake_that_hangs_has_sent_nothing_and_ends_in_time() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let start = Instant::now();
        let failed = post(
            &direct(),
            &format!("https://{}", silent.local_addr().unwrap()),
        )
        .unwrap_err();
        assert!(matches!(failed, Failed::NotSent { .. }), "{failed:?}");
        assert!(start.elapsed() < 2 * SECOND);
    }

    #[test]
    fn a_proxy_is_told_the_name_and_its_refusal_has_sent_nothing() {
        let proxy = answering(answer("403 Forbidden", ""));
        let failed = post(&by_proxy(&proxy, ""), "https://slack.example.invalid/api").unwrap_err();
        assert!(matches!(failed, Failed::NotSent { .. }), "{failed:?}");
        let request = proxy.requests.recv().unwrap();
        assert!(
            request.starts_with("CONNECT slack.example.invalid:443 HTTP/1.1\r\n"),
            "{request}"
        );
    }

    #[test]
    fn loopback_and_exempt_hosts_go_past_the_proxy() {
        let (proxy, server) = (
            answering(answer("403 Forbidden", "")),
            answering(answer("200 OK", "{}")),
        );
        assert_eq!(status(post(&by_proxy(&proxy, ""), &server.url)), 200);
        let exempt = post(
            &by_proxy(&proxy, "example.invalid"),
            "https://slack.example.invalid/",
        );
        assert!(matches!(exempt, Err(Failed::NotSent { .. })));
        assert!(proxy.connections.try_recv().is_err());
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_without_its_password() {
        for proxy in [
            "socks5://user:hunter2@127.0.0.1:1",
            "http://us er:hunter2@",
            "://",
        ] {
            let http = Http::new(ProxySettings {
                https_proxy: Some(proxy.to_owned()),
                no_proxy: None,
            });
            let failed = post(&http, "https://slack.example.invalid/").unwrap_err();
            assert!(
                failed.to_string().starts_with("HTTPS_PROXY is not"),
                "{failed}"
            );
        }
    }

    #[test]
    fn a_secret_that_no_header_can_carry_is_not_printed() {
        let secret = Secret::new("hunter2\nx: y".to_owned());
        let url = Endpoint::parse("http://127.0.0.1:9").unwrap();
        let failed = direct()
            .post(&url, &[Header::bearer(&secret)], &json!({}), SECOND)
            .unwrap_err();
        let told = format!("{failed} {failed:?}");
        assert!(
            told.contains("authorization") && !told.contains("hunter2"),
            "{told}"
        );
    }
}
