//! Servers on loopback that answer as a test wants, for the tests of all modules that send
//! requests.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::Reply;

pub(crate) struct Server {
    pub url: String,
    /// The requests, head and body, in the order they came.
    pub requests: Receiver<String>,
    /// An entry for each connection.
    pub connections: Receiver<()>,
}

/// Starts a server that calls `answer` for each request, and closes the connection if that returns
/// false.
pub(crate) fn server(answer: impl Fn(&mut TcpStream) -> bool + Clone + Send + 'static) -> Server {
    serve(move |_, stream| answer(stream))
}

/// Starts a server that answers each request with what `route` returns for it.
pub(crate) fn routing(route: impl Fn(&str) -> String + Clone + Send + 'static) -> Server {
    serve(move |request, stream| stream.write_all(route(request).as_bytes()).is_ok())
}

fn serve(answer: impl Fn(&str, &mut TcpStream) -> bool + Clone + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (request, requests) = channel();
    let (connection, connections) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            connection.send(()).ok();
            let (answer, request) = (answer.clone(), request.clone());
            thread::spawn(move || converse(stream.unwrap(), answer, request));
        }
    });
    Server {
        url,
        requests,
        connections,
    }
}

/// Starts a server that answers all requests alike.
pub(crate) fn answering(answer: impl Into<String>) -> Server {
    let answer = answer.into();
    routing(move |_| answer.clone())
}

pub(crate) fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Reply {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Reply {
        status,
        headers: headers.collect(),
        body: body.into(),
        secrets: Arc::default(),
    }
}

fn converse(
    mut stream: TcpStream,
    answer: impl Fn(&str, &mut TcpStream) -> bool,
    request: Sender<String>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(text) = read_request(&mut reader) {
        request.send(text.clone()).ok();
        if !answer(&text, &mut stream) {
            break;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<String> {
    let (mut text, mut length) = (String::new(), 0);
    while !text.ends_with("\r\n\r\n") {
        let start = text.len();
        reader.read_line(&mut text).ok().filter(|&read| read > 0)?;
        if let Some(value) = text[start..]
            .to_ascii_lowercase()
            .strip_prefix("content-length:")
        {
            length = value.trim().parse().unwrap();
        }
    }
    reader.take(length).read_to_string(&mut text).ok()?;
    Some(text)
}
