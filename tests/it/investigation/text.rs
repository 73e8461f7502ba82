//! What makes an answer fit to be sent, whichever API it came by.

use serde_json::json;

use crate::support::{
    ENGINE_TOKEN, Engine, Reply, SLACK_TOKEN, Slack, World, completion, message, wake,
    without_times,
};

fn world() -> World {
    World::stamped().without_debounce()
}

#[test]
fn a_text_that_was_cut_short_is_sent_with_a_line_that_says_so() {
    let openai = world().speaking("openai");
    let text = openai.diagnosis(completion("length", json!({"content": "The app is"})));
    assert_eq!(text, "The app is\nThe engine cut this text short (length).");
    let anthropic = world().speaking("anthropic");
    let half = json!([{"type": "text", "text": "The app is"}]);
    for stop in ["max_tokens", "model_context_window_exceeded"] {
        let text = anthropic.diagnosis(message(stop, half.clone()));
        assert_eq!(
            text,
            format!("The app is\nThe engine cut this text short ({stop}).")
        );
    }
}

/// Sandboxes search all output and every file for the tokens after each run.
#[test]
fn an_engine_that_repeats_its_token_is_not_repeated() {
    let world = world();
    let text = format!("Your key {ENGINE_TOKEN} was revoked, \"{ENGINE_TOKEN}\".");
    let masked = "Your key [masked] was revoked, \"[masked]\".";
    assert_eq!(world.diagnosis(Engine::answer(&text)), masked);
    assert_eq!(
        world.reason(Engine::error(&format!("bad_key:{ENGINE_TOKEN}"))),
        "bad_key:[masked]"
    );
    let error = json!({"error": {"code": ENGINE_TOKEN, "message": ENGINE_TOKEN}});
    assert_eq!(world.reason(Reply::json(200, &error)), "[masked]");
    let model = json!({"text": "Down.", "model_used": ENGINE_TOKEN});
    assert_eq!(world.diagnosis(Reply::json(200, &model)), "Down.");
    for api in ["openai", "anthropic"] {
        let world = self::world().speaking(api);
        let error =
            json!({"error": {"type": format!("Incorrect API key provided: {ENGINE_TOKEN}")}});
        assert_eq!(
            world.reason(Reply::json(401, &error)),
            "Incorrect API key provided: [masked]"
        );
    }
}

#[test]
fn a_peer_that_repeats_the_others_token_is_not_repeated() {
    let world = world();
    let text = format!("The log has {SLACK_TOKEN}.");
    assert_eq!(
        world.diagnosis(Engine::answer(&text)),
        "The log has [masked]."
    );
    let world = World::stamped_with(Slack::always(|| {
        Slack::refusal(&format!("bad {ENGINE_TOKEN}"))
    }));
    world.set("KORA_PROBE_ENGINE_TOKEN", ENGINE_TOKEN);
    world.append([wake("fly")]);
    world.command("run -vv").exits(3).warns("bad [masked]");
}

#[test]
fn a_slack_that_repeats_its_token_is_not_repeated() {
    let world = World::stamped_with(Slack::always(|| {
        Slack::refusal(&format!("bad {SLACK_TOKEN}"))
    }));
    world.append([wake("fly")]);
    world.command("run -vv").exits(3).warns("bad [masked]");
    assert!(world.state_file("state.json").contains("bad [masked]"));
}

#[test]
fn a_prompt_that_comes_back_is_a_text_like_any_other() {
    let world = world();
    world.raise([wake("fly")]).exits(0);
    let prompt = world.engine.prompts().remove(0);
    let sent = world.diagnosis(Engine::answer(&prompt));
    assert_eq!(sent, without_times(prompt.trim()));
}

#[test]
fn a_token_that_is_put_together_from_two_blocks_is_masked() {
    let world = world().speaking("anthropic");
    let (begin, end) = ENGINE_TOKEN.split_at(ENGINE_TOKEN.len() / 2);
    let blocks = [begin, end].map(|text| json!({"type": "text", "text": text}));
    let message = json!({"type": "message", "stop_reason": "end_turn", "content": blocks});
    assert_eq!(world.diagnosis(Reply::json(200, &message)), "[masked]");
}
