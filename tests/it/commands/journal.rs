//! Under journald each line begins with its priority; anywhere else it does not.

use crate::support::World;

/// What a run with a problem writes to stderr, which is a file, with this as `JOURNAL_STREAM`.
#[track_caller]
fn said(stream: &str, line: &str) -> String {
    let world = World::stamped().quiet();
    world.set("KORA_PROBE_DEBOUNCE_SECONDS", "soon");
    let line = format!(
        "exec 2>stderr; export JOURNAL_STREAM={stream}; $B {line}; exec 2>/dev/null; cat stderr"
    );
    world.shell(&line).finish().exits(0).stdout
}

const OURS: &str = "$(stat -Lc %d:%i /dev/stderr)";

#[test]
fn problems_and_progress_have_their_priorities() {
    assert!(said(OURS, "run").starts_with("<4>probe-wake: warning: KORA_PROBE_DEBOUNCE_SECONDS"));
    let told = said(OURS, "run -vv");
    for prefix in [
        "<4>probe-wake: warning: ",
        "<6>probe-wake: 0 rows",
        "<7>probe-wake: audit log",
    ] {
        assert!(
            told.lines().any(|line| line.starts_with(prefix)),
            "{prefix}: {told}"
        );
    }
    assert!(told.lines().all(|line| line.starts_with('<')), "{told}");
    assert!(said(OURS, "run --env-file nowhere").starts_with("<3>probe-wake: error: "));
}

#[test]
fn where_stderr_is_another_stream_there_are_none() {
    for stream in ["1:2", "", "nonsense", "$(stat -Lc %d:%i /dev/null)"] {
        assert!(
            said(stream, "run").starts_with("probe-wake: warning: "),
            "{stream}"
        );
    }
}
