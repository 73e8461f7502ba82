//! Section 6 of the contract: the `anthropic` API.

use serde_json::{Value, json};

use crate::support::{
    DIAGNOSIS, ENGINE_TOKEN, Reply, Request, World, anthropic_error, message, wake, without_prompt,
};

fn world() -> World {
    World::stamped().without_debounce().speaking("anthropic")
}

fn said(text: &str) -> Reply {
    message("end_turn", json!([{"type": "text", "text": text}]))
}

#[track_caller]
fn request(world: &World) -> Request {
    let before = world.engine.requests().len();
    assert_eq!(world.diagnosis(said(DIAGNOSIS)), DIAGNOSIS);
    world.engine.requests().remove(before)
}

#[test]
fn the_request_is_a_message() {
    let request = request(&world());
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/v1/messages")
    );
    for (name, value) in [
        ("x-api-key", Some(ENGINE_TOKEN)),
        ("anthropic-version", Some("2023-06-01")),
        ("content-type", Some("application/json")),
        ("authorization", None),
        ("x-hermes-session-id", None),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    let body = without_prompt(&request);
    let messages = json!([{"role": "user", "content": null}]);
    assert_eq!(
        body,
        json!({"model": "m1", "max_tokens": 1024, "messages": messages})
    );
}

#[test]
fn model_and_limit_have_defaults() {
    let world = world();
    world.unset("KORA_PROBE_ENGINE_MODEL");
    assert_eq!(request(&world).json()["model"], "claude-haiku-4-5");
    world.set("KORA_PROBE_ENGINE_MAX_TOKENS", "300");
    assert_eq!(request(&world).json()["max_tokens"], 300);
    world.set("KORA_PROBE_ENGINE_MAX_TOKENS", "many");
    world.engine.script([said(DIAGNOSIS)]);
    world.append([wake("fly")]);
    world.run().exits(0).warns("KORA_PROBE_ENGINE_MAX_TOKENS");
    assert_eq!(world.engine.requests()[2].json()["max_tokens"], 1024);
}

#[test]
fn the_token_has_its_usual_name_and_its_own_name_wins() {
    let world = world();
    let key = |world: &World| {
        let request = request(world);
        assert_eq!(request.header("authorization"), None);
        request.header("x-api-key").map(str::to_owned)
    };
    world.set("ANTHROPIC_API_KEY", "the-usual-token");
    world.set("OPENAI_API_KEY", "the-other-apis-token");
    assert_eq!(key(&world).as_deref(), Some(ENGINE_TOKEN));
    world.unset("KORA_PROBE_ENGINE_TOKEN");
    assert_eq!(key(&world).as_deref(), Some("the-usual-token"));
    world.unset("ANTHROPIC_API_KEY");
    world.set(
        "ANTHROPIC_API_KEY_FILE",
        world.give("given/key", "from-a-file\n"),
    );
    assert_eq!(key(&world).as_deref(), Some("from-a-file"));
    world.unset("ANTHROPIC_API_KEY_FILE");
    assert_eq!(key(&world), None);
}

#[test]
fn without_url_and_token_there_is_no_engine() {
    let world = world();
    world.engine.never();
    world.unset("KORA_PROBE_ENGINE_URL");
    world.unset("KORA_PROBE_ENGINE_TOKEN");
    world.append([wake("fly")]);
    assert_eq!(world.report(0)["wakes"][0]["error"], "engine_unavailable");
}

#[test]
fn text_blocks_are_joined_and_others_left_out() {
    let world = world();
    let thinking = json!({"type": "thinking", "thinking": "Hm.", "signature": "x"});
    let redacted = json!({"type": "redacted_thinking", "data": "x"});
    let text = |text: &str| json!({"type": "text", "text": text, "citations": null});
    for (stop, content) in [
        ("end_turn", json!([text("Down.")])),
        (
            "end_turn",
            json!([thinking, text("Do"), redacted, text("wn.\n")]),
        ),
        ("stop_sequence", json!([text("Down.")])),
        (
            "a_reason_of_2027",
            json!([text("Down."), {"type": "a_block_of_2027", "text": "x"}]),
        ),
    ] {
        assert_eq!(world.diagnosis(message(stop, content)), "Down.", "{stop}");
    }
}

#[test]
fn what_is_no_diagnosis_has_its_reason() {
    let world = world();
    let text = json!([{"type": "text", "text": "I can't"}]);
    let thinking = json!([{"type": "thinking", "thinking": "Hm."}]);
    for (reply, reason) in [
        (message("refusal", text), "refusal"),
        (message("refusal", json!([])), "refusal"),
        (
            message("max_tokens", thinking.clone()),
            "empty_response_text",
        ),
        (message("end_turn", thinking), "empty_response_text"),
        (
            message("end_turn", json!([{"type": "text", "text": " \n"}])),
            "empty_response_text",
        ),
        (message("end_turn", json!([])), "empty_response_text"),
        (
            message(
                "tool_use",
                json!([{"type": "tool_use", "name": "x", "input": {}}]),
            ),
            "empty_response_text",
        ),
        (
            message("end_turn", Value::Null),
            "engine_exception:InvalidResponse",
        ),
        (
            Reply::json(200, &json!({"type": "message"})),
            "engine_exception:InvalidResponse",
        ),
    ] {
        assert_eq!(world.reason(reply), reason);
    }
}

#[test]
fn an_error_is_told_by_its_type() {
    let world = world();
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ] {
        assert_eq!(world.reason(anthropic_error(status, kind)), kind);
    }
    assert_eq!(
        world.reason(anthropic_error(200, "overloaded_error")),
        "overloaded_error"
    );
    assert_eq!(
        world.reason(Reply::text(529, "")),
        "engine_exception:HTTP529"
    );
}

#[test]
fn the_outcome_row_has_the_usage() {
    let world = world();
    world.diagnosis(said("Down."));
    let details = &world.state_rows("outcomes.jsonl")[0]["details"];
    let names = [
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
    ];
    assert_eq!(
        names.map(|name| details[name].as_u64()),
        [812, 96, 3, 5].map(Some)
    );
    assert_eq!(details["model_used"], "m1-2026");
}
