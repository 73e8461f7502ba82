//! Section 5 of the contract: a service that gets worse passes the window, where that is asked for.

use crate::support::{DIAGNOSIS, Row, World, column, plain, wake};

fn escalating() -> World {
    let world = World::stamped();
    world.set("KORA_PROBE_DEBOUNCE_BYPASS_ESCALATION", "Yes");
    world
}

fn fly(severity: &str) -> Row {
    wake("fly").set("severity", severity)
}

fn degraded() -> String {
    format!("⚠️ Probe alert · fly\n{DIAGNOSIS}")
}

#[test]
fn without_the_setting_a_worse_wake_is_a_repeat() {
    let world = World::stamped();
    world.append(["warning", "critical"].map(fly));
    world.run().exits(0).silent();
    assert_eq!(world.slack.texts(), [degraded()]);
}

#[test]
fn a_worse_wake_is_told_at_once_and_one_that_is_not_worse_is_held_back() {
    let world = escalating();
    world.raise([fly("warning")]).exits(0).silent();
    world.append(["critical", "critical", "warning", "info", "page"].map(fly));
    let report = world.report(0);
    let dispatched = column(report["wakes"].clone(), "/dispatched");
    assert_eq!(dispatched, [true, false, false, false, false]);
    assert_eq!(world.slack.texts(), [degraded(), plain("fly")]);
    world.shift_state(-1);
    world.raise([fly("critical")]).exits(0).silent();
    let note = "4 repeats were held back since ";
    assert!(
        world.slack.texts()[2].contains(note),
        "{:?}",
        world.slack.texts()
    );
}

#[test]
fn each_step_up_passes_once_and_odd_severities_are_warnings() {
    let world = escalating();
    world.append(["info", "page", "critical", "critical"].map(fly));
    world.run().exits(0).silent();
    let signs = ["ℹ️", "🔔", "🚨"].map(|sign| format!("{sign} Probe alert · fly\n{DIAGNOSIS}"));
    assert_eq!(world.slack.texts(), signs);
}

#[test]
fn a_worse_wake_is_not_counted_where_several_are_required() {
    let world = escalating();
    world.set("KORA_PROBE_DEBOUNCE_CONSECUTIVE_REQUIRED", "3");
    world.append(["warning"; 3].map(fly));
    world.raise([fly("critical")]).exits(0).silent();
    let texts = world.slack.texts();
    assert_eq!((texts.len(), texts[1].as_str()), (2, &*plain("fly")));
    assert!(texts[0].starts_with(&degraded()) && texts[0].contains("Raised 3 times since "));
}
