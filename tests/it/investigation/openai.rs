//! Section 6 of the contract: the `openai` API, as those who speak it do.

use serde_json::{Value, json};

use crate::support::{
    DIAGNOSIS, ENGINE_TOKEN, Reply, World, completion, key, wake, without_prompt,
};

fn world() -> World {
    World::stamped().without_debounce().speaking("openai")
}

fn said(text: &str) -> Reply {
    completion("stop", json!({"role": "assistant", "content": text}))
}

/// The one request of a run with one wake.
#[track_caller]
fn request(world: &World) -> crate::support::Request {
    let before = world.engine.requests().len();
    assert_eq!(world.diagnosis(said(DIAGNOSIS)), DIAGNOSIS);
    world.engine.requests().remove(before)
}

#[test]
fn the_request_is_a_chat_completion() {
    let request = request(&world());
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/v1/chat/completions")
    );
    let bearer = format!("Bearer {ENGINE_TOKEN}");
    for (name, value) in [
        ("authorization", Some(bearer.as_str())),
        ("content-type", Some("application/json")),
        ("x-api-key", None),
        ("x-hermes-session-id", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    let body = without_prompt(&request);
    let messages = json!([{"role": "user", "content": null}]);
    assert_eq!(
        body,
        json!({"model": "m1", "messages": messages, "stream": false})
    );
}

#[test]
fn a_limit_is_sent_only_where_one_is_set() {
    let world = world();
    world.set("KORA_PROBE_ENGINE_MAX_TOKENS", "300");
    let body = request(&world).json();
    assert_eq!(
        (&body["max_tokens"], &body["max_completion_tokens"]),
        (&json!(300), &Value::Null)
    );
}

#[test]
fn the_token_has_its_usual_name_and_its_own_name_wins() {
    let world = world();
    let bearer = |world: &World| request(world).header("authorization").map(str::to_owned);
    let expected = |token: &str| Some(format!("Bearer {token}"));
    world.set("OPENAI_API_KEY", "the-usual-token");
    world.set("ANTHROPIC_API_KEY", "the-other-apis-token");
    assert_eq!(bearer(&world), expected(ENGINE_TOKEN));
    world.unset("KORA_PROBE_ENGINE_TOKEN");
    assert_eq!(bearer(&world), expected("the-usual-token"));
    world.set(
        "OPENAI_API_KEY_FILE",
        world.give("given/key", "from-a-file\n"),
    );
    assert_eq!(bearer(&world), expected("the-usual-token"));
    world.unset("OPENAI_API_KEY");
    assert_eq!(bearer(&world), expected("from-a-file"));
    world.set(
        "KORA_PROBE_ENGINE_TOKEN_FILE",
        world.give("given/own", "\tits-own-file \n"),
    );
    assert_eq!(bearer(&world), expected("its-own-file"));
    for variable in ["KORA_PROBE_ENGINE_TOKEN_FILE", "OPENAI_API_KEY_FILE"] {
        world.unset(variable);
    }
    assert_eq!(bearer(&world), None);
}

#[test]
fn without_a_model_there_is_no_engine() {
    let world = world();
    world.engine.never();
    for model in ["", " "] {
        world.set("KORA_PROBE_ENGINE_MODEL", model);
        world.append([wake("fly")]);
        assert_eq!(world.report(0)["wakes"][0]["error"], "engine_unavailable");
    }
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
fn an_api_of_another_name_is_refused() {
    let world = World::stamped().quiet();
    world.set("KORA_PROBE_ENGINE_API", "gemini");
    world
        .run()
        .exits(2)
        .warns("KORA_PROBE_ENGINE_API")
        .warns("gemini");
}

#[test]
fn the_outcome_row_has_the_usage() {
    let world = world();
    world.diagnosis(said("Down."));
    let details = &world.state_rows("outcomes.jsonl")[0]["details"];
    for (name, value) in [
        ("model_used", json!("m1-2026")),
        ("input_tokens", json!(812)),
        ("output_tokens", json!(96)),
        ("cache_read_input_tokens", Value::Null),
    ] {
        assert_eq!(details[name], value, "{name}");
    }
}

#[test]
fn a_key_names_the_wake_also_in_the_next_attempt() {
    let world = world();
    world.append([wake("fly")]);
    world.kill_while_asking();
    world.raise([wake("fly"), wake("fly")]).exits(0).silent();
    let questions = world.engine.questions();
    let keys: Vec<_> = questions.iter().map(key).collect();
    assert_eq!(keys.len(), 4);
    assert_eq!(keys[0], keys[1]);
    assert!(
        keys[1] != keys[2] && keys[2] != keys[3] && keys[1] != keys[3],
        "{keys:?}"
    );
}
