//! Requests to servers that answer, misbehave or do not answer.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Instant;

use serde_json::json;

use super::fake_server::{answer, answering, server};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn direct() -> Http {
    Http::default()
}

fn by_proxy(proxy: &str, no_proxy: &str) -> Http {
    let proxy = ProxySettings {
        https_proxy: Some(proxy.to_owned()),
        no_proxy: Some(no_proxy.to_owned()),
    };
    Http::new(proxy, None, Vec::new())
}

fn post(http: &Http, url: &str) -> Result<Reply, RequestError> {
    http.post(
        &Endpoint::parse(url).unwrap(),
        &[],
        &json!({"a": 1}),
        SECOND,
    )
}

fn status(result: Result<Reply, RequestError>) -> u16 {
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
fn a_connection_that_is_closed_while_idle_fails_no_post() {
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
fn a_request_has_its_headers_and_its_length() {
    let server = answering(answer("200 OK", "{}"));
    let (url, token) = (
        Endpoint::parse(&server.url).unwrap(),
        Secret::new("t0ken".to_owned()),
    );
    let headers = [
        Header::bearer(&token),
        Header::new("x-api-key", token.expose()),
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
fn a_silent_or_dripping_server_is_a_timeout() {
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
            RequestError::Timeout
        );
        assert!((SECOND..2 * SECOND).contains(&start.elapsed()));
    }
}

#[test]
fn a_cut_answer_is_an_error_after_the_request_left() {
    for part in [
        "",
        "HTTP/1.1 200 OK\r\nconte",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
        "SSH-2.0-x\r\n\r\n",
    ] {
        let server = server(move |stream| stream.write_all(part.as_bytes()).is_err());
        assert!(
            matches!(post(&direct(), &server.url), Err(RequestError::Cut(_))),
            "{part}"
        );
    }
}

#[test]
fn an_error_status_counts_even_if_its_body_is_cut() {
    let server = server(|stream| {
        stream
            .write_all(b"HTTP/1.1 503 X\r\ncontent-length: 9\r\n\r\n{")
            .is_err()
    });
    assert_eq!(status(post(&direct(), &server.url)), 503);
}

#[test]
fn a_body_of_up_to_one_mebibyte_is_read() {
    let limit = 1_048_576;
    let whole = answering(answer("200 OK", &" ".repeat(limit)));
    assert_eq!(post(&direct(), &whole.url).unwrap().body.len(), limit);
    let over = answering(answer("200 OK", &" ".repeat(limit + 1)));
    assert_eq!(
        post(&direct(), &over.url).unwrap_err(),
        RequestError::TooLarge(200)
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
fn nothing_is_sent_over_a_refused_connection() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let failed = post(&direct(), &format!("http://{free}")).unwrap_err();
    assert!(matches!(failed, RequestError::NotSent(_)), "{failed:?}");
}

#[test]
fn nothing_is_sent_during_a_handshake_that_hangs() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    let failed = post(
        &direct(),
        &format!("https://{}", silent.local_addr().unwrap()),
    )
    .unwrap_err();
    assert!(matches!(failed, RequestError::NotSentInTime), "{failed:?}");
    assert!(start.elapsed() < 2 * SECOND);
}

#[test]
fn a_proxy_gets_the_name_and_nothing_is_sent_if_it_refuses() {
    let proxy = answering(answer("403 Forbidden", ""));
    let failed = post(
        &by_proxy(&proxy.url, ""),
        "https://slack.example.invalid/api",
    )
    .unwrap_err();
    assert!(matches!(failed, RequestError::NotSent(_)), "{failed:?}");
    let request = proxy.requests.recv().unwrap();
    assert!(
        request.starts_with("CONNECT slack.example.invalid:443 HTTP/1.1\r\n"),
        "{request}"
    );
}

#[test]
fn loopback_and_exempt_hosts_are_reached_without_the_proxy() {
    let (proxy, server) = (
        answering(answer("403 Forbidden", "")),
        answering(answer("200 OK", "{}")),
    );
    assert_eq!(status(post(&by_proxy(&proxy.url, ""), &server.url)), 200);
    let exempt = post(
        &by_proxy(&proxy.url, "example.invalid"),
        "https://slack.example.invalid/",
    );
    assert!(matches!(exempt, Err(RequestError::NotSent(_))));
    assert!(proxy.connections.try_recv().is_err());
}

#[test]
fn the_error_about_an_unusable_proxy_hides_its_password() {
    for proxy in [
        "socks5://user:hunter2@127.0.0.1:1",
        "http://us er:hunter2@",
        "://",
    ] {
        let failed = post(&by_proxy(proxy, ""), "https://slack.example.invalid/").unwrap_err();
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
    let printed = format!("{failed} {failed:?}");
    assert!(
        printed.contains("authorization") && !printed.contains("hunter2"),
        "{printed}"
    );
}

#[test]
fn a_get_has_its_headers() {
    let server = answering(answer("401 X", "{}"));
    let token = Secret::new("a-long-token".to_owned());
    let url = Endpoint::parse(&server.url).unwrap();
    let reply = direct().get(&url, &[Header::bearer(&token)], SECOND);
    assert_eq!(reply.unwrap().status, 401);
    let request = server.requests.recv().unwrap();
    assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains("\r\nauthorization: Bearer a-long-token\r\n"),
        "{request}"
    );
}

#[test]
fn every_token_is_masked_in_an_answer() {
    let server = answering(answer("200 OK", r#"{"error":"no key a-long-token here"}"#));
    let token = Secret::new("a-long-token".to_owned());
    let http = Http::new(ProxySettings::default(), None, vec![token]);
    let url = Endpoint::parse(&server.url).unwrap();
    let reply = http.get(&url, &[], SECOND).unwrap();
    assert_eq!(
        reply.json().unwrap(),
        json!({"error": "no key [masked] here"})
    );
}
