//! One line of the audit log → the wakes and recoveries in it. If a line is not a single JSON
//! object, every whole row in it is salvaged. Relies on `lines` to pass only lines that contain the
//! seam's name as plain text and are within the length limit.

use std::ops::Range;

use memchr::memchr;

use super::wake::{Recovery, Wake};
use crate::json;

/// The seam of a row that is a wake.
pub const SEAM: &str = "probe.wake_requested";
/// The seam of a row that says a service is healthy again. Such a row also names [`SEAM`], as what
/// it ends, so one search finds both.
pub const RECOVERED_SEAM: &str = "probe.recovered";

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The rows in a line that contains the seam's name.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    /// Each with its position in the line.
    pub events: Vec<(Event, Range<usize>)>,
    /// The offset in the line of the first bytes that belong to no whole row, if any.
    pub malformed: Option<u64>,
}

/// A row that we act on.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Wake(Wake),
    Recovery(Recovery),
}

impl Rows {
    pub fn wakes(&self) -> impl Iterator<Item = &Wake> {
        self.events.iter().filter_map(|(event, _)| match event {
            Event::Wake(wake) => Some(wake),
            Event::Recovery(_) => None,
        })
    }

    fn judge_rest(&mut self, line: &[u8], behind_row: usize) {
        let rest = skip_padding(line, behind_row);
        if rest < line.len() {
            self.malformed.get_or_insert(rest as u64);
        }
    }
}

/// Reads one line, given without its `\n`. Ignores white space, NUL bytes and a byte order mark
/// around rows.
pub fn read_rows(line: &[u8]) -> Rows {
    let Some(object) = only_object(line) else {
        return salvage(line);
    };
    let event = event(&line[object.clone()]);
    Rows {
        events: event.map(|event| (event, object)).into_iter().collect(),
        malformed: None,
    }
}

/// Returns whether the line is one whole JSON object, whatever its seam.
pub fn is_whole(line: &[u8]) -> bool {
    only_object(line).is_some()
}

fn only_object(line: &[u8]) -> Option<Range<usize>> {
    let start = skip_padding(line, 0);
    let end = json::object_at(line, start).ok()?;
    (skip_padding(line, end) == line.len()).then_some(start..end)
}

/// Salvages every whole row of a line in which rows are torn or run together. A row is any whole
/// object with a seam of its own; the leftmost counts, and objects inside it do not.
///
/// Linear even for hostile lines: the objects that a failed scan left open are not scanned again,
/// and a scan that begins inside a string of another scan reads that scan's strings as structure,
/// so a third can never be under way.
fn salvage(line: &[u8]) -> Rows {
    let mut rows = Rows::default();
    let mut torn = vec![false; line.len()];
    let mut behind_row = 0;
    let mut at = 0;
    while let Some(start) = memchr(b'{', &line[at..]).map(|next| at + next) {
        at = start + 1;
        if torn[start] {
            continue;
        }
        match json::object_at(line, start) {
            Err(open) => open.iter().for_each(|at| torn[*at as usize] = true),
            Ok(end) => {
                at = end;
                let object = &line[start..end];
                let [seam] = json::last_of(object, ["seam"]);
                if seam.and_then(json::string).is_some() {
                    let event = event(object).map(|event| (event, start..end));
                    rows.events.extend(event);
                    rows.judge_rest(&line[..start], behind_row);
                    behind_row = end;
                }
            }
        }
    }
    rows.judge_rest(line, behind_row);
    rows
}

fn skip_padding(line: &[u8], at: usize) -> usize {
    let has_mark = at == 0 && line.starts_with(BYTE_ORDER_MARK);
    let at = if has_mark { BYTE_ORDER_MARK.len() } else { at };
    let is_padding = |byte: &&u8| matches!(byte, b'\0' | b' ' | b'\t' | b'\r');
    at + line[at..].iter().take_while(is_padding).count()
}

/// Returns the event that a whole object stands for, if any.
fn event(object: &[u8]) -> Option<Event> {
    let [seam, emitted_at, details] = json::last_of(object, ["seam", "emitted_at", "details"]);
    match json::string(seam?)?.as_str() {
        SEAM => Some(Event::Wake(Wake::from_row(emitted_at, details))),
        RECOVERED_SEAM => Recovery::from_row(emitted_at, details).map(Event::Recovery),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const ROW: &str = r#"{"emitted_at":"2026-05-24T14:32:00.123456Z","seam":"probe.wake_requested","details":{"probe":"fly","severity":"critical","category":"service_unhealthy","title":"Fly app(s) unreachable: HTTP 401","detail":"a \"{\" and\n\u2014 \\","snapshot_details":{"apps_running":0, "x":[{"y":1.50}]},"envelope_enabled":true,"envelope_fix_name":"restart_unhealthy_machine"},"caller_session_id":null,"source":null}"#;
    const OTHER: &str = r#"{"seam":"mcp.tool_called","details":{"text":"probe.wake_requested","row":{"seam":"probe.wake_requested"}}}"#;

    fn full() -> Wake {
        Wake {
            detail: "a \"{\" and\n— \\".into(),
            snapshot_details: r#"{"apps_running":0,"x":[{"y":1.50}]}"#.into(),
            envelope_enabled: true,
            envelope_fix_name: "restart_unhealthy_machine".into(),
            ..Wake::sample()
        }
    }

    /// The one wake of a line of which nothing is malformed.
    fn wake_of(line: impl AsRef<[u8]>) -> Wake {
        let rows = read_rows(line.as_ref());
        let wakes: Vec<_> = rows.wakes().cloned().collect();
        assert_eq!((wakes.len(), rows.malformed), (1, None));
        wakes[0].clone()
    }

    fn found(line: impl AsRef<[u8]>) -> (usize, Option<u64>) {
        let Rows { events, malformed } = read_rows(line.as_ref());
        (events.len(), malformed)
    }

    #[test]
    fn a_full_row_is_read() {
        let wake = wake_of(ROW);
        assert_eq!(wake, full());
        assert_eq!(
            wake.raised_at().unwrap().to_string(),
            "2026-05-24T14:32:00.123456Z"
        );
        assert_eq!(wake.caller_session_id(), "probe:fly:service_unhealthy");
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        assert_eq!(wake_of(r#"{"seam":1,"details":{"probe":"a"},"details":{"probe":"b","probe":"c"},"seam":"probe.wake_requested"}"#).probe, "c");
        assert_eq!(
            found(r#"{"seam":"probe.wake_requested","seam":"x"}"#),
            (0, None)
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        let line = [&b"{\"seam\":\"probe.wake_requested\",\"details\":{\"probe\":\"a\xffb\"},\"\xff\":1}"[..]].concat();
        assert_eq!(wake_of(line).probe, "a\u{fffd}b");
    }

    #[test]
    fn any_depth_of_nesting_is_read() {
        let deep = [
            r#"{"seam":"probe.wake_requested","details":{"snapshot_details":"#,
            &"[".repeat(500_000),
            &"]".repeat(500_000),
            "}}",
        ]
        .concat();
        assert_eq!(wake_of(deep).snapshot_details.len(), 1_000_000);
    }

    #[test]
    fn padding_around_rows_is_nothing() {
        for line in [
            format!("\0\0{ROW}"),
            format!("{ROW}\r"),
            format!(" \t{ROW} \0"),
            format!("\u{feff}{ROW}"),
            format!("\u{feff}\0 {ROW}"),
        ] {
            assert_eq!(wake_of(&line), full());
            assert!(is_whole(line.as_bytes()));
        }
        assert_eq!(found(format!("\0{ROW}\0\0 {ROW}\r")), (2, None));
        assert_eq!(
            found(format!("{ROW}\u{feff}{ROW}")),
            (2, Some(ROW.len() as u64))
        );
    }

    #[test]
    fn a_recovery_names_what_it_ends() {
        let recovery = |details: &str| {
            let line = format!(
                r#"{{"emitted_at":"2026-05-24T14:32:00Z","seam":"probe.recovered","details":{details}}}"#
            );
            read_rows(line.as_bytes())
                .events
                .pop()
                .map(|(event, _)| event)
        };
        for (details, category) in [
            (
                r#"{"probe":"fly","category":"a","ends":"probe.wake_requested"}"#,
                Some("a"),
            ),
            (
                r#"{"probe":"fly","category":7,"ends":"probe.wake_requested"}"#,
                Some("7"),
            ),
            (
                r#"{"probe":"fly","category":"","ends":"probe.wake_requested"}"#,
                Some("unknown"),
            ),
            (
                r#"{"probe":"fly","category":null,"ends":"probe.wake_requested"}"#,
                None,
            ),
            (r#"{"ends":"probe.wake_requested","probe":"fly"}"#, None),
        ] {
            let expected = Recovery {
                probe: "fly".into(),
                category: category.map(str::to_owned),
                emitted_at: Some("2026-05-24T14:32:00Z".parse().unwrap()),
            };
            assert_eq!(
                recovery(details),
                Some(Event::Recovery(expected)),
                "{details}"
            );
        }
        for details in [
            r#"{"probe":"fly"}"#,
            r#"{"probe":"fly","ends":"probe.recovered"}"#,
            r#"{"probe":"fly","ends":["probe.wake_requested"]}"#,
            r#""probe.wake_requested""#,
        ] {
            assert_eq!(recovery(details), None, "{details}");
        }
    }

    #[test]
    fn another_seam_or_none_is_neither_wake_nor_malformed() {
        for line in [
            OTHER,
            r#"{"details":{"seam":"probe.wake_requested"}}"#,
            r#"{"seam":["probe.wake_requested"]}"#,
            r#"{"seam":null,"x":"probe.wake_requested"}"#,
            r#"{"probe.wake_requested":1}"#,
            r#"{"seam":"probe.wake_requested "}"#,
            r#"{"Seam":"probe.wake_requested"}"#,
        ] {
            assert_eq!(found(line), (0, None), "{line}");
        }
    }

    #[test]
    fn what_is_no_row_is_malformed_where_it_begins() {
        for (line, malformed) in [
            ("probe.wake_requested", 0),
            ("  \0x probe.wake_requested", 3),
            ("\u{feff}\"probe.wake_requested\"", 3),
            ("[\"probe.wake_requested\"]", 0),
            (r#"{"seam":"probe.wake_requested""#, 0),
            ("{\"seam\":\"probe.wake_requested\",\"a\":\"\t\"}", 0),
            (r#"{"seam":"probe.wake_requested",}"#, 0),
        ] {
            assert_eq!(found(line), (0, Some(malformed)), "{line}");
            assert!(!is_whole(line.as_bytes()));
        }
    }

    #[test]
    fn whole_rows_among_the_torn_count() {
        let len = ROW.len() as u64;
        assert_eq!(found([ROW, ROW].concat()), (2, None));
        assert_eq!(found([ROW, OTHER, ROW].concat()), (2, None));
        assert_eq!(found([OTHER, OTHER].concat()), (0, None));
        assert_eq!(found([ROW, &ROW[..100]].concat()), (1, Some(len)));
        assert_eq!(found([ROW, ",", ROW].concat()), (2, Some(len)));
        assert_eq!(found([ROW, "{\"a\":1}", ROW].concat()), (2, Some(len)));
        assert_eq!(
            found([ROW, "x ", ROW, &ROW[..5], &ROW[..9], ROW].concat()),
            (3, Some(len))
        );
        assert_eq!(found(format!("[{ROW}, {ROW}]")), (2, Some(0)));
        assert_eq!(
            found([OTHER, &ROW[..90]].concat()),
            (0, Some(OTHER.len() as u64))
        );
    }

    #[test]
    fn rows_inside_a_whole_row_or_its_strings_do_not_count() {
        let quoting =
            json!({"seam": "mcp.tool_called", "row": {"seam": SEAM}, "text": ROW}).to_string();
        assert_eq!(
            found([&quoting[..9], &quoting, &quoting].concat()),
            (0, Some(0))
        );
        assert_eq!(
            found([r#"{"a":{"row":"#, ROW, "}", ROW].concat()),
            (1, Some(0))
        );
    }

    #[test]
    fn a_row_glued_on_at_any_point_is_saved() {
        let quoting = json!({"seam": "mcp.tool_called", "row": [{"a": {}}, "{[\\\""], "text": ROW})
            .to_string();
        for torn in [ROW, &quoting] {
            for cut in 0..torn.len() {
                let line = [&torn.as_bytes()[..cut], ROW.as_bytes()].concat();
                let expected = Rows {
                    events: vec![(Event::Wake(full()), cut..line.len())],
                    malformed: (cut > 0).then_some(0),
                };
                assert_eq!(
                    read_rows(&line),
                    expected,
                    "{}",
                    String::from_utf8_lossy(&line)
                );
            }
        }
    }

    /// It cannot be told from a row that was glued on where the torn one expected a value.
    #[test]
    fn a_row_inside_a_torn_one_counts() {
        assert_eq!(found(&OTHER[..OTHER.len() - 2]), (1, Some(0)));
    }

    /// Were any of them read in more than linear time, this test would not end.
    #[test]
    fn hostile_lines_are_read_in_linear_time() {
        for unit in [
            "{",
            "[",
            "{\"",
            "{ ",
            "{\"a\":",
            "{\"a\":[",
            "{\"a\":{\"a\":",
            "{\"a\":\"{\"a\":\"{",
            "{\":{\":0,",
            "\":{\":0,",
            "\\{\"",
            "{},",
            "{\"{\":\"{\",",
            "{\"a\":{},",
            "{\"a\":\"\\\"{\\\"",
            "{\"a\":[{\"b\":\"c{\"},",
            "{\"\t",
            "{\"a\":\"\t{",
            "{\"a\":1,\"a\":[{}]}",
            "{\"seam\":{\"seam\":{}},",
        ] {
            for prefix in ["", "{\"", "{\"a\":["] {
                let line = [prefix, &unit.repeat((1 << 17) / unit.len())].concat();
                assert_eq!(found(&line), (0, Some(0)), "{prefix} {unit}");
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
            any::<String>().prop_map(Value::from),
            "[{}\\[\\]\":,\\\\a]{0,12}".prop_map(Value::from),
        ];
        scalar.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                    .prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_torn_row_never_costs_the_whole_one(torn in value(), whole in value(), cut in any::<prop::sample::Index>(), seam in any::<bool>()) {
            let torn = json!({"emitted_at": 1, "seam": if seam { SEAM } else { "x" }, "details": torn}).to_string();
            let whole = json!({"emitted_at": 1, "seam": SEAM, "details": whole}).to_string();
            let cut = cut.index(torn.len());
            let line = [&torn.as_bytes()[..cut], whole.as_bytes()].concat();
            let expected = Rows { events: vec![(Event::Wake(wake_of(&whole)), cut..line.len())], malformed: (cut > 0).then_some(0) };
            prop_assert_eq!(read_rows(&line), expected);
        }
    }
}
