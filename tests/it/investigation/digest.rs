//! A batch of many wakes is one question and one message.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::{
    Calls, DIAGNOSIS, Fault, Post, Reply, Row, World, assert_nothing_is_left, assert_sent,
    at_each_call, column, wake,
};

/// A digest from so many wakes on.
fn digesting(least: &str) -> World {
    let world = World::stamped();
    world.set("KORA_PROBE_DIGEST_WAKES", least);
    world
}

fn row(probe: &str, severity: &str) -> Row {
    wake(probe).set("severity", severity)
}

/// One of each severity, and one of none.
fn four() -> [Row; 4] {
    [
        row("vercel", "warning"),
        row("fly", "critical"),
        row("sentry", "info"),
        row("doppler", "page"),
    ]
}

/// The list of `four`, and what ends it.
fn list(end: &str) -> String {
    format!(
        "🚨 Probe alerts · 4 at once (1 critical)\n\
         🚨 fly (critical): fly unreachable: HTTP 401\n\
         ⚠️ vercel (warning): vercel unreachable: HTTP 401\n\
         🔔 doppler (page): doppler unreachable: HTTP 401\n\
         ℹ️ sentry (info): sentry unreachable: HTTP 401\n\n{end}"
    )
}

/// The facts of `four` in full.
fn in_full() -> String {
    let [vercel, fly, sentry, doppler] =
        four().map(|row| format!("{}\n\n{}", row.in_full(), row.status_line()));
    format!("🚨 {fly}\n\n⚠️ {vercel}\n\n🔔 {doppler}\n\nℹ️ {sentry}")
}

fn texts_and_threads(posts: &[Post]) -> Vec<(&str, Option<&str>)> {
    let both = |post| (Post::text(post), post.thread_ts.as_deref());
    posts.iter().map(both).collect()
}

#[test]
fn many_at_once_are_one_question_and_one_message() {
    let world = digesting("4");
    world.append(four());
    let report = world.report(0);
    let (first, full) = (list(DIAGNOSIS), in_full());
    let expected = [(first.as_str(), None), (&full, Some("1.1"))];
    assert_eq!(texts_and_threads(&world.slack.posts()), expected);
    let questions = world.engine.questions();
    assert_eq!(questions.len(), 1);
    let question = questions[0].json();
    assert_eq!(question["caller_session_id"], "probe:digest:4");
    let metadata = &question["message"]["metadata"];
    assert_eq!(
        (&metadata["probe_name"], &metadata["severity"]),
        (&json!("fly"), &json!("critical"))
    );
    let prompt = &world.engine.prompts()[0];
    assert!(four().iter().all(|row| prompt.contains(row.probe())));
    for wake in report["wakes"].as_array().unwrap() {
        assert_eq!(
            (
                &wake["dispatched"],
                &wake["reasoning_invoked"],
                &wake["dm_sent"]
            ),
            (&json!(true), &json!(true), &json!(true))
        );
    }
}

#[test]
fn each_wake_has_its_own_row_and_its_own_window() {
    let world = digesting("4");
    world.raise(four()).exits(0).silent();
    let rows = world.state_rows("outcomes.jsonl");
    let probes = column(rows.clone(), "/details/probe");
    assert_eq!(probes, ["vercel", "fly", "sentry", "doppler"]);
    for (number, row) in rows.iter().enumerate() {
        let details = &row["details"];
        let probe = details["probe"].as_str().unwrap();
        let session = format!("probe:{probe}:service_unhealthy");
        assert_eq!(row["caller_session_id"], session);
        assert_eq!(
            (&details["digest_size"], &details["digest_session"]),
            (&json!(4), &json!("probe:digest:4"))
        );
        let tokens = if number == 0 { json!(812) } else { Value::Null };
        assert_eq!(details["input_tokens"], tokens);
    }
    world.raise(four()).exits(0).silent();
    assert_eq!(world.slack.posts().len(), 2, "all four are held back");
    world.shift_state_by(-SignedDuration::from_mins(11));
    world.raise(four()).exits(0).silent();
    let full = &world.slack.posts()[3].text;
    assert_eq!(full.matches(" · 1 repeat held back").count(), 4, "{full}");
}

#[test]
fn fewer_wakes_and_wakes_that_are_held_back_make_no_digest() {
    let world = digesting("4");
    world.append(["a", "b", "c", "a"].map(wake));
    world.run().exits(0).silent();
    assert_eq!(world.engine.questions().len(), 3);
    assert_eq!(world.slack.posts().len(), 3);
}

#[test]
fn a_digest_without_a_diagnosis_names_the_reason() {
    let world = digesting("2");
    world.engine.script([Reply::text(503, "")]);
    world.append(four());
    world.run().exits(0).warns("no diagnosis for 4 alerts: ");
    let unable = "I was unable to investigate — engine returned: engine_exception:HTTP503";
    assert_eq!(world.slack.texts(), [list(unable), in_full()]);
}

#[test]
fn with_facts_first_the_list_goes_ahead_and_the_result_follows_it() {
    for fails in [false, true] {
        let world = digesting("2");
        world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "0");
        if fails {
            world.engine.script([Reply::text(503, "")]);
        }
        world.raise(four()).exits(0);
        let result = if fails {
            "I was unable to investigate — engine returned: engine_exception:HTTP503"
        } else {
            DIAGNOSIS
        };
        let list = list("The investigation follows in this thread.");
        let (full, result) = (in_full(), format!("🔎 Diagnosis · 4 alerts\n{result}"));
        let expected = [
            (list.as_str(), None),
            (&full, Some("1.1")),
            (&result, Some("1.1")),
        ];
        assert_eq!(texts_and_threads(&world.slack.posts()), expected);
    }
}

#[test]
#[ignore = "some dozen runs under strace"]
fn a_run_that_is_killed_with_a_digest_neither_loses_nor_doubles() {
    needs!("strace");
    let prepare = || {
        let world = digesting("2");
        world.append(["fly", "sentry"].map(wake));
        world
    };
    at_each_call(Fault::Kill, Calls::Visible, prepare, |world, call, _| {
        world.run().exits(0);
        let posts = world.slack.posts();
        let is_first = |post: &&Post| post.thread_ts.is_none();
        let (lists, facts): (Vec<_>, Vec<_>) = posts.iter().partition(is_first);
        let repeats =
            assert_sent(&lists, "the list", &posts) + assert_sent(&facts, "the facts", &posts);
        assert!(repeats <= 1, "{call}: {posts:?}");
        assert_nothing_is_left(world);
    });
}

/// So many wakes with 16 KiB each: nothing of them is lost, and the question stays small.
#[track_caller]
fn huge_digest(wakes: usize) {
    let world = digesting("2");
    // In a debug build, each of a thousand commits of 4 MiB takes 60 ms.
    world.set("KORA_PROBE_WAKE_MAX_RUNTIME_SECONDS", "30");
    let detail = |wake: usize| -> String {
        (0..1_400)
            .map(|word| format!("p{wake}-{word:04} "))
            .collect()
    };
    let rows: Vec<_> = (100..100 + wakes)
        .map(|number| wake(&format!("p{number}")).set("detail", detail(number).trim_end()))
        .collect();
    world.append(rows.clone());
    let mut codes = vec![world.run().code];
    while codes.last() == Some(&Some(3)) && codes.len() < 20 {
        codes.push(world.run().code);
    }
    assert_eq!(codes.last(), Some(&Some(0)), "{codes:?}");
    let posts = world.slack.posts();
    // A part does not end with the line feeds at which the text was cut.
    let on_one_line = |text: &str| text.replace('\n', "");
    let sent: String = posts[1..]
        .iter()
        .map(|post| on_one_line(&post.text))
        .collect();
    let in_full = rows.iter().map(|row| {
        let (facts, status) = (row.in_full(), row.status_line());
        on_one_line(&format!("🚨 {facts}{status}"))
    });
    let in_full: String = in_full.collect();
    assert!(sent == in_full, "something is missing or was repeated");
    assert!(
        posts[1..]
            .iter()
            .all(|post| post.thread_ts.as_deref() == Some("1.1"))
    );
    let prompts = world.engine.prompts();
    assert_eq!(prompts.len(), 1);
    let most = 50 * 1024 + 256 * wakes;
    assert!(prompts[0].len() < most, "{}", prompts[0].len());
}

#[test]
fn a_huge_digest_is_sent_whole() {
    huge_digest(12);
}
