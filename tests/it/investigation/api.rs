//! Which API is asked, with which token, and the key that names a wake.

use serde_json::json;

use crate::support::{DIAGNOSIS, ENGINE_TOKEN, Reply, World, completion, key, wake};

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
