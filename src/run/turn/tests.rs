//! Whose turn it is, and whose fault a failure is: single rules, and whole runs against a Slack that takes
//! some messages and not others.

#![allow(clippy::expect_used)]

use super::*;
use crate::audit::wake::Wake;
use crate::incident::Dispatch;
use crate::slack::Thread;
use crate::state::outbox::{Content, Fixed, Outcome};
use crate::state::queue::Alert;

fn minute(minutes: f64) -> Timestamp {
    let begin: Timestamp = "2026-05-24T14:00:00Z".parse().expect("a time");
    begin + SignedDuration::from_secs_f64(minutes * 60.0)
}

fn alert(severity: &str, dispatched: f64) -> Alert {
    let at = minute(dispatched);
    Alert {
        wake: Wake {
            severity: severity.to_owned(),
            ..Wake::sample()
        },
        dispatch: Dispatch {
            number: 1,
            since: at,
            counted: None,
        },
        read_at: at,
        dispatched_at: at,
        held_back: Default::default(),
        recovered: None,
    }
}

fn message(id: &str, content: Content, place: Place) -> Message {
    Message {
        id: id.to_owned(),
        ..Message::new("log", content, place, minute(0.0))
    }
}

fn fallback(id: &str, severity: &str, dispatched: f64) -> Message {
    let content = Content::Alert {
        alerts: vec![alert(severity, dispatched)],
        outcome: Outcome::NoDiagnosis("engine_unavailable".to_owned()),
    };
    message(id, content, Place::TopLevel)
}

fn facts(id: &str) -> Message {
    fallback(id, "warning", 0.0)
}

fn thread() -> Place {
    Place::Thread(Thread {
        channel: "D1".to_owned(),
        ts: "1.1".to_owned(),
        operator: None,
    })
}

fn reply(id: &str, severity: &str, place: Place) -> Message {
    let content = Content::Result {
        alerts: vec![alert(severity, 0.0)],
        outcome: Outcome::NoDiagnosis("refusal".to_owned()),
    };
    message(id, content, place)
}

/// A message of which so many parts were delivered.
fn begun(id: &str, parts: u32) -> Message {
    let mut message = fallback(id, "critical", 0.0);
    message.fixed = Some(Fixed {
        parts,
        sent: 10,
        ..Fixed::new("x".repeat(100), 100)
    });
    message
}

fn faulty(message: Message) -> Message {
    Message {
        faults: 1,
        has_failed: true,
        was_tried: true,
        ..message
    }
}

/// The order in which these are sent where Slack takes all of them.
fn order_of(outbox: Vec<Message>) -> Vec<String> {
    let mut state = State::default();
    state.outbox = outbox.into();
    let mut sending = Sending::default();
    let mut sent = Vec::new();
    loop {
        let sendable = state.outbox.iter();
        let sendable = sendable.filter(|one| can_go(one, &state, &sending, minute(0.0)));
        let next = super::next(sendable, &state, &sending, minute(0.0));
        let Some(id) = next.map(|one| one.id.clone()) else {
            return sent;
        };
        note_delivery(&id, &mut state, &mut sending, minute(0.0));
        state.outbox.retain(|one| one.id != id);
        sent.push(id);
    }
}

#[test]
fn first_words_go_first_critical_ones_before_all_then_replies_then_further_parts() {
    let outbox = vec![
        begun("eleventh part", 10),
        begun("tenth part", 9),
        faulty(fallback("bad", "critical", 0.0)),
        reply("reply to a warning", "warning", thread()),
        reply("reply to a critical", "critical", thread()),
        fallback("info", "info", 1.0),
        fallback("page, dispatched later", "page", 9.0),
        fallback("warning", "warning", 2.0),
        fallback("critical, dispatched later", "critical", 8.0),
        fallback("critical", "critical", 3.0),
    ];
    let expected = [
        "critical",
        "critical, dispatched later",
        "info",
        "warning",
        "page, dispatched later",
        "reply to a warning",
        "reply to a critical",
        "tenth part",
        "eleventh part",
        "bad",
    ];
    assert_eq!(order_of(outbox), expected);
}

#[test]
fn a_message_can_go_unless_something_holds_it() {
    let paused = |minutes: f64| {
        let until = minute(minutes);
        Some(Pause { until, count: 1 })
    };
    let after = Place::After("other".to_owned());
    type Change = Box<dyn Fn(&mut Message)>;
    let cases: [(&str, bool, Change); 8] = [
        ("nothing", true, Box::new(|_| ())),
        (
            "it follows one that is queued",
            false,
            Box::new(move |one| one.place = after.clone()),
        ),
        (
            "it is to be given up",
            false,
            Box::new(|one| one.given_up = Some("no_text".into())),
        ),
        (
            "its file is still in undelivered/",
            false,
            Box::new(|one| one.is_retried = true),
        ),
        (
            "a pause",
            false,
            Box::new(move |one| one.pause = paused(14.9)),
        ),
        (
            "a pause that is over",
            true,
            Box::new(move |one| one.pause = paused(0.0)),
        ),
        (
            "a pause longer than any: the clock was set back",
            true,
            Box::new(move |one| one.pause = paused(15.1)),
        ),
        ("an earlier try", true, Box::new(|one| one.was_tried = true)),
    ];
    for (name, expected, change) in cases {
        let (mut message, state) = (facts("a"), State::default());
        change(&mut message);
        let can_go = can_go(&message, &state, &Sending::default(), minute(0.0));
        assert_eq!(can_go, expected, "{name}");
    }
    let tried = Sending {
        tried: ["a".to_owned()].into(),
        ..Sending::default()
    };
    assert!(!can_go(&facts("a"), &State::default(), &tried, minute(0.0)));
}

#[test]
fn after_a_run_in_which_slack_was_at_fault_only_what_was_never_tried_is_tried_for_a_cadence() {
    let mut state = State::default();
    state.slack.paused_until = Some(minute(0.5));
    let tried = Message {
        was_tried: true,
        ..facts("tried")
    };
    let new = facts("new");
    let nothing = Sending::default();
    let well = Sending {
        taken: ["new".to_owned()].into(),
        ..Sending::default()
    };
    for (message, sending, at, expected) in [
        (&new, &nothing, 0.0, true),
        (&tried, &nothing, 0.0, false),
        (&tried, &nothing, 0.5, true),
        (&tried, &well, 0.0, true),
        (&tried, &nothing, -1441.0, true),
    ] {
        let can_go = can_go(message, &state, sending, minute(at));
        assert_eq!(can_go, expected, "{} at {at}", message.id);
    }
}

#[test]
fn a_rate_limit_holds_until_it_is_over_and_never_longer_than_a_day() {
    for (minutes, expected) in [
        (0.0, None),
        (0.5, Some(30)),
        (1440.0, Some(86_400)),
        (1441.0, None),
        (-1.0, None),
    ] {
        let limited = left(Some(minute(minutes)), minute(0.0));
        assert_eq!(limited.map(|one| one.as_secs()), expected, "{minutes}");
    }
}

#[test]
fn pauses_after_unknown_answers_double_up_to_15_minutes() {
    let mut pause = None;
    let lengths = std::iter::from_fn(|| {
        pause = Some(Pause::after(pause.as_ref(), minute(0.0)));
        let until = pause.as_ref()?.until;
        Some(until.duration_since(minute(0.0)).as_mins())
    });
    let lengths: Vec<_> = lengths.take(7).collect();
    assert_eq!(lengths, [1, 2, 4, 8, 15, 15, 15]);
}

/// What Slack does with each message of a run.
struct Slack<'a> {
    takes: &'a dyn Fn(&str) -> bool,
    how: Trouble,
}

/// Sends all that a run would, and returns what was tried.
fn run(state: &mut State, slack: &Slack, at: f64) -> Vec<String> {
    let (mut sending, now) = (Sending::default(), minute(at));
    let mut tried = Vec::new();
    while !sending.has_stopped {
        let sendable = state.outbox.iter();
        let sendable = sendable.filter(|one| can_go(one, state, &sending, now));
        let next = super::next(sendable, state, &sending, now);
        let Some(id) = next.map(|one| one.id.clone()) else {
            break;
        };
        tried.push(id.clone());
        if (slack.takes)(&id) {
            note_delivery(&id, state, &mut sending, now);
            state.outbox.retain(|one| one.id != id);
        } else {
            let message = state.outbox.iter_mut().find(|one| one.id == id);
            let message = message.expect("a message");
            note_failure(message, &mut state.slack, &mut sending, slack.how, now);
            message.was_tried = true;
            sending.tried.insert(id);
        }
        let lost = state.outbox.iter().filter(|one| one.given_up.is_some());
        tried.extend(lost.map(|one| format!("{} is given up", one.id)));
        state.outbox.retain(|one| one.given_up.is_none());
    }
    tried
}

fn state_of(ids: &str) -> State {
    let mut state = State::default();
    state.outbox = ids.split_whitespace().map(facts).collect();
    state
}

fn queued(state: &State) -> Vec<&str> {
    state.outbox.iter().map(|one| one.id.as_str()).collect()
}

fn faults(state: &State, id: &str) -> u32 {
    let at = state.position(id);
    at.map_or(0, |at| state.outbox[at].faults)
}

#[test]
fn a_bad_message_delays_nobody_and_is_given_up_at_its_fifth_counted_failure() {
    for how in [Trouble::Refused, Trouble::Unknown] {
        let slack = Slack {
            takes: &|id| !id.starts_with("bad"),
            how,
        };
        let mut state = state_of("bad a b");
        assert_eq!(run(&mut state, &slack, 0.0), ["bad", "a", "b"], "{how:?}");
        assert_eq!((faults(&state, "bad"), queued(&state)), (1, vec!["bad"]));
        // Counted at most once a minute; from now on it goes last.
        for (minutes, expected) in [(0.9, 1), (20.0, 2), (40.0, 3), (60.0, 4)] {
            state.outbox.push_back(facts("a"));
            assert_eq!(run(&mut state, &slack, minutes), ["a", "bad"], "{how:?}");
            assert_eq!(faults(&state, "bad"), expected, "{how:?} at {minutes}");
        }
        state.outbox.push_back(facts("a"));
        let last = run(&mut state, &slack, 80.0);
        assert_eq!(last, ["a", "bad", "bad is given up"], "{how:?}");
    }
}

#[test]
fn two_bad_messages_delay_nobody_either() {
    for how in [Trouble::Refused, Trouble::Unknown] {
        let slack = Slack {
            takes: &|id| !id.starts_with("bad"),
            how,
        };
        let mut state = state_of("bad1 bad2 a b");
        // Slack refuses both: who is at fault is not known yet.
        assert_eq!(run(&mut state, &slack, 0.0), ["bad1", "bad2"]);
        assert_eq!((faults(&state, "bad1"), faults(&state, "bad2")), (0, 0));
        let (mut minutes, mut sent) = (0.0, Vec::new());
        while queued(&state).contains(&"b") {
            minutes += 1.0;
            assert!(minutes < 12.0, "{how:?}: {sent:?}");
            sent.extend(run(&mut state, &slack, minutes));
        }
    }
}

#[test]
fn a_new_alert_goes_out_in_its_run_whatever_waits() {
    let slack = Slack {
        takes: &|id| !id.starts_with("bad"),
        how: Trouble::Refused,
    };
    let mut state = state_of("bad a b c");
    state.outbox.push_back(fallback("new", "critical", 5.0));
    assert_eq!(run(&mut state, &slack, 0.0)[0], "new");
}

#[test]
fn a_message_alone_is_never_at_fault() {
    for how in [Trouble::Refused, Trouble::Unknown] {
        let slack = Slack {
            takes: &|_| false,
            how,
        };
        let mut state = state_of("a");
        for number in 0..10 {
            assert_eq!(run(&mut state, &slack, 20.0 * f64::from(number)), ["a"]);
        }
        assert_eq!(faults(&state, "a"), 0);
        let well = Slack {
            takes: &|_| true,
            how,
        };
        assert_eq!(run(&mut state, &well, 300.0), ["a"]);
    }
}

#[test]
fn its_own_first_part_is_no_other_message() {
    let mut state = State::default();
    state.outbox = [begun("a", 1), facts("b")].into();
    for (at, faults) in [(0, 0), (1, 1)] {
        let mut sending = Sending::default();
        note_delivery("a", &mut state, &mut sending, minute(0.0));
        let State { outbox, slack, .. } = &mut state;
        let (message, how) = (&mut outbox[at], Trouble::Refused);
        note_failure(message, slack, &mut sending, how, minute(0.0));
        assert_eq!(message.faults, faults);
        assert_eq!(sending.suspect.is_some(), faults == 0);
    }
}

#[test]
fn a_refusal_is_told_from_an_outage_by_one_that_never_failed_each_time() {
    let slack = Slack {
        takes: &|_| false,
        how: Trouble::Refused,
    };
    let mut state = state_of("a b c d");
    for expected in [["a", "b"], ["a", "c"], ["a", "d"]] {
        assert_eq!(run(&mut state, &slack, 0.0), expected);
    }
    assert_eq!(run(&mut state, &slack, 0.0), ["a"]);
}

#[test]
fn an_outage_touches_one_new_message_in_ten_minutes() {
    let slack = Slack {
        takes: &|_| false,
        how: Trouble::Unknown,
    };
    let mut state = state_of("a b c d e f");
    assert_eq!(run(&mut state, &slack, 0.0), ["a", "b"]);
    let served: Vec<_> = state.slack.witness.iter().cloned().collect();
    assert_eq!(served, ["b"]);
    // Both are tried again when their pauses are over, and "b" serves once more.
    assert_eq!(run(&mut state, &slack, 1.0), ["a", "b"]);
    assert_eq!(run(&mut state, &slack, 3.0), ["a", "b"]);
    assert_eq!(run(&mut state, &slack, 7.0), ["a", "b"]);
    assert_eq!(run(&mut state, &slack, 15.0), ["a", "c"]);
}

#[test]
fn when_slack_takes_any_message_all_are_due_in_their_order() {
    let down = Slack {
        takes: &|_| false,
        how: Trouble::Unknown,
    };
    let well = Slack {
        takes: &|_| true,
        ..down
    };
    let mut state = state_of("a b c d");
    run(&mut state, &down, 0.0);
    state.slack.paused_until = Some(minute(0.5));
    // "c" finds Slack well again.
    assert_eq!(run(&mut state, &well, 0.1), ["c", "a", "b", "d"]);
    assert_eq!(state.slack, SlackState::default());
}

#[test]
fn a_clock_set_back_prolongs_neither_the_count_nor_the_search_for_another_message() {
    let slack = Slack {
        takes: &|id| id != "bad",
        how: Trouble::Refused,
    };
    let mut state = state_of("bad a");
    run(&mut state, &slack, 0.0);
    state.outbox.push_back(facts("a"));
    run(&mut state, &slack, -500.0);
    assert_eq!(faults(&state, "bad"), 2);
    let down = Slack {
        takes: &|_| false,
        how: Trouble::Unknown,
    };
    let mut state = state_of("a b c");
    run(&mut state, &down, 0.0);
    assert_eq!(run(&mut state, &down, -500.0), ["a", "c"]);
}
