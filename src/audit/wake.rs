//! The wake that a row asks for: what a probe says about a service, with a default for whatever it
//! left out or got wrong.

use serde::{Deserialize, Serialize};

use super::row::SEAM;
use crate::json;
use crate::secret::{Secret, masked as masked_text};
use crate::text::label;

/// A probe's call for a person, with every field usable as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wake {
    /// Like `category` and `severity`, no control characters and at most 200 characters, once it
    /// has been through [`Wake::masked`].
    pub probe: String,
    pub category: String,
    pub severity: String,
    /// Any text of any length, like `detail` and `envelope_fix_name`.
    pub title: String,
    pub detail: String,
    /// Compact JSON of any length; `{}` if the row has none.
    pub snapshot_details: String,
    pub envelope_enabled: bool,
    pub envelope_fix_name: String,
    /// As the row has it, if that is an RFC 3339 time.
    pub emitted_at: Option<String>,
    /// Where the four texts are stored if they are too long for the state; here they are then cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
}

/// A file in `texts/` with the texts of a wake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub file: String,
    /// How many bytes the texts take.
    pub length: usize,
}

/// A row that says a service is healthy again.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovery {
    /// Like `category`, no control characters and at most 200 characters, once it has been through
    /// [`Recovery::masked`].
    pub probe: String,
    /// `None` means every category of the probe.
    pub category: Option<String>,
    /// When the row was emitted, if it says so.
    pub emitted_at: Option<jiff::Timestamp>,
}

impl Recovery {
    /// Masks and cuts its names, as [`Wake::masked`] does.
    pub fn masked(self, secrets: &[Secret]) -> Self {
        let masked = |text| label(&masked_text(text, secrets));
        Self {
            probe: masked(self.probe),
            category: self.category.map(masked),
            ..self
        }
    }

    /// Reads the JSON text of the row's `emitted_at` and `details`; `None` if these do not say that
    /// it ends wakes.
    pub(super) fn from_row(emitted_at: Option<&[u8]>, details: Option<&[u8]>) -> Option<Self> {
        let names = ["probe", "category", "ends"];
        let [probe, category, ends] = json::last_of(details?, names);
        let category = category.filter(|raw| !is_null(raw));
        (json::string(ends?)? == SEAM).then(|| Self {
            probe: text(probe, "unknown"),
            category: category.map(|raw| text(Some(raw), "unknown")),
            emitted_at: time(emitted_at).and_then(|time| time.parse().ok()),
        })
    }
}

/// Returns the name under which the engine keeps a pair's investigations.
pub fn caller_session_id(probe: &str, category: &str) -> String {
    format!("probe:{probe}:{category}")
}

impl Wake {
    /// Returns when the probe raised the wake, if the row says so.
    pub fn raised_at(&self) -> Option<jiff::Timestamp> {
        self.emitted_at.as_deref()?.parse().ok()
    }

    /// See [`caller_session_id`].
    pub fn caller_session_id(&self) -> String {
        caller_session_id(&self.probe, &self.category)
    }

    /// Masks the tokens that its texts may quote, and only then cuts the names: half a token would
    /// not be recognised as one.
    pub fn masked(mut self, secrets: &[Secret]) -> Self {
        for text in [
            &mut self.probe,
            &mut self.category,
            &mut self.severity,
            &mut self.title,
            &mut self.detail,
            &mut self.snapshot_details,
            &mut self.envelope_fix_name,
        ] {
            *text = masked_text(std::mem::take(text), secrets);
        }
        for name in [&mut self.probe, &mut self.category, &mut self.severity] {
            *name = label(name);
        }
        self
    }

    /// Drops what can be megabytes long.
    pub fn drop_details(&mut self) {
        self.detail = String::new();
        self.snapshot_details = String::new();
        self.stored = None;
    }

    /// Returns how many bytes its texts take.
    pub fn size(&self) -> usize {
        let texts = self.title.len() + self.detail.len() + self.snapshot_details.len();
        let own = texts + self.envelope_fix_name.len();
        self.stored.as_ref().map_or(own, |stored| stored.length)
    }

    /// Reads the JSON text of the row's `emitted_at` and `details`.
    pub(super) fn from_row(emitted_at: Option<&[u8]>, details: Option<&[u8]>) -> Self {
        let details = object_unless_null(details);
        let field = |name| {
            let [value] = json::last_of(details, [name]);
            value
        };
        let is_object = details.starts_with(b"{");
        Self {
            probe: text(field("probe"), "unknown"),
            category: text(field("category"), "unknown"),
            severity: text(field("severity"), "warning"),
            title: text(field("title"), "(no title)"),
            detail: if is_object {
                text(field("detail"), "(no detail)")
            } else {
                json::compact(details)
            },
            snapshot_details: json::compact(object_unless_null(field("snapshot_details"))),
            envelope_enabled: field("envelope_enabled") == Some(b"true"),
            envelope_fix_name: text(field("envelope_fix_name"), "(none)"),
            emitted_at: time(emitted_at),
            stored: None,
        }
    }
}

/// Returns an empty object if the value is missing or null. `NaN` and the infinities count as null.
fn object_unless_null(raw: Option<&[u8]>) -> &[u8] {
    raw.filter(|raw| !is_null(raw)).unwrap_or(b"{}")
}

fn is_null(raw: &[u8]) -> bool {
    matches!(raw, b"null" | b"NaN" | b"Infinity" | b"-Infinity")
}

fn time(raw: Option<&[u8]>) -> Option<String> {
    let text = raw.and_then(json::string);
    text.filter(|time| time.parse::<jiff::Timestamp>().is_ok())
}

fn text(raw: Option<&[u8]>, default: &str) -> String {
    let text = match raw.unwrap_or_default() {
        string @ [b'"', ..] => json::string(string).unwrap_or_default(),
        b"-Infinity" => String::new(),
        written @ (b"true" | [b'-' | b'0'..=b'9', ..]) => {
            String::from_utf8_lossy(written).into_owned()
        }
        _ => String::new(),
    };
    Some(text)
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| default.to_owned())
}

#[cfg(test)]
impl Wake {
    /// What a probe raises, without snapshot and envelope.
    pub fn sample() -> Self {
        Self {
            probe: "fly".into(),
            category: "service_unhealthy".into(),
            severity: "critical".into(),
            title: "Fly app(s) unreachable: HTTP 401".into(),
            detail: "status=unhealthy".into(),
            snapshot_details: "{}".into(),
            envelope_enabled: false,
            envelope_fix_name: "(none)".into(),
            emitted_at: Some("2026-05-24T14:32:00.123456Z".into()),
            stored: None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXTS: [&str; 6] = [
        "probe",
        "category",
        "severity",
        "title",
        "detail",
        "envelope_fix_name",
    ];

    fn defaults() -> Wake {
        Wake {
            probe: "unknown".into(),
            category: "unknown".into(),
            severity: "warning".into(),
            title: "(no title)".into(),
            detail: "(no detail)".into(),
            snapshot_details: "{}".into(),
            envelope_enabled: false,
            envelope_fix_name: "(none)".into(),
            emitted_at: None,
            stored: None,
        }
    }

    fn wake_with_details(details: &str) -> Wake {
        Wake::from_row(None, Some(details.as_bytes()))
    }

    #[test]
    fn a_row_with_nothing_but_its_seam_is_a_wake() {
        assert_eq!(Wake::from_row(None, None), defaults());
        for details in ["{}", "null", "NaN", "Infinity", "-Infinity"] {
            assert_eq!(wake_with_details(details), defaults());
        }
    }

    /// The wake's six texts if each is this value in the row.
    fn texts(value: &str) -> [String; 6] {
        let members = TEXTS.map(|name| format!(r#""{name}":{value}"#));
        let wake = wake_with_details(&format!("{{{}}}", members.join(",")));
        [
            wake.probe,
            wake.category,
            wake.severity,
            wake.title,
            wake.detail,
            wake.envelope_fix_name,
        ]
    }

    #[test]
    fn texts_may_be_of_any_type() {
        for usable in ["0", "-0.50e+7", "12345678901234567890123", "1e999", "true"] {
            assert_eq!(texts(usable), [usable; 6].map(str::to_owned));
        }
        assert_eq!(texts(r#"" ""#), [" "; 6]);
        assert_eq!(texts(r#""\ud800""#), ["\u{fffd}"; 6]);
    }

    #[test]
    fn what_is_no_text_is_the_default() {
        for unusable in [
            "\"\"",
            "null",
            "false",
            "NaN",
            "Infinity",
            "-Infinity",
            "{}",
            "[\"x\"]",
            r#"{"a":1}"#,
        ] {
            let texts = texts(unusable);
            assert_eq!(texts[..3], ["unknown", "unknown", "warning"], "{unusable}");
            assert_eq!(texts[3..], ["(no title)", "(no detail)", "(none)"]);
        }
    }

    #[test]
    fn details_that_are_no_object_are_the_detail() {
        for (details, detail) in [
            ("7.0", "7.0"),
            ("true", "true"),
            ("\"a\\tb\"", "\"a\\tb\""),
            ("\"\"", "\"\""),
            ("[ 1, {\"probe\": \"x\"} ]", r#"[1,{"probe":"x"}]"#),
        ] {
            assert_eq!(
                wake_with_details(details),
                Wake {
                    detail: detail.into(),
                    ..defaults()
                }
            );
        }
    }

    #[test]
    fn the_envelope_is_enabled_only_by_true() {
        for (value, enabled) in [
            ("true", true),
            ("false", false),
            ("1", false),
            ("\"true\"", false),
            ("null", false),
            ("{}", false),
        ] {
            assert_eq!(
                wake_with_details(&format!(r#"{{"envelope_enabled":{value}}}"#)).envelope_enabled,
                enabled,
                "{value}"
            );
        }
    }

    #[test]
    fn the_snapshot_is_compact_json_of_any_type() {
        for (value, compact) in [
            ("{ \"a\" : NaN }", r#"{"a":null}"#),
            ("null", "{}"),
            ("NaN", "{}"),
            ("[ ]", "[]"),
            ("\"x\"", "\"x\""),
        ] {
            assert_eq!(
                wake_with_details(&format!(r#"{{"snapshot_details":{value}}}"#)).snapshot_details,
                compact
            );
        }
    }

    #[test]
    fn a_time_that_cannot_be_read_is_none() {
        let emitted = |value: &str| Wake::from_row(Some(value.as_bytes()), None);
        assert_eq!(
            emitted("\"2026-05-24T14:32:00+00:00\"").emitted_at.unwrap(),
            "2026-05-24T14:32:00+00:00"
        );
        for value in [
            "\"yesterday\"",
            "\"\"",
            "\"2026-05-24T14:32:00\"",
            "1779633120",
            "null",
            "{}",
            "true",
        ] {
            assert_eq!(emitted(value), defaults(), "{value}");
            assert_eq!(emitted(value).raised_at(), None);
        }
    }

    #[test]
    fn labels_are_one_line_of_at_most_200_characters() {
        let long = "é".repeat(201);
        let details = json!({"probe": "a\nb\u{1b}[0m\u{9b}", "category": long, "severity": "\n", "title": "a\nb"});
        let wake = wake_with_details(&details.to_string()).masked(&[]);
        assert_eq!(
            (
                wake.probe.as_str(),
                wake.severity.as_str(),
                wake.title.as_str()
            ),
            ("a b [0m ", " ", "a\nb")
        );
        assert_eq!(wake.category, "é".repeat(200));
    }

    #[test]
    fn a_token_is_masked_before_its_end_is_cut_off() {
        let token = "xoxb-1234567890";
        let category = "c".repeat(190) + token;
        let wake = wake_with_details(&json!({"category": category}).to_string());
        let wake = wake.masked(&[Secret::new(token.to_owned())]);
        assert_eq!(wake.category, "c".repeat(190) + "[masked]");
    }
}
