//! What `check` says about the engine.

use serde_json::{Value, json};

use crate::support::{DIAGNOSIS, Engine, Reply, Slack, World};

fn world() -> World {
    let identity = json!({"ok": true, "team": "Kora", "user": "probe"});
    let slack = Slack::always(move || Reply::json(200, &identity));
    let world = World::stamped_with(slack);
    world.slack.maybe();
    world
}

fn models(names: &[&str]) -> Reply {
    let data: Vec<_> = names.iter().map(|name| json!({"id": name})).collect();
    Reply::json(200, &json!({"object": "list", "data": data}))
}

/// Returns the finding about `subject`. The check must exit with `code`.
#[track_caller]
fn finding(world: &World, line: &str, code: i32, subject: &str) -> Value {
    let checked = world.command(line).exits(code).json();
    let findings = checked["findings"].as_array().unwrap().iter();
    let mut found = findings.filter(|one| one["subject"] == subject);
    found
        .next()
        .unwrap_or_else(|| panic!("{checked:#}"))
        .clone()
}

#[test]
fn an_engine_without_a_token_is_not_taken_for_none() {
    let world = world();
    world.set("KORA_PROBE_ENGINE_URL", "");
    world.set("KORA_PROBE_ENGINE_TOKEN", "");
    world.set("KORA_PROBE_ENGINE_API", "anthropic");
    world.engine.maybe();
    let found = finding(&world, "check --format json", 0, "engine");
    let message = found["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "KORA_PROBE_ENGINE_API is anthropic, but its token, URL or model is missing"
        ),
        "{message}"
    );
}

/// Returns level and message of the finding about an engine of this API that answers a look-up with these
/// replies.
#[track_caller]
fn looked_up(api: &str, code: i32, replies: impl IntoIterator<Item = Reply>) -> (String, String) {
    let world = world().speaking(api);
    world.engine.script(replies);
    let found = finding(&world, "check --format json", code, "engine");
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    (text("level"), text("message"))
}

#[test]
fn a_wrong_token_or_an_unknown_model_fails() {
    let refusal =
        json!({"error": {"code": "invalid_api_key", "message": "Incorrect API key provided"}});
    let missing = || Reply::json(404, &json!({"error": {"message": "No such model."}}));
    for api in ["openai", "anthropic"] {
        let (level, message) = looked_up(api, 1, [Reply::json(401, &refusal)]);
        assert_eq!(level, "failed");
        assert!(
            message.ends_with("401 invalid_api_key: Incorrect API key provided"),
            "{message}"
        );
        let (level, message) = looked_up(api, 1, [models(&["m0", "m2"]), missing()]);
        assert_eq!(level, "failed");
        assert!(
            message.contains("no model m1") && message.contains("m0, m2"),
            "{message}"
        );
    }
}

#[test]
fn a_listed_model_is_ok_and_a_server_without_a_list_does_not_fail() {
    for status in [404, 405, 501] {
        let (level, message) = looked_up("openai", 0, [Reply::text(status, "")]);
        assert_eq!(level, "warning");
        assert!(message.contains("lists no models"), "{message}");
    }
    let listed = models(&["m0", "m1"]);
    assert_eq!(looked_up("openai", 0, [listed]).0, "ok");
    for reply in [Reply::text(503, ""), Reply::text(429, ""), Reply::Cut] {
        assert_eq!(looked_up("openai", 0, [reply]).0, "warning");
    }
}

#[test]
fn the_url_is_shown_as_written_but_without_its_query() {
    let world = world();
    let url = format!("http://{}/Investigate?key=s3cret", world.engine.address());
    world.set("KORA_PROBE_ENGINE_URL", &url);
    let shown = url.split('?').next().unwrap();
    world
        .command("check")
        .exits(0)
        .prints(shown)
        .hides("s3cret");
}

#[test]
fn a_real_question_shows_model_time_and_answer() {
    let world = world().speaking("openai");
    let message = json!({"message": {"content": DIAGNOSIS}, "finish_reason": "stop"});
    let answer = json!({"model": "m1-2026", "choices": [message]});
    world
        .engine
        .script([models(&["m1"]), Reply::json(200, &answer)]);
    let found = finding(&world, "check --ask-engine --format json", 0, "question");
    let message = found["message"].as_str().unwrap();
    assert!(message.starts_with("m1-2026 answered in 0."), "{message}");
    assert!(message.ends_with(&format!(" s: {DIAGNOSIS}")), "{message}");
    let question = &world.engine.requests()[1];
    assert_eq!(
        (&*question.method, &*question.path),
        ("POST", "/v1/chat/completions")
    );
    let prompt = question.json()["messages"][0]["content"].to_string();
    for said in ["Made-up alert", "There is no such service"] {
        assert!(prompt.contains(said), "{said}: {prompt}");
    }
    assert_eq!(world.slack.requests().len(), 1);
}

#[test]
fn a_question_without_an_answer_fails_with_the_engines_message() {
    let world = world();
    let refusal = json!({"error": "cost_ladder_halted", "message": "The budget is spent."});
    world
        .engine
        .script([Reply::text(405, ""), Reply::json(402, &refusal)]);
    let found = finding(&world, "check --ask-engine --format json", 1, "question");
    let message = found["message"].as_str().unwrap();
    assert!(
        message.ends_with("402 cost_ladder_halted: The budget is spent."),
        "{message}"
    );
    let none = self::world().without_engine();
    none.command("check --ask-engine")
        .exits(1)
        .prints("no engine is configured");
}

#[test]
fn without_the_flag_no_question_is_asked() {
    let world = world();
    world.engine.script([Engine::answer("x")]);
    world
        .command("check")
        .exits(0)
        .prints("no question was asked");
    let requests = world.engine.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((&*requests[0].method, requests[0].body.len()), ("GET", 0));
}
