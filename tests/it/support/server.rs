//! A loopback HTTP server that does as it is told: it answers, hangs, cuts, drips and lies, keeps every request
//! it read, and counts its connections. It is checked when dropped: asked although it should not have been, not
//! asked although it should have been, or left with replies nobody fetched, it fails the test.

use std::collections::VecDeque;
use std::io::BufReader;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::wire::{Reply, Request, give, read_request};

/// How long a test waits for a request before it gives up.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Asked,
    Never,
    Either,
}

/// What replies where the script has run out: the request and how many came before it.
type Otherwise = Box<dyn Fn(&Request, usize) -> Reply + Send + Sync>;

struct Seen {
    requests: Vec<Request>,
    script: VecDeque<Reply>,
    connections: Vec<TcpStream>,
    expect: Expect,
    released: bool,
    stopping: bool,
}

struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
    otherwise: Otherwise,
}

pub struct Server {
    name: &'static str,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start(name: &'static str, otherwise: Otherwise) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("the port's address");
        let seen = Seen {
            requests: Vec::new(),
            script: VecDeque::new(),
            connections: Vec::new(),
            expect: Expect::Asked,
            released: false,
            stopping: false,
        };
        let shared = Arc::new(Shared {
            seen: Mutex::new(seen),
            changed: Condvar::new(),
            otherwise,
        });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &for_thread));
        Self {
            name,
            address,
            shared,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next requests get these replies, in this order; those after them the usual one.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.lock().script.extend(replies);
    }

    /// A request to this server fails the test.
    pub fn never(&self) {
        self.shared.lock().expect = Expect::Never;
    }

    /// This server may be asked or not.
    pub fn maybe(&self) {
        self.shared.lock().expect = Expect::Either;
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }

    /// Waits until `count` requests have come in whole.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        let seen = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(seen, PATIENCE, |s| s.requests.len() < count);
        let (seen, _) = waited.expect("the server's lock");
        let came = seen.requests.len();
        drop(seen);
        assert!(
            came >= count,
            "{}: {came} of {count} requests came",
            self.name
        );
    }

    /// Lets the replies go that are `Held`.
    pub fn release(&self) {
        self.shared.lock().released = true;
        self.shared.changed.notify_all();
    }

    fn stop(&self) {
        let mut seen = self.shared.lock();
        seen.stopping = true;
        for connection in &seen.connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(seen);
        self.shared.changed.notify_all();
        let _ = TcpStream::connect(self.address);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            return;
        }
        let (expect, asked, left) = {
            let seen = self.shared.lock();
            (seen.expect, seen.requests.len(), seen.script.len())
        };
        assert!(
            expect != Expect::Asked || asked > 0,
            "{} was never asked",
            self.name
        );
        assert!(
            expect != Expect::Never || asked == 0,
            "{} was asked {asked} times",
            self.name
        );
        assert!(
            left == 0,
            "{}: {left} scripted replies were never fetched",
            self.name
        );
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("the server's lock")
    }

    fn reply_to(&self, request: Request) -> Reply {
        let mut seen = self.lock();
        let before = seen.requests.len();
        let reply = seen
            .script
            .pop_front()
            .unwrap_or_else(|| (self.otherwise)(&request, before));
        seen.requests.push(request);
        drop(seen);
        self.changed.notify_all();
        reply
    }

    fn wait_for_release(&self) {
        let seen = self.lock();
        drop(
            self.changed
                .wait_while(seen, |seen| !seen.released && !seen.stopping),
        );
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        let mut seen = shared.lock();
        if seen.stopping {
            return;
        }
        let Ok(kept) = stream.try_clone() else { return };
        seen.connections.push(kept);
        drop(seen);
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(stream, &shared));
    }
}

/// Serves one connection until either side is done with it.
fn serve(mut stream: TcpStream, shared: &Shared) {
    let Ok(input) = stream.try_clone() else {
        return;
    };
    let mut input = BufReader::new(input);
    while let Some(request) = read_request(&mut input) {
        let reply = shared.reply_to(request);
        if !give(reply, &mut stream, &|| shared.wait_for_release()) {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}
