//! What the engine is asked, and the reason for each way in which it can fail.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use serde_json::json;

use crate::support::{ENGINE_TOKEN, Engine, Reply, World, wake};

/// The reason of one wake in a world prepared so, in the message and in the report alike.
#[track_caller]
fn reason_in(world: &World) -> String {
    let row = wake("fly");
    world.append([row.clone()]);
    let report = world.report(0);
    let wake = &report["wakes"][0];
    assert_eq!(wake["reasoning_invoked"], false);
    assert_eq!(wake["dm_sent"], true);
    let reason = wake["error"].as_str().expect("a reason").to_owned();
    assert_eq!(world.slack.texts(), [row.fallback(&reason)]);
    reason
}

/// The reason where the engine gives this reply; it is asked exactly once.
#[track_caller]
fn reason_for(reply: Reply) -> String {
    let world = World::stamped();
    world.engine.script([reply]);
    let reason = reason_in(&world);
    assert_eq!(world.engine.requests().len(), 1);
    reason
}

#[test]
fn the_request_of_the_kora_api_has_all_its_fields() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    let request = world.engine.requests().remove(0);
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/investigate?via=probe")
    );
    assert_eq!(
        request.header("authorization"),
        Some(format!("Bearer {ENGINE_TOKEN}").as_str())
    );
    let mut body = request.json();
    let received_at = body["message"]["received_at"].take();
    let received_at = received_at.as_str().unwrap();
    assert!(
        received_at.parse::<jiff::Timestamp>().is_ok(),
        "{received_at}"
    );
    assert_eq!(
        received_at.len(),
        "2026-05-24T14:32:00.123456Z".len(),
        "{received_at}"
    );
    assert!(body["message"]["text"].take().is_string());
    let expected = json!({
        "message": {"text": null, "source": "probe_investigation", "received_at": null, "metadata": {
            "probe_name": "fly", "issue_category": "service_unhealthy", "severity": "critical",
            "envelope_enabled": false, "envelope_fix_name": "restart_unhealthy_machine"}},
        "context": {"recent_messages": [], "current_operational_state": "unknown", "current_cost_ladder_rung": "unknown"},
        "caller_session_id": "probe:fly:service_unhealthy", "route": "probe_investigation",
    });
    assert_eq!(body, expected);
}

#[test]
fn no_engine_is_engine_unavailable() {
    assert_eq!(
        reason_in(&World::stamped().without_engine()),
        "engine_unavailable"
    );
}

#[test]
fn a_server_without_tls_is_a_connection_error() {
    let world = World::stamped().without_engine();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let plain = thread::spawn(move || {
        listener
            .accept()
            .unwrap()
            .0
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    });
    world.set("KORA_PROBE_ENGINE_URL", url);
    assert_eq!(reason_in(&world), "engine_exception:ConnectionError");
    plain.join().unwrap().unwrap();
}

/// The tables of all answers are beside the code, in `src/engine`.
#[test]
fn what_an_answer_says_reaches_the_operator_as_the_reason() {
    for (reply, reason) in [
        (Reply::text(503, ""), "engine_exception:HTTP503"),
        (
            Reply::json(401, &json!({"error": {"code": "401", "type": "bad_key"}})),
            "bad_key",
        ),
        (Engine::error("cost_ladder_halted"), "cost_ladder_halted"),
        (
            Reply::text(200, "Well."),
            "engine_exception:InvalidResponse",
        ),
        (Engine::answer("<think>Hm. Down."), "empty_response_text"),
    ] {
        assert_eq!(reason_for(reply), reason);
    }
}
