//! The request that Slack gets.

use serde_json::json;

use crate::support::{SLACK_TOKEN, World, plain, wake};

#[test]
fn it_is_what_slack_documents() {
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
    let mut body = request.json();
    body.as_object_mut().unwrap().remove("text");
    let expected = json!({"channel": "U0JOSHUA", "mrkdwn": false, "unfurl_links": false,
        "unfurl_media": false});
    assert_eq!(body, expected);
    assert_eq!(world.slack.texts(), [plain("fly")]);
}
