//! No alert waits for a diagnosis: the facts go first, and the result follows in their thread.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    DIAGNOSIS, Engine, Post, Reply, Row, Slack, World, at_once, plain, reply, unable, wake,
    without_times,
};

/// Facts are due so many seconds after a wake was queued.
fn after(seconds: &str) -> World {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", seconds);
    world
}

fn rows<const N: usize>(probes: [&str; N]) -> [Row; N] {
    probes.map(wake)
}

fn texts(posts: &[Post]) -> Vec<&str> {
    posts.iter().map(|post| post.text.as_str()).collect()
}

/// A question that is answered when the test says so.
fn held() -> Reply {
    Engine::answer(DIAGNOSIS).held()
}

#[test]
#[ignore = "an engine of one second is asked twelve times"]
fn the_facts_of_a_storm_leave_while_the_engine_is_at_its_start() {
    let world = after("2");
    world.engine.takes(Duration::from_secs(1));
    let rows: Vec<_> = (10..22).map(|number| wake(&format!("p{number}"))).collect();
    world.append(rows.clone());
    let begun = Instant::now();
    world.report(0);
    let posts = world.slack.posts();
    for row in &rows {
        let about = format!(" · {}\n", row.probe());
        let about: Vec<_> = posts
            .iter()
            .filter(|post| post.text.contains(&about))
            .collect();
        let (first, last) = (about[0], about[about.len() - 1]);
        let waited = first.at.duration_since(begun);
        assert!(
            waited < Duration::from_millis(3_600),
            "{}: {waited:?}",
            row.probe()
        );
        match about.len() {
            1 => assert_eq!(last.text, plain(row.probe())),
            _ => {
                assert_eq!((about.len(), &first.text), (2, &row.facts()));
                assert_eq!(last.text, reply(row.probe()));
                assert_eq!(last.thread_ts, first.ts);
            }
        }
    }
    assert_eq!(world.engine.questions().len(), 12);
    let first_ones = posts.iter().filter(|post| post.thread_ts.is_none()).count();
    assert_eq!(first_ones, 12);
    assert!(posts.len() >= 21, "few were announced: {posts:?}");
}

#[test]
#[ignore = "Slack is slow for eight seconds"]
fn a_wake_waits_for_no_backlog() {
    let world = after("30");
    world.slack.maybe();
    let row = |number| wake(&format!("p{number}")).set("severity", "warning");
    let backlog: Vec<_> = (10..23).map(row).collect();
    world.queue(backlog.clone());
    let pause = Duration::from_millis(600);
    world
        .slack
        .usually(move |_, before| Slack::took(before).after(pause));
    world.append([wake("fly")]);
    world.run().exits(0);
    let posts = world.slack.posts();
    assert_eq!(posts[0].text, wake("fly").facts());
    let others = posts.iter().filter(|post| !post.text.contains("fly"));
    let in_order: Vec<_> = others
        .map(|post| post.text.lines().next().unwrap())
        .collect();
    let expected = backlog
        .iter()
        .map(|row| format!("⚠️ Probe alert · {}", row.probe()));
    assert_eq!(in_order, expected.collect::<Vec<_>>());
}

#[test]
fn where_the_engine_answers_in_time_nothing_of_it_is_seen() {
    let sent = |seconds: &str, line: &str| {
        let world = after(seconds);
        world.append(rows(["fly", "sentry"]));
        let stdout = world.command(line).exits(0).stdout;
        if line.contains("stdout") {
            world.slack.never();
        }
        let posts = world.slack.posts();
        let plain = ["fly", "sentry"].map(plain);
        assert!(posts.is_empty() || texts(&posts) == plain);
        let body = |post: Post| {
            let mut body = post.body;
            body["text"] = post.text.into();
            body
        };
        let bodies: Vec<_> = posts.into_iter().map(body).collect();
        (without_times(&stdout), bodies)
    };
    for line in ["run", "run --to stdout"] {
        assert_eq!(sent("30", line), sent("never", line), "{line}");
    }
    let never = sent("never", "run --to stdout");
    assert_eq!(
        sent("0", "run --to stdout"),
        never,
        "stdout knows no facts first"
    );
}

#[test]
fn at_once_the_facts_go_before_the_question_and_the_result_into_their_thread() {
    let world = after("0");
    let row = wake("fly");
    world.engine.script([held()]);
    world.append([row.clone()]);
    let run = world.start("run --format json");
    world.engine.wait_for(1);
    assert_eq!(texts(&world.slack.posts()), [row.facts()]);
    world.engine.release();
    let report = run.finish().exits(0).json();
    let posts = world.slack.posts();
    assert_eq!(
        posts[1].body,
        json!({"channel": "D1", "thread_ts": "1.1", "text": reply("fly"), "mrkdwn": false,
            "unfurl_links": false, "unfurl_media": false})
    );
    let sent = &report["wakes"][0];
    assert_eq!(
        [
            &sent["facts_first"],
            &sent["reasoning_invoked"],
            &sent["dm_sent"]
        ],
        [&json!(true); 3]
    );
    assert_eq!(sent["dm_text"], reply("fly"));
    let outcome = &world.state_rows("outcomes.jsonl")[0]["details"];
    assert_eq!(
        (&outcome["facts_first"], &outcome["dm_status"]),
        (&json!(true), &json!("sent"))
    );
}

#[test]
fn a_result_without_a_diagnosis_names_the_reason_alone() {
    let world = after("0");
    world.engine.script([Reply::text(503, "")]);
    let row = wake("fly");
    world.append([row.clone()]);
    world.run().exits(0).warns("no diagnosis for fly: ");
    let posts = world.slack.posts();
    let reason = "engine_exception:HTTP503";
    assert_eq!(texts(&posts), [row.facts(), unable("fly", reason)]);
    assert_eq!(posts[1].thread_ts.as_deref(), Some("1.1"));
    let details = world.state_rows("outcomes.jsonl")[0]["details"].take();
    assert_eq!(details["reasoning_error"], reason);
    assert_eq!(details["dm_status"], "engine_unavailable_fallback");
}

#[test]
fn where_the_reason_is_known_there_is_one_message() {
    let world = after("0").without_engine();
    let rows = rows(["fly", "sentry"]);
    world.raise(rows.clone()).exits(0).silent();
    let fallbacks = rows.map(|row| row.fallback("engine_unavailable"));
    assert_eq!(world.slack.texts(), fallbacks);
}

#[test]
fn a_budget_that_is_spent_in_the_middle_of_a_storm_ends_the_rest_without_facts() {
    let world = after("1");
    world.set("KORA_PROBE_MAX_INVESTIGATIONS_PER_HOUR", "2");
    let pause = Duration::from_millis(600);
    world
        .engine
        .script([Engine::answer(DIAGNOSIS).after(pause), held()]);
    let rows = rows(["a", "b", "c", "d"]);
    world.append(rows.clone());
    let run = world.start("run");
    // The first one's diagnosis, what is known of the last two, and the second one's facts.
    world.slack.wait_for(4);
    world.engine.release();
    let outcome = run.finish().exits(0);
    let spent = "investigation_budget_spent";
    assert_eq!(
        outcome.stderr.matches(spent).count(),
        1,
        "{}",
        outcome.stderr
    );
    let [_, b, c, d] = rows;
    let expected = [
        plain("a"),
        c.fallback(spent),
        d.fallback(spent),
        b.facts(),
        reply("b"),
    ];
    let posts = world.slack.posts();
    assert_eq!(texts(&posts), expected);
    assert_eq!(posts[4].thread_ts, posts[3].ts);
    assert_eq!(world.engine.questions().len(), 2);
}

#[test]
fn an_engine_that_is_given_up_ends_the_rest_in_their_threads_with_the_same_reason() {
    let world = after("0");
    world.engine.script([Reply::Cut, Reply::Cut]);
    let rows = rows(["a", "b", "c"]);
    world.raise(rows.clone()).exits(0);
    let reason = "engine_exception:ConnectionError";
    let results = rows.each_ref().map(|row| unable(row.probe(), reason));
    let posts = world.slack.posts();
    assert_eq!(texts(&posts[..3]), rows.each_ref().map(Row::facts));
    assert_eq!(texts(&posts[3..]), results);
    assert_eq!(world.engine.questions().len(), 2);
}

#[test]
#[ignore = "the engine takes seconds"]
fn the_facts_of_a_row_that_is_written_during_a_question_leave_before_the_answer() {
    // Due at once: an announced one is pending. Due by itself: the wait for the first is not over.
    at_once(["0", "600", "6"], |seconds| {
        let world = after(seconds);
        let rows = rows(["fly", "sentry"]);
        let run = world.start_held([rows[0].clone()]);
        let begun = Instant::now();
        world.append([rows[1].clone()]);
        if seconds != "600" {
            world.slack.wait_for(2);
            assert!(begun.elapsed() < Duration::from_secs(8), "{seconds}");
            assert_eq!(texts(&world.slack.posts()), rows.each_ref().map(Row::facts));
        } else {
            let position = |state: Value| state["queue"].as_array().map(Vec::len);
            while position(world.state()) != Some(2) {
                assert!(begun.elapsed() < Duration::from_secs(8), "it is not queued");
                std::thread::sleep(Duration::from_millis(50));
            }
            assert_eq!(world.slack.posts().len(), 0);
        }
        world.engine.release();
        run.finish().exits(0).silent();
        let texts = world.slack.texts();
        let results = match seconds {
            "600" => ["fly", "sentry"].map(plain),
            _ => ["fly", "sentry"].map(reply),
        };
        assert_eq!(texts[texts.len() - 2..], results);
    });
}

/// An engine that gives no answer, and a run that is over before its time-out is.
fn hanging(facts_after: &str) -> World {
    let world = after(facts_after);
    world.set("KORA_PROBE_ENGINE_TIMEOUT_SECONDS", "3");
    world.engine.script([Reply::Hang]);
    world.append([wake("a").set("severity", "warning"), wake("b"), wake("c")]);
    world
}

#[test]
#[ignore = "the engine takes seconds"]
fn past_the_runs_time_all_facts_go_out_critical_first_and_the_results_stay_pending() {
    let world = hanging("30");
    let report = world
        .command("run --max-runtime 1 --format json")
        .exits(0)
        .json();
    let posts = world.slack.posts();
    let first_lines: Vec<_> = posts
        .iter()
        .map(|post| post.text.lines().next().unwrap())
        .collect();
    let expected = [
        "🚨 Probe alert · b",
        "🚨 Probe alert · c",
        "⚠️ Probe alert · a",
        "🔎 Diagnosis · b",
    ];
    assert_eq!(first_lines, expected);
    assert!(posts[3].text.ends_with("engine_exception:Timeout"));
    assert!(
        posts[3].at - posts[0].at > Duration::from_secs(1),
        "while the engine hangs"
    );
    assert_eq!(posts[3].thread_ts, posts[0].ts);
    assert_eq!(
        (
            &report["left_for_next_run"],
            &report["investigations"]["owed"]
        ),
        (&json!(0), &json!(2))
    );
    world.run().exits(0).silent();
    let posts = world.slack.posts();
    assert_eq!(
        posts[4].text,
        reply("c"),
        "what is pending goes critical first"
    );
    assert_eq!(posts[4].thread_ts, posts[1].ts);
    assert_eq!(posts[5].thread_ts, posts[2].ts);
    assert_eq!(posts.len(), 6);
}

#[test]
fn no_engine_is_asked_where_the_facts_took_all_of_the_runs_time() {
    let world = after("0");
    world.engine.maybe();
    let pause = Duration::from_millis(400);
    world
        .slack
        .usually(move |_, before| Slack::took(before).after(pause));
    world.append(rows(["a", "b", "c", "d"]));
    world.command("run --max-runtime 1").exits(0);
    assert_eq!(world.slack.posts().len(), 4);
    assert_eq!(world.engine.questions().len(), 0);
    world.slack.usually(|_, before| Slack::took(before));
    world.run().exits(0).silent();
    assert_eq!(world.engine.questions().len(), 4);
}

#[test]
#[ignore = "the engine takes seconds"]
fn past_the_runs_time_nothing_is_sent_where_facts_never_go_first() {
    let world = hanging("never");
    let report = world
        .command("run --max-runtime 1 --format json")
        .exits(0)
        .json();
    assert_eq!(world.slack.posts().len(), 1);
    assert_eq!(report["left_for_next_run"], 2);
    world.run().exits(0).silent();
    assert_eq!(world.slack.posts().len(), 3);
    assert_eq!(world.engine.questions().len(), 3);
}

#[test]
fn a_result_that_is_pending_for_too_long_is_not_asked_for() {
    let world = after("0");
    world.set("KORA_PROBE_OUTBOX_TTL_SECONDS", "7200");
    world.append(rows(["fly"]));
    world.kill_while_asking();
    world.shift_state(-3);
    world.run().exits(0).warns("no diagnosis for fly: expired");
    let posts = world.slack.posts();
    assert_eq!(posts[1].text, unable("fly", "expired"));
    assert_eq!(posts[1].thread_ts.as_deref(), Some("1.1"));
    assert_eq!(world.engine.questions().len(), 1);
}

#[test]
fn a_clock_set_back_between_two_runs_delays_no_facts() {
    let world = after("600");
    world.engine.script([Reply::Hang, held()]);
    let rows = rows(["fly", "sentry"]);
    world.append(rows.clone());
    let run = world.start("run");
    world.engine.wait_for(1);
    run.kill();
    world.shift_state(5);
    let run = world.start("run");
    world.engine.wait_for(2);
    assert_eq!(texts(&world.slack.posts()), rows.each_ref().map(Row::facts));
    world.engine.release();
    run.finish().exits(0).silent();
    assert_eq!(world.slack.texts()[2..], ["fly", "sentry"].map(reply));
}

#[test]
fn the_log_is_needed_no_more_once_the_batch_is_committed() {
    let world = after("0");
    world.engine.script([held()]);
    let rows = rows(["fly", "sentry"]);
    world.append(rows.clone());
    let run = world.start("run");
    world.slack.wait_for(2);
    world.engine.wait_for(1);
    std::fs::remove_file(world.log()).unwrap();
    world.engine.release();
    run.finish().exits(3).warns("does not exist");
    assert_eq!(world.slack.texts()[2..], ["fly", "sentry"].map(reply));
}

#[test]
#[ignore = "hundreds of messages from a debug build: some ten seconds"]
fn with_256_results_pending_a_new_wake_gets_the_one_fallback() {
    let world = after("0").without_debounce();
    let row = |number: usize| wake(&format!("p{number}."));
    world
        .raise((0..260).map(row))
        .exits(0)
        .warns("no diagnosis for p257.: investigation_backlog");
    let texts = world.slack.texts();
    let backlog = texts
        .iter()
        .filter(|text| text.contains("returned: investigation_backlog"));
    assert_eq!(backlog.count(), 4);
    assert_eq!(world.engine.questions().len(), 256);
    assert_eq!(texts.len(), 256 * 2 + 4);
}

#[test]
#[ignore = "thousands of commits from a debug build: some ten seconds"]
fn four_hundred_wakes_in_one_run_take_little_memory() {
    const WAKES: usize = 400;
    let world = after("30").without_debounce();
    world.slack.nth(WAKES, Slack::took(WAKES - 1).held());
    world.append((0..WAKES).map(|number| wake(&format!("p{number}."))));
    let run = world.start("run");
    let begun = Instant::now();
    while world.slack.requests().len() < WAKES && begun.elapsed() < Duration::from_secs(55) {
        sleep(Duration::from_millis(50));
    }
    let kib = run.peak_memory();
    world.slack.release();
    run.finish().exits(0).silent();
    assert_eq!(world.slack.requests().len(), WAKES);
    // At rest a debug build takes 17 MiB, a release build 4.
    assert!(kib < 24 * 1024, "{kib} KiB");
}

#[test]
fn the_run_that_sends_the_result_says_that_the_facts_went_first() {
    let world = after("0");
    world.engine.takes(Duration::from_millis(1_300));
    world.append(["fly", "sentry"].map(wake));
    world.command("run --max-runtime 1").exits(0);
    let report = world.report(0);
    let wake = &report["wakes"][0];
    assert_eq!(
        (&wake["probe"], &wake["facts_first"], &wake["dm_sent"]),
        (&json!("sentry"), &json!(true), &json!(true))
    );
}
