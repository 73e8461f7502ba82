//! TLS on loopback: a certificate authority of the test's own, made with the `openssl` command.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::sandbox::Sandbox;
use super::server::Server;

/// A certificate authority with its files in the sandbox.
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

    /// Returns the file for `SSL_CERT_FILE`.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Opens a TLS port of this server, with a certificate for these names that expires in this many days.
    pub fn front(&self, server: &Server, names: &str, days: i32) -> SocketAddr {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName={names} \
             -keyout server.key -out server.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -copy_extensions copy -days {days} -out server.pem"
        ));
        server.behind_tls(self.config())
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
            .args(line.split_whitespace())
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
