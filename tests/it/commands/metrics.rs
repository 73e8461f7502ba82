//! Prometheus text for node_exporter's textfile collector.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::support::{DEAD_URL, Engine, Reply, World, other_row, wake};

const NAME: &str = "given-to-node_exporter/probe_wake.prom";

fn measured() -> World {
    let world = World::new();
    fs::create_dir(world.path("given-to-node_exporter")).unwrap();
    world.set("KORA_PROBE_WAKE_METRICS_FILE", world.path(NAME));
    fs::write(world.log(), "").unwrap();
    world.run().exits(0).silent();
    world
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Each sample by its name and labels. Every line must follow the exposition format.
#[track_caller]
fn samples(world: &World) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(world.path(NAME)).unwrap();
    assert!(text.ends_with('\n'));
    let mut samples = BTreeMap::new();
    let mut types = BTreeMap::new();
    let mut helped = Vec::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help text");
            assert!(!help.is_empty() && !helped.contains(&name), "{line}");
            helped.push(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(types.insert(name, kind).is_none(), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let name = series.split('{').next().unwrap();
            assert!(types.contains_key(name) && helped.contains(&name), "{line}");
            assert!(is_name(name), "{line}");
            if let Some(labels) = series
                .strip_prefix(name)
                .filter(|labels| !labels.is_empty())
            {
                let value = labels
                    .strip_prefix("{outcome=\"")
                    .and_then(|rest| rest.strip_suffix("\"}"));
                let value = value.unwrap_or_else(|| panic!("{line}"));
                assert!(is_name(value), "{line}");
            }
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "{line}");
        }
    }
    samples
}

#[track_caller]
fn value(world: &World, name: &str) -> f64 {
    let samples = samples(world);
    *samples
        .get(&format!("probe_wake_{name}"))
        .unwrap_or_else(|| panic!("no {name} in {samples:#?}"))
}

#[test]
fn what_happened_is_counted() {
    let world = measured();
    world.append([wake("fly"), wake("fly"), wake("sentry")]);
    world.append_raw(other_row("x") + "\n");
    world
        .engine
        .script([Engine::answer("Found."), Reply::text(503, "")]);
    world.run().exits(0).warns("no diagnosis for sentry");
    for (name, expected) in [
        ("runs_total", 2.0),
        ("rows_total", 4.0),
        ("wakes_total", 3.0),
        ("dispatched_total", 2.0),
        ("held_back_total", 1.0),
        ("dms_delivered_total", 2.0),
        ("dms_failed_total", 0.0),
        ("dms_undelivered_total", 0.0),
        ("engine_calls_total{outcome=\"answered\"}", 1.0),
        ("engine_calls_total{outcome=\"http_status\"}", 1.0),
        ("lag_bytes", 0.0),
        ("outbox_dms", 0.0),
        ("outbox_oldest_age_seconds", 0.0),
    ] {
        assert!((value(&world, name) - expected).abs() < 1e-9, "{name}");
    }
    let ran = value(&world, "last_run_timestamp_seconds");
    let now = jiff::Timestamp::now().as_second() as f64;
    assert!((now - ran).abs() < 60.0, "{ran}");
    assert!((value(&world, "last_success_timestamp_seconds") - ran).abs() < 60.0);
}

#[test]
fn a_message_that_waits_is_seen_and_is_not_a_success() {
    let world = measured();
    let before = value(&world, "last_success_timestamp_seconds");
    world.slack.never();
    world.reach_slack_at(DEAD_URL);
    world.raise([wake("fly")]).exits(3);
    assert!((value(&world, "outbox_dms") - 1.0).abs() < 1e-9);
    assert!((value(&world, "dms_failed_total") - 1.0).abs() < 1e-9);
    assert!(value(&world, "outbox_oldest_age_seconds") > 0.0);
    let after = value(&world, "last_success_timestamp_seconds");
    assert!((after - before).abs() < 1e-9, "{before} {after}");
}

#[test]
fn a_log_that_is_missing_is_seen_and_has_no_lag() {
    let world = measured();
    world.engine.never();
    world.slack.never();
    fs::remove_file(world.log()).unwrap();
    world.run().exits(3).warns("does not exist");
    assert!((value(&world, "last_run_exit_code") - 3.0).abs() < 1e-9);
    assert!(value(&world, "lag_bytes").is_nan());
}

#[test]
fn a_run_that_could_not_be_done_is_seen_and_keeps_the_counters() {
    let log = |world: &World| {
        fs::remove_file(world.log()).unwrap();
        fs::create_dir(world.log()).unwrap();
    };
    let state = |world: &World| fs::write(world.path("state/state.json"), "{").unwrap();
    let folder = |world: &World| {
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(world.state_dir(), open).unwrap();
    };
    // Without its state a run cannot count itself.
    let breaking: [&dyn Fn(&World); 3] = [&log, &state, &folder];
    for (break_it, counted) in breaking.into_iter().zip([2.0, 0.0, 0.0]) {
        let world = measured();
        world.raise([wake("fly")]).exits(0).silent();
        let before = samples(&world);
        break_it(&world);
        world.run().exits(1);
        world.run().exits(1);
        let after = samples(&world);
        assert!((after["probe_wake_last_run_exit_code"] - 1.0).abs() < 1e-9);
        let ran = "probe_wake_last_run_timestamp_seconds";
        assert!(after[ran] > before[ran]);
        assert_eq!(after.len(), before.len());
        assert!((after["probe_wake_wakes_total"] - 1.0).abs() < 1e-9);
        let runs = "probe_wake_runs_total";
        assert!((after[runs] - before[runs] - counted).abs() < 1e-9);
        let success = "probe_wake_last_success_timestamp_seconds";
        assert!((after[success] - before[success]).abs() < 1e-9);
    }
}

#[test]
fn a_first_run_that_could_not_be_done_is_seen() {
    let world = World::new().quiet();
    fs::create_dir(world.path("given-to-node_exporter")).unwrap();
    world.set("KORA_PROBE_WAKE_METRICS_FILE", world.path(NAME));
    world.give("state/state.json", "{");
    world.run().exits(1);
    assert!((value(&world, "last_run_exit_code") - 1.0).abs() < 1e-9);
}

#[test]
fn a_run_that_found_the_lock_held_writes_none() {
    let world = measured();
    let running = world.start_held([wake("fly")]);
    let before = fs::read(world.path(NAME)).unwrap();
    world.run().exits(75);
    assert_eq!(fs::read(world.path(NAME)).unwrap(), before);
    world.engine.release();
    running.finish().exits(0);
}

#[test]
fn counters_only_ever_grow() {
    let world = measured();
    let mut before = samples(&world);
    for number in 0..6 {
        if number % 2 == 0 {
            world.append([wake(&format!("probe-{number}")), wake("fly")]);
        }
        if number == 3 {
            world.append_raw("{\"seam\":\"probe.wake_requested\n");
        }
        let _ = world.run();
        let after = samples(&world);
        for (name, value) in before.iter().filter(|(name, _)| name.contains("_total")) {
            assert!(after[name] >= *value, "{name} fell from {value}");
        }
        let runs = "probe_wake_runs_total";
        assert!(
            (after[runs] - before[runs] - 1.0).abs() < 1e-9,
            "idle runs count too"
        );
        before = after;
    }
}

#[test]
fn an_idle_run_counts_itself_in_the_lock_alone() {
    let world = measured();
    world.slack.never();
    world.engine.never();
    let state = || {
        fs::metadata(world.state_dir().join("state.json"))
            .unwrap()
            .ino()
    };
    let before = state();
    let ended = value(&world, "runs_total");
    world.run().exits(0).silent();
    assert!((value(&world, "runs_total") - ended - 1.0).abs() < 1e-9);
    assert_eq!(before, state(), "it was replaced");
}

#[test]
fn a_code_that_the_engine_chose_is_no_label() {
    let world = measured();
    world.append([wake("fly")]);
    world
        .engine
        .script([Engine::error("evil\"} 1\nprobe_wake_runs_total 99")]);
    world.run().exits(0);
    assert!((value(&world, "engine_calls_total{outcome=\"engine_error\"}") - 1.0).abs() < 1e-9);
}

#[test]
fn promtool_finds_no_fault() {
    needs!("promtool");
    let world = measured();
    world.raise([wake("fly")]).exits(0).silent();
    let judged = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(world.path(NAME)).unwrap())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&judged.stderr).into_owned();
    assert!(judged.status.success() && words.is_empty(), "{words}");
}

#[test]
fn the_file_is_replaced_whole_and_readable_by_all() {
    let world = measured();
    let path = world.path(NAME);
    let old = fs::File::open(&path).unwrap();
    world.shell("umask 077; $B run").finish().exits(0).silent();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644);
    let new = fs::metadata(&path).unwrap();
    assert_ne!(
        new.ino(),
        old.metadata().unwrap().ino(),
        "it was written in place"
    );
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    world.engine.maybe();
    world.slack.maybe();
}

#[test]
fn a_file_that_cannot_be_written_is_a_warning_and_no_more() {
    let world = World::stamped();
    world.give("given/file", "");
    for path in ["given/file/x.prom", "given/nowhere/x.prom", "given"] {
        world.set("KORA_PROBE_WAKE_METRICS_FILE", world.path(path));
        world
            .raise([wake(path)])
            .exits(0)
            .warns("warning: cannot write the metrics")
            .warns(path);
    }
    assert_eq!(world.slack.texts().len(), 3);
}
