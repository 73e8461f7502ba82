#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::outbox::{Content, Fixed, HandOver, Outcome};
use super::queue::{Alert, Investigation, Retry};
use super::*;
use crate::audit::wake::Wake;
use crate::incident::{Dispatch, HeldBack, Incident, Pair};
use crate::slack::Thread;

/// An empty folder for one test, gone with the value.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let name = format!("probe-wake-{}-state-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> Store {
        Store::at(&self.0)
    }

    fn files(&self, folder: &str) -> Vec<String> {
        Folder::new(&self.0, folder).list().unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn now() -> Timestamp {
    "2026-05-24T14:33:00Z".parse().unwrap()
}

fn alert(detail: &str) -> Alert {
    Alert {
        wake: Wake {
            detail: detail.to_owned(),
            ..Wake::sample()
        },
        dispatch: Dispatch {
            number: 1,
            since: now(),
            counted: None,
        },
        read_at: now(),
        dispatched_at: now(),
        held_back: HeldBack::default(),
        recovered: None,
    }
}

fn investigation(detail: &str, stage: Stage) -> Investigation {
    Investigation {
        id: "i1".to_owned(),
        log: "/log".to_owned(),
        queued_at: now(),
        attempts: 0,
        alerts: vec![alert(detail)],
        stage,
    }
}

fn message(detail: &str, diagnosis: &str) -> Message {
    let outcome = Outcome::Diagnosis {
        text: diagnosis.to_owned().into(),
        cut_short: None,
    };
    let alerts = vec![alert(detail)];
    let content = Content::Alert { alerts, outcome };
    Message::new("/log", content, Place::TopLevel, now())
}

fn long(filling: &str, bytes: usize) -> String {
    filling.repeat(bytes / filling.len())
}

mod files {
    use super::*;

    /// Only the origin is looked at first, so that a newer state is known whatever else it holds.
    fn parse_value(value: &Value) -> Result<State, Unusable> {
        parse(value.to_string().as_bytes())
    }

    #[test]
    fn a_state_of_another_version_or_program_is_refused() {
        let reset = "nothing was touched; 'probe-wake state reset' sets it aside and starts anew";
        let newer = "nothing was touched; install that version";
        for (state, error, way_out) in [
            (
                json!({"program": "probe-wake", "version": 1}),
                "version 1",
                reset,
            ),
            (
                json!({"program": "probe-wake", "version": 2}),
                "version 2",
                reset,
            ),
            (
                json!({"program": "probe-wake", "version": 4}),
                "version 4",
                newer,
            ),
            (
                json!({"program": "probe-wake", "version": 4, "outbox": "elsewhere"}),
                "newer probe-wake",
                newer,
            ),
            (
                json!({"program": "another", "version": 3}),
                "another program",
                reset,
            ),
            (
                json!({"program": "another", "version": 4}),
                "another program",
                reset,
            ),
            (json!({"version": 3}), "not a state of probe-wake", reset),
            (json!([]), "not a state of probe-wake", reset),
            (
                json!({"program": "probe-wake", "version": 3, "outbox": 7}),
                "invalid type",
                reset,
            ),
        ] {
            let unusable = parse_value(&state).unwrap_err();
            let said = format!("{:#}", unusable.0);
            assert!(said.contains(error), "{state}: {said}");
            assert_eq!(unusable.1, way_out, "{state}");
        }
        for cut in ["", "{\"program\":\"probe-wake\",\"version\":3"] {
            let unusable = parse(cut.as_bytes()).unwrap_err();
            assert_eq!(unusable.1, reset);
        }
    }

    #[test]
    fn only_a_state_that_was_read_may_be_reset() {
        let dir = Dir::new("unread");
        let path = dir.store().path(FILE);
        let way_out = || {
            let problem = dir.store().load().unwrap_err();
            problem.next_step.clone().unwrap_or_default()
        };
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(way_out().contains("chown") && !way_out().contains("reset"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "{").unwrap();
        assert!(way_out().contains("state reset"));
    }

    #[test]
    fn what_a_state_does_not_hold_has_its_default() {
        let state = parse_value(&json!({"program": "probe-wake", "version": 3})).unwrap();
        assert_eq!(state, State::default());
    }

    #[test]
    fn a_state_is_read_as_it_was_committed() {
        let dir = Dir::new("committed");
        let mut state = State::default();
        let place = Place::After("m1".to_owned());
        for stage in [
            Stage::New,
            Stage::Announced(None),
            Stage::Announced(Some(place.clone())),
            Stage::Retrying(Retry {
                place: Some(place),
                asked_at: now(),
                tries: 2,
                until: now(),
            }),
        ] {
            state.queue.push_back(investigation("down", stage));
        }
        let mut sent = message("down", "found");
        sent.fixed = Some(Fixed::new("text".to_owned(), 4));
        state.outbox.extend([sent, message("up", "nothing")]);
        dir.store().commit(&mut state, Durability::Full).unwrap();
        let text = fs::read_to_string(dir.0.join(FILE)).unwrap();
        let raw: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&raw["program"], &raw["version"]),
            (&json!("probe-wake"), &json!(3))
        );
        assert_eq!(dir.store().load().ok(), Some(state));
        assert_eq!(dir.files("texts").len(), 0, "nothing is long");
    }
}

mod texts {
    use super::*;

    const LONGEST: usize = 64 * 1024;

    fn wake_of(state: &State) -> &Wake {
        &state.queue[0].alerts[0].wake
    }

    #[test]
    fn a_long_text_is_written_once_and_removed_when_nothing_names_it() {
        let dir = Dir::new("long");
        let mut store = dir.store();
        let detail = long("word ", LONGEST + 5);
        let mut state = State::default();
        state.queue.push_back(investigation(&detail, Stage::New));
        store.commit(&mut state, Durability::Full).unwrap();
        let file = dir.files("texts")[0].clone();
        let written = || {
            let meta = fs::metadata(dir.0.join("texts").join(&file)).unwrap();
            meta.modified().unwrap()
        };
        let before = written();
        assert!(fs::metadata(dir.0.join(FILE)).unwrap().len() < 4_096);
        let kept = wake_of(&state);
        assert_eq!(
            kept.size(),
            detail.len() + kept.title.len() + "{}(none)".len()
        );
        assert_eq!(text::load_wake(kept, store.texts()).detail, detail);
        // The message about it names the same file.
        state.outbox.push_back(message(&detail, "found"));
        store.commit(&mut state, Durability::Full).unwrap();
        assert_eq!(dir.files("texts"), std::slice::from_ref(&file));
        state.queue.clear();
        store.commit(&mut state, Durability::Full).unwrap();
        assert_eq!(dir.files("texts"), std::slice::from_ref(&file));
        assert_eq!(written(), before, "it was written again");
        state.outbox.clear();
        store.commit(&mut state, Durability::Full).unwrap();
        assert_eq!(dir.files("texts").len(), 0);
    }

    #[test]
    fn a_later_process_finds_and_removes_them() {
        let dir = Dir::new("later");
        let mut state = State::default();
        let found = long("found ", LONGEST + 6);
        state.outbox.push_back(message("down", &found));
        dir.store().commit(&mut state, Durability::Full).unwrap();
        let mut store = dir.store();
        let mut state = store.load().ok().unwrap();
        let loaded = state.outbox[0].texts().next().unwrap();
        assert_eq!(loaded.len(), found.len());
        assert_eq!(loaded.load(store.texts()), found);
        state.outbox.clear();
        store.commit(&mut state, Durability::Full).unwrap();
        assert_eq!(dir.files("texts").len(), 0);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_by_a_sweep_and_nothing_else() {
        let dir = Dir::new("sweep");
        let mut store = dir.store();
        let mut state = State::default();
        let detail = long("word ", LONGEST + 5);
        state.queue.push_back(investigation(&detail, Stage::New));
        store.commit(&mut state, Durability::Full).unwrap();
        let named = dir.files("texts");
        store
            .texts()
            .write("left", b"by a run that was killed")
            .unwrap();
        store.sweep(&mut state);
        assert_eq!(dir.files("texts"), named);
    }

    #[test]
    fn a_text_is_long_beyond_64_kib_and_in_a_wake_that_waits_beyond_2_kib() {
        let dir = Dir::new("limits");
        for (bytes, is_held, expected) in [
            (LONGEST, false, 0),
            (LONGEST + 1, false, 1),
            (2_048, true, 0),
            (2_049, true, 1),
        ] {
            let mut store = dir.store();
            let mut state = State::default();
            let mut one = investigation("", Stage::New);
            let wake = &mut one.alerts[0].wake;
            wake.detail = "x".repeat(bytes - wake.size());
            if is_held {
                let held = json!({"wake": wake, "reason": "repeat", "read_at": now()});
                let mut incident = Incident {
                    pair: Pair::of(wake),
                    ..Incident::default()
                };
                incident.escalation = Some(serde_json::from_value(held).unwrap());
                let log = LogState {
                    checkpoint: Checkpoint::default(),
                    incidents: vec![incident].into(),
                    silenced: Default::default(),
                    quiet: Default::default(),
                };
                state.logs.insert("/log".to_owned(), log);
            } else {
                state.queue.push_back(one);
            }
            store.commit(&mut state, Durability::Full).unwrap();
            assert_eq!(dir.files("texts").len(), expected, "{bytes} {is_held}");
            state = State::default();
            store.commit(&mut state, Durability::Full).unwrap();
        }
    }

    #[test]
    fn a_text_that_is_lost_says_so() {
        let dir = Dir::new("lost");
        let mut store = dir.store();
        let mut state = State::default();
        let detail = long("word ", LONGEST + 5);
        let found = long("found ", LONGEST + 6);
        state.outbox.push_back(message(&detail, &found));
        store.commit(&mut state, Durability::Full).unwrap();
        fs::remove_dir_all(dir.0.join("texts")).unwrap();
        let state = dir.store().load().ok().unwrap();
        let message = &state.outbox[0];
        let wake = text::load_wake(&message.content.alerts()[0].wake, store.texts());
        assert_eq!(
            wake.title,
            Wake::sample().title,
            "what is in the state stays"
        );
        let diagnosis = message.texts().next().unwrap().load(store.texts());
        for lost in [wake.detail.as_str(), &diagnosis] {
            assert!(
                lost.starts_with("(The text is lost: ") && lost.contains("/texts/"),
                "{lost}"
            );
        }
    }
}

mod given_up {
    use super::*;

    fn ids(dir: &Dir) -> Vec<String> {
        let mut ids: Vec<_> = undelivered::ids(&dir.store())
            .unwrap()
            .into_iter()
            .collect();
        ids.sort();
        ids
    }

    fn list(dir: &Dir, outbox: &Outbox) -> Vec<Result<(String, String), String>> {
        let entries = undelivered::list(&dir.store(), outbox).unwrap();
        let brief = |one: undelivered::Undelivered| (one.message.id, one.reason);
        entries
            .into_iter()
            .map(|entry| entry.read.map(brief))
            .collect()
    }

    #[test]
    fn a_fallback_command_that_failed_with_it_gets_it_once_more() {
        for (before, after) in [
            ((0, None), None),
            ((1, None), Some((1, None))),
            ((1, Some(0)), Some((1, Some(0)))),
        ] {
            let hand_over = |(unended, done): (u32, Option<i64>)| HandOver {
                unended,
                done: done.map(|second| Timestamp::from_second(second).unwrap()),
            };
            let mut message = message("x", "y");
            message.hand_over = Some(hand_over(before));
            message.give_up("msg_too_long".to_owned());
            assert_eq!(message.hand_over, after.map(hand_over), "{before:?}");
            assert_eq!(message.given_up.as_deref(), Some("msg_too_long"));
        }
    }

    #[test]
    fn each_message_is_a_file_with_its_whole_texts() {
        let dir = Dir::new("given-up");
        let mut store = dir.store();
        let detail = long("word ", 64 * 1024 + 5);
        let mut state = State::default();
        let mut first = message(&detail, "found");
        first.cause = Some("HTTP 503".to_owned());
        state.outbox.push_back(first);
        store.commit(&mut state, Durability::Full).unwrap();
        let first = state.outbox[0].clone();
        let second = message("down", "found");
        let later = now() + jiff::SignedDuration::from_secs(1);
        undelivered::add(&store, &second, "expired", later).unwrap();
        undelivered::add(&store, &first, "no_text", now()).unwrap();
        let path = dir.0.join("undelivered").join(format!("{}.json", first.id));
        let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(file["given_up_at"], "2026-05-24T14:33:00.000000Z");
        assert_eq!(file["reason"], "no_text");
        assert_eq!(file["caller_session_id"], "probe:fly:service_unhealthy");
        assert_eq!(
            file["content"]["alert"]["alerts"][0]["wake"]["detail"],
            detail
        );
        assert_eq!(file["cause"], Value::Null);
        // The oldest first, whatever their ids are.
        let expected = [(&first.id, "no_text"), (&second.id, "expired")];
        let expected = expected.map(|(id, reason)| Ok((id.clone(), reason.to_owned())));
        assert_eq!(list(&dir, &Outbox::new()), expected);
        assert_eq!(undelivered::count(&store, &Outbox::new()).unwrap(), 2);
        undelivered::remove(&store, &first.id).unwrap();
        undelivered::remove(&store, &first.id).unwrap();
        assert_eq!(ids(&dir), [second.id]);
    }

    #[test]
    fn a_message_that_lies_in_the_outbox_again_is_not_undelivered() {
        let dir = Dir::new("in-both");
        let store = dir.store();
        let mut message = message("down", "found");
        undelivered::add(&store, &message, "no_text", now()).unwrap();
        // Killed before the commit that takes it out of the outbox: it is in both, and undelivered.
        let mut outbox = Outbox::from([message.clone()]);
        assert_eq!(undelivered::count(&store, &outbox).unwrap(), 1);
        assert_eq!(list(&dir, &outbox).len(), 1);
        // Killed before its file was removed: it is in both, and queued.
        message.retry(now());
        outbox = Outbox::from([message]);
        assert_eq!(undelivered::count(&store, &outbox).unwrap(), 0);
        assert_eq!(list(&dir, &outbox), []);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_counted_and_named() {
        let dir = Dir::new("unreadable");
        let store = dir.store();
        let message = message("down", "found");
        undelivered::add(&store, &message, "no_text", now()).unwrap();
        let folder = dir.0.join("undelivered");
        fs::write(folder.join("torn.json"), "{\"id\":").unwrap();
        let file = format!("{}.json", message.id);
        fs::copy(folder.join(file), folder.join("copy.json")).unwrap();
        fs::write(folder.join("half.json.new"), "{").unwrap();
        let entries = list(&dir, &Outbox::new());
        assert_eq!(entries.len(), 3);
        assert_eq!(entries.iter().filter(|entry| entry.is_ok()).count(), 1);
        assert_eq!(undelivered::count(&store, &Outbox::new()).unwrap(), 3);
    }

    #[test]
    fn a_retry_waits_anew_at_the_top_level_and_keeps_the_doubt() {
        let thread = || {
            Place::Thread(Thread {
                channel: "D1".to_owned(),
                ts: "1.1".to_owned(),
                operator: None,
            })
        };
        let failed = |place: Place, reach: usize| {
            let mut message = message("down", "found");
            message.place = place;
            message.was_tried = true;
            message.has_failed = true;
            message.faults = 5;
            message.fault_at = Some(now());
            message.cause = Some("HTTP 503".to_owned());
            message.given_up = Some("HTTP 503".to_owned());
            let mut fixed = Fixed::new("the text".to_owned(), 8);
            fixed.reach = reach;
            message.fixed = Some(fixed);
            message
        };
        let later = now() + jiff::SignedDuration::from_hours(5);
        for (place, reach) in [
            (Place::TopLevel, 0),
            (thread(), 0),
            (Place::After("m1".to_owned()), 0),
            (Place::TopLevel, 8),
        ] {
            let mut message = failed(place, reach);
            message.retry(later);
            assert_eq!(message.queued_at, later);
            assert_eq!((message.faults, message.fault_at), (0, None));
            assert!(!message.was_tried && !message.has_failed && message.is_retried);
            assert_eq!((&message.cause, &message.given_up), (&None, &None));
            assert_eq!(message.place, Place::TopLevel);
            assert_eq!(message.fixed, None, "its ages are those of the moment");
            assert_eq!(message.may_have_arrived, reach > 0);
        }
        // What Slack took of it is not sent again.
        let mut begun = failed(Place::TopLevel, 4);
        let fixed = begun.fixed.as_mut().unwrap();
        (fixed.sent, fixed.parts) = (4, 1);
        begun.retry(later);
        let fixed = begun.fixed.as_ref().unwrap();
        assert_eq!((fixed.sent, fixed.parts, &fixed.thread), (4, 1, &None));
    }
}

mod settled {
    use super::*;

    fn state_after(id: &str) -> State {
        let place = Some(Place::After(id.to_owned()));
        let mut state = State::default();
        state.queue.extend([
            investigation("a", Stage::Announced(place.clone())),
            investigation(
                "b",
                Stage::Retrying(Retry {
                    place,
                    asked_at: now(),
                    tries: 0,
                    until: now(),
                }),
            ),
            investigation(
                "c",
                Stage::Announced(Some(Place::After("other".to_owned()))),
            ),
        ]);
        state
    }

    fn places(state: &State) -> Vec<Option<Place>> {
        let place = |one: &Investigation| match &one.stage {
            Stage::Announced(place) => place.clone(),
            Stage::Retrying(retry) => retry.place.clone(),
            Stage::New => None,
        };
        state.queue.iter().map(place).collect()
    }

    #[test]
    fn what_waits_for_a_message_learns_where_it_stands_or_that_it_was_given_up() {
        let other = Some(Place::After("other".to_owned()));
        let thread = Place::Thread(Thread {
            channel: "D1".to_owned(),
            ts: "1.1".to_owned(),
            operator: Some("U1".to_owned()),
        });
        for place in [Some(thread), Some(Place::TopLevel), None] {
            let mut state = state_after("m1");
            let mut reply = message("down", "found");
            reply.place = Place::After("m1".to_owned());
            state.outbox.push_back(reply);
            state.settle("m1", place.as_ref());
            if let Some(place) = &place {
                assert_eq!(state.outbox[0].place, *place);
            }
            let expected = [place.clone(), place, other.clone()];
            assert_eq!(places(&state), expected);
        }
    }
}
