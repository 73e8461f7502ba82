//! Section 7 of the contract: the DM to the letter.

use serde_json::json;

use crate::support::{Engine, Row, SLACK_TOKEN, World, wake};

/// The texts that Slack gets where the engine says this about these rows.
#[track_caller]
fn texts(says: &str, rows: impl IntoIterator<Item = Row>) -> Vec<String> {
    let world = World::stamped();
    let rows: Vec<_> = rows.into_iter().collect();
    world
        .engine
        .script(rows.iter().map(|_| Engine::answer(says)));
    world.raise(rows).exits(0).silent();
    world.slack.texts()
}

#[test]
fn the_request_is_the_contracts() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    let request = world.slack.requests().remove(0);
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/api/chat.postMessage")
    );
    assert_eq!(
        request.header("authorization"),
        Some(format!("Bearer {SLACK_TOKEN}").as_str())
    );
    assert_eq!(
        request.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    let expected = json!({
        "channel": "U0JOSHUA", "mrkdwn": false, "unfurl_links": false, "unfurl_media": false,
        "text": "🚨 Probe alert · fly\nThe Fly API token was revoked. Next step: rotate FLY_API_TOKEN.",
    });
    assert_eq!(request.json(), expected);
}

#[test]
fn each_severity_has_its_sign() {
    let signs = [
        ("critical", "🚨"),
        ("warning", "⚠️"),
        ("info", "ℹ️"),
        ("notice", "🔔"),
        ("CRITICAL", "🔔"),
    ];
    let rows = signs.map(|(severity, _)| wake(severity).set("severity", severity));
    let expected =
        signs.map(|(severity, sign)| format!("{sign} Probe alert · {severity}\nAll is well."));
    assert_eq!(texts("All is well.", rows), expected);
}

#[test]
fn the_engines_words_stand_as_they_are() {
    let says = "First *line*.\nSecond: `x` — 100 % \"done\" 🎉";
    assert_eq!(
        texts(says, [wake("fly")]),
        [format!("🚨 Probe alert · fly\n{says}")]
    );
}

#[test]
fn a_wake_raised_over_15_minutes_before_says_so_behind_a_blank_line() {
    let plain = "🚨 Probe alert · fly\nAll is well.";
    assert_eq!(
        texts("All is well.", [wake("fly").minutes_ago(14)]),
        [plain]
    );
    let text = texts("All is well.", [wake("fly").minutes_ago(60)]).remove(0);
    let note = text
        .strip_prefix(&format!("{plain}\n\n"))
        .unwrap_or_else(|| panic!("no note in {text:?}"));
    assert!(!note.is_empty() && !note.contains('\n'), "{note:?}");
}
