//! Acknowledgements: silences of one incident.

use serde_json::json;

use super::{fly, over_rows, pass, sent, silences};
use crate::support::{World, column, recovery, wake};

#[test]
fn only_an_open_incident_can_be_acknowledged() {
    let world = World::stamped();
    world
        .command("ack fly")
        .exits(1)
        .warns("no open incident of fly")
        .warns("probe-wake status");
    world.raise([wake("fly")]).exits(0).silent();
    world
        .command("ack fly")
        .exits(0)
        .prints("fly:service_unhealthy is acknowledged until ");
    pass(&world, 25);
    world.command("ack fly").exits(1);
    world.command("ack fly --for 31d").exits(2);
}

#[test]
fn nothing_more_is_sent_about_the_incident() {
    let world = World::stamped();
    world.raise([wake("fly"), wake("sentry")]).exits(0).silent();
    let before = sent(&world);
    world.command("ack fly").exits(0);
    pass(&world, 12);
    world.append([fly("critical"), wake("sentry")]);
    let report = world.report(0);
    assert_eq!(
        column(report["wakes"].clone(), "/dispatched"),
        [false, true]
    );
    assert_eq!(report["wakes"][0]["debounce_skipped"], true);
    assert_eq!(sent(&world), before + 1);
    let one = &silences(&world)[0];
    assert_eq!(
        (&one["acknowledgement"], &one["wakes"]),
        (&json!(true), &json!(1))
    );
    world
        .command("status")
        .exits(0)
        .prints(", acknowledged until ");
}

#[test]
fn it_can_be_taken_back() {
    let world = World::stamped();
    world.raise([wake("fly"), wake("sentry")]).exits(0).silent();
    world.command("ack all").exits(0);
    world
        .command("silence fly --end")
        .exits(0)
        .prints("The acknowledgement of fly:service_unhealthy is over.");
    world.command("silence fly --end").exits(1);
    pass(&world, 12);
    world.raise([wake("fly"), wake("sentry")]).exits(0).silent();
    let texts = world.slack.texts().split_off(2);
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("Probe alert · fly"), "{texts:?}");
}

#[test]
fn it_ends_with_a_recovery() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    world.command("ack fly").exits(0);
    world.append_raw(recovery("fly", &json!({})));
    world.raise([wake("fly")]).exits(0).silent();
    let texts = world.slack.texts();
    assert_eq!(texts.len(), 3, "{texts:?}");
    let recovered = |text: &&String| text.starts_with("✅ Probe recovered");
    assert_eq!(texts.iter().filter(recovered).count(), 1);
    assert!(silences(&world).is_empty(), "it was removed");
    assert!(over_rows(&world).is_empty(), "it was no silence");
}

#[test]
fn it_ends_with_a_worse_wake() {
    let world = World::stamped();
    world.raise([fly("warning")]).exits(0).silent();
    world.command("ack fly").exits(0);
    pass(&world, 12);
    world
        .raise([fly("warning"), fly("critical")])
        .exits(0)
        .silent();
    assert_eq!(sent(&world), 2);
    assert!(silences(&world).is_empty());
    // It can be acknowledged again.
    world.command("ack fly").exits(0);
    pass(&world, 12);
    world.raise([fly("critical")]).exits(0).silent();
    assert_eq!(sent(&world), 2);
}

#[test]
fn a_worse_wake_inside_the_window_is_dispatched_at_its_end() {
    let world = World::stamped();
    world.raise([fly("warning")]).exits(0).silent();
    world.command("ack fly").exits(0);
    world.raise([fly("critical")]).exits(0).silent();
    assert_eq!(sent(&world), 1);
    pass(&world, 10);
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 2);
}

#[test]
fn after_its_time_what_is_still_bad_is_dispatched() {
    let world = World::stamped();
    world.raise([fly("critical")]).exits(0).silent();
    world.command("ack fly --for 30m").exits(0);
    for minutes in [12, 12] {
        pass(&world, minutes);
        world.raise([fly("critical")]).exits(0).silent();
    }
    pass(&world, 5);
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 1);
    pass(&world, 1);
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 2);
}

#[test]
fn an_incident_of_another_log_keeps_its_acknowledgement() {
    let world = World::stamped();
    world.raise([wake("fly")]).exits(0).silent();
    world.command("ack fly").exits(0);
    let other = world.path("other.jsonl");
    world.give("other.jsonl", "");
    let first = world.log();
    world.set("KORA_AUDIT_LOG_PATH", &other);
    world.run().exits(0);
    world.give("other.jsonl", &(wake("vercel").line() + "\n"));
    world.run().exits(0);
    world.set("KORA_AUDIT_LOG_PATH", &first);
    assert_eq!(silences(&world).len(), 1);
}
