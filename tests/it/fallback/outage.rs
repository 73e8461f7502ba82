//! Slack is down for an hour.

use std::collections::BTreeMap;

use super::{PAGE, paged, pass, set_command};
use crate::support::{DEAD_URL, Reply, Slack, World, assert_nothing_is_left, wake};

/// In seconds.
const AFTER: i64 = 300;

/// Twelve alerts at once, then one every five minutes. After the hour Slack takes everything.
#[track_caller]
fn an_hour_without_slack(world: &World, cadence: i64) {
    set_command(world, PAGE);
    world.set("KORA_PROBE_FALLBACK_AFTER_SECONDS", AFTER.to_string());
    world.set("KORA_PROBE_WAKE_POLL_SEC", cadence.to_string());
    let mut raised = BTreeMap::new();
    let mut lines = 0;
    for at in (0..3_600).step_by(usize::try_from(cadence).unwrap()) {
        let count = match at {
            0 => 12,
            _ if at % 300 == 0 => 1,
            _ => 0,
        };
        for number in 0..count {
            let probe = format!("p{at}-{number}");
            world.append([wake(&probe)]);
            raised.insert(probe, at);
        }
        lines += world.run().exits(3).stderr.lines().count();
        let paged = paged(world);
        for (probe, raised_at) in &raised {
            let times = paged.iter().filter(|one| *one == probe).count();
            assert!(times <= 1, "{probe} was handed over {times} times");
            let is_late = at - raised_at > AFTER + 2 * cadence;
            assert!(
                times == 1 || !is_late,
                "{probe} is not handed over at {at} s"
            );
        }
        pass(world, cadence);
    }
    assert_eq!(lines, 1, "a line an hour");
    world.slack.usually(|_, before| Slack::took(before));
    world.reach_slack_at(world.slack.base());
    let before = world.slack.requests().len();
    pass(world, 900);
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    for probe in raised.keys() {
        let about = posts[before..]
            .iter()
            .filter(|post| post.text.contains(&format!("· {probe}\n")));
        let texts: Vec<_> = about.map(|post| &post.text).collect();
        assert_eq!(texts.len(), 1, "{probe}: {texts:?}");
        // A text that may have reached Slack is sent as it was.
        let was_sent = posts[..before]
            .iter()
            .any(|post| post.text.contains(&format!("· {probe}\n")));
        let is_marked = texts[0].contains(" · also sent by the fallback command HH:MM UTC");
        let was_handed_over = paged(world).contains(probe);
        assert!(is_marked == was_handed_over || was_sent, "{}", texts[0]);
    }
    assert_nothing_is_left(world);
}

#[test]
#[ignore = "an hour of runs: a quarter of a minute"]
fn every_alert_is_handed_over_in_time_once_and_is_in_slack_afterwards() {
    let world = World::stamped().without_engine();
    world.reach_slack_at(DEAD_URL);
    an_hour_without_slack(&world, 150);
}

#[test]
#[ignore = "an hour of runs: a quarter of a minute"]
fn where_slack_answers_nothing_but_503_the_same_holds() {
    let world = World::stamped_with(Slack::always(|| Reply::text(503, ""))).without_engine();
    an_hour_without_slack(&world, 60);
}
