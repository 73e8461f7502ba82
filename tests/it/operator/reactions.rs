//! Acknowledgement from the phone: the operator's reaction on a message.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{fly, pass, sent, silences};
use crate::support::{Reply, Slack, World, wake};

/// The reactions to messages: `ts`, emoji and user of each.
#[derive(Clone, Default)]
pub struct Phone(Arc<Mutex<Vec<[String; 3]>>>);

impl Phone {
    /// Returns a world in which the operator's reactions acknowledge.
    pub fn world() -> (World, Self) {
        let world = World::stamped();
        world.set("KORA_PROBE_ACK_REACTION", "eyes");
        let phone = Self::default();
        phone.answer_for(&world.slack);
        (world, phone)
    }

    /// Lets Slack know of these reactions.
    pub fn answer_for(&self, slack: &Slack) {
        let phone = self.clone();
        slack.usually(move |request, before| {
            let Some((_, asked)) = request.path.split_once("reactions.get?") else {
                return Slack::took(before);
            };
            let of = |one: &&[String; 3]| asked.contains(&format!("timestamp={}&", one[0]));
            let given = phone.0.lock().unwrap();
            let reactions = given.iter().filter(of);
            let reactions = reactions
                .map(|[_, name, user]| json!({"name": name, "users": [user], "count": 1}))
                .collect::<Value>();
            Reply::json(
                200,
                &json!({"ok": true, "message": {"reactions": reactions}}),
            )
        });
    }

    pub fn react(&self, ts: &str, name: &str, user: &str) {
        let given = [ts, name, user].map(str::to_owned);
        self.0.lock().unwrap().push(given);
    }

    pub fn take_away(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// How often Slack was asked for reactions.
fn polls(world: &World) -> usize {
    let requests = world.slack.requests();
    let polls = requests
        .iter()
        .filter(|one| one.path.contains("/reactions.get?"));
    polls.count()
}

/// The `ts` of the message that Slack took last.
fn last_ts(world: &World) -> String {
    world.slack.posts().pop().unwrap().ts.unwrap()
}

#[test]
fn the_operators_reaction_acknowledges_until_it_is_taken_away() {
    let (world, phone) = Phone::world();
    world.raise([wake("fly")]).exits(0).silent();
    assert_eq!(polls(&world), 0, "nothing was open when it began");
    phone.react(&last_ts(&world), "eyes", "U0JOSHUA");
    let told = world.command("run -v").exits(0).stderr;
    let expected = "fly:service_unhealthy: acknowledged by a reaction";
    assert!(told.contains(expected), "{told}");
    let request = world.slack.requests().pop().unwrap();
    assert_eq!(request.method, "GET");
    assert!(request.path.contains("channel=D1&timestamp=1.1&full=true"));
    assert_eq!(silences(&world)[0]["acknowledgement"], true);
    pass(&world, 12);
    world.raise([wake("fly")]).exits(0).silent();
    assert_eq!(sent(&world), 1);
    phone.take_away();
    pass(&world, 2);
    let told = world.command("run -v").exits(0).stderr;
    assert!(told.contains("no longer acknowledged"), "{told}");
    assert_eq!(sent(&world), 2, "what is still bad is dispatched");
    assert!(silences(&world).is_empty());
}

#[test]
fn skin_tones_are_ignored_and_other_people_and_emoji_too() {
    for (name, user, counts) in [
        ("eyes", "U0JOSHUA", true),
        ("eyes::skin-tone-3", "U0JOSHUA", true),
        ("eyes", "U0OTHER", false),
        ("eye", "U0JOSHUA", false),
        ("thumbsup", "U0JOSHUA", false),
    ] {
        let (world, phone) = Phone::world();
        world.raise([wake("fly")]).exits(0).silent();
        phone.react("1.1", name, user);
        world.run().exits(0).silent();
        assert_eq!(silences(&world).len(), usize::from(counts), "{name} {user}");
    }
}

#[test]
fn one_on_a_digest_acknowledges_each_of_its_pairs() {
    let (world, phone) = Phone::world();
    world.set("KORA_PROBE_DIGEST_WAKES", "2");
    world.raise([wake("fly"), wake("sentry")]).exits(0).silent();
    phone.react("1.1", "eyes", "U0JOSHUA");
    world.run().exits(0).silent();
    assert_eq!(silences(&world).len(), 2);
}

#[test]
fn one_that_was_seen_acknowledges_once_and_a_new_one_again() {
    let (world, phone) = Phone::world();
    world.raise([fly("warning")]).exits(0).silent();
    phone.react("1.1", "eyes", "U0JOSHUA");
    world.run().exits(0).silent();
    pass(&world, 12);
    world.raise([fly("critical")]).exits(0).silent();
    assert_eq!(sent(&world), 2, "a worse wake ends it");
    pass(&world, 2);
    world.run().exits(0).silent();
    assert!(silences(&world).is_empty(), "the old reaction is spent");
    phone.react(&last_ts(&world), "eyes", "U0JOSHUA");
    pass(&world, 2);
    world.run().exits(0).silent();
    assert_eq!(silences(&world).len(), 1, "the new message has a new one");
    pass(&world, 10);
    world.raise([fly("critical")]).exits(0).silent();
    assert_eq!(sent(&world), 2);
}

#[test]
fn it_acknowledges_for_four_hours_at_most() {
    let (world, phone) = Phone::world();
    world.raise([fly("critical")]).exits(0).silent();
    phone.react("1.1", "eyes", "U0JOSHUA");
    world.run().exits(0).silent();
    for _ in 0..16 {
        pass(&world, 15);
        world.raise([fly("critical")]).exits(0).silent();
    }
    pass(&world, 1);
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 2);
    pass(&world, 2);
    world.run().exits(0).silent();
    assert!(silences(&world).is_empty());
}

#[test]
fn slack_is_asked_at_most_once_a_minute_and_only_while_something_is_open() {
    let (world, _) = Phone::world();
    world.run().exits(0).silent();
    assert_eq!(polls(&world), 0);
    world.raise([wake("fly")]).exits(0).silent();
    for _ in 0..3 {
        world.run().exits(0).silent();
    }
    assert_eq!(polls(&world), 1);
    pass(&world, 2);
    world.run().exits(0).silent();
    assert_eq!(polls(&world), 2);
    pass(&world, 25);
    world.run().exits(0).silent();
    assert_eq!(polls(&world), 2, "it is over");
    world.unset("KORA_PROBE_ACK_REACTION");
    world.raise([wake("fly")]).exits(0).silent();
    world.run().exits(0).silent();
    assert_eq!(polls(&world), 2, "it is off");
}

#[test]
fn the_five_newest_messages_are_asked_for() {
    let (world, phone) = Phone::world();
    let probes = (0..12).map(|number| wake(&format!("p{number}")));
    world.raise(probes).exits(0).silent();
    phone.react("1.12", "eyes", "U0JOSHUA");
    phone.react("1.1", "eyes", "U0JOSHUA");
    world.run().exits(0).silent();
    let asked = world.slack.requests().split_off(12);
    let newest: Vec<_> = (8..=12).rev().collect();
    for (request, number) in asked.iter().zip(&newest) {
        assert!(
            request.path.contains(&format!("timestamp=1.{number}&")),
            "{}",
            request.path
        );
    }
    assert_eq!((asked.len(), silences(&world).len()), (5, 1));
}

#[test]
fn the_first_failure_ends_it_for_the_run() {
    let (world, _) = Phone::world();
    let probes = ["fly", "sentry", "neon"].map(wake);
    world.raise(probes).exits(0).silent();
    world.slack.usually(|_, _| Reply::text(500, ""));
    world
        .run()
        .exits(0)
        .warns("cannot read reactions: HTTP 500");
    assert_eq!(polls(&world), 1);
}

#[test]
fn a_missing_scope_is_warned_of_once_a_day() {
    let (world, _) = Phone::world();
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "172800");
    world.raise([wake("fly")]).exits(0).silent();
    world.slack.usually(|_, _| Slack::refusal("missing_scope"));
    let warning =
        "cannot read reactions: missing_scope; add the scope reactions:read to the Slack app";
    world.run().exits(0).warns(warning);
    for hours in 1..=23 {
        pass(&world, 60);
        // Most runs are too early to ask again.
        world.run().exits(0).silent();
        world.run().exits(0).silent();
        assert_eq!(polls(&world), hours + 1);
    }
    pass(&world, 60);
    world.run().exits(0).warns(warning);
}

#[test]
#[ignore = "Slack hangs for seconds"]
fn an_answer_that_takes_longer_than_three_seconds_is_awaited_no_more() {
    let (world, _) = Phone::world();
    world.raise([wake("fly")]).exits(0).silent();
    world.slack.script([Reply::Hang]);
    let begun = std::time::Instant::now();
    world.run().exits(0).warns("cannot read reactions: ");
    assert!(begun.elapsed().as_secs() < 8);
}
