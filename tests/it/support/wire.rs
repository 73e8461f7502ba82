//! HTTP/1.1 as bytes: reads requests, and writes replies, good and bad ones.

use std::io::{BufRead, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// What the server does with one request.
pub enum Reply {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        close: bool,
    },
    /// Sends nothing until the client or the test gives up.
    Hang,
    /// Closes the connection without an answer.
    Cut,
    /// Announces a longer body than it sends, then closes.
    CutInBody,
    /// Sends a well-formed answer byte by byte, with this pause in between.
    Drip(Duration, String),
    /// Waits, then replies.
    Late(Duration, Box<Reply>),
    /// Waits for `Server::release`, then replies.
    Held(Box<Reply>),
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string()).with("Content-Type", "application/json")
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: body.into(),
            close: false,
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }

    pub fn closing(mut self) -> Self {
        if let Self::Answer { close, .. } = &mut self {
            *close = true;
        }
        self
    }

    pub fn after(self, pause: Duration) -> Self {
        Self::Late(pause, Box::new(self))
    }

    pub fn held(self) -> Self {
        Self::Held(Box::new(self))
    }

    /// Returns the body that the client gets; empty if it does not get all of it.
    pub fn body(&self) -> &[u8] {
        match self {
            Self::Answer { body, .. } => body,
            Self::Drip(_, body) => body.as_bytes(),
            Self::Late(_, reply) | Self::Held(reply) => reply.body(),
            Self::Hang | Self::Cut | Self::CutInBody => &[],
        }
    }
}

/// One request as it was received; header names in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it had been received.
    pub at: Instant,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body of the reply to it.
    pub answered: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the request's body is JSON")
    }
}

/// Reads one request; None if the connection ends first.
pub fn read_request(input: &mut impl BufRead) -> Option<Request> {
    let first = read_line(input)?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = read_line(input)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        at: Instant::now(),
        method,
        path,
        headers,
        body: Vec::new(),
        answered: Vec::new(),
    };
    request.body = read_body(&request, input)?;
    request.at = Instant::now();
    Some(request)
}

fn read_line(input: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let count = input.read_line(&mut line).ok()?;
    (count > 0).then(|| line.trim_end().to_owned())
}

fn read_body(request: &Request, input: &mut impl BufRead) -> Option<Vec<u8>> {
    let length = request
        .header("content-length")
        .map_or(Some(0), |text| text.parse().ok())?;
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    Some(body)
}

/// Sends one reply; returns false if the connection ends with it. A `Held` reply waits until `released`
/// returns.
pub fn give(reply: Reply, stream: &mut (impl Read + Write), released: &dyn Fn()) -> bool {
    match reply {
        Reply::Answer {
            status,
            headers,
            body,
            close,
        } => {
            let mut bytes = head(status, &headers, body.len(), close);
            bytes.extend(body);
            stream.write_all(&bytes).is_ok() && !close
        }
        Reply::Hang => {
            let _ = stream.read(&mut [0; 1]);
            false
        }
        Reply::Cut => false,
        Reply::CutInBody => {
            let mut bytes = head(200, &[], 4_096, false);
            bytes.extend(br#"{"ok":true,"text":"cut"#);
            let _ = stream.write_all(&bytes);
            false
        }
        Reply::Drip(pause, body) => drip(stream, pause, &body),
        Reply::Late(pause, reply) => {
            thread::sleep(pause);
            give(*reply, stream, released)
        }
        Reply::Held(reply) => {
            released();
            give(*reply, stream, released)
        }
    }
}

fn drip(stream: &mut (impl Read + Write), pause: Duration, body: &str) -> bool {
    let mut bytes = head(200, &[], body.len(), false);
    bytes.extend(body.as_bytes());
    bytes.iter().all(|byte| {
        thread::sleep(pause);
        stream.write_all(&[*byte]).is_ok()
    })
}

fn head(status: u16, headers: &[(String, String)], length: usize, close: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if close {
        text += "Connection: close\r\n";
    }
    (text + "\r\n").into_bytes()
}
