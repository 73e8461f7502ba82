//! TLS on loopback: an authority of the test's own, made with the `openssl` command, and a front that speaks TLS
//! with a certificate of it and hands each request to a plain server.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::sandbox::{Sandbox, arguments};
use super::wire::{Request, read_request};

/// A certificate authority whose files lie in the sandbox.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub fn new(sandbox: &Sandbox, name: &str) -> Self {
        let folder = sandbox.path(name);
        fs::create_dir(&folder).expect("a folder");
        let authority = Self { folder };
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=authority \
             -days 2 -keyout ca.key -out ca.pem",
        );
        authority
    }

    /// What `SSL_CERT_FILE` names for whoever trusts this authority.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A TLS front before this server, with a certificate for these names that ends in so many days.
    pub fn front(&self, server: SocketAddr, names: &str, days: i32) -> SocketAddr {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName={names} \
             -keyout server.key -out server.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -copy_extensions copy -days {days} -out server.pem"
        ));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let address = listener.local_addr().expect("the port's address");
        let config = Arc::new(self.config());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                thread::spawn(move || pass(stream, config, server));
            }
        });
        address
    }

    fn config(&self) -> ServerConfig {
        let certificate = CertificateDer::from_pem_file(self.folder.join("server.pem"));
        let key = PrivateKeyDer::from_pem_file(self.folder.join("server.key"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.expect("a certificate")],
                key.expect("a key"),
            )
            .expect("a certificate with its key")
    }

    fn openssl(&self, line: &str) {
        let ran = Command::new("openssl")
            .args(arguments(line))
            .current_dir(&self.folder)
            .output()
            .expect("the openssl command");
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}

/// Serves one TLS connection until the client ends it; a failed handshake is the client's to tell.
fn pass(stream: TcpStream, config: Arc<ServerConfig>, server: SocketAddr) -> Option<()> {
    let connection = ServerConnection::new(config).ok()?;
    let mut tls = BufReader::new(StreamOwned::new(connection, stream));
    loop {
        let request = read_request(&mut tls)?;
        let answer = ask(server, &request)?;
        tls.get_mut().write_all(&answer).ok()?;
    }
}

/// The plain server's whole answer.
fn ask(server: SocketAddr, request: &Request) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(server).ok()?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes()).ok()?;
    stream.write_all(&request.body).ok()?;
    // It answers what it has read and, with nothing more to come, closes.
    stream.shutdown(Shutdown::Write).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}
