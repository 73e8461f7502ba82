#![allow(clippy::unwrap_used)]
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
}

fn minute(at: Timestamp) -> i64 {
    (at.as_second() - 1_800_000_000) / 60
}

fn pair(probe: &str) -> Pair {
    Pair {
        probe: probe.into(),
        category: "c".into(),
    }
}

fn row(seam: &str, probe: &str, minute: i64, details: Value) -> Value {
    let mut row = json!({
        "emitted_at": at(minute).to_string(), "seam": format!("probe.{seam}"),
        "caller_session_id": format!("probe:{probe}:c"),
        "details": {"probe": probe, "issue_category": "c"},
    });
    for (field, value) in details.as_object().into_iter().flatten() {
        row["details"][field] = value.clone();
    }
    row
}

/// A completed investigation of a wake that was raised at this minute, in the incident that began at
/// `first`.
fn done(id: &str, probe: &str, minute: i64, first: i64, more: Value) -> Value {
    let mut details = json!({
        "id": id, "severity": "warning", "title": "slow", "dm_status": "sent", "input_tokens": 10,
        "investigation_summary_text": format!("{id} it is."), "investigation_duration_ms": 5_000,
        "raised_at": at(minute).to_string(), "dispatched_at": at(minute).to_string(),
        "first_wake_at": at(first).to_string(), "last_wake_at": at(minute).to_string(),
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        details[field] = value.clone();
    }
    row("investigation_completed", probe, minute, details)
}

fn recovered(id: &str, probe: &str, minute: i64, first: i64, repeats: u64) -> Value {
    let details = json!({
        "id": id, "healthy_at": at(minute).to_string(), "first_wake_at": at(first).to_string(),
        "held_back": {"repeat": repeats},
    });
    row("recovery_told", probe, minute, details)
}

fn record_with(mut record: Record, rows: &[Value], snapshot: Option<&Snapshot>) -> Record {
    for row in rows {
        record.take(&Row(row.clone()));
    }
    record.join(snapshot);
    record
}

fn record(rows: &[Value]) -> Record {
    record_with(Record::default(), rows, None)
}

/// `fly 0-25 +28: 5 wakes, 2 messages`: from when to when, when it recovered.
fn incidents(record: &Record) -> Vec<String> {
    let words = |one: &Incident| {
        let (first, last) = (minute(one.first_wake_at), minute(one.last_wake_at));
        let recovered = one.recovered_at.map(|at| format!(" +{}", minute(at)));
        format!(
            "{} {first}-{last}{}: {} wakes, {} messages",
            one.pair.probe,
            recovered.unwrap_or_default(),
            one.wakes,
            one.messages
        )
    };
    record.incidents.iter().map(words).collect()
}

#[test]
fn rows_of_one_first_wake_are_one_incident_until_it_recovers() {
    let none = json!({});
    let repeats = json!({"held_back": {"repeat": 2}});
    for (rows, expected) in [
        (vec![], &[][..]),
        (
            vec![done("a", "fly", 0, 0, none.clone())],
            &["fly 0-0: 1 wakes, 1 messages"],
        ),
        (
            vec![
                done("a", "fly", 0, 0, none.clone()),
                done("b", "fly", 15, 0, repeats.clone()),
                recovered("a", "fly", 20, 0, 1),
                recovered("a", "fly", 20, 0, 1),
            ],
            &["fly 0-15 +20: 5 wakes, 2 messages"],
        ),
        // Over without a recovery; what was held back before its end belongs to the first one.
        (
            vec![
                done("a", "fly", 0, 0, none.clone()),
                done("b", "fly", 90, 90, repeats.clone()),
            ],
            &[
                "fly 0-0: 3 wakes, 1 messages",
                "fly 90-90: 1 wakes, 1 messages",
            ],
        ),
        // A part with several wakes has repeats of its own.
        (
            vec![
                done("a", "fly", 0, 0, none.clone()),
                recovered("a", "fly", 5, 0, 0),
                done("b", "fly", 9, 8, repeats.clone()),
            ],
            &[
                "fly 0-0 +5: 1 wakes, 1 messages",
                "fly 8-9: 3 wakes, 1 messages",
            ],
        ),
        (
            vec![
                done("a", "fly", 0, 0, none.clone()),
                recovered("a", "fly", 5, 0, 0),
                done("b", "fly", 5, 5, none.clone()),
                done("c", "vercel", 3, 3, none.clone()),
            ],
            &[
                "vercel 3-3: 1 wakes, 1 messages",
                "fly 0-0 +5: 1 wakes, 1 messages",
                "fly 5-5: 1 wakes, 1 messages",
            ],
        ),
        // And a recovery of an incident that no row knows.
        (
            vec![
                done("a", "fly", 10, 0, none.clone()),
                recovered("a", "fly", 20, 0, 0),
                recovered("z", "neon", 20, 0, 3),
            ],
            &["fly 0-10 +20: 1 wakes, 1 messages"],
        ),
        // Rows without an id: as they are.
        (
            [0, 1]
                .map(|minute| row("investigation_completed", "fly", minute, none.clone()))
                .to_vec(),
            &[
                "fly 0-0: 1 wakes, 1 messages",
                "fly 1-1: 1 wakes, 1 messages",
            ],
        ),
    ] {
        assert_eq!(incidents(&record(&rows)), expected, "{rows:#?}");
    }
}

#[test]
fn of_two_rows_of_one_investigation_the_last_counts() {
    let failed =
        json!({"reasoning_error": "sdk_timeout", "dm_status": "engine_unavailable_fallback"});
    let other = json!({"title": "other"});
    let record = record(&[
        done("a", "fly", 0, 0, failed),
        done("a", "vercel", 0, 0, other.clone()),
        done("a", "fly", 0, 0, json!({})),
    ]);
    let failed = record
        .investigations
        .iter()
        .map(|one| (one.pair.probe.as_str(), one.failed));
    assert_eq!(
        failed.collect::<Vec<_>>(),
        [("fly", false), ("vercel", false)]
    );
}

#[test]
fn a_late_diagnosis_belongs_to_its_investigation_and_is_no_dispatch() {
    let failed =
        json!({"reasoning_error": "sdk_timeout", "dm_status": "engine_unavailable_fallback"});
    let late = done(
        "a",
        "fly",
        9,
        0,
        json!({"late_diagnosis": true, "held_back": {"repeat": 7}}),
    );
    let rows = [
        done("a", "fly", 0, 0, failed.clone()),
        done("b", "fly", 3, 3, failed),
        late,
    ];
    let record = record(&rows);
    let failed: Vec<_> = record.investigations.iter().map(|one| one.failed).collect();
    assert_eq!(failed, [false, true, false]);
    assert_eq!(record.incidents[0].diagnosis.as_deref(), Some("a it is."));
    assert_eq!(record.incidents[0].investigations, [0, 2]);
    let totals = record.select(&Filter::default()).totals;
    assert_eq!((totals.dispatched, totals.failed, totals.wakes), (2, 1, 2));
}

#[test]
fn a_later_delivery_is_that_of_the_id_and_the_pair() {
    let lost = || json!({"dm_status": "failed_send"});
    let rows = [
        done("a", "fly", 0, 0, lost()),
        done("a", "vercel", 0, 0, lost()),
        done("b", "fly", 1, 0, lost()),
        row("dm_undelivered", "fly", 5, json!({"id": "b"})),
        row("dm_delivered", "fly", 6, json!({"id": "a"})),
        row("dm_delivered", "fly", 7, json!({"id": "a"})),
    ];
    let record = record(&rows);
    let deliveries = record.investigations.iter();
    let deliveries = deliveries.map(|one| (one.delivered_at.map(minute), one.failed));
    assert_eq!(
        deliveries.collect::<Vec<_>>(),
        [(Some(6), false), (None, true), (None, true)]
    );
    let messages: Vec<_> = record.incidents.iter().map(|one| one.messages).collect();
    assert_eq!(messages, [0, 1], "vercel, then fly");
}

#[test]
fn what_the_state_knows_is_part_of_the_incidents() {
    let current = |probe: &str, first, last, repeat| Incident {
        pair: pair(probe),
        severity: "critical".into(),
        first_wake_at: at(first),
        last_wake_at: at(last),
        held_back: HeldCounts {
            repeat,
            ..HeldCounts::default()
        },
        is_open: true,
        ..Incident::default()
    };
    let pending = Incident {
        title: Some("new".into()),
        dispatched: 1,
        pending: 1,
        ..current("fly", 0, 0, 0)
    };
    let parts = vec![
        current("fly", 0, 30, 4),
        pending,
        current("neon", 25, 25, 1),
    ];
    let rows = [done(
        "a",
        "fly",
        0,
        0,
        json!({"held_back": {"silenced": 1}}),
    )];
    let record = record_with(
        Record {
            parts,
            ..Record::default()
        },
        &rows,
        None,
    );
    let expected = [
        "neon 25-25: 1 wakes, 0 messages",
        "fly 0-30: 7 wakes, 1 messages",
    ];
    assert_eq!(incidents(&record), expected);
    let fly = &record.incidents[1];
    assert_eq!(
        (fly.severity.as_str(), fly.title.as_deref()),
        ("critical", Some("new"))
    );
    assert_eq!(fly.resolution, Resolution::Active);
    let totals = record.select(&Filter::default()).totals;
    assert_eq!(
        (totals.wakes, totals.dispatched, totals.held_back),
        (8, 2, 6)
    );
    assert_eq!(totals.by_reason.to_string(), "5 repeats, 1 silenced");
}

#[test]
fn an_incident_is_resolved_by_its_recovery_or_a_newer_snapshot() {
    use Resolution::{Active, Resolved, Unknown};
    let rows = [
        done("a", "fly", 0, 0, json!({})),
        recovered("a", "fly", 5, 0, 0),
        done("b", "fly", 60, 60, json!({})),
        done("c", "fly", 120, 120, json!({})),
    ];
    let snapshot = |health: &str, minute| Snapshot::of(at(minute), json!({"fly": health}));
    for (snapshot, expected) in [
        (None, [Resolved, Unknown, Unknown]),
        (
            Some(snapshot("healthy", 121)),
            [Resolved, Resolved, Resolved],
        ),
        (
            Some(snapshot("healthy", 119)),
            [Resolved, Resolved, Unknown],
        ),
        (Some(snapshot("degraded", 121)), [Resolved, Unknown, Active]),
        (Some(snapshot("unknown", 121)), [Resolved, Unknown, Unknown]),
    ] {
        let record = record_with(Record::default(), &rows, snapshot.as_ref());
        let of_incidents = record.incidents.iter().map(|one| one.resolution);
        assert_eq!(of_incidents.collect::<Vec<_>>(), expected, "{snapshot:?}");
        let of_investigations = record.investigations.iter().map(|one| one.resolution);
        assert_eq!(
            of_investigations.collect::<Vec<_>>(),
            expected,
            "{snapshot:?}"
        );
    }
}

fn called(tool: &str, probe: &str, second: i64, status: &str) -> Value {
    let at = at(0) + SignedDuration::from_secs(second);
    json!({
        "emitted_at": at.to_string(), "seam": "reasoning.tool_called", "caller_session_id": format!("probe:{probe}:c"),
        "details": {"tool_name": tool, "tool_status": status},
    })
}

#[test]
fn a_tool_belongs_to_the_last_investigation_of_its_session_that_had_begun() {
    // Each took 5 s and ended at minutes 0 and 60.
    let rows = [
        done("a", "fly", 0, 0, json!({})),
        done("b", "fly", 60, 0, json!({})),
        called("before", "fly", -60, "ok"),
        called("meanwhile", "fly", -3, "ok"),
        called("after", "fly", 90, "ok"),
        called("later", "fly", 3_598, "ok"),
        called("too_late", "fly", 3 * 3_600, "ok"),
        called("foreign", "vercel", 0, "ok"),
    ];
    let record = record(&rows);
    let tools = record.investigations.iter().map(|one| {
        let names = one.tools.iter().map(|tool| tool.tool.as_str());
        names.collect::<Vec<_>>()
    });
    let tools: Vec<_> = tools.collect();
    assert_eq!(tools, [vec!["before", "meanwhile", "after"], vec!["later"]]);
}

#[test]
fn a_filter_lets_through_what_was_asked_for() {
    let failed =
        json!({"reasoning_error": "sdk_timeout", "dm_status": "engine_unavailable_fallback"});
    let rows = [
        done("a", "fly", 0, 0, json!({})),
        done("b", "vercel", 10, 10, json!({})),
        done("c", "fly", 30, 0, failed),
        done("d", "neon", 40, 40, json!({"dm_status": "failed_send"})),
        done("e", "tool", 50, 50, json!({})),
        called("fly_logs", "tool", 3_000, "execution_error"),
        done("f", "well", 60, 60, json!({})),
    ];
    let record = record(&rows);
    let all = Filter::default();
    for (filter, investigations, incidents, groups) in [
        (
            all,
            "abcdef",
            "vercel fly neon tool well",
            "vercel fly neon tool well",
        ),
        (
            Filter {
                since: Some(at(35)),
                ..all
            },
            "def",
            "neon tool well",
            "neon tool well",
        ),
        (
            Filter {
                since: Some(at(20)),
                ..all
            },
            "cdef",
            "fly neon tool well",
            "fly neon tool well",
        ),
        (
            Filter {
                probe: Some("fly"),
                ..all
            },
            "ac",
            "fly",
            "fly",
        ),
        (
            Filter {
                session: Some("probe:fly:c"),
                ..all
            },
            "ac",
            "fly",
            "fly",
        ),
        (
            Filter {
                failed: true,
                ..all
            },
            "cde",
            "fly neon tool",
            "fly neon tool",
        ),
        (
            Filter {
                failed: true,
                limit: Some(2),
                ..all
            },
            "de",
            "fly neon tool",
            "neon tool",
        ),
        (
            Filter {
                limit: Some(9),
                ..all
            },
            "abcdef",
            "vercel fly neon tool well",
            "vercel fly neon tool well",
        ),
    ] {
        let shown = record.select(&filter);
        let ids = shown
            .investigations
            .iter()
            .filter_map(|one| one.id.as_deref());
        assert_eq!(ids.collect::<String>(), investigations, "{filter:?}");
        let probes = |all: Vec<&Incident>| {
            let probes = all.iter().map(|one| one.pair.probe.as_str());
            probes.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(probes(shown.incidents), incidents, "{filter:?}");
        let groups_shown = shown.groups.iter();
        assert_eq!(probes(groups_shown.collect()), groups, "{filter:?}");
    }
    let totals = record
        .select(&Filter {
            failed: true,
            limit: Some(1),
            ..all
        })
        .totals;
    assert_eq!(
        (totals.dispatched, totals.failed, totals.tokens),
        (6, 2, 60)
    );
}

#[test]
fn incidents_of_one_pair_and_title_in_a_row_are_folded() {
    let titled = |title: &str| json!({"title": title, "held_back": {"repeat": 1}});
    let mut rows = vec![
        done("a", "fly", 0, 0, titled("slow")),
        done("b", "fly", 60, 60, titled("slow")),
        done("c", "vercel", 70, 70, titled("slow")),
        done("d", "fly", 120, 120, titled("slow")),
        done("e", "fly", 180, 180, titled("down")),
        done("f", "fly", 240, 240, titled("slow")),
    ];
    rows.push(recovered("f", "fly", 250, 240, 0));
    // Whether two rows without a title are about the same is not known.
    rows.extend([20, 21].map(|minute| row("investigation_completed", "neon", minute, json!({}))));
    let record = record(&rows);
    let shown = record.select(&Filter::default());
    let now = at(300);
    let words = |group: &Incident| format!("{}: {}", group.when(now), group.counts(&record));
    let words: Vec<_> = shown.groups.iter().map(words).collect();
    assert_eq!(
        words,
        [
            "08:20 UTC: 1 wake, 1 message",
            "08:21 UTC: 1 wake, 1 message",
            "09:10 UTC: 2 wakes (1 repeat held back), 1 message",
            "3 times, 08:00 to 10:00 UTC: 7 wakes (4 repeats held back), 3 messages",
            "11:00 UTC: 2 wakes (1 repeat held back), 1 message",
            "12:00 to 12:10 UTC (10 min): 1 wake, 1 message",
        ]
    );
}

#[test]
fn a_late_diagnosis_makes_up_for_the_failure() {
    let failed =
        json!({"reasoning_error": "sdk_timeout", "dm_status": "engine_unavailable_fallback"});
    let late = json!({"late_diagnosis": true});
    let rows = [done("a", "fly", 0, 0, failed), done("a", "fly", 9, 3, late)];
    let record = record(&rows);
    let group = &record.select(&Filter::default()).groups[0];
    assert_eq!(group.problems(&record), [""; 0]);
}

#[test]
fn a_group_says_what_failed_and_what_was_special() {
    let failed = json!({
        "reasoning_error": "sdk_timeout", "reasoning_error_message": "no answer in 30 s", "facts_first": true,
        "dm_status": "engine_unavailable_failed_send", "digest_size": 3, "autofix_attempted": true,
    });
    let rows = [
        done("a", "fly", 0, 0, failed.clone()),
        done("b", "fly", 1, 0, failed),
        called("fly_logs", "fly", 58, "execution_error"),
        called("fly_logs", "fly", 59, "execution_error"),
    ];
    let record = record(&rows);
    let group = &record.select(&Filter::default()).groups[0];
    assert_eq!(group.diagnosis, None);
    assert_eq!(
        group.problems(&record),
        [
            "No diagnosis: sdk_timeout: no answer in 30 s",
            "2 messages not delivered",
            "Tools that failed: fly_logs execution_error",
        ]
    );
    assert_eq!(
        group.counts(&record),
        "2 wakes, 0 messages, facts first, fix attempted, digest of 3"
    );
}

#[test]
fn the_pairs_that_are_still_bad_come_first_then_the_worst_then_the_longest() {
    let critical = json!({"severity": "critical"});
    let rows = [
        done("a", "short", 0, 0, json!({})),
        done("b", "long", 10, 0, json!({})),
        done("c", "critical", 0, 0, critical),
        done("d", "active", 0, 0, json!({})),
    ];
    let snapshot = Snapshot::of(at(20), json!({"active": "unhealthy"}));
    let record = record_with(Record::default(), &rows, Some(&snapshot));
    let shown = record.select(&Filter::default());
    let order = by_pair(&shown.incidents).into_iter();
    let order = order.map(|one| one[0].pair.probe.clone());
    assert_eq!(
        order.collect::<Vec<_>>(),
        ["active", "critical", "long", "short"]
    );
}

#[test]
fn a_silence_holds_a_probe_a_pair_or_all() {
    let fly = Pair {
        probe: "fly:eu".into(),
        category: "c:d".into(),
    };
    for (of, expected) in [
        ("all", true),
        ("fly:eu", true),
        ("fly:eu:c:d", true),
        ("fly:eu:c", false),
        ("fly", false),
        ("fly:eud", false),
    ] {
        let row =
            json!({"pair": of, "from": at(0).to_string(), "until": at(9).to_string(), "wakes": 2});
        let row = row_of_silence(row);
        let record = record(&[row.clone(), row]);
        assert_eq!(record.silences.len(), 1, "twice is once");
        assert_eq!(record.silences[0].holds(&fly), expected, "{of}");
    }
}

fn row_of_silence(details: Value) -> Value {
    let mut row = row("silence_over", "fly", 9, details);
    row["details"]
        .as_object_mut()
        .unwrap()
        .remove("issue_category");
    row
}

#[test]
fn a_row_of_odd_types_is_read_as_far_as_it_can_be() {
    let odd = json!({"input_tokens": "many", "severity": 3, "raised_at": "soon", "held_back": [], "title": ""});
    let record = record(&[
        done("a", "fly", 5, 5, odd),
        json!({"seam": "probe.investigation_completed"}),
        json!(3),
    ]);
    assert_eq!(incidents(&record), ["fly 5-5: 1 wakes, 1 messages"]);
    let one = &record.investigations[0];
    assert_eq!(
        (
            one.input_tokens,
            one.severity.as_str(),
            one.title.as_deref()
        ),
        (None, "", None)
    );
}
