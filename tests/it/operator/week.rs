//! A week of five services, from outside: what the operator gets without a hand in it, and with what a person
//! would do about it. `WEEK_PAGE=FILE cargo test --test it -- --nocapture operator::week` prints the table and
//! keeps the page of that week.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;

use super::{pass, silences};
use crate::support::{Row, World, recovery, wake};

const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;
/// A critical alert is heard no later than this after its wake, in minutes, while Slack is well.
const WINDOW: i64 = 10;

/// What happens at a minute of the week.
enum Event {
    Wakes(Vec<Row>),
    Recovered(&'static str),
    /// A run and nothing else: a window or a silence has ended.
    Run,
    /// What a person types, where one does.
    Typed(&'static str),
    /// A setting that a person changes, where one does.
    Set(&'static str, &'static str),
    EngineDies,
    EngineIsBack,
    SlackDies,
    SlackIsBack,
}

/// The week: minute, what it is part of, what happens.
fn week() -> Vec<(i64, &'static str, Event)> {
    let mut week = Vec::new();
    let one = |probe: &str, severity: &str, title: &str| {
        vec![
            wake(probe)
                .set("severity", severity)
                .set("title", format!("{probe}: {title}")),
        ]
    };
    let mut add = |minute: i64, part: &'static str, event: Event| week.push((minute, part, event));
    for day in 0..7 {
        for (hour, probe) in [
            (2, "fly"),
            (7, "vercel"),
            (13, "sentry"),
            (18, "neon"),
            (22, "supabase"),
        ] {
            let (at, severity) = (
                day * DAY + hour * HOUR + 50,
                ["info", "warning"][day as usize % 2],
            );
            add(
                at,
                "an ordinary day",
                Event::Wakes(one(probe, severity, "slow answers")),
            );
        }
    }
    // Monday: 45 minutes of an outage.
    let at = 10 * HOUR;
    for minute in (0..=45).step_by(5) {
        let row = one("fly", "critical", "app unreachable: HTTP 401");
        add(at + minute, "an outage of 45 minutes", Event::Wakes(row));
    }
    add(at + 1, "an outage of 45 minutes", Event::Typed("ack fly"));
    add(at + 46, "an outage of 45 minutes", Event::Recovered("fly"));
    // Tuesday: an hour of maintenance.
    let at = DAY + 10 * HOUR;
    add(
        at - 5,
        "an hour of maintenance",
        Event::Typed("silence supabase --for 70m --reason move"),
    );
    for minute in (0..60).step_by(5) {
        let row = one("supabase", "critical", "no connection");
        add(at + minute, "an hour of maintenance", Event::Wakes(row));
    }
    add(
        at + 60,
        "an hour of maintenance",
        Event::Recovered("supabase"),
    );
    add(at + 66, "an hour of maintenance", Event::Run);
    // Wednesday: a probe that flaps.
    let at = 2 * DAY + 8 * HOUR;
    for number in 0..42 {
        let row = one("sentry", "warning", "ingestion is late");
        add(at + number * 12, "a probe that flaps", Event::Wakes(row));
    }
    add(
        at + 50,
        "a probe that flaps",
        Event::Set("KORA_PROBE_DEBOUNCE_BACKOFF_FACTOR", "2"),
    );
    // Wednesday night: a warning that becomes critical within its window.
    let at = 2 * DAY + 21 * HOUR;
    add(
        at,
        "a warning that gets worse",
        Event::Wakes(one("vercel", "warning", "error rate 12.5%")),
    );
    add(
        at + 3,
        "a warning that gets worse",
        Event::Wakes(one("vercel", "critical", "error rate 80%")),
    );
    add(at + 10, "a warning that gets worse", Event::Run);
    add(
        at + 20,
        "a warning that gets worse",
        Event::Recovered("vercel"),
    );
    // Thursday: a storm of 30 pairs, each raised again twice.
    let at = 3 * DAY + 3 * HOUR;
    for minute in [0, 11, 22] {
        let pair = |number: usize| {
            let probe = ["fly", "vercel", "sentry", "neon", "supabase"][number % 5];
            wake(probe).set("category", format!("check_{number}"))
        };
        add(
            at + minute,
            "a storm of 30",
            Event::Wakes((0..30).map(pair).collect()),
        );
    }
    add(at + 2, "a storm of 30", Event::Typed("ack all"));
    for probe in ["fly", "vercel", "sentry", "neon", "supabase"] {
        add(at + 30, "a storm of 30", Event::Recovered(probe));
    }
    // Friday: the engine is down for three hours.
    let at = 4 * DAY + 14 * HOUR;
    add(at - 1, "an engine that is down", Event::EngineDies);
    for hour in 0..3 {
        let row = one("neon", "critical", "replication has stopped");
        add(
            at + hour * HOUR,
            "an engine that is down",
            Event::Wakes(row),
        );
    }
    add(
        at + 3 * HOUR - 1,
        "an engine that is down",
        Event::EngineIsBack,
    );
    // Saturday: Slack is down for half an hour.
    let at = 5 * DAY + 4 * HOUR;
    add(at - 1, "a Slack that is down", Event::SlackDies);
    for probe in ["fly", "neon"] {
        let row = one(probe, "critical", "machine restarts in a loop");
        add(at, "a Slack that is down", Event::Wakes(row));
    }
    add(at + 10, "a Slack that is down", Event::Run);
    add(at + 30, "a Slack that is down", Event::SlackIsBack);
    add(at + 31, "a Slack that is down", Event::Run);
    week.sort_by_key(|(minute, ..)| *minute);
    week
}

/// What a part of the week came to.
#[derive(Clone, Copy, Default)]
struct Cost {
    wakes: usize,
    messages: usize,
    questions: usize,
}

struct Lived {
    world: World,
    parts: BTreeMap<&'static str, Cost>,
    /// Minute, probe and category of each critical wake that no silence held.
    critical: Vec<(i64, String, String)>,
    /// When each alert got to the operator, and its text.
    heard: Vec<(i64, String)>,
}

fn live(has_hand: bool) -> Lived {
    let world = World::stamped();
    // A busy machine has no say in whether the facts go first.
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "30");
    let (mut now, mut posts, mut questions) = (0, 0, 0);
    let mut parts: BTreeMap<_, Cost> = BTreeMap::new();
    let (mut critical, mut heard) = (Vec::new(), Vec::new());
    for (minute, part, event) in week() {
        pass(&world, minute - now);
        now = minute;
        let cost = parts.entry(part).or_default();
        match event {
            Event::Wakes(rows) => {
                cost.wakes += rows.len();
                let silences = silences(&world);
                let is_held = |row: &Row| {
                    let pair = format!("{}:{}", row.probe(), row.text("category"));
                    let holds = |of: &str| of == pair || of == row.probe();
                    silences
                        .iter()
                        .any(|one| holds(one["pair"].as_str().unwrap()))
                };
                let unheld = rows
                    .iter()
                    .filter(|row| row.text("severity") == "critical" && !is_held(row));
                critical.extend(unheld.map(|row| {
                    (
                        minute,
                        row.probe().to_owned(),
                        row.text("category").to_owned(),
                    )
                }));
                world.append(rows);
            }
            Event::Recovered(probe) => world.append_raw(recovery(probe, &json!({}))),
            Event::Run => {}
            Event::Typed(line) if has_hand => drop(world.command(line).exits(0)),
            Event::Set(name, value) if has_hand => world.set(name, value),
            Event::Typed(_) | Event::Set(..) => continue,
            Event::EngineDies => world.engine.die(),
            Event::EngineIsBack => world.engine.revive(),
            Event::SlackDies => world.slack.die(),
            Event::SlackIsBack => world.slack.revive(),
        }
        let run = world.run();
        assert!(matches!(run.code, Some(0 | 3)), "{minute}: {}", run.stderr);
        let new = world.slack.posts().split_off(posts);
        posts += new.len();
        cost.messages += new.iter().filter(|post| post.thread_ts.is_none()).count();
        heard.extend(new.into_iter().map(|post| (minute, post.text)));
        let asked = world.engine.questions().len();
        cost.questions += asked - questions;
        questions = asked;
    }
    Lived {
        world,
        parts,
        critical,
        heard,
    }
}

/// Asserts that each critical wake that no silence held was heard of: by a message about its pair, its window's
/// or the next, or once Slack was well again.
#[track_caller]
fn assert_heard(lived: &Lived) {
    for (minute, probe, category) in &lived.critical {
        let is_about = |text: &str| {
            text.starts_with(&format!("🚨 Probe alert · {probe}\n"))
                && text.contains(&format!("\n{category} · raised "))
        };
        let hears = |(at, text): &&(i64, String)| {
            (minute - 2 * WINDOW..=minute + 31).contains(at) && is_about(text)
        };
        assert!(
            lived.heard.iter().any(|one| hears(&one)),
            "{minute}: {probe}:{category}"
        );
    }
    let status = lived.world.command("status --format json").exits(0).json();
    assert_eq!(
        (&status["outbox"], &status["undelivered"]),
        (&json!([]), &json!(0))
    );
}

#[test]
#[ignore = "a week of runs"]
fn a_week_with_a_persons_hand_is_quieter_and_no_critical_alert_goes_unheard() {
    let [without, with] = std::thread::scope(|scope| {
        [false, true]
            .map(|has_hand| scope.spawn(move || live(has_hand)))
            .map(|lived| lived.join().expect("a week"))
    });
    assert_heard(&without);
    assert_heard(&with);
    let mut sums = [Cost::default(); 2];
    println!(
        "| part of the week | wakes | messages | questions | messages, with a hand | questions, with a hand |"
    );
    println!("|---|---|---|---|---|---|");
    let mut parts: Vec<_> = week().into_iter().map(|(_, part, _)| part).collect();
    let mut seen = std::collections::BTreeSet::new();
    parts.retain(|part| seen.insert(*part));
    for part in parts {
        let cost = without.parts[part];
        let other = with.parts[part];
        println!(
            "| {part} | {} | {} | {} | {} | {} |",
            cost.wakes, cost.messages, cost.questions, other.messages, other.questions
        );
        assert!(
            other.messages <= cost.messages && other.questions <= cost.questions,
            "{part}"
        );
        for (sum, cost) in sums.iter_mut().zip([cost, other]) {
            sum.wakes += cost.wakes;
            sum.messages += cost.messages;
            sum.questions += cost.questions;
        }
    }
    let [all, less] = sums;
    println!(
        "| in all | {} | {} | {} | {} | {} |",
        all.wakes, all.messages, all.questions, less.messages, less.questions
    );
    assert_eq!(with.parts["an hour of maintenance"].messages, 0);
    assert_eq!(with.parts["an outage of 45 minutes"].messages, 1);
    assert!(less.messages * 3 < all.messages * 2);
    let page = with
        .world
        .command("history --since 8d --format html")
        .exits(0)
        .stdout;
    for text in [
        "fly: app unreachable: HTTP 401",
        "move",
        "sentry: ingestion is late",
    ] {
        assert!(page.contains(text), "no {text} on the page");
    }
    let history = with.world.command("history --format json").exits(0).json();
    let wakes = u64::try_from(all.wakes).unwrap();
    assert_eq!(history["totals"]["wakes"], wakes, "each is counted once");
    if let Some(path) = std::env::var_os("WEEK_PAGE") {
        fs::write(path, page).expect("the page");
    }
}
