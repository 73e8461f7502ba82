//! The fake server of all tests: HTTP on loopback, plain or with TLS. It answers, hangs, cuts, drips and lies
//! as scripted, keeps every request with its time and its answer, and can be dead for a while. When dropped, it
//! fails the test if it got a request against `never`, if it got none at all, or if scripted replies are left.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::wire::{Reply, Request, give, read_request};

/// How long a test waits for a request.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Asked,
    Never,
    Either,
}

/// The reply if none is scripted, by the request and the number of requests before it.
type Usual = Arc<dyn Fn(&Request, usize) -> Reply + Send + Sync>;

struct Seen {
    requests: Vec<Request>,
    /// The replies to the requests of these numbers, counted from 0.
    plan: BTreeMap<usize, Reply>,
    usual: Usual,
    connections: Vec<TcpStream>,
    expect: Expect,
    released: bool,
    dead: bool,
}

struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// A port on loopback that stays ours while nothing listens on it.
struct Port {
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    _reserved: OwnedFd,
    accepting: Option<JoinHandle<()>>,
}

pub struct Server {
    name: &'static str,
    address: SocketAddr,
    ports: Mutex<Vec<Port>>,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start(
        name: &'static str,
        usual: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let seen = Seen {
            requests: Vec::new(),
            plan: BTreeMap::new(),
            usual: Arc::new(usual),
            connections: Vec::new(),
            expect: Expect::Asked,
            released: false,
            dead: false,
        };
        let shared = Arc::new(Shared {
            seen: Mutex::new(seen),
            changed: Condvar::new(),
        });
        let mut plain = Port::reserve(None);
        plain.listen(&shared);
        Self {
            name,
            address: plain.address,
            ports: Mutex::new(vec![plain]),
            shared,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens another port of the same server, with TLS.
    pub fn behind_tls(&self, config: ServerConfig) -> SocketAddr {
        let mut port = Port::reserve(Some(Arc::new(config)));
        port.listen(&self.shared);
        let address = port.address;
        self.ports().push(port);
        address
    }

    /// Scripts the replies to the next requests without one, in this order.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        let mut seen = self.shared.lock();
        let mut number = seen.requests.len();
        for reply in replies {
            while seen.plan.contains_key(&number) {
                number += 1;
            }
            seen.plan.insert(number, reply);
        }
    }

    /// Scripts the reply to the n-th request, counted from 1.
    pub fn nth(&self, n: usize, reply: Reply) {
        self.shared.lock().plan.insert(n - 1, reply);
    }

    /// Sets the reply to every request without a scripted one.
    pub fn usually(&self, usual: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) {
        self.shared.lock().usual = Arc::new(usual);
    }

    /// Makes any request to this server fail the test.
    pub fn never(&self) {
        self.shared.lock().expect = Expect::Never;
    }

    /// Allows this server to get no request at all.
    pub fn maybe(&self) {
        self.shared.lock().expect = Expect::Either;
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }

    /// Waits until `count` requests have been received.
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

    /// Releases the replies that are `Held`.
    pub fn release(&self) {
        self.shared.lock().released = true;
        self.shared.changed.notify_all();
    }

    /// Refuses new connections and cuts open ones.
    pub fn die(&self) {
        let mut seen = self.shared.lock();
        seen.dead = true;
        for connection in &seen.connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(seen);
        self.shared.changed.notify_all();
        self.ports().iter_mut().for_each(Port::close);
    }

    /// Listens again on the same address.
    pub fn revive(&self) {
        self.shared.lock().dead = false;
        for port in &mut *self.ports() {
            port.listen(&self.shared);
        }
    }

    fn ports(&self) -> MutexGuard<'_, Vec<Port>> {
        self.ports.lock().expect("the ports' lock")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.die();
        if thread::panicking() {
            return;
        }
        let seen = self.shared.lock();
        let (expect, asked, left) = (seen.expect, seen.requests.len(), seen.plan.len());
        drop(seen);
        let name = self.name;
        match expect {
            Expect::Asked => assert!(asked > 0, "{name} was never asked"),
            Expect::Never => assert!(asked == 0, "{name} was asked {asked} times"),
            Expect::Either => {}
        }
        assert!(left == 0, "{name}: {left} planned replies are left");
    }
}

impl Port {
    fn reserve(tls: Option<Arc<ServerConfig>>) -> Self {
        let reserved = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        sockopt::set_socket_reuseaddr(&reserved, true).expect("a socket option");
        bind(&reserved, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a loopback port");
        let address = getsockname(&reserved).expect("the port's address");
        Self {
            address: address.try_into().expect("an internet address"),
            tls,
            _reserved: reserved,
            accepting: None,
        }
    }

    fn listen(&mut self, shared: &Arc<Shared>) {
        let listener = TcpListener::bind(self.address).expect("the reserved port");
        let (tls, shared) = (self.tls.clone(), Arc::clone(shared));
        self.accepting = Some(thread::spawn(move || {
            accept(&listener, tls.as_ref(), &shared)
        }));
    }

    /// Returns once nothing listens any more.
    fn close(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            let _ = TcpStream::connect(self.address);
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("the server's lock")
    }

    /// Returns false if the server is dead by now.
    fn admits(&self, stream: &TcpStream) -> bool {
        let mut seen = self.lock();
        if let (false, Ok(kept)) = (seen.dead, stream.try_clone()) {
            seen.connections.push(kept);
            return true;
        }
        false
    }

    fn reply_to(&self, mut request: Request) -> Reply {
        let mut seen = self.lock();
        let number = seen.requests.len();
        let reply = seen
            .plan
            .remove(&number)
            .unwrap_or_else(|| (seen.usual)(&request, number));
        request.answered = reply.body().to_vec();
        seen.requests.push(request);
        drop(seen);
        self.changed.notify_all();
        reply
    }

    fn wait_for_release(&self) {
        let seen = self.lock();
        let is_held = |seen: &mut Seen| !seen.released && !seen.dead;
        drop(self.changed.wait_while(seen, is_held));
    }
}

fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        if !shared.admits(&stream) {
            return;
        }
        let (tls, shared) = (tls.cloned(), Arc::clone(shared));
        thread::spawn(move || {
            match tls.map(ServerConnection::new) {
                // A failed handshake is the client's to tell.
                Some(connection) => {
                    let connection = connection.expect("a TLS connection");
                    serve(StreamOwned::new(connection, &stream), &shared);
                }
                None => serve(&stream, &shared),
            }
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

/// Serves one connection until one side closes it.
fn serve(stream: impl Read + Write, shared: &Shared) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream) {
        let reply = shared.reply_to(request);
        if !give(reply, stream.get_mut(), &|| shared.wait_for_release()) {
            break;
        }
    }
}
