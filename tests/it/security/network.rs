//! Which way requests go, and where none may go.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::tls::Authority;
use crate::support::{ENGINE_TOKEN, Reply, Server, World, mounting, plain, wake};

const HOST: &str = "engine.kora.invalid";

/// A proxy that answers every request so.
fn proxy(status: u16) -> Server {
    Server::start("the proxy", move |_, _| Reply::text(status, "").closing())
}

fn through(proxy: &Server) -> World {
    let world = World::stamped();
    world.engine.never();
    world.set("KORA_PROBE_ENGINE_URL", format!("https://{HOST}/v1/reason"));
    world.set("HTTPS_PROXY", format!("http://{}", proxy.address()));
    world
}

#[track_caller]
fn reason(world: &World) -> String {
    world.append([wake("fly")]);
    let reason = world.report(0)["wakes"][0]["error"].take();
    assert_eq!(world.slack.texts().len(), 1);
    reason.as_str().expect("a reason").to_owned()
}

#[test]
fn a_proxy_gets_the_name_and_no_token() {
    let proxy = proxy(403);
    assert_eq!(reason(&through(&proxy)), "engine_exception:ConnectionError");
    let request = proxy.requests().remove(0);
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("CONNECT", &*format!("{HOST}:443"))
    );
    assert_eq!(request.header("authorization"), None);
    assert!(
        request
            .headers
            .iter()
            .all(|(_, value)| !value.contains(ENGINE_TOKEN))
    );
}

#[test]
fn without_a_url_the_apis_own_servers_are_asked() {
    for (api, host) in [
        ("openai", "api.openai.com"),
        ("anthropic", "api.anthropic.com"),
    ] {
        let proxy = proxy(403);
        let world = through(&proxy).speaking(api);
        world.unset("KORA_PROBE_ENGINE_URL");
        assert_eq!(reason(&world), "engine_exception:ConnectionError");
        assert_eq!(proxy.requests()[0].path, format!("{host}:443"));
    }
}

#[test]
fn slack_goes_through_the_proxy_and_its_refusal_leaves_the_message_unsent() {
    let proxy = proxy(502);
    let world = World::stamped();
    world.slack.never();
    world.unset("KORA_SLACK_API_URL");
    world.set("HTTPS_PROXY", format!("http://{}", proxy.address()));
    world.raise([wake("fly")]).exits(3).warns("stays queued");
    let asked: Vec<_> = proxy
        .requests()
        .iter()
        .map(|one| one.path.clone())
        .collect();
    assert_eq!(asked, ["slack.com:443", "slack.com:443"]);
    assert_eq!(world.outbox()[0]["fixed"], Value::Null);
}

/// 0.0.0.0 does not read as loopback, but nothing that is sent there leaves the machine.
#[test]
fn a_host_in_no_proxy_is_reached_directly() {
    for list in ["*", "0.0.0.0", "10.0.0.0/8, 0.0.0.0/8"] {
        let proxy = proxy(403);
        proxy.never();
        let world = through(&proxy);
        world.set("KORA_PROBE_ENGINE_URL", "https://0.0.0.0:1/");
        world.set("NO_PROXY", list);
        assert_eq!(reason(&world), "engine_exception:ConnectionError");
    }
}

#[test]
fn a_host_that_is_not_in_no_proxy_is_reached_through_the_proxy() {
    for list in ["", "xkora.invalid", "10.0.0.0/8"] {
        let proxy = proxy(403);
        let world = through(&proxy);
        world.set("NO_PROXY", list);
        assert_eq!(reason(&world), "engine_exception:ConnectionError");
        assert_eq!(proxy.requests().len(), 1, "{list}");
    }
}

#[test]
fn loopback_is_reached_directly_also_with_tls() {
    needs!("openssl");
    let proxy = proxy(403);
    proxy.never();
    let world = World::stamped();
    let authority = Authority::new(&world, "authority");
    let front = authority.front(&world.engine, "DNS:localhost", 2);
    world.set("SSL_CERT_FILE", authority.file());
    world.set(
        "KORA_PROBE_ENGINE_URL",
        format!("https://localhost:{}/", front.port()),
    );
    world.set_proxies(&format!("http://{}", proxy.address()));
    world.raise([wake("fly")]).exits(0).silent();
    assert_eq!(world.slack.texts(), [plain("fly")]);
}

#[test]
fn a_proxy_that_hangs_ends_in_time() {
    let proxy = Server::start("the proxy", |_, _| Reply::Hang);
    let world = through(&proxy);
    world.set("KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "1");
    assert_eq!(reason(&world), "engine_exception:Timeout");
}

/// The system's resolver asks a name server for 10 s before it gives up.
#[test]
fn a_name_server_that_does_not_answer_is_a_timeout() {
    const NAME_SERVER: &str = "127.7.7.7";
    let Ok(_silent) = std::net::UdpSocket::bind((NAME_SERVER, 53)) else {
        return;
    };
    let world = World::stamped();
    let config = world.give("given/resolv.conf", &format!("nameserver {NAME_SERVER}\n"));
    let hosts = world.give("given/nsswitch.conf", "hosts: files dns\n");
    let mounts = format!(
        "mount --bind {} \"$(readlink -f /etc/resolv.conf)\"; mount --bind {} /etc/nsswitch.conf",
        config.display(),
        hosts.display()
    );
    let Some(wrapper) = mounting(&mounts) else {
        return;
    };
    world.engine.never();
    world.set("KORA_PROBE_ENGINE_URL", "https://engine.kora.invalid/");
    world.set("KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "1");
    world.append([wake("fly")]);
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let begun = Instant::now();
    world
        .through(&wrapper, "run")
        .exits(0)
        .warns("engine_exception:Timeout");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_proxys_password_goes_to_the_proxy_only() {
    let proxy = proxy(407);
    let world = through(&proxy);
    world.set(
        "HTTPS_PROXY",
        format!("http://joshua:hunter2@{}", proxy.address()),
    );
    world.append([wake("fly")]);
    world
        .command("run -vv")
        .exits(0)
        .hides("hunter2")
        .hides("am9zaHVhOmh1bnRlcjI=");
    assert_eq!(
        proxy.requests()[0].header("proxy-authorization"),
        Some("Basic am9zaHVhOmh1bnRlcjI=")
    );
    assert!(!world.state_file("outcomes.jsonl").contains("hunter2"));
}

#[test]
#[ignore = "some dozen runs"]
fn no_redirect_is_followed() {
    let elsewhere = Server::start("elsewhere", |_, _| Reply::text(200, "{}"));
    elsewhere.never();
    let to = format!("http://{}/", elsewhere.address());
    for status in [301, 302, 303, 307, 308] {
        let world = World::stamped();
        world
            .engine
            .script([Reply::text(status, "").with("Location", &to)]);
        assert_eq!(reason(&world), format!("engine_exception:HTTP{status}"));
        let world = World::stamped();
        let redirect = to.clone();
        world
            .slack
            .usually(move |_, _| Reply::text(status, "").with("Location", &redirect));
        world.raise([wake("fly")]).exits(3).warns("stays queued");
    }
}
