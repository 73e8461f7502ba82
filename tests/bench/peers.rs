//! An engine and a Slack on loopback that answer each request after a given time.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub struct Peers {
    address: SocketAddr,
    /// When each Slack message arrived, and its JSON.
    pub messages: Arc<Mutex<Vec<(Instant, String)>>>,
    /// How many questions the engine was asked.
    pub questions: Arc<AtomicUsize>,
}

impl Peers {
    pub fn start(engine_time: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let questions = Arc::new(AtomicUsize::new(0));
        let (seen, asked) = (Arc::clone(&messages), Arc::clone(&questions));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (seen, asked) = (Arc::clone(&seen), Arc::clone(&asked));
                thread::spawn(move || serve(connection, engine_time, &seen, &asked));
            }
        });
        Self {
            address,
            messages,
            questions,
        }
    }

    pub fn wire(&self, command: &mut Command) {
        for line in self.settings().lines() {
            let (name, value) = line.split_once('=').unwrap();
            command.env(name, value);
        }
    }

    /// The lines of an env file.
    pub fn settings(&self) -> String {
        format!(
            "KORA_PROBE_ENGINE_URL=http://{0}/engine\nKORA_SLACK_API_URL=http://{0}/api\n\
             KORA_SLACK_BOT_TOKEN=xoxb-bench\nKORA_SLACK_JOSHUA_USER_ID=U1\n",
            self.address
        )
    }

    /// What one question and one message take without the program: two round trips.
    pub fn round_trips_ms(&self) -> f64 {
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.set_nodelay(true).unwrap();
        let begun = Instant::now();
        const TRIPS: u32 = 200;
        for _ in 0..TRIPS {
            connection
                .write_all(b"POST /engine HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
                .unwrap();
            let mut reader = BufReader::new(&connection);
            let _ = read_message(&mut reader);
        }
        begun.elapsed().as_secs_f64() * 1_000.0 / f64::from(TRIPS) * 2.0
    }
}

fn serve(
    connection: TcpStream,
    engine_time: Duration,
    seen: &Mutex<Vec<(Instant, String)>>,
    asked: &AtomicUsize,
) {
    connection.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut writer = connection;
    while let Some((head, body)) = read_message(&mut reader) {
        let answer = if head.contains("chat.postMessage") {
            seen.lock().unwrap().push((Instant::now(), body));
            r#"{"ok":true,"channel":"D1","ts":"1.1"}"#
        } else {
            asked.fetch_add(1, Ordering::Relaxed);
            thread::sleep(engine_time);
            r#"{"text":"The token expired. Rotate it.","model_used":"bench","error":null}"#
        };
        let reply = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if writer.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_message(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8_lossy(&body).into_owned()))
}
