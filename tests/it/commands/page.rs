//! The history as a page, in a real browser.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::browser::{dom, overflows};
use crate::support::tools::is_passed_over;
use crate::support::{Sandbox, outcome_row, wake};

fn minutes_ago(minutes: i64) -> String {
    (Timestamp::now() - SignedDuration::from_mins(minutes)).to_string()
}

fn outcome(probe: &str, minutes: i64, more: Value) -> String {
    format!("{}\n", outcome_row(probe, minutes, &more))
}

/// A row of another seam, with these details besides the pair.
fn later(seam: &str, probe: &str, minutes: i64, details: &Value) -> String {
    let mut row = json!({
        "emitted_at": minutes_ago(minutes), "seam": format!("probe.{seam}"),
        "caller_session_id": format!("probe:{probe}:service_unhealthy"),
        "details": {"probe": probe, "issue_category": "service_unhealthy"},
    });
    for (field, value) in details.as_object().expect("an object") {
        row["details"][field] = value.clone();
    }
    format!("{row}\n")
}

/// Writes the page to a file for the browser, and returns its text and its path.
fn page(sandbox: &Sandbox, flags: &str) -> (String, PathBuf) {
    let text = sandbox
        .command(&format!("history --format html {flags}"))
        .exits(0)
        .stdout;
    let path = sandbox.give("given/page.html", &text);
    (text, path)
}

/// Three services that were bad, with all that can happen to them.
fn three() -> Sandbox {
    let sandbox = Sandbox::new();
    let began = minutes_ago(61);
    let failed = json!({"reasoning_error": "engine_exception:Timeout", "reasoning_error_message": "no answer"});
    let recovery = json!({"id": "fly-60", "healthy_at": minutes_ago(45), "first_wake_at": began});
    let silence = json!({"pair": "vercel", "from": minutes_ago(30), "until": minutes_ago(10), "reason": "db move"});
    let rows = [
        outcome(
            "fly",
            60,
            json!({"first_wake_at": began, "total_cost_usd": 0.0123}),
        ),
        outcome(
            "fly",
            48,
            json!({"first_wake_at": began, "held_back": {"repeat": 2}}),
        ),
        later("recovery_told", "fly", 44, &recovery),
        outcome("vercel", 39, failed),
        outcome(
            "neon",
            19,
            json!({"dm_status": "failed_send", "severity": "warning"}),
        ),
        later("silence_over", "vercel", 10, &silence),
    ];
    sandbox.give("state/outcomes.jsonl", &rows.concat());
    sandbox
}

/// A week of 40 pairs, 2,000 investigations and an hour that each was bad at a time, as short as a wake.
fn week() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut outcomes = String::new();
    for number in 0..2_000 {
        let probe = format!("probe-{}", number % 40);
        let minutes = 10_000 - number * 5;
        let hour = json!({"first_wake_at": minutes_ago(minutes + 60)});
        let _ = write!(outcomes, "{}", outcome(&probe, minutes, hour));
    }
    sandbox.give("state/outcomes.jsonl", &outcomes);
    sandbox
}

/// How often the text holds this.
fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn it_answers_at_the_top_and_draws_what_happened() {
    needs!("chromium");
    let sandbox = three();
    let (_, path) = page(&sandbox, "");
    let dom = dom(&sandbox, &path);
    for text in [
        "All times are UTC",
        "3 services",
        "4 alerts",
        "2 failed",
        "2 held back",
        "of 6 wakes",
        "$0.0123",
        "3560 tokens",
        "fly unreachable: HTTP 401",
        "The token was revoked.",
        "No diagnosis: engine_exception:Timeout: no answer",
        "1 message not delivered",
        "(16 min)",
        "silence: db move",
        ", 0 wakes: db move",
    ] {
        assert!(dom.contains(text), "{text} in:\n{dom}");
    }
    assert_eq!(count(&dom, "<article class=\"pair\">"), 3);
    let drawn = dom.split("<article").skip(1).collect::<String>();
    for (what, expected) in [
        ("<rect class=\"bar critical\"", 2),
        ("<rect class=\"bar warning\"", 1),
        ("<rect class=\"wake", 4),
        ("<rect class=\"window", 4),
        ("<rect class=\"recovery", 1),
        ("<rect class=\"silence", 1),
        ("href=\"#question\"", 3),
        ("href=\"#failure\"", 1),
        ("href=\"#message\"", 3),
        ("href=\"#lost\"", 1),
    ] {
        assert_eq!(count(&drawn, what), expected, "{what} in:\n{drawn}");
    }
}

#[test]
fn an_empty_history_says_so() {
    let (text, _) = page(&Sandbox::new(), "");
    assert!(
        text.contains("No alert") && !text.contains("<svg"),
        "{text}"
    );
}

#[test]
fn it_needs_nothing_else() {
    let (text, _) = page(&three(), "");
    assert!(
        text.contains("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'")
    );
    for loading in ["<script", "src=", "<link", "url(", "@import", "http:"] {
        assert!(!text.contains(loading), "{loading}");
    }
    let links = text.split("href=\"").skip(1);
    let outside: Vec<_> = links.filter(|link| !link.starts_with('#')).collect();
    assert_eq!(outside, Vec::<&str>::new());
    assert!(text.contains("default-src 'none'"));
    assert!(text.contains("prefers-color-scheme: dark") && text.contains("@media print"));
}

#[test]
fn html_validate_finds_nothing() {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("..");
    let program = target.join("html-validate/node_modules/.bin/html-validate");
    if is_passed_over("html-validate", program.exists()) {
        return;
    }
    for sandbox in [three(), hostile(), Sandbox::new()] {
        let (_, path) = page(&sandbox, "");
        let output = Command::new(&program)
            .arg(path)
            .output()
            .expect("html-validate");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

const HOSTILE: &str = concat!(
    "<script>document.title='owned'</script>\"><img src=x onerror=\"document.title='owned'\">",
    "'><svg onload=document.title='owned'></style></title><iframe src=javascript:1>&lt;b&gt;\u{202e}\0-->",
);

/// A log and outcome rows in which every text is hostile, the log's name among them.
fn hostile() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.append([wake("fly")]);
    let fields = [
        "issue_category",
        "severity",
        "investigation_summary_text",
        "title",
        "model_used",
        "digest_session",
    ];
    let each = fields.map(|field| outcome("fly", 8, json!({field: HOSTILE, "id": field})));
    let failed = json!({"reasoning_error": HOSTILE, "reasoning_error_message": HOSTILE});
    let times =
        json!({"pair": "fly", "from": minutes_ago(9), "until": minutes_ago(1), "reason": HOSTILE});
    let rows = [
        each.concat(),
        outcome(HOSTILE, 8, failed),
        outcome("fly", 5, json!({})),
        later("silence_over", "fly", 1, &times),
    ];
    sandbox.give("state/outcomes.jsonl", &rows.concat());
    let tool = json!({
        "emitted_at": minutes_ago(5), "seam": "reasoning.tool_called",
        "caller_session_id": "probe:fly:service_unhealthy",
        "details": {"tool_name": HOSTILE, "tool_status": HOSTILE, "exc_type": HOSTILE},
    });
    sandbox.append_raw(format!("{tool}\n"));
    let log = sandbox.path("<img src=x onerror=document.title=1>.jsonl");
    std::fs::rename(sandbox.log(), &log).unwrap();
    sandbox.set("KORA_AUDIT_LOG_PATH", log);
    sandbox
}

#[test]
fn hostile_rows_stay_text() {
    needs!("chromium");
    let sandbox = hostile();
    let (_, path) = page(&sandbox, "");
    let dom = dom(&sandbox, &path);
    let script = "&lt;script&gt;document.title='owned'";
    assert_eq!(count(&dom, "<title>probe-wake · History</title>"), 1);
    assert!(count(&dom, script) >= 8, "{dom}");
    // The last one turns the direction of the text.
    for harmful in ["<script", "<img", "<iframe", "<svg onload", "\u{202e}"] {
        assert_eq!(count(&dom, harmful), 0, "{harmful} in:\n{dom}");
    }
}

#[test]
fn it_fits_a_phone_and_a_desk() {
    needs!("chromium");
    let long = "a-name-without-any-space".repeat(8);
    let wide = three();
    let named = json!({"issue_category": long, "title": long, "reasoning_error": long});
    wide.give("state/outcomes.jsonl.1", &outcome(&long, 70, named));
    let sandboxes = [wide, week(), Sandbox::new()];
    let pages = sandboxes.each_ref().map(|sandbox| page(sandbox, "").1);
    let overflows = overflows(&sandboxes[0], &pages, &[390, 1280]);
    assert_eq!(
        overflows, [0; 6],
        "pages with 4, 40 and no pairs at 390 and 1280 pixels"
    );
}

#[test]
fn a_week_stays_small_and_an_hour_of_it_is_seen() {
    let (text, _) = page(&week(), "");
    assert!(text.contains("2000 alerts"), "{text}");
    assert!(text.len() < 2_000_000, "{} bytes", text.len());
    // Whatever the width, an outline makes it at least 3 pixels wide.
    assert!(text.contains(".bar { stroke-width: 3;"));
    let drawn = text.split("<article").skip(1).collect::<String>();
    assert!(
        count(&drawn, "<rect class=\"bar critical\"") >= 40
            && count(&drawn, "width=\"0.00%\"") == 0
    );
}

#[test]
fn only_what_was_asked_for_is_shown() {
    for (flags, pairs, incidents) in [
        ("", 3, 3),
        ("--probe neon", 1, 1),
        ("--since 30m", 1, 1),
        ("--failed", 2, 2),
        ("--limit 1", 3, 1),
    ] {
        let (text, _) = page(&three(), flags);
        let found = (
            count(&text, "<article class=\"pair\">"),
            count(&text, "<tr id="),
        );
        assert_eq!(found, (pairs, incidents), "{flags}");
    }
}
