//! Section 9: the history as a page, in a real browser.

use std::fmt::Write as _;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::browser::{dom, overflows};
use crate::support::{Sandbox, outcome_row, wake};

fn outcome(probe: &str, minutes: i64, more: Value) -> String {
    format!("{}\n", outcome_row(probe, minutes, &more))
}

fn recovery(probe: &str, minutes: i64) -> String {
    let at = (Timestamp::now() - SignedDuration::from_mins(minutes)).to_string();
    let row = json!({
        "emitted_at": at, "seam": "probe.recovered", "caller_session_id": format!("probe:{probe}:service_unhealthy"),
        "details": {"probe": probe, "issue_category": "service_unhealthy", "healthy_at": at, "wakes": 2},
    });
    format!("{row}\n")
}

/// Writes the page to a file for the browser, and gives its text and its path.
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
    let fly = [61, 56, 51].map(|minutes| wake("fly").minutes_ago(minutes));
    let others = [wake("vercel").minutes_ago(40), wake("neon").minutes_ago(20)];
    sandbox.append(fly.into_iter().chain(others));
    let failed = json!({"reasoning_error": "engine_exception:Timeout", "reasoning_error_message": "no answer"});
    let rows = [
        outcome("fly", 60, json!({"total_cost_usd": 0.0123})),
        recovery("fly", 45),
        outcome("vercel", 39, failed),
        outcome("neon", 19, json!({"dm_status": "failed_send"})),
    ];
    sandbox.give("state/outcomes.jsonl", &rows.concat());
    sandbox
}

/// How many elements of this kind the browser has.
fn count(dom: &str, start: &str) -> usize {
    dom.matches(start).count()
}

#[test]
fn it_answers_at_the_top_and_draws_what_happened() {
    needs!("chromium");
    let sandbox = three();
    let (_, path) = page(&sandbox, "");
    let dom = dom(&sandbox, &path);
    for text in [
        "3 services",
        "16 min",
        "3 alerts",
        "2 repeats",
        "$0.0123",
        "2,670 tokens in 3 questions",
        "2 with a diagnosis, 1 without, 1 not delivered",
        "The token was revoked.",
        "No diagnosis: engine_exception:Timeout: no answer",
        "not delivered",
    ] {
        assert!(dom.contains(text), "{text} in:\n{dom}");
    }
    assert_eq!(count(&dom, "<article class=\"pair\">"), 3);
    let drawn = dom.split("<article").skip(1).collect::<String>();
    for (what, expected) in [
        ("href=\"#question\"", 2),
        ("href=\"#failure\"", 1),
        ("href=\"#dm\"", 2),
        ("href=\"#lost\"", 1),
        ("href=\"#recovery\"", 1),
        ("<rect class=\"h\"", 2),
        ("<rect class=\"window\"", 3),
    ] {
        assert_eq!(count(&drawn, what), expected, "{what} in:\n{drawn}");
    }
}

#[test]
fn an_empty_history_says_so() {
    let sandbox = Sandbox::new();
    let (text, _) = page(&sandbox, "");
    assert!(
        text.contains("No alert") && !text.contains("<svg"),
        "{text}"
    );
}

#[test]
fn it_needs_nothing_else() {
    let (text, _) = page(&three(), "");
    assert!(!text.contains("<script") && !text.contains("src=") && !text.contains("<link"));
    assert!(!text.contains("url(") && !text.contains("@import") && !text.contains("http:"));
    let links = text.split("href=\"").skip(1);
    let outside: Vec<_> = links.filter(|link| !link.starts_with('#')).collect();
    assert_eq!(outside, Vec::<&str>::new());
    assert!(text.contains("default-src 'none'"));
    assert!(text.contains("prefers-color-scheme: dark") && text.contains("@media print"));
}

const HOSTILE: &str = concat!(
    "<script>document.title='owned'</script>\"><img src=x onerror=\"document.title='owned'\">",
    "'><svg onload=document.title='owned'></style></title><iframe src=javascript:1>&lt;b&gt;\u{202e}\0-->",
);

/// A log and outcome rows in which every text is hostile, the log's name among them.
fn hostile() -> Sandbox {
    let sandbox = Sandbox::new();
    let row = wake(HOSTILE).minutes_ago(9);
    let row = ["severity", "category", "title", "detail"]
        .iter()
        .fold(row, |row, field| row.set(field, HOSTILE));
    sandbox.append([
        row.clone(),
        row,
        wake("fly").minutes_ago(5).set("title", HOSTILE),
    ]);
    let told = [
        "issue_category",
        "severity",
        "investigation_summary_text",
        "model_used",
        "digest_session",
    ]
    .map(|field| outcome("fly", 8, json!({field: HOSTILE})));
    let failed = json!({"reasoning_error": HOSTILE, "reasoning_error_message": HOSTILE});
    let rows = [
        told.concat(),
        outcome(HOSTILE, 8, failed),
        outcome("fly", 5, json!({})),
        recovery(HOSTILE, 2),
    ];
    sandbox.give("state/outcomes.jsonl", &rows.concat());
    let session = "probe:fly:service_unhealthy";
    let tool = json!({
        "emitted_at": (Timestamp::now() - SignedDuration::from_mins(5)).to_string(), "seam": "reasoning.tool_called",
        "caller_session_id": session, "details": {"tool_name": HOSTILE, "tool_status": HOSTILE, "exc_type": HOSTILE},
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
    let title = "<title>probe-wake · History</title>";
    let script = "&lt;script&gt;document.title='owned'";
    assert!(count(&dom, title) == 1 && count(&dom, script) >= 8, "{dom}");
    // The last one turns the direction of the text.
    for harmful in ["<script", "<img", "<iframe", "<svg onload", "\u{202e}"] {
        assert_eq!(count(&dom, harmful), 0, "{harmful} in:\n{dom}");
    }
}

/// A week of 40 pairs and 2,000 wakes.
fn week() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut outcomes = String::new();
    for number in 0..2_000 {
        let probe = format!("probe-{}", number % 40);
        let minutes = 10_000 - number * 5;
        sandbox.append([wake(&probe).minutes_ago(minutes)]);
        if number % 80 < 40 {
            let _ = write!(outcomes, "{}", outcome(&probe, minutes - 1, json!({})));
        }
    }
    sandbox.give("state/outcomes.jsonl", &outcomes);
    sandbox
}

#[test]
fn it_fits_a_phone_and_a_desk() {
    needs!("chromium");
    let long = "a-name-without-any-space".repeat(8);
    let wide = three();
    wide.append([wake(&long).set("category", long.as_str()).minutes_ago(3)]);
    let sandboxes = [wide, week(), Sandbox::new()];
    let pages = sandboxes.each_ref().map(|sandbox| page(sandbox, "").1);
    let overflows = overflows(&sandboxes[0], &pages, &[390, 1280]);
    assert_eq!(
        overflows, [0; 6],
        "pages with 4, 40 and no pairs at 390 and 1280 pixels"
    );
}

#[test]
fn a_week_of_wakes_stays_small() {
    let (text, _) = page(&week(), "");
    assert!(text.contains("2,000 wakes"), "{text}");
    assert!(text.len() < 2_000_000, "{} bytes", text.len());
}

#[test]
fn only_what_was_asked_for_is_shown() {
    let (text, _) = page(&three(), "--probe neon");
    assert_eq!(count(&text, "<article class=\"pair\">"), 1);
    assert!(text.contains("1 service<") && !text.contains("vercel"));
    let (text, _) = page(&three(), "--since 30m");
    assert_eq!(count(&text, "<article class=\"pair\">"), 1);
    let (text, _) = page(&three(), "--limit 1");
    assert_eq!((count(&text, "<article"), count(&text, "<tr id=")), (3, 1));
}
