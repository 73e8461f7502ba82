//! Silences, for planned work and for what is known.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{fly, over_rows, pass, sent, silences};
use crate::support::{BINARY, Sandbox, World, column, recovery, wake};

#[test]
fn a_silence_holds_back_whatever_comes_and_says_so() {
    let world = World::stamped().quiet();
    world
        .command("silence fly --for 2h --reason db")
        .exits(0)
        .prints("fly is silenced until ");
    let report = {
        world.append([fly("info"), fly("critical")]);
        world.report(0)
    };
    assert_eq!(column(report["wakes"].clone(), "/silenced"), [true, true]);
    assert_eq!(column(report["wakes"].clone(), "/dispatched"), [false; 2]);
    let one = &silences(&world)[0];
    assert_eq!(
        (&one["pair"], &one["wakes"], &one["reason"]),
        (&json!("fly"), &json!(2), &json!("db"))
    );
    world
        .command("silence")
        .exits(0)
        .prints("fly: silenced since ")
        .prints(" (db), 2 wakes held back\n");
    let status = world.command("status --format json").exits(0).json();
    let open = &status["open"][0];
    assert_eq!(
        (&open["quiet_by"], &open["silence"], &open["held_back"]),
        (&json!("silenced"), &json!("fly (db)"), &json!(2))
    );
    assert_eq!(status["silences"][0]["wakes"], 2);
    world
        .command("status")
        .exits(0)
        .prints(" by fly (db)\n")
        .prints("silences     fly: silenced since ");
}

#[test]
fn a_pair_a_probe_and_all_are_silenced_each_for_itself() {
    let other = || wake("fly").set("category", "disk:full");
    for (pair, dispatched) in [
        ("fly", vec!["sentry"]),
        ("fly:disk:full", vec!["fly", "sentry"]),
        ("fly:service_unhealthy", vec!["fly", "sentry"]),
        ("all", vec![]),
    ] {
        let world = World::stamped().asked_or_not();
        world.command(&format!("silence {pair}")).exits(0);
        world.append([wake("fly"), other(), wake("sentry")]);
        let report = world.report(0);
        let wakes = report["wakes"].as_array().unwrap().iter();
        let sent = wakes.filter(|wake| wake["dispatched"] == true);
        let sent: Vec<_> = sent.map(|wake| wake["probe"].as_str().unwrap()).collect();
        assert_eq!(sent, dispatched, "{pair}");
        assert_eq!(silences(&world)[0]["pair"], pair);
    }
}

#[test]
fn names_with_colons_mean_what_is_known() {
    let world = World::stamped();
    let colons = |probe: &str, category: &str| wake(probe).set("category", category);
    let rows = [colons("http://db", "5432"), colons("a:b", "c")];
    world.raise(rows.clone()).exits(0).silent();
    pass(&world, 30);
    for pair in ["http://db", "a:b:c"] {
        world
            .command(&format!("silence {pair}"))
            .exits(0)
            .hides("warning");
    }
    world.append(rows.map(|row| row.set("title", "again")));
    let report = world.report(0);
    assert_eq!(column(report["wakes"].clone(), "/silenced"), [true, true]);
}

#[test]
fn a_silence_ends_by_the_name_it_was_made_with() {
    let world = World::stamped().asked_or_not();
    // Nothing is known yet: the first colon separates.
    world.command("silence a:b:c").exits(0);
    world
        .raise([wake("a:b").set("category", "c")])
        .exits(0)
        .silent();
    world.command("silence a:b:c --end").exits(0);
    assert!(silences(&world).is_empty());
    world
        .command("silence a:b:c --end")
        .exits(1)
        .warns("a:b:c is not silenced")
        .warns("probe-wake silence lists what is");
}

#[test]
fn a_wake_that_falls_due_is_counted_for_the_silence_that_holds_it_back() {
    let world = World::stamped();
    world.raise([fly("info")]).exits(0).silent();
    world.raise([fly("critical")]).exits(0).silent();
    assert_eq!(sent(&world), 1, "it is held back as a repeat");
    world.command("silence fly").exits(0);
    pass(&world, 11);
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 1);
    assert_eq!(silences(&world)[0]["wakes"], 1);
}

#[test]
fn a_new_silence_replaces_one_of_the_same_pair_and_begins_its_count_anew() {
    let world = World::stamped().quiet();
    world.command("silence fly").exits(0);
    world.raise([fly("warning")]).exits(0).silent();
    world
        .command("silence fly --for 1h30m --reason longer")
        .exits(0);
    let list = silences(&world);
    assert_eq!(list.len(), 1);
    assert_eq!(
        (&list[0]["wakes"], &list[0]["reason"]),
        (&json!(0), &json!("longer"))
    );
    let until: Timestamp = list[0]["until"].as_str().unwrap().parse().unwrap();
    let left = until.duration_since(Timestamp::now());
    assert!(left > SignedDuration::from_mins(89) && left <= SignedDuration::from_mins(90));
}

#[test]
fn a_pair_never_seen_is_silenced_with_a_warning_that_names_close_ones() {
    let world = World::stamped();
    world
        .command("silence vercl --for 1h")
        .exits(0)
        .warns("vercl has not been seen yet\n");
    world.raise([wake("vercel")]).exits(0).silent();
    let warned = world.command("silence verce").exits(0);
    warned.warns("verce has not been seen yet; close to it: vercel");
    // It was seen, and is no longer in the state.
    world.pass(SignedDuration::from_hours(60));
    world.raise([wake("sentry")]).exits(0).silent();
    world
        .command("silence vercel")
        .exits(0)
        .hides("has not been seen");
    world
        .command("silence all")
        .exits(0)
        .hides("has not been seen");
}

#[test]
fn only_a_length_up_to_30_days_is_taken() {
    let sandbox = Sandbox::new();
    for (length, code) in [
        ("30d", 0),
        ("720h1s", 2),
        ("31d", 2),
        ("0s", 2),
        ("soon", 2),
        ("-1h", 2),
    ] {
        sandbox
            .command(&format!("silence fly --for={length}"))
            .exits(code);
    }
    let list = sandbox.command("silence --format json").exits(0).json();
    assert_eq!(list["silences"].as_array().unwrap().len(), 1);
    sandbox.command("silence --for 1h").exits(2);
    sandbox.command("silence --end").exits(2);
    sandbox.command("silence fly --end --for 1h").exits(2);
}

#[test]
fn without_one_the_list_is_empty_and_no_folder_is_made() {
    let sandbox = Sandbox::new();
    sandbox
        .command("silence")
        .exits(0)
        .prints("Nothing is silenced.\n");
    assert!(!sandbox.state_dir().exists());
}

#[test]
fn what_is_still_bad_when_it_ends_is_dispatched_by_the_next_look() {
    let world = World::stamped();
    world.command("silence fly --for 1h").exits(0);
    pass(&world, 40);
    world.raise([fly("warning")]).exits(0).silent();
    pass(&world, 10);
    world.raise([fly("critical")]).exits(0).silent();
    pass(&world, 9);
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 0);
    pass(&world, 1);
    world.run().exits(0).silent();
    let texts = world.slack.texts();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(
        texts[0].starts_with("🚨 Probe alert · fly\n"),
        "{}",
        texts[0]
    );
    assert!(
        texts[0].contains("1 silenced"),
        "the other one: {}",
        texts[0]
    );
    let rows = over_rows(&world);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let details = &rows[0]["details"];
    assert_eq!(
        (&details["pair"], &details["wakes"]),
        (&json!("fly"), &json!(2))
    );
    assert!(silences(&world).is_empty());
    let files = fs::read_dir(world.state_dir().join("silences")).unwrap();
    assert_eq!(files.count(), 0);
    world.run().exits(0).silent();
    assert_eq!((sent(&world), over_rows(&world).len()), (1, 1));
}

#[test]
fn what_nobody_heard_of_is_dispatched_however_old() {
    let world = World::stamped();
    world.command("silence fly --for 8h").exits(0);
    world.raise([fly("critical")]).exits(0).silent();
    // Over without a recovery long before the silence ends.
    pass(&world, 480);
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 1);
}

#[test]
fn what_was_over_before_the_silence_ended_and_was_heard_of_is_not_repeated() {
    let world = World::stamped();
    world.raise([fly("critical")]).exits(0).silent();
    world.command("silence fly --for 8h").exits(0);
    pass(&world, 12);
    world.raise([fly("critical")]).exits(0).silent();
    pass(&world, 480);
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 1);
}

#[test]
fn an_early_end_is_like_any() {
    let world = World::stamped();
    world.command("silence fly --for 8h").exits(0);
    world.raise([fly("critical")]).exits(0).silent();
    world
        .command("silence fly --end")
        .exits(0)
        .prints("The silence of fly is over.");
    world.run().exits(0).silent();
    assert_eq!((sent(&world), over_rows(&world).len()), (1, 1));
}

#[test]
fn after_a_recovery_nothing_is_dispatched() {
    let world = World::stamped().quiet();
    world.command("silence fly --for 1h").exits(0);
    world.raise([fly("critical")]).exits(0).silent();
    world.append_raw(recovery("fly", &json!({})));
    world.run().exits(0).silent();
    pass(&world, 61);
    world.run().exits(0).silent();
    // The silence is removed with the next wake.
    world.command("silence all").exits(0);
    world.raise([wake("sentry")]).exits(0).silent();
    assert_eq!(over_rows(&world).len(), 1);
}

#[test]
fn the_end_of_a_silence_dispatches_though_several_wakes_are_required() {
    let world = World::stamped();
    world.set("KORA_PROBE_DEBOUNCE_CONSECUTIVE_REQUIRED", "3");
    world.command("silence fly --for 1h").exits(0);
    world.raise([fly("critical")]).exits(0).silent();
    pass(&world, 61);
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 1);
}

#[test]
fn another_silence_that_holds_the_pair_goes_on() {
    let world = World::stamped();
    world.command("silence fly --for 1h").exits(0);
    world.command("silence all --for 2h").exits(0);
    world.raise([fly("critical")]).exits(0).silent();
    let wakes = column(silences(&world), "/wakes");
    assert_eq!(wakes, [1, 1], "each holds it");
    pass(&world, 61);
    world.run().exits(0).silent();
    assert_eq!((sent(&world), over_rows(&world).len()), (0, 1));
    pass(&world, 61);
    world.run().exits(0).silent();
    assert_eq!((sent(&world), over_rows(&world).len()), (1, 2));
}

#[test]
fn a_run_in_progress_sees_it_at_its_next_look() {
    let world = World::stamped();
    let running = world.start_held([wake("fly")]);
    // It takes no lock: the run holds that.
    world.command("silence sentry").exits(0);
    world.append([wake("sentry")]);
    world.engine.release();
    running.finish().exits(0).silent();
    assert_eq!(sent(&world), 1);
    assert_eq!(silences(&world)[0]["wakes"], 1);
    assert_eq!(world.state()["logs"].as_object().unwrap().len(), 1);
}

#[test]
fn what_was_dispatched_before_goes_on_and_recoveries_are_sent() {
    let world = World::stamped();
    let running = world.start_held([wake("fly")]);
    world.command("silence fly").exits(0);
    world.engine.release();
    running.finish().exits(0).silent();
    world.append_raw(recovery("fly", &json!({})));
    world.run().exits(0).silent();
    let texts = world.slack.texts();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[1].starts_with("✅ Probe recovered · fly\n"));
}

#[test]
fn no_reset_touches_it() {
    let world = World::stamped().quiet();
    world.command("silence fly").exits(0);
    for reset in ["--debounce", "--outbox", "--position end", ""] {
        world
            .command(&format!("state reset {reset} --yes"))
            .exits(0);
        assert_eq!(silences(&world).len(), 1, "{reset}");
    }
}

#[test]
fn a_file_that_cannot_be_trusted_is_ignored_with_a_warning() {
    let world = World::stamped();
    world.command("silence fly").exits(0);
    let folder = world.state_dir().join("silences");
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    fs::write(file.path(), "{").unwrap();
    world.append([fly("critical")]);
    world.run().exits(0).warns("is ignored: ");
    assert_eq!(sent(&world), 1);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::stamped();
    world.command("silence fly").exits(0);
    let folder = world.state_dir().join("silences");
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    chown(file.path(), Some(4711), None).unwrap();
    world.append([fly("critical")]);
    world
        .run()
        .exits(0)
        .warns("is ignored: ")
        .warns("belongs to another user (uid 4711)");
    assert_eq!(sent(&world), 1);
}

#[test]
fn made_by_root_it_gets_the_owner_of_the_state_folder() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    // A folder that the other user can reach.
    let state = std::env::temp_dir().join(format!("silences-of-another-{}", std::process::id()));
    fs::create_dir(&state).unwrap();
    chown(&state, Some(4711), Some(4712)).unwrap();
    sandbox.set("KORA_PROBE_WAKE_STATE_DIR", &state);
    sandbox.command("silence fly").exits(0);
    sandbox
        .command("silence")
        .exits(0)
        .prints("fly: silenced since ");
    let folder = state.join("silences");
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    for meta in [fs::metadata(&folder).unwrap(), file.metadata().unwrap()] {
        assert_eq!((meta.uid(), meta.gid()), (4711, 4712));
    }
    fs::remove_dir_all(&state).unwrap();
}

#[test]
fn an_escalation_that_falls_due_in_a_silence_is_sent_when_that_ends() {
    let world = World::stamped();
    world.raise([fly("warning")]).exits(0).silent();
    world.raise([fly("critical")]).exits(0).silent();
    world.command("silence all --for 15m").exits(0);
    pass(&world, 11);
    world.run().exits(0).silent();
    assert_eq!(sent(&world), 1, "its window has ended, the silence has not");
    pass(&world, 5);
    world.run().exits(0).silent();
    let texts = world.slack.texts();
    assert!(texts[1].starts_with("🚨 Probe alert · fly"), "{texts:?}");
}

#[test]
fn an_escalation_is_not_lost_behind_a_newer_silenced_wake() {
    let world = World::stamped();
    world.raise([fly("warning")]).exits(0).silent();
    world.command("silence fly --for 15m").exits(0);
    world.raise([fly("critical")]).exits(0).silent();
    world.raise([fly("info")]).exits(0).silent();
    pass(&world, 16);
    world.run().exits(0).silent();
    assert!(world.slack.texts()[1].starts_with("🚨 "));
}

#[test]
fn a_name_that_means_nothing_is_wrong_usage() {
    let world = World::stamped().quiet();
    for name in ["", " ", ":", "fly:", ":down"] {
        let mut command = std::process::Command::new(BINARY);
        let silence = world.spawn(command.args(["silence", name]));
        silence.finish().exits(2).warns("names no pair");
    }
    assert!(silences(&world).is_empty());
}

#[test]
fn after_the_clock_was_set_back_a_silence_is_over() {
    let world = World::stamped();
    world.command("silence fly --for 10m").exits(0);
    pass(&world, -60);
    assert!(silences(&world).is_empty());
    world.raise([fly("warning")]).exits(0).silent();
    assert_eq!(sent(&world), 1);
}

#[test]
fn an_acknowledgement_is_listed_until_its_incident_ends() {
    let world = World::stamped();
    world.raise([fly("warning")]).exits(0).silent();
    world.command("ack fly").exits(0);
    assert_eq!(silences(&world).len(), 1);
    world.append_raw(recovery("fly", &json!({})));
    world.run().exits(0).silent();
    assert!(silences(&world).is_empty());
}

#[test]
fn a_silence_that_cannot_be_read_is_printed_once_an_hour() {
    let world = World::stamped().quiet();
    world.command("silence fly").exits(0);
    world.give("state/silences/junk.json", "junk");
    world.raise([fly("warning")]).exits(0).warns("is ignored");
    world.raise([fly("warning")]).exits(0).silent();
}
