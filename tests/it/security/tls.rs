//! TLS on loopback, with a certificate authority of the test's own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::tls::Authority;
use crate::support::{World, plain, wake};

const NAMES: &str = "DNS:localhost,IP:127.0.0.1,IP:::1";
const UNREACHED: &str = "engine_exception:ConnectionError";

struct Secure {
    world: World,
    authority: Authority,
}

impl Secure {
    /// A world that trusts its authority; neither peer has TLS yet.
    fn new() -> Self {
        let world = World::stamped();
        let authority = Authority::new(&world, "authority");
        world.set("SSL_CERT_FILE", authority.file());
        Self { world, authority }
    }

    fn engine_with_tls(&self, names: &str, days: i32) -> SocketAddr {
        let front = self.authority.front(&self.world.engine, names, days);
        self.reach_engine_at(&format!("https://localhost:{}", front.port()));
        front
    }

    fn slack_with_tls(&self, names: &str, days: i32) {
        let front = self.authority.front(&self.world.slack, names, days);
        self.world
            .reach_slack_at(format!("https://localhost:{}/api", front.port()));
    }

    fn reach_engine_at(&self, base: &str) {
        self.world
            .set("KORA_PROBE_ENGINE_URL", format!("{base}/investigate"));
    }

    /// Returns the reason why there is no diagnosis. The engine never sees the request.
    #[track_caller]
    fn reason(&self) -> String {
        self.world.engine.never();
        self.world.append([wake("fly")]);
        let reason = self.world.report(0)["wakes"][0]["error"].take();
        assert_eq!(
            self.world.slack.texts(),
            [wake("fly").fallback(reason.as_str().unwrap())]
        );
        reason.as_str().unwrap().to_owned()
    }

    /// The message stays queued, surely unsent: Slack never sees it.
    #[track_caller]
    fn slack_is_not_reached(&self) {
        self.world.slack.never();
        self.world.append([wake("fly")]);
        self.world.run().exits(3).warns("stays queued");
        assert_eq!(self.world.outbox()[0]["fixed"], Value::Null);
    }

    #[track_caller]
    fn is_delivered(&self) {
        self.world.raise([wake("fly")]).exits(0).silent();
        assert_eq!(self.world.slack.texts(), [plain("fly")]);
    }
}

#[test]
fn a_certificate_of_a_trusted_authority_is_accepted_for_a_name_and_an_address() {
    needs!("openssl");
    for host in ["localhost", "127.0.0.1"] {
        let secure = Secure::new();
        let front = secure.engine_with_tls(NAMES, 2);
        secure.slack_with_tls(NAMES, 2);
        secure.reach_engine_at(&format!("https://{host}:{}", front.port()));
        secure.is_delivered();
    }
}

#[test]
fn the_env_file_may_name_the_authority() {
    needs!("openssl");
    let secure = Secure::new();
    secure.engine_with_tls(NAMES, 2);
    secure.slack_with_tls(NAMES, 2);
    let line = format!("SSL_CERT_FILE={}\n", secure.authority.file().display());
    secure.world.unset("SSL_CERT_FILE");
    secure.world.give("home/.config/probe-wake/env", &line);
    secure.is_delivered();
}

#[test]
fn a_certificate_of_an_untrusted_authority_is_a_failed_connection() {
    needs!("openssl");
    for slack_too in [false, true] {
        let secure = Secure::new();
        let other = Authority::new(&secure.world, "other");
        secure.world.set("SSL_CERT_FILE", other.file());
        if slack_too {
            secure.slack_with_tls(NAMES, 2);
            secure.slack_is_not_reached();
        } else {
            secure.engine_with_tls(NAMES, 2);
            assert_eq!(secure.reason(), UNREACHED);
        }
    }
}

#[test]
fn the_systems_roots_do_not_trust_the_tests_authority() {
    needs!("openssl");
    let secure = Secure::new();
    secure.world.unset("SSL_CERT_FILE");
    secure.engine_with_tls(NAMES, 2);
    assert_eq!(secure.reason(), UNREACHED);
}

#[test]
fn an_expired_certificate_is_a_failed_connection() {
    needs!("openssl");
    let secure = Secure::new();
    secure.engine_with_tls(NAMES, -1);
    assert_eq!(secure.reason(), UNREACHED);
    let secure = Secure::new();
    secure.slack_with_tls(NAMES, -1);
    secure.slack_is_not_reached();
}

#[test]
fn a_certificate_for_another_name_is_a_failed_connection() {
    needs!("openssl");
    let secure = Secure::new();
    secure.engine_with_tls("DNS:other.example,IP:127.0.0.1", 2);
    assert_eq!(secure.reason(), UNREACHED);
    let secure = Secure::new();
    secure.slack_with_tls("DNS:other.example,IP:127.0.0.1", 2);
    secure.slack_is_not_reached();
}

#[test]
fn an_unusable_certificate_file_is_named_and_fails_https_only() {
    needs!("openssl");
    for (file, cause) in [
        ("nowhere.pem", "No such file"),
        ("empty.pem", "no certificate in"),
    ] {
        let secure = Secure::new();
        secure.world.give("empty.pem", "# nothing\n");
        secure.world.set("SSL_CERT_FILE", secure.world.path(file));
        secure.slack_with_tls(NAMES, 2);
        secure.world.slack.never();
        secure.world.append([wake("fly")]);
        let outcome = secure
            .world
            .run()
            .exits(3)
            .warns("SSL_CERT_FILE")
            .warns(file)
            .warns(cause);
        assert!(
            outcome.stderr.contains("stays queued"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn a_handshake_that_hangs_ends_in_time() {
    needs!("openssl");
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let secure = Secure::new();
    secure.world.set("KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "1");
    secure.reach_engine_at(&format!("https://{}", silent.local_addr().unwrap()));
    let start = Instant::now();
    assert_eq!(secure.reason(), "engine_exception:Timeout");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}
