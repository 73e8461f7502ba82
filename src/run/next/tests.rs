//! The order of a run: state, progress and time in, the next step out.

#![allow(clippy::expect_used)]

use std::sync::mpsc;

use super::*;
use crate::audit::wake::Wake;
use crate::engine::Answer;
use crate::incident::Dispatch;
use crate::slack::{Thread, Trouble};
use crate::state::outbox::{Content, Fixed, Outcome, Pause, Place, PromptSize};
use crate::state::queue::{Alert, Stage};

/// All that the next step depends on. A time is in seconds; the run began at 0.
struct Case {
    state: State,
    progress: Progress,
    config: Config,
    route: Route,
    elapsed: u64,
}

fn second(seconds: i64) -> Timestamp {
    let begin: Timestamp = "2026-05-24T14:00:00Z".parse().expect("a time");
    begin + SignedDuration::from_secs(seconds)
}

impl Case {
    /// A run of one second with an engine and Slack, which has just looked at the log and found nothing.
    fn new() -> Self {
        Self {
            state: State::default(),
            progress: Progress {
                is_fresh: true,
                ..Progress::default()
            },
            config: Config::of(&[("KORA_PROBE_ENGINE_URL", "http://127.0.0.1:1")])
                .expect("settings"),
            route: Route::Slack,
            elapsed: 1,
        }
    }

    fn queue(&mut self, ids: &str) {
        for id in ids.split_whitespace() {
            self.state.queue.push_back(investigation(id, Stage::New));
        }
    }

    /// Messages that this run made.
    fn make(&mut self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.progress.made.insert(message.id.clone());
            self.state.outbox.push_back(message);
        }
    }

    fn asking(&mut self, id: &str) {
        self.progress.asking = Some(Asking {
            id: id.to_owned(),
            session: String::new(),
            asked_at: second(0),
            answers: mpsc::channel().1,
            answered: None,
            prompt_size: PromptSize::default(),
            log_end: None,
        });
    }

    fn handing_over(&mut self, id: &str) {
        self.progress.handing_over = Some(HandingOver {
            id: id.to_owned(),
            ended: mpsc::channel().1,
        });
    }

    fn next(&self) -> Step {
        let choice = Choice {
            state: &self.state,
            log: "log",
            progress: &self.progress,
            config: &self.config,
            route: self.route,
            now: second(self.elapsed.try_into().expect("a short run")),
            elapsed: Duration::from_secs(self.elapsed),
        };
        choice.next()
    }
}

fn alert(severity: &str) -> Alert {
    Alert {
        wake: Wake {
            severity: severity.to_owned(),
            ..Wake::sample()
        },
        dispatch: Dispatch {
            number: 1,
            since: second(0),
            counted: None,
        },
        read_at: second(0),
        dispatched_at: second(0),
        held_back: Default::default(),
        recovered: None,
    }
}

/// A word before a hyphen is the severity: `critical-1`; without one it is a warning.
fn investigation(id: &str, stage: Stage) -> Investigation {
    let severity = id
        .split_once('-')
        .map_or("warning", |(severity, _)| severity);
    Investigation {
        id: id.to_owned(),
        log: "log".to_owned(),
        queued_at: second(0),
        attempts: 0,
        alerts: vec![alert(severity)],
        stage,
    }
}

fn announced(id: &str) -> Investigation {
    investigation(id, Stage::Announced(None))
}

fn retrying(id: &str, asked: i64) -> Investigation {
    let retry = Retry {
        place: None,
        asked_at: second(asked),
        tries: 0,
        until: second(100_000),
    };
    investigation(id, Stage::Retrying(retry))
}

fn fallback(id: &str) -> Message {
    let severity = id
        .split_once('-')
        .map_or("warning", |(severity, _)| severity);
    let content = Content::Alert {
        alerts: vec![alert(severity)],
        outcome: Outcome::Unsaid,
    };
    Message {
        id: id.to_owned(),
        ..Message::new("log", content, Place::TopLevel, second(0))
    }
}

fn reply(id: &str) -> Message {
    let content = Content::Result {
        alerts: vec![alert("critical")],
        outcome: Outcome::Unsaid,
    };
    let place = Place::Thread(Thread {
        channel: "D1".to_owned(),
        ts: "1.1".to_owned(),
        operator: None,
    });
    Message {
        id: id.to_owned(),
        ..Message::new("log", content, place, second(0))
    }
}

/// A message of which so many parts were delivered.
fn begun(id: &str, parts: u32) -> Message {
    let mut message = fallback(id);
    message.fixed = Some(Fixed {
        parts,
        sent: 10,
        ..Fixed::new("x".repeat(100), 100)
    });
    message
}

fn send(id: &str) -> Step {
    Step::Send(id.to_owned())
}

fn ask(id: &str) -> Step {
    Step::Ask(id.to_owned())
}

fn announce(ids: &str) -> Step {
    Step::Announce(ids.split_whitespace().map(str::to_owned).collect())
}

fn refuse(id: &str, reason: Reason) -> Step {
    Step::Refuse(id.to_owned(), reason)
}

fn wait(seconds: u64) -> Step {
    Step::Wait(Duration::from_secs(seconds))
}

type Change = fn(&mut Case);

#[track_caller]
fn check(cases: &[(&str, Change, Step)]) {
    for (name, change, expected) in cases {
        let mut case = Case::new();
        change(&mut case);
        assert_eq!(case.next(), *expected, "{name}");
    }
}

#[test]
fn the_log_is_looked_at_before_anything_that_takes_time_and_every_5_seconds() {
    check(&[
        ("nothing to do", |_| (), Step::Done),
        (
            "at the start",
            |case| case.progress.is_fresh = false,
            Step::Look,
        ),
        (
            "before a question",
            |case| {
                case.queue("a");
                case.progress.is_fresh = false;
            },
            Step::Look,
        ),
        (
            "before a part",
            |case| {
                case.make([fallback("m")]);
                case.progress.is_fresh = false;
            },
            Step::Look,
        ),
        (
            "while the engine is awaited",
            |case| {
                case.queue("a");
                case.asking("a");
                case.elapsed = 5;
            },
            Step::Look,
        ),
        (
            "while Slack is awaited",
            |case| {
                case.make([fallback("m")]);
                case.state.slack.limited_until = Some(second(20));
                case.elapsed = 5;
            },
            Step::Look,
        ),
        (
            "rows were left since there was no room",
            |case| case.progress.was_full = true,
            Step::Look,
        ),
        (
            "an answer goes before",
            |case| {
                case.queue("a");
                case.asking("a");
                let asking = case.progress.asking.as_mut();
                asking.expect("a question").answered = Some(Answer::without(Reason::Timeout));
                case.progress.is_fresh = false;
            },
            Step::Conclude,
        ),
        (
            "the log cannot be read",
            |case| {
                case.progress.is_blind = true;
                case.progress.is_fresh = false;
            },
            Step::Done,
        ),
        (
            "past the run's time",
            |case| {
                case.progress.is_fresh = false;
                case.elapsed = 300;
            },
            Step::Done,
        ),
        (
            "past any time without a limit",
            |case| {
                case.progress.is_fresh = false;
                case.config.max_runtime = None;
                case.elapsed = 100_000;
            },
            Step::Look,
        ),
    ]);
}

#[test]
fn no_row_is_read_while_too_much_has_had_nothing_sent() {
    let with = |number: usize, was_full: bool, change: fn(&mut Investigation)| {
        let mut case = Case::new();
        case.config.facts_after = None;
        for number in 0..number {
            let mut one = investigation(&number.to_string(), Stage::New);
            change(&mut one);
            case.state.queue.push_back(one);
        }
        case.asking("0");
        case.progress.is_fresh = false;
        case.progress.was_full = was_full;
        case.next() == Step::Look
    };
    let large = |one: &mut Investigation| one.alerts[0].wake.detail = "x".repeat(1 << 20);
    let is_announced = |one: &mut Investigation| one.stage = Stage::Announced(None);
    for (number, was_full, change, expected) in [
        (255, false, (|_| ()) as fn(&mut Investigation), true),
        (256, false, |_| (), false),
        (256, false, is_announced, true),
        (3, false, large, true),
        (4, false, large, false),
        // The next look brings many rows, or none.
        (127, true, |_| (), true),
        (128, true, |_| (), false),
    ] {
        assert_eq!(
            with(number, was_full, change),
            expected,
            "{number} {was_full}"
        );
    }
}

#[test]
fn a_known_reason_ends_an_investigation_without_a_question() {
    let unreachable = Reason::ConnectionError;
    check(&[
        (
            "no engine",
            |case| {
                case.queue("a b");
                case.config.engine = None;
            },
            refuse("a", Reason::EngineUnavailable),
        ),
        (
            "no engine, announced by an earlier run",
            |case| {
                case.state.queue.push_back(announced("a"));
                case.config.engine = None;
            },
            refuse("a", Reason::EngineUnavailable),
        ),
        (
            "no engine, past the run's time",
            |case| {
                case.queue("a");
                case.config.engine = None;
                case.elapsed = 300;
            },
            refuse("a", Reason::EngineUnavailable),
        ),
        (
            "one interrupted attempt",
            |case| {
                case.queue("a");
                case.state.queue[0].attempts = 1;
            },
            ask("a"),
        ),
        (
            "two interrupted attempts",
            |case| {
                case.queue("a");
                case.state.queue[0].attempts = 2;
            },
            refuse("a", Reason::Interrupted),
        ),
        (
            "too long in the queue",
            |case| {
                case.queue("a");
                case.state.queue[0].queued_at = second(-86_400);
            },
            refuse("a", Reason::Expired),
        ),
        (
            "one wake found the engine unreachable",
            |case| {
                case.queue("a");
                case.progress.unreachable = Some((Reason::ConnectionError, 1));
            },
            ask("a"),
        ),
        (
            "two in a row did",
            |case| {
                case.queue("a");
                case.progress.unreachable = Some((Reason::ConnectionError, 2));
            },
            refuse("a", unreachable),
        ),
        (
            "the budget is not spent",
            |case| {
                case.queue("a");
                case.config.max_investigations_per_hour = 2;
                case.state.questions = vec![second(-3_599), second(-3_600), second(3_600)];
            },
            ask("a"),
        ),
        (
            "the budget is spent",
            |case| {
                case.queue("a");
                case.config.max_investigations_per_hour = 2;
                case.state.questions = vec![second(-3_598), second(0)];
            },
            refuse("a", Reason::BudgetSpent),
        ),
        (
            "not the one that is being asked",
            |case| {
                case.queue("a");
                case.state.queue[0].attempts = 2;
                case.asking("a");
            },
            wait(4),
        ),
    ]);
}

#[test]
fn facts_are_announced_when_one_is_due_critical_first() {
    check(&[
        (
            "not due",
            |case| {
                case.queue("a b");
                case.asking("a");
                case.progress.looked = Duration::from_secs(29);
                case.elapsed = 29;
            },
            wait(1),
        ),
        (
            "due",
            |case| {
                case.queue("a info-1 critical-1");
                case.asking("a");
                case.state.queue[1].queued_at = second(10);
                case.progress.looked = Duration::from_secs(30);
                case.elapsed = 30;
            },
            announce("critical-1 a info-1"),
        ),
        (
            "a clock set back makes it due",
            |case| {
                case.queue("a");
                case.asking("a");
                case.state.queue[0].queued_at = second(500);
            },
            announce("a"),
        ),
        (
            "at once",
            |case| {
                case.queue("a");
                case.config.facts_after = Some(SignedDuration::ZERO);
            },
            announce("a"),
        ),
        (
            "while announced ones are pending",
            |case| {
                case.state.queue.push_back(announced("old"));
                case.queue("a");
            },
            announce("a"),
        ),
        (
            "not while one is only retried",
            |case| {
                case.state.queue.push_back(retrying("old", 0));
                case.queue("a");
            },
            ask("a"),
        ),
        (
            "while messages of earlier runs can be sent",
            |case| {
                case.state.outbox.push_back(fallback("old"));
                case.queue("a");
            },
            announce("a"),
        ),
        (
            "not while they cannot be sent",
            |case| {
                case.state.outbox.push_back(Message {
                    given_up: Some("no_text".to_owned()),
                    ..fallback("old")
                });
                case.progress.sending.unwritable.insert("old".to_owned());
                case.queue("a");
            },
            ask("a"),
        ),
        (
            "nor where this run made them",
            |case| {
                case.make([fallback("new")]);
                case.queue("a");
            },
            send("new"),
        ),
        (
            "past the run's time",
            |case| {
                case.queue("a critical-1");
                case.elapsed = 300;
            },
            announce("critical-1 a"),
        ),
        (
            "never",
            |case| {
                case.state.queue.push_back(announced("old"));
                case.queue("a");
                case.config.facts_after = None;
            },
            ask("a"),
        ),
        (
            "never, past the run's time",
            |case| {
                case.queue("a");
                case.config.facts_after = None;
                case.elapsed = 300;
            },
            Step::Done,
        ),
        (
            "not on stdout",
            |case| {
                case.queue("a");
                case.progress.queued.insert("a".to_owned());
                case.config.facts_after = Some(SignedDuration::ZERO);
                case.route = Route::Stdout;
            },
            ask("a"),
        ),
    ]);
}

#[test]
fn no_more_than_256_announced_investigations_are_pending() {
    let case = |pending: usize, new: &str| {
        let mut case = Case::new();
        let pending = (0..pending).map(|number| announced(&number.to_string()));
        case.state.queue.extend(pending);
        case.queue(new);
        case
    };
    assert_eq!(case(255, "a b").next(), announce("a"));
    assert_eq!(case(256, "a b").next(), refuse("a", Reason::Backlog));
    let mut asked = case(256, "a");
    asked.asking("a");
    assert_eq!(asked.next(), announce("a"));
    let mut large = case(4, "a");
    for one in large.state.queue.iter_mut() {
        one.alerts[0].wake.detail = "x".repeat(1 << 20);
    }
    assert_eq!(large.next(), refuse("a", Reason::Backlog));
}

#[test]
fn messages_go_out_before_a_question_is_begun_and_what_is_too_old_is_given_up_first() {
    check(&[
        (
            "a message",
            |case| {
                case.make([fallback("m")]);
                case.queue("a");
            },
            send("m"),
        ),
        (
            "the first in the order",
            |case| {
                case.state
                    .outbox
                    .extend([reply("reply"), fallback("old"), fallback("critical-1")]);
            },
            send("critical-1"),
        ),
        (
            "too old",
            |case| {
                case.make([fallback("m"), fallback("old")]);
                case.state.outbox[1].queued_at = second(-86_400);
            },
            Step::GiveUp("old".to_owned(), "expired".to_owned()),
        ),
        (
            "too old where there is no limit",
            |case| {
                case.make([fallback("old")]);
                case.state.outbox[0].queued_at = second(-864_000);
                case.config.outbox_ttl = None;
            },
            send("old"),
        ),
        (
            "to be given up",
            |case| {
                case.make([fallback("m"), fallback("bad")]);
                case.state.outbox[1].given_up = Some("no_text".to_owned());
            },
            Step::GiveUp("bad".to_owned(), "no_text".to_owned()),
        ),
        (
            "given up already, and its file could not be written",
            |case| {
                case.make([fallback("m"), fallback("bad")]);
                case.state.outbox[1].given_up = Some("no_text".to_owned());
                case.progress.sending.unwritable.insert("bad".to_owned());
            },
            send("m"),
        ),
        (
            "too old, and Slack is not set",
            |case| {
                case.make([fallback("old")]);
                case.state.outbox[0].queued_at = second(-86_400);
                case.route = Route::SlackWithout("KORA_SLACK_BOT_TOKEN");
            },
            Step::GiveUp("old".to_owned(), "expired".to_owned()),
        ),
        (
            "Slack is not set",
            |case| {
                case.make([fallback("m")]);
                case.route = Route::SlackWithout("KORA_SLACK_BOT_TOKEN");
            },
            Step::Done,
        ),
        (
            "the run sends no more",
            |case| {
                case.make([fallback("m")]);
                case.progress.sending.has_stopped = true;
            },
            Step::Done,
        ),
        (
            "one more try that is not due yet: the question begins",
            |case| {
                case.make([fallback("m"), fallback("n")]);
                case.queue("a");
                case.progress.sending.again = Some(("m".to_owned(), Duration::from_secs(2)));
            },
            ask("a"),
        ),
        (
            "nothing else is sent before it",
            |case| {
                case.make([fallback("m"), fallback("n")]);
                case.progress.sending.again = Some(("m".to_owned(), Duration::from_secs(2)));
            },
            wait(1),
        ),
        (
            "one more try that is due",
            |case| {
                case.make([fallback("n"), fallback("m")]);
                case.progress.sending.again = Some(("m".to_owned(), Duration::from_secs(1)));
            },
            send("m"),
        ),
        (
            "another one tells whose fault it is",
            |case| {
                case.make([fallback("m"), reply("n")]);
                let sending = &mut case.progress.sending;
                sending.tried.insert("m".to_owned());
                sending.suspect = Some(("m".to_owned(), Trouble::Refused));
            },
            send("n"),
        ),
        (
            "there is no other",
            |case| {
                case.make([fallback("m")]);
                let sending = &mut case.progress.sending;
                sending.tried.insert("m".to_owned());
                sending.suspect = Some(("m".to_owned(), Trouble::Refused));
            },
            Step::Done,
        ),
        (
            "on stdout, what this run made",
            |case| {
                case.state.outbox.push_back(fallback("old"));
                case.make([fallback("m")]);
                case.route = Route::Stdout;
            },
            send("m"),
        ),
        (
            "on stdout, once",
            |case| {
                case.make([fallback("m")]);
                case.progress.sending.tried.insert("m".to_owned());
                case.route = Route::Stdout;
            },
            Step::Done,
        ),
        (
            "nowhere in a dry run",
            |case| {
                case.make([fallback("m")]);
                case.route = Route::Nowhere;
            },
            Step::Done,
        ),
    ]);
}

#[test]
fn past_the_runs_time_what_it_made_goes_out_and_the_rest_waits() {
    check(&[
        (
            "a message of an earlier run",
            |case| {
                case.state.outbox.push_back(fallback("old"));
                case.elapsed = 300;
            },
            Step::Done,
        ),
        (
            "one that this run made",
            |case| {
                case.state.outbox.push_back(fallback("critical-old"));
                case.make([fallback("m")]);
                case.elapsed = 300;
            },
            send("m"),
        ),
        (
            "up to its tenth part",
            |case| {
                case.make([begun("m", 9)]);
                case.elapsed = 300;
            },
            send("m"),
        ),
        (
            "and no further",
            |case| {
                case.make([begun("m", 10)]);
                case.elapsed = 300;
            },
            Step::Done,
        ),
        (
            "no question is begun",
            |case| {
                case.state.queue.push_back(announced("a"));
                case.elapsed = 300;
            },
            Step::Done,
        ),
        (
            "the one under way is awaited",
            |case| {
                case.state.queue.push_back(announced("a"));
                case.asking("a");
                case.elapsed = 300;
                case.progress.looked = Duration::from_secs(300);
            },
            wait(5),
        ),
    ]);
}

#[test]
fn one_question_is_asked_at_a_time_new_ones_first() {
    check(&[
        (
            "critical first, then oldest",
            |case| {
                case.config.facts_after = None;
                case.state.queue.push_back(announced("critical-old"));
                case.queue("info-1 a b critical-1 critical-2");
            },
            ask("critical-1"),
        ),
        (
            "then announced ones, likewise",
            |case| {
                case.state.queue.push_back(retrying("retried", -60));
                case.state.queue.extend(["a", "critical-1"].map(announced));
            },
            ask("critical-1"),
        ),
        (
            "then a retry that is due",
            |case| {
                case.state.queue.push_back(retrying("not due", -58));
                case.state.queue.push_back(retrying("due", -59));
            },
            ask("due"),
        ),
        (
            "once a run",
            |case| {
                case.state.queue.push_back(retrying("due", -60));
                case.progress.retried.insert("due".to_owned());
            },
            Step::Done,
        ),
        (
            "the budget postpones a retry",
            |case| {
                case.state.queue.push_back(retrying("due", -60));
                case.config.max_investigations_per_hour = 1;
                case.state.questions.push(second(-60));
            },
            Step::Done,
        ),
        (
            "and so does an engine that cannot be reached",
            |case| {
                case.state.queue.push_back(retrying("due", -60));
                case.progress.unreachable = Some((Reason::ConnectionError, 2));
            },
            Step::Done,
        ),
        (
            "none while another is awaited",
            |case| {
                case.queue("a b");
                case.asking("a");
            },
            wait(4),
        ),
        (
            "before the parts of a message beyond its tenth",
            |case| {
                case.make([begun("m", 10)]);
                case.queue("a");
            },
            ask("a"),
        ),
        (
            "which are sent while it is awaited",
            |case| {
                case.make([begun("m", 10)]);
                case.queue("a");
                case.asking("a");
            },
            send("m"),
        ),
        (
            "what is printed leaves earlier investigations alone",
            |case| {
                case.queue("old");
                case.route = Route::Stdout;
            },
            Step::Done,
        ),
    ]);
}

#[test]
fn recoveries_are_looked_for_when_all_else_is_done() {
    check(&[
        (
            "once",
            |case| case.config.tell_recovery = true,
            Step::Recover,
        ),
        (
            "and not again",
            |case| {
                case.config.tell_recovery = true;
                case.progress.has_recovered = true;
            },
            Step::Done,
        ),
        (
            "after messages and questions",
            |case| {
                case.config.tell_recovery = true;
                case.queue("a");
            },
            ask("a"),
        ),
        (
            "before it waits",
            |case| {
                case.config.tell_recovery = true;
                case.queue("a");
                case.asking("a");
            },
            Step::Recover,
        ),
        (
            "not on stdout",
            |case| {
                case.config.tell_recovery = true;
                case.route = Route::Stdout;
            },
            Step::Done,
        ),
    ]);
}

#[test]
fn a_run_waits_until_the_next_thing_is_due() {
    check(&[
        (
            "the next look",
            |case| {
                case.queue("a");
                case.asking("a");
                case.elapsed = 3;
            },
            wait(2),
        ),
        (
            "the end of its time, when facts go out",
            |case| {
                case.queue("a");
                case.asking("a");
                case.config.facts_after = Some(SignedDuration::from_secs(1_000));
                case.progress.looked = Duration::from_secs(298);
                case.elapsed = 298;
            },
            wait(2),
        ),
        (
            "a rate limit",
            |case| {
                case.make([fallback("m")]);
                case.state.slack.limited_until = Some(second(3));
            },
            wait(2),
        ),
        (
            "up to 30 s of one",
            |case| {
                case.make([fallback("m")]);
                case.state.slack.limited_until = Some(second(31));
            },
            wait(4),
        ),
        (
            "and no longer",
            |case| {
                case.make([fallback("m")]);
                case.state.slack.limited_until = Some(second(32));
            },
            Step::Done,
        ),
        (
            "not where nothing waits for it",
            |case| {
                case.state.slack.limited_until = Some(second(3));
            },
            Step::Done,
        ),
        (
            "nor past the run's time",
            |case| {
                case.make([fallback("m")]);
                case.config.max_runtime = Some(Duration::from_secs(3));
                case.state.slack.limited_until = Some(second(4));
            },
            Step::Done,
        ),
        (
            "questions begin meanwhile",
            |case| {
                case.make([fallback("m")]);
                case.queue("a");
                case.state.slack.limited_until = Some(second(3));
            },
            ask("a"),
        ),
    ]);
}

fn hand_over(id: &str) -> Step {
    Step::HandOver(id.to_owned())
}

/// A fallback command that gets what Slack did not take for 300 s, Slack that takes nothing in this run, and
/// these messages, which have waited that long.
fn handing_over(case: &mut Case, ids: &str) {
    case.make(ids.split_whitespace().map(fallback));
    case.config.fallback_command = Some("/bin/true".into());
    case.config.max_runtime = None;
    case.progress.looked = Duration::from_secs(300);
    case.elapsed = 300;
    case.progress.sending.has_stopped = true;
}

#[test]
fn what_slack_did_not_take_in_time_is_handed_over() {
    check(&[
        ("in time", |case| handing_over(case, "m"), hand_over("m")),
        (
            "no fallback command",
            |case| {
                handing_over(case, "m");
                case.config.fallback_command = None;
            },
            Step::Done,
        ),
        (
            "not yet",
            |case| {
                handing_over(case, "m");
                case.elapsed = 299;
            },
            Step::Done,
        ),
        (
            "the clock was set back",
            |case| {
                handing_over(case, "m");
                case.state.outbox[0].queued_at = second(400);
                case.state.outbox[0].content.alerts_mut()[0].dispatched_at = second(400);
            },
            hand_over("m"),
        ),
        (
            "it waits since its dispatch, not since its result",
            |case| {
                handing_over(case, "m");
                case.state.outbox[0].queued_at = second(290);
            },
            hand_over("m"),
        ),
        (
            "Slack can still be tried",
            |case| {
                handing_over(case, "m");
                case.progress.sending.has_stopped = false;
            },
            send("m"),
        ),
        (
            "Slack is tried once more in a moment",
            |case| {
                handing_over(case, "m n");
                case.progress.sending.has_stopped = false;
                case.progress.sending.again = Some(("m".to_owned(), Duration::from_secs(301)));
            },
            wait(1),
        ),
        (
            "the same for what has failed in an earlier run",
            |case| {
                handing_over(case, "m n");
                case.progress.sending.has_stopped = false;
                case.progress.sending.again = Some(("m".to_owned(), Duration::from_secs(301)));
                case.state.outbox[1].was_tried = true;
            },
            hand_over("n"),
        ),
        (
            "no token",
            |case| {
                handing_over(case, "m");
                case.route = Route::SlackWithout("KORA_SLACK_BOT_TOKEN");
            },
            hand_over("m"),
        ),
        (
            "a rate limit",
            |case| {
                handing_over(case, "m");
                case.progress.sending.has_stopped = false;
                case.state.slack.limited_until = Some(second(1_000));
            },
            hand_over("m"),
        ),
        (
            "a pause",
            |case| {
                handing_over(case, "m");
                case.progress.sending.has_stopped = false;
                case.state.outbox[0].was_tried = true;
                case.state.slack.paused_until = Some(second(310));
            },
            hand_over("m"),
        ),
        (
            "it has its turn only when others have shown that Slack is well",
            |case| {
                handing_over(case, "tried never-tried");
                case.progress.sending.has_stopped = false;
                case.progress.sending.tried.insert("tried".to_owned());
                case.progress.sending.suspect = Some(("tried".to_owned(), Trouble::Unknown));
                case.state.outbox[0].hand_over = Some(done());
                case.state.slack.witness = Some("another".to_owned());
                case.state.slack.witness_at = Some(second(290));
            },
            hand_over("never-tried"),
        ),
        (
            "printed messages",
            |case| {
                handing_over(case, "m");
                case.route = Route::Stdout;
            },
            Step::Done,
        ),
        (
            "past the run's time",
            |case| {
                handing_over(case, "m");
                case.config.max_runtime = Some(Duration::from_secs(300));
            },
            Step::Done,
        ),
    ]);
}

fn done() -> HandOver {
    HandOver {
        unended: 1,
        done: Some(second(0)),
    }
}

#[test]
fn each_alert_is_handed_over_once_one_at_a_time_critical_first() {
    check(&[
        (
            "critical first",
            |case| handing_over(case, "info-1 critical-1 critical-2"),
            hand_over("critical-1"),
        ),
        (
            "what it failed on comes after the others",
            |case| {
                handing_over(case, "critical-1 info-1");
                case.state.outbox[0].hand_over = Some(HandOver::default());
            },
            hand_over("info-1"),
        ),
        (
            "it failed on this one before",
            |case| {
                handing_over(case, "m");
                case.state.outbox[0].hand_over = Some(HandOver::default());
            },
            hand_over("m"),
        ),
        (
            "the run was killed meanwhile",
            |case| {
                handing_over(case, "m");
                case.state.outbox[0].hand_over = Some(HandOver {
                    unended: 1,
                    done: None,
                });
            },
            hand_over("m"),
        ),
        (
            "two runs were killed meanwhile",
            |case| {
                handing_over(case, "m");
                case.state.outbox[0].hand_over = Some(HandOver {
                    unended: 2,
                    done: None,
                });
            },
            Step::Done,
        ),
        (
            "it has it",
            |case| {
                handing_over(case, "m");
                case.state.outbox[0].hand_over = Some(done());
            },
            Step::Done,
        ),
        (
            "it is running",
            |case| {
                handing_over(case, "m n");
                case.handing_over("m");
            },
            wait(5),
        ),
        (
            "a question is asked meanwhile",
            |case| {
                handing_over(case, "m");
                case.handing_over("m");
                case.queue("a");
                case.config.facts_after = None;
            },
            ask("a"),
        ),
        (
            "it has failed in this run",
            |case| {
                handing_over(case, "m");
                case.progress.hand_over_failed = true;
            },
            Step::Done,
        ),
        (
            "it has failed in an earlier run",
            |case| {
                handing_over(case, "m");
                case.state.fallback = Some(Pause {
                    until: second(301),
                    count: 1,
                });
            },
            Step::Done,
        ),
        (
            "the pause is over",
            |case| {
                handing_over(case, "m");
                case.state.fallback = Some(Pause {
                    until: second(300),
                    count: 1,
                });
            },
            hand_over("m"),
        ),
        (
            "replies are not for it, nor what has begun to arrive",
            |case| {
                handing_over(case, "");
                case.make([reply("reply"), begun("begun", 1)]);
            },
            Step::Done,
        ),
        (
            "a notice",
            |case| {
                handing_over(case, "");
                let content = Content::Quiet {
                    log: "log".to_owned(),
                    since: second(-100),
                };
                let mut notice = Message::new("log", content, Place::TopLevel, second(0));
                notice.id = "notice".to_owned();
                case.make([notice]);
            },
            hand_over("notice"),
        ),
    ]);
}

#[test]
fn a_message_is_given_up_only_after_the_fallback_command_was_tried() {
    let expired = || Step::GiveUp("old".to_owned(), "expired".to_owned());
    check(&[
        (
            "expired",
            |case| {
                handing_over(case, "old");
                case.state.outbox[0].queued_at = second(-90_000);
                case.elapsed = 1;
            },
            hand_over("old"),
        ),
        (
            "refused as it is, long before its time",
            |case| {
                handing_over(case, "bad");
                case.state.outbox[0].given_up = Some("no_text".to_owned());
                case.elapsed = 1;
            },
            hand_over("bad"),
        ),
        (
            "it is running",
            |case| {
                handing_over(case, "old");
                case.state.outbox[0].queued_at = second(-90_000);
                case.state.outbox[0].hand_over = Some(HandOver {
                    unended: 1,
                    done: None,
                });
                case.handing_over("old");
            },
            wait(5),
        ),
        (
            "it cannot be tried now",
            |case| {
                handing_over(case, "old");
                case.state.outbox[0].queued_at = second(-90_000);
                case.progress.hand_over_failed = true;
            },
            Step::Done,
        ),
        (
            "it has it",
            |case| {
                handing_over(case, "old");
                case.state.outbox[0].queued_at = second(-90_000);
                case.state.outbox[0].hand_over = Some(done());
            },
            expired(),
        ),
        (
            "it has failed",
            |case| {
                handing_over(case, "old");
                case.state.outbox[0].queued_at = second(-90_000);
                case.state.outbox[0].hand_over = Some(HandOver::default());
                case.progress.hand_over_failed = true;
            },
            expired(),
        ),
    ]);
}
