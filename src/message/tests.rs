#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::incident::{Counted, Dispatch, HeldBack};
use crate::slack::Thread;

/// The wake was raised at 14:32.
const NOW: &str = "2026-05-24T14:33:00Z";
const UNABLE: &str = "I was unable to investigate — engine returned: engine_unavailable";

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// The first alert of an incident.
fn fly() -> Alert {
    Alert {
        wake: Wake {
            detail: "Fly probe reported status=unhealthy. error='HTTP 401'.".to_owned(),
            ..Wake::sample()
        },
        dispatch: Dispatch {
            number: 1,
            since: at("2026-05-24T14:32:00Z"),
            counted: None,
        },
        read_at: at("2026-05-24T14:32:05Z"),
        dispatched_at: at("2026-05-24T14:32:05Z"),
        held_back: HeldBack::default(),
        recovered: None,
    }
}

fn alert_of(probe: &str, severity: &str) -> Alert {
    let mut alert = fly();
    alert.wake.probe = probe.to_owned();
    alert.wake.severity = severity.to_owned();
    alert.wake.title = format!("{probe} is down");
    alert.wake.detail = format!("The detail of {probe}.");
    alert
}

fn raised(alert: Alert, time: &str) -> Alert {
    let emitted_at = Some(time.to_owned());
    let wake = Wake {
        emitted_at,
        ..alert.wake
    };
    Alert { wake, ..alert }
}

/// With what was held back, as the state has it.
fn with_held_back(alert: Alert, held_back: Value) -> Alert {
    let held_back = serde_json::from_value(held_back).unwrap();
    Alert { held_back, ..alert }
}

fn diagnosis() -> Outcome {
    cut_short(None)
}

fn cut_short(by: Option<&str>) -> Outcome {
    Outcome::Diagnosis {
        text: "The token was revoked.\nNext step: rotate it."
            .to_owned()
            .into(),
        cut_short: by.map(str::to_owned),
    }
}

fn unable() -> Outcome {
    Outcome::NoDiagnosis("engine_unavailable".to_owned())
}

fn alert_with(outcome: Outcome) -> Content {
    let alerts = vec![fly()];
    Content::Alert { alerts, outcome }
}

fn announcement(alerts: Vec<Alert>) -> Content {
    Content::Announcement { alerts }
}

fn result(alerts: Vec<Alert>, outcome: Outcome) -> Content {
    Content::Result { alerts, outcome }
}

fn recovery() -> Content {
    Content::Recovery {
        alert: Box::new(fly()),
        healthy_at: at("2026-05-24T15:03:00Z"),
    }
}

fn thread() -> Place {
    Place::Thread(Thread {
        channel: "D1".to_owned(),
        ts: "1.1".to_owned(),
        operator: None,
    })
}

fn text_at(content: &Content, place: &Place, now: &str) -> String {
    render(content, place, &Lines::default(), at(now)).text
}

/// Where it stands is of no matter to an alert.
fn text(content: &Content) -> String {
    text_at(content, &Place::TopLevel, NOW)
}

fn text_with(content: &Content, lines: &Lines) -> String {
    render(content, &Place::TopLevel, lines, at(NOW)).text
}

#[test]
fn an_alert_ends_with_the_fact_and_its_status_line() {
    for (content, expected) in [
        (
            alert_with(diagnosis()),
            "🚨 Probe alert · fly\n\
             The token was revoked.\n\
             Next step: rotate it.\n\
             \n\
             fly (critical): Fly app(s) unreachable: HTTP 401\n\
             service_unhealthy · raised 14:32 UTC"
                .to_owned(),
        ),
        (
            alert_with(unable()),
            format!(
                "🚨 Probe alert · fly\n\
                 fly (critical): Fly app(s) unreachable: HTTP 401\n\
                 \n\
                 Fly probe reported status=unhealthy. error='HTTP 401'.\n\
                 \n\
                 {UNABLE}\n\
                 \n\
                 service_unhealthy · raised 14:32 UTC"
            ),
        ),
        (
            announcement(vec![fly()]),
            "🚨 Probe alert · fly\n\
             fly (critical): Fly app(s) unreachable: HTTP 401\n\
             \n\
             Fly probe reported status=unhealthy. error='HTTP 401'.\n\
             \n\
             The investigation follows in this thread.\n\
             \n\
             service_unhealthy · raised 14:32 UTC"
                .to_owned(),
        ),
        // It was given up, and promises nothing that will not come.
        (
            alert_with(Outcome::Unsaid),
            "🚨 Probe alert · fly\n\
             fly (critical): Fly app(s) unreachable: HTTP 401\n\
             \n\
             Fly probe reported status=unhealthy. error='HTTP 401'.\n\
             \n\
             service_unhealthy · raised 14:32 UTC"
                .to_owned(),
        ),
    ] {
        assert_eq!(text(&content), expected);
    }
}

#[test]
fn a_reply_says_what_was_found_or_why_nothing_was() {
    for (outcome, expected) in [
        (
            diagnosis(),
            "🔎 Diagnosis · fly\nThe token was revoked.\nNext step: rotate it.".to_owned(),
        ),
        (unable(), format!("🔎 Diagnosis · fly\n{UNABLE}")),
    ] {
        let content = result(vec![fly()], outcome);
        for place in [thread(), Place::After("m1".to_owned())] {
            assert_eq!(text_at(&content, &place, NOW), expected);
        }
    }
    let recovered = "✅ Probe recovered · fly\nHealthy at 15:03 UTC, after 31 min.";
    assert_eq!(
        text_at(&recovery(), &thread(), "2026-05-24T15:04:00Z"),
        recovered
    );
    let next_day = "✅ Probe recovered · fly\nHealthy at 24 May 15:03 UTC, after 31 min.";
    assert_eq!(
        text_at(&recovery(), &thread(), "2026-05-25T00:01:00Z"),
        next_day
    );
}

#[test]
fn a_reply_at_the_top_level_ends_with_the_fact_that_it_is_about() {
    let status = "service_unhealthy · raised 14:32 UTC";
    let fact = "fly (critical): Fly app(s) unreachable: HTTP 401";
    let found = "🔎 Diagnosis · fly\nThe token was revoked.\nNext step: rotate it.";
    assert_eq!(
        text(&result(vec![fly()], diagnosis())),
        format!("{found}\n\n{fact}\n{status}")
    );
    assert_eq!(
        text(&result(vec![fly()], unable())),
        format!("🔎 Diagnosis · fly\n{UNABLE}\n\n{fact}\n{status}")
    );
    let recovered = "✅ Probe recovered · fly\nHealthy at 15:03 UTC, after 31 min.";
    let late = "2026-05-24T15:04:00Z";
    assert_eq!(
        text_at(&recovery(), &Place::TopLevel, late),
        format!("{recovered}\n\n{fact}\n{status} (32 min ago)")
    );
    let cut = result(vec![fly()], cut_short(Some("length")));
    let note = "The engine cut this text short (length).";
    assert_eq!(
        text(&cut),
        format!("{found}\n\n{fact}\n{status}\n{note}"),
        "a line after the status line stands directly below it"
    );
    assert_eq!(
        text_at(&cut, &thread(), NOW),
        format!("{found}\n\n{note}"),
        "and in a reply after a blank line"
    );
}

#[test]
fn an_alert_has_the_sign_of_its_severity() {
    for (severity, sign) in [
        ("critical", "🚨"),
        ("CRITICAL", "🚨"),
        ("warning", "⚠️"),
        ("Warning", "⚠️"),
        ("info", "ℹ️"),
        ("page", "🔔"),
        ("", "🔔"),
    ] {
        let text = text(&announcement(vec![alert_of("db", severity)]));
        let first = format!("{sign} Probe alert · db\ndb ({severity}): db is down\n");
        assert!(text.starts_with(&first), "{severity}: {text}");
    }
}

/// The last line of an alert's text.
fn status(alert: Alert, now: &str) -> String {
    let text = text_at(&announcement(vec![alert]), &Place::TopLevel, now);
    text.lines().last().unwrap().to_owned()
}

#[test]
fn the_status_line_says_when_the_wake_was_raised_and_how_old_it_is() {
    for (emitted_at, now, expected) in [
        (
            "2026-05-24T14:32:00Z",
            "2026-05-24T14:47:00Z",
            "raised 14:32 UTC",
        ),
        (
            "2026-05-24T14:32:00Z",
            "2026-05-24T14:47:01Z",
            "raised 14:32 UTC (15 min 1 s ago)",
        ),
        (
            "2026-05-24T14:32:00Z",
            "2026-05-24T17:27:00Z",
            "raised 14:32 UTC (2 h 55 min ago)",
        ),
        (
            "2026-05-24T23:59:00Z",
            "2026-05-25T00:01:00Z",
            "raised 24 May 23:59 UTC",
        ),
        (
            "2026-05-22T11:32:10Z",
            "2026-05-24T14:32:30Z",
            "raised 22 May 11:32 UTC (2 d 3 h ago)",
        ),
        (
            "2025-12-31T23:59:30Z",
            "2026-01-01T00:00:10Z",
            "raised 31 Dec 2025 23:59 UTC",
        ),
        // Another zone, and a clock that is ahead of ours.
        (
            "2026-05-24T16:32:00+02:00",
            "2026-05-24T14:33:00Z",
            "raised 14:32 UTC",
        ),
        (
            "2026-05-24T18:00:00Z",
            "2026-05-24T14:33:00Z",
            "raised 18:00 UTC",
        ),
    ] {
        let line = status(raised(fly(), emitted_at), now);
        assert_eq!(line, format!("service_unhealthy · {expected}"));
    }
    let mut untimed = fly();
    untimed.wake.emitted_at = None;
    for (now, expected) in [
        (NOW, "read 14:32 UTC"),
        ("2026-05-24T18:00:00Z", "read 14:32 UTC"),
        ("2026-05-25T18:00:00Z", "read 24 May 14:32 UTC"),
    ] {
        let line = status(untimed.clone(), now);
        assert_eq!(line, format!("service_unhealthy · {expected}"));
    }
}

#[test]
fn each_part_of_the_status_line_stands_only_where_it_applies() {
    let newest = "2026-05-24T14:32:30Z";
    for (held_back, expected) in [
        (
            json!({"repeat": 1, "newest": newest}),
            " · 1 repeat held back",
        ),
        (json!({"repeat": 4}), " · 4 repeats held back"),
        (
            json!({"silenced": 2, "silence": {"until": "2026-05-24T16:00:00Z", "reason": "db move"}}),
            " · 2 silenced until 16:00 UTC (db move)",
        ),
        (
            json!({"silenced": 1, "silence": {"until": "2026-05-25T16:00:00Z"}}),
            " · 1 silenced until 25 May 16:00 UTC",
        ),
        (json!({"acknowledged": 2}), " · 2 acknowledged"),
        (json!({"buffered": 2}), ""),
        // Over 5 minutes after this wake was raised.
        (
            json!({"repeat": 2, "newest": "2026-05-24T14:37:00.123456Z"}),
            " · 2 repeats held back",
        ),
        (
            json!({"repeat": 2, "newest": "2026-05-24T14:37:01Z"}),
            " · 2 repeats held back · last 14:37 UTC",
        ),
    ] {
        let line = status(with_held_back(fly(), held_back), NOW);
        assert_eq!(
            line,
            format!("service_unhealthy · raised 14:32 UTC{expected}")
        );
    }
    let mut second = fly();
    second.dispatch.number = 2;
    second.dispatch.since = at("2026-05-23T03:12:00Z");
    assert_eq!(
        status(second, NOW),
        "service_unhealthy · raised 14:32 UTC · alert 2 since 23 May 03:12 UTC"
    );
    for (count, expected) in [(1, ""), (3, " · seen 3 times since 14:02 UTC")] {
        let mut counted = fly();
        let since = at("2026-05-24T14:02:00Z");
        counted.dispatch.counted = Some(Counted {
            count,
            since,
            raised: since,
        });
        assert_eq!(
            status(counted, NOW),
            format!("service_unhealthy · raised 14:32 UTC{expected}")
        );
    }
}

#[test]
fn the_parts_of_the_status_line_have_an_order() {
    let mut alert = raised(fly(), "2026-05-24T11:38:00Z");
    alert.dispatch = Dispatch {
        number: 5,
        since: at("2026-05-24T03:12:00Z"),
        counted: Some(Counted {
            count: 3,
            since: at("2026-05-24T14:05:00Z"),
            raised: at("2026-05-24T14:02:00Z"),
        }),
    };
    let held_back = json!({
        "repeat": 4, "silenced": 2, "acknowledged": 2, "newest": "2026-05-24T14:31:00Z",
        "silence": {"until": "2026-05-24T16:00:00Z", "reason": "db move"},
    });
    assert_eq!(
        status(with_held_back(alert, held_back), NOW),
        "service_unhealthy · raised 11:38 UTC (2 h 55 min ago) · alert 5 since 03:12 UTC · \
         4 repeats held back · 2 silenced until 16:00 UTC (db move) · 2 acknowledged · \
         seen 3 times since 14:02 UTC · last 14:31 UTC"
    );
}

#[test]
fn what_the_operator_knows_of_it_stands_before_the_status_line() {
    let lines = |before: &str| Lines {
        before: before.to_owned(),
        ..Lines::default()
    };
    let status = "service_unhealthy · raised 14:32 UTC";
    assert_eq!(
        text_with(
            &alert_with(diagnosis()),
            &lines("Runbook: https://wiki/fly")
        ),
        format!(
            "🚨 Probe alert · fly\nThe token was revoked.\nNext step: rotate it.\n\n\
             fly (critical): Fly app(s) unreachable: HTTP 401\nRunbook: https://wiki/fly\n{status}"
        )
    );
    for (content, end) in [
        (alert_with(unable()), UNABLE),
        (
            announcement(vec![fly()]),
            "The investigation follows in this thread.",
        ),
    ] {
        let also = "Also in the last hour: vercel (warning) 14:31.";
        let text = text_with(&content, &lines(also));
        let end = format!("\n\n{end}\n\n{also}\n\n{status}");
        assert!(text.ends_with(&end), "{text}");
    }
}

#[test]
fn notes_stand_directly_below_the_status_line() {
    let status = "service_unhealthy · raised 14:32 UTC";
    for by in ["length", "max_tokens"] {
        let text = text(&alert_with(cut_short(Some(by))));
        let end = format!("\n{status}\nThe engine cut this text short ({by}).");
        assert!(text.ends_with(&end), "{text}");
    }
    let unwatched = Lines {
        unwatched: Some(SignedDuration::from_hours(3)),
        ..Lines::default()
    };
    for content in [
        alert_with(diagnosis()),
        alert_with(unable()),
        announcement(vec![fly()]),
    ] {
        let text = text_with(&content, &unwatched);
        let end = format!("\n{status}\nNothing was watched for 3 h before this.");
        assert!(text.ends_with(&end), "{text}");
    }
    let reply = result(vec![fly()], unable());
    let reply = render(&reply, &thread(), &unwatched, at(NOW)).text;
    let end = format!("{UNABLE}\n\nNothing was watched for 3 h before this.");
    assert!(reply.ends_with(&end), "{reply}");
}

/// One of each severity.
fn four() -> Vec<Alert> {
    [
        ("vercel", "warning"),
        ("fly", "critical"),
        ("sentry", "info"),
        ("doppler", "page"),
    ]
    .map(|(probe, severity)| alert_of(probe, severity))
    .into()
}

const LIST: &str = "🚨 fly (critical): fly is down\n\
    ⚠️ vercel (warning): vercel is down\n\
    🔔 doppler (page): doppler is down\n\
    ℹ️ sentry (info): sentry is down";
const IN_FULL: &str = "🚨 fly (critical): fly is down\n\nThe detail of fly.\n\n\
    service_unhealthy · raised 14:32 UTC\n\n\
    ⚠️ vercel (warning): vercel is down\n\nThe detail of vercel.\n\n\
    service_unhealthy · raised 14:32 UTC\n\n\
    🔔 doppler (page): doppler is down\n\nThe detail of doppler.\n\n\
    service_unhealthy · raised 14:32 UTC\n\n\
    ℹ️ sentry (info): sentry is down\n\nThe detail of sentry.\n\n\
    service_unhealthy · raised 14:32 UTC";

/// The first message of a digest, and what its further parts hold.
fn digest(content: &Content, lines: &Lines) -> (String, String) {
    let Rendered { text, further } = render(content, &Place::TopLevel, lines, at(NOW));
    let (first, rest) = text.split_at(further);
    (first.trim_end().to_owned(), rest.to_owned())
}

#[test]
fn a_digest_lists_its_wakes_and_has_their_facts_in_further_parts() {
    let header = "🚨 Probe alerts · 4 at once (1 critical)";
    for (content, end) in [
        (
            Content::Alert {
                alerts: four(),
                outcome: diagnosis(),
            },
            "The token was revoked.\nNext step: rotate it.",
        ),
        (
            Content::Alert {
                alerts: four(),
                outcome: unable(),
            },
            UNABLE,
        ),
        (
            announcement(four()),
            "The investigation follows in this thread.",
        ),
    ] {
        let expected = (format!("{header}\n{LIST}\n\n{end}"), IN_FULL.to_owned());
        assert_eq!(digest(&content, &Lines::default()), expected);
    }
    let noted = Lines {
        unwatched: Some(SignedDuration::from_hours(3)),
        ..Lines::default()
    };
    let content = Content::Alert {
        alerts: four(),
        outcome: cut_short(Some("length")),
    };
    let (first, rest) = digest(&content, &noted);
    let end = "Next step: rotate it.\n\nThe engine cut this text short (length).\n\
               Nothing was watched for 3 h before this.";
    assert!(first.ends_with(end), "{first}");
    assert_eq!(rest, IN_FULL);
}

#[test]
fn a_digest_of_no_critical_wakes_says_so_by_silence() {
    let alerts = vec![alert_of("a", "info"), alert_of("b", "warning")];
    let (first, _) = digest(&announcement(alerts), &Lines::default());
    let begin =
        "⚠️ Probe alerts · 2 at once\n⚠️ b (warning): b is down\nℹ️ a (info): a is down\n\n";
    assert!(first.starts_with(begin), "{first}");
}

#[test]
fn a_title_in_the_list_of_a_digest_is_cut_and_stands_on_one_line() {
    let mut alerts = vec![alert_of("a", "warning"), alert_of("b", "info")];
    alerts[0].wake.title = "x\n".repeat(300);
    let (first, rest) = digest(&announcement(alerts.clone()), &Lines::default());
    let line = format!("⚠️ a (warning): {}", "x ".repeat(100));
    assert_eq!(first.lines().nth(1), Some(line.as_str()));
    assert!(rest.contains(&alerts[0].wake.title), "in full it is whole");
}

#[test]
fn the_status_lines_of_a_digest_are_those_of_its_wakes() {
    let mut alerts = vec![alert_of("a", "critical"), alert_of("b", "critical")];
    alerts[1] = with_held_back(alerts[1].clone(), json!({"repeat": 2}));
    let (_, rest) = digest(&announcement(alerts.clone()), &Lines::default());
    let expected = "🚨 a (critical): a is down\n\nThe detail of a.\n\n\
        service_unhealthy · raised 14:32 UTC\n\n\
        🚨 b (critical): b is down\n\nThe detail of b.\n\n\
        service_unhealthy · raised 14:32 UTC · 2 repeats held back";
    assert_eq!(rest, expected);
    let handed_over = Lines {
        handed_over: Some(NOW.parse().unwrap()),
        ..Lines::default()
    };
    let (_, rest) = digest(&announcement(alerts), &handed_over);
    let mark = " · also sent by the fallback command ";
    assert_eq!(rest.matches(mark).count(), 2, "{rest}");
}

#[test]
fn the_reply_to_a_digest_says_how_many_alerts_it_is_about() {
    let content = result(four(), diagnosis());
    let reply = "🔎 Diagnosis · 4 alerts\nThe token was revoked.\nNext step: rotate it.";
    assert_eq!(text_at(&content, &thread(), NOW), reply);
    assert_eq!(text(&content), format!("{reply}\n\n{LIST}"));
    let unable = result(four(), unable());
    let reply = format!("🔎 Diagnosis · 4 alerts\n{UNABLE}");
    assert_eq!(text_at(&unable, &thread(), NOW), reply);
}

#[test]
fn a_row_writes_what_it_likes_and_changes_nothing_else() {
    let mut alert = fly();
    alert.wake.title = "The investigation follows in this thread.".to_owned();
    alert.wake.detail = format!("\n\n{UNABLE}\n");
    let content = Content::Alert {
        alerts: vec![alert],
        outcome: diagnosis(),
    };
    assert_eq!(
        text(&content),
        "🚨 Probe alert · fly\nThe token was revoked.\nNext step: rotate it.\n\n\
         fly (critical): The investigation follows in this thread.\n\
         service_unhealthy · raised 14:32 UTC"
    );
}

#[test]
fn only_a_digest_has_parts_that_begin_anew() {
    for content in [
        alert_with(diagnosis()),
        announcement(vec![fly()]),
        result(four(), diagnosis()),
        recovery(),
    ] {
        let rendered = render(&content, &thread(), &Lines::default(), at(NOW));
        assert_eq!(rendered.further, rendered.text.len());
    }
}
