//! Section 6 of the contract: the `anthropic` API.

use serde_json::json;

use crate::support::{
    DIAGNOSIS, ENGINE_TOKEN, Reply, Request, World, message, wake, without_prompt,
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
fn a_token_that_is_put_together_from_two_blocks_is_masked() {
    let world = world();
    let (begin, end) = ENGINE_TOKEN.split_at(ENGINE_TOKEN.len() / 2);
    let blocks = [begin, end].map(|text| json!({"type": "text", "text": text}));
    let message = json!({"type": "message", "stop_reason": "end_turn", "content": blocks});
    assert_eq!(world.diagnosis(Reply::json(200, &message)), "[masked]");
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
