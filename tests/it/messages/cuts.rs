//! What is too long for one request goes on in the message's thread, and nothing is dropped.

use serde_json::json;

use crate::support::{Engine, Post, World, completion, wake};

const LIMIT: usize = 3_900;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// The messages of one run in which the engine says this; each is whole, fits, and together they are the text.
#[track_caller]
fn parts(text: &str) -> Vec<Post> {
    let world = World::stamped();
    world.engine.script([Engine::answer(text)]);
    world.append([wake("fly")]);
    let report = world.report(0);
    assert_eq!(report["wakes"][0]["dm_sent"], true);
    assert_eq!(report["outbox"]["pending"], 0);
    let posts = world.slack.posts();
    let mut whole = String::new();
    for post in &posts {
        let part = post.text.as_str();
        assert!(
            (1..=LIMIT).contains(&part.chars().count()),
            "{}",
            part.chars().count()
        );
        assert_eq!(escape(&unescape(part)), part, "cut inside an entity");
        whole += &unescape(part);
    }
    let all = wake("fly").diagnosed(text);
    // What a part ends with may be blank, and is left out.
    let without_blanks = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(without_blanks(&whole), without_blanks(&all));
    posts
}

#[test]
fn what_fits_is_one_message_and_one_more_character_makes_two() {
    let room = LIMIT - wake("fly").diagnosed("").chars().count();
    for (filler, width) in [("x", 1), ("é", 1), ("🚨", 1), ("<", 4), ("&", 5)] {
        let mut text = filler.repeat(room / width);
        text += &"y".repeat(room % width);
        assert_eq!(parts(&text).len(), 1, "{filler}");
        assert_eq!(parts(&(text + "y")).len(), 2, "{filler}");
    }
}

#[test]
fn the_rest_goes_into_the_first_messages_thread() {
    let posts = parts("Some words, and some more.\n".repeat(600).trim_end());
    assert_eq!(posts.len(), 5);
    assert_eq!(
        (&*posts[0].channel, posts[0].thread_ts.as_deref()),
        ("U0JOSHUA", None)
    );
    for post in &posts[1..] {
        assert_eq!(
            (&*post.channel, post.thread_ts.as_deref()),
            ("D1", Some("1.1"))
        );
        for (name, value) in [
            ("mrkdwn", false),
            ("unfurl_links", false),
            ("unfurl_media", false),
        ] {
            assert_eq!(post.body[name], value);
        }
        assert!(post.text.starts_with("Some words"));
    }
}

#[test]
fn texts_that_are_hard_to_cut_are_cut_all_the_same() {
    for text in [
        "&<>".repeat(3_000),
        "&amp;&lt;".repeat(2_000),
        "wörter & <b>Zeichen</b> ".repeat(900).trim_end().to_owned(),
        "x".repeat(20_000),
        "🚨".repeat(9_000),
        format!("{}\n{}", "a".repeat(4_000), "b ".repeat(4_000).trim_end()),
        format!("a{}b", "\n".repeat(5_000)),
    ] {
        parts(&text);
    }
}

#[test]
fn the_lines_after_the_text_go_with_its_last_part() {
    let world = World::stamped().speaking("openai");
    let text = "Some words. ".repeat(400);
    world
        .engine
        .script([completion("length", json!({"content": text}))]);
    world.raise([wake("fly")]).exits(0).silent();
    let texts = world.slack.texts();
    assert_eq!(texts.len(), 2);
    let whole = wake("fly").diagnosed(text.trim_end());
    assert_eq!(
        texts.concat(),
        format!("{whole}\nThe engine cut this text short (length).")
    );
}

#[test]
fn a_fallback_is_cut_like_any_other_text() {
    let row = wake("fly").set("detail", "<!channel> & so on. ".repeat(1_000));
    let world = World::stamped().without_engine();
    world.raise([row.clone()]).exits(0).silent();
    let texts = world.slack.texts();
    assert!(texts.len() > 5 && texts.iter().all(|text| text.chars().count() <= LIMIT));
    assert_eq!(
        unescape(&texts.concat()),
        row.fallback("engine_unavailable")
    );
}
