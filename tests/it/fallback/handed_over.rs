//! What is handed over, when, and what Slack gets afterwards.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use jiff::SignedDuration;

use super::{PAGE, paged, pages, pass, set_command, slack_is_back, without_slack};
use crate::support::{
    DEAD_URL, DIAGNOSIS, ENGINE_TOKEN, SLACK_TOKEN, Slack, World, assert_nothing_is_left, reply,
    wake, without_times,
};

const MARK: &str = " · also sent by the fallback command HH:MM UTC";

#[test]
fn an_alert_is_handed_over_once_it_has_waited_and_slack_still_gets_it() {
    let world = without_slack(PAGE);
    world.set("KORA_PROBE_FALLBACK_AFTER_SECONDS", "300");
    let row = wake("fly").set("detail", format!("<&> {}", "x".repeat(20_000)));
    world.raise([row.clone()]).exits(3);
    pass(&world, 280);
    world.run().exits(3);
    assert_eq!(paged(&world), Vec::<String>::new());
    pass(&world, 20);
    world.run().exits(3);
    let text = row.fallback("engine_unavailable");
    assert_eq!(pages(&world), [("fly".to_owned(), text)]);
    pass(&world, 3_600);
    world.run().exits(3);
    assert_eq!(paged(&world).len(), 1);
    slack_is_back(&world);
    world.run().exits(0).silent();
    assert!(world.slack.texts().concat().ends_with(MARK));
    assert_nothing_is_left(&world);
    assert_eq!(paged(&world).len(), 1);
}

#[test]
fn with_0_it_is_handed_over_in_the_run_that_reads_it_critical_first() {
    let world = without_slack(PAGE);
    let severities = [("a", "info"), ("b", "critical"), ("c", "warning")];
    let rows = severities.map(|(probe, severity)| wake(probe).set("severity", severity));
    world.raise(rows).exits(3);
    assert_eq!(paged(&world), ["b", "a", "c"]);
}

#[test]
fn slack_is_tried_first_however_long_an_alert_has_waited() {
    let world = World::stamped();
    world.queue([wake("fly")]);
    set_command(&world, PAGE);
    world.shift_state(-3);
    world.run().exits(0).silent();
    assert_eq!(paged(&world), Vec::<String>::new());
    assert!(!world.slack.texts().concat().contains("also sent"));
}

#[test]
fn what_cannot_be_tried_now_is_handed_over() {
    // No token, and no operator.
    for variable in ["KORA_SLACK_BOT_TOKEN", "KORA_SLACK_JOSHUA_USER_ID"] {
        let world = without_slack(PAGE);
        world.unset(variable);
        world.raise([wake("fly")]).exits(3);
        assert_eq!(paged(&world), ["fly"], "{variable}");
    }
    // A rate limit: the second one was never tried.
    let world = World::stamped_with(Slack::always(|| Slack::rate_limit("3600")));
    set_command(&world, PAGE);
    world.raise(["fly", "sentry"].map(wake)).exits(3);
    assert_eq!(paged(&world), ["fly", "sentry"]);
    // A pause.
    let world = without_slack(PAGE);
    world.set("KORA_PROBE_WAKE_POLL_SEC", "600");
    world.set("KORA_PROBE_FALLBACK_AFTER_SECONDS", "300");
    world.raise([wake("fly")]).exits(3);
    pass(&world, 310);
    slack_is_back(&world);
    world.run().exits(3);
    assert_eq!((paged(&world).len(), world.slack.texts().len()), (1, 0));
}

/// As without Slack, with an engine and facts first.
fn with_facts_first(after: &str) -> World {
    let world = World::stamped();
    world.slack.maybe();
    world.reach_slack_at(DEAD_URL);
    set_command(&world, PAGE);
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    world.set("KORA_PROBE_FALLBACK_AFTER_SECONDS", after);
    world
}

#[test]
fn a_diagnosis_goes_along_where_there_is_one_already() {
    let world = with_facts_first("300");
    let row = wake("fly");
    world.raise([row.clone()]).exits(3);
    assert_eq!(paged(&world), Vec::<String>::new());
    pass(&world, 301);
    world.run().exits(3);
    let text = row.diagnosed(DIAGNOSIS);
    assert_eq!(pages(&world), [("fly".to_owned(), text)]);
}

#[test]
fn a_diagnosis_is_not_waited_for() {
    let world = with_facts_first("0");
    let row = wake("fly");
    let run = world.start_held([row.clone()]);
    while paged(&world).is_empty() {
        sleep(Duration::from_millis(20));
    }
    world.engine.release();
    run.finish().exits(3);
    let (headline, in_full) = (row.headline(), row.in_full());
    let text = format!("{headline}\n{in_full}\n\n{}", row.status_line());
    assert_eq!(pages(&world), [("fly".to_owned(), text)]);
    // Slack gets both, the one after the other.
    slack_is_back(&world);
    pass(&world, 60);
    world.run().exits(0);
    assert_eq!(world.slack.texts(), [row.facts() + MARK, reply("fly")]);
    assert_eq!(paged(&world).len(), 1);
}

#[test]
fn what_slack_would_get_is_whole() {
    let world = without_slack(PAGE);
    world.set("KORA_PROBE_FALLBACK_AFTER_SECONDS", "300");
    world.give("home/.config/probe-wake/runbooks/fly.md", "Rotate it.\n");
    world.raise([wake("supabase"), wake("fly")]).exits(3);
    world.raise([wake("fly"), wake("fly")]).exits(3);
    pass(&world, 301);
    world.run().exits(3);
    let text = &pages(&world)[1].1;
    assert!(
        text.contains("Also in the last hour: supabase (critical)"),
        "{text}"
    );
    assert!(
        text.contains("Runbook:") && text.contains("Rotate it."),
        "{text}"
    );
    assert!(text.contains(" · 2 repeats held back"), "{text}");
    // It is said to Slack, too.
    slack_is_back(&world);
    world.run().exits(0);
    let texts = world.slack.texts().concat();
    assert!(
        texts.contains(" · 2 repeats held back · also sent"),
        "{texts}"
    );
}

#[test]
fn a_digest_is_handed_over_whole() {
    let world = without_slack(PAGE);
    world.set("KORA_PROBE_DIGEST_WAKES", "2");
    let rows = ["fly", "sentry"].map(wake);
    world.raise(rows.clone()).exits(3);
    let pages = pages(&world);
    assert_eq!(pages.len(), 1, "{pages:?}");
    assert!(
        rows.iter().all(|row| pages[0].1.contains(&row.in_full())),
        "{pages:?}"
    );
    slack_is_back(&world);
    pass(&world, 60);
    world.run().exits(0);
    assert_eq!(world.slack.texts().concat().matches(MARK).count(), 2);
}

#[test]
fn a_notice_is_handed_over_too() {
    let world = without_slack(PAGE);
    world.set("KORA_PROBE_QUIET_SECONDS", "3600");
    pass(&world, 7_200);
    world.run().exits(3);
    let pages = pages(&world);
    assert!(
        pages[0]
            .1
            .starts_with("⚠️ Nothing heard · kora_audit_log.jsonl\n"),
        "{pages:?}"
    );
    // A row comes, and Slack gets both.
    world.raise([wake("fly").set("severity", "info")]).exits(3);
    assert_eq!(paged(&world).len(), 2);
    slack_is_back(&world);
    pass(&world, 60);
    world.run().exits(0);
    assert_eq!((world.slack.texts().len(), paged(&world).len()), (3, 2));
}

#[test]
fn its_environment_is_that_of_the_run_and_the_env_file_without_our_tokens() {
    let world = without_slack("#!/bin/sh\nenv > \"$HOME/env\"\n");
    world.give(
        "home/.config/probe-wake/env",
        &format!(
            "NTFY_TOKEN=tk_mine\nFOO=file\nBAR=file\nKORA_SLACK_BOT_TOKEN={SLACK_TOKEN}\nCOPY={ENGINE_TOKEN}\n"
        ),
    );
    world.set("FOO", "process");
    world.set("OTHER_COPY", format!("Bearer {SLACK_TOKEN}"));
    let title = format!("a\r\nX-Header: b {}", "ä".repeat(200_000));
    world.raise([wake("fly").set("title", title)]).exits(3);
    // The sandbox looks for the tokens in every file.
    let env = fs::read_to_string(world.path("home/env")).unwrap();
    for line in [
        "NTFY_TOKEN=tk_mine",
        "FOO=process",
        "BAR=file",
        "PROBE_WAKE_PROBE=fly",
        "PROBE_WAKE_CATEGORY=service_unhealthy",
        "PROBE_WAKE_SEVERITY=critical",
    ] {
        assert!(env.lines().any(|one| one == line), "{line}: {env}");
    }
    let title = env.split_once("\nPROBE_WAKE_TITLE=").unwrap().1;
    let title = title.lines().next().unwrap();
    assert!(title.starts_with("a  X-Header: b ää"), "{title}");
    assert_eq!(title.chars().count(), 1_000);
}

#[test]
#[ignore = "some dozen runs"]
fn a_message_is_given_up_only_after_it_was_tried() {
    let handed_over = without_slack(PAGE);
    let failing = without_slack("#!/bin/sh\necho x >> \"$HOME/calls\"\nexit 1\n");
    for (world, is_handed_over) in [(&handed_over, true), (&failing, false)] {
        world.set("KORA_PROBE_FALLBACK_AFTER_SECONDS", "300");
        world.raise([wake("fly")]).exits(3);
        world.shift_state(-25);
        world.run().exits(3).warns("expired");
        assert_eq!(world.given_up(), ["expired"]);
        assert_eq!(world.path("home/calls").exists(), !is_handed_over);
        assert_eq!(paged(world).len(), usize::from(is_handed_over));
        // Taken back it is not handed over again, and is marked.
        slack_is_back(world);
        world.command("undelivered --retry").exits(0);
        world.run().exits(0);
        let text = world.slack.texts().pop().unwrap();
        assert_eq!(text.ends_with(MARK), is_handed_over, "{text}");
    }
    // While the command is left alone, nothing is given up.
    let world = without_slack("#!/bin/sh\nexit 1\n");
    world.raise([wake("fly")]).exits(3);
    world.raise([wake("sentry")]).exits(3);
    world.set("KORA_PROBE_OUTBOX_TTL_SECONDS", "30");
    pass(&world, 40);
    world.run().exits(3);
    let about = |one: &serde_json::Value| one.to_string().contains("sentry");
    assert_eq!(
        world.undelivered().iter().filter(|one| about(one)).count(),
        0
    );
    set_command(&world, PAGE);
    pass(&world, 60);
    world.run().exits(3);
    assert_eq!(paged(&world), ["sentry"]);
    assert_eq!(world.undelivered().len(), 2);
}

#[test]
fn what_slack_refuses_as_it_is_goes_to_the_command_at_once() {
    let world = World::stamped_with(Slack::refusing("fly", "msg_too_long"));
    set_command(&world, PAGE);
    world.set("KORA_PROBE_FALLBACK_AFTER_SECONDS", "300");
    world
        .raise(["fly", "sentry"].map(wake))
        .exits(3)
        .warns("msg_too_long");
    assert_eq!(paged(&world), ["fly"]);
    assert_eq!(world.given_up(), ["msg_too_long"]);
}

#[test]
fn a_result_that_stands_alone_is_no_other_alert() {
    let world = World::stamped();
    set_command(&world, PAGE);
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
    world.slack.maybe();
    world.reach_slack_at(DEAD_URL);
    let run = world.start_held([wake("fly")]);
    world.engine.release();
    run.finish().exits(3);
    assert_eq!(paged(&world).len(), 1);
    // The facts expire, their result does not.
    let mut state = world.state();
    let facts = &mut state["outbox"][0];
    let before: jiff::Timestamp = facts["queued_at"].as_str().unwrap().parse().unwrap();
    facts["queued_at"] = (before - SignedDuration::from_hours(25)).to_string().into();
    world.give("state/state.json", &state.to_string());
    world.run().exits(3);
    assert_eq!((world.undelivered().len(), paged(&world).len()), (1, 1));
    slack_is_back(&world);
    world.wait_for_pause();
    world.run().exits(0);
    let text = world.slack.texts().concat();
    assert_eq!(
        without_times(&text),
        wake("fly").diagnosed(DIAGNOSIS) + MARK
    );
}

#[test]
fn nothing_is_handed_over_by_a_dry_run_a_replay_or_to_stdout() {
    let world = without_slack(PAGE);
    world.set("KORA_PROBE_FALLBACK_AFTER_SECONDS", "300");
    world.raise([wake("fly")]).exits(3);
    pass(&world, 400);
    world.append([wake("sentry")]);
    world.command("run --dry-run").exits(0);
    world.command("run --to stdout").exits(3);
    let log = world.log().display().to_string();
    world.command(&format!("replay {log}")).exits(0);
    assert_eq!(paged(&world), Vec::<String>::new());
}

#[test]
fn what_controls_a_terminal_does_not_reach_the_command() {
    let world = with_facts_first("0");
    let title = "x\u{1b}[31m\u{202e}y \u{7}z";
    world.raise([wake("fly").set("title", title)]).exits(3);
    let text = pages(&world).remove(0).1;
    assert!(
        text.contains("x\u{fffd}[31m\u{fffd}y \u{fffd}z"),
        "{text:?}"
    );
}
