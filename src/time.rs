//! Times and lengths of time as people read and type them. All of them are UTC.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, ToSpan, Unit};

/// Durations that [`duration`] takes, for an error message.
pub const DURATIONS: &str = "30m, 2h, 1h30m, 7d or 1w";
/// What [`since`] takes besides durations, for an error message.
pub const TIMES: &str = "yesterday, 2026-05-24, '2026-05-24 14:00' or 2026-05-24T14:00:00Z";

/// Returns the time with as much of its date as differs from that of `near`: `14:32 UTC`,
/// `24 May 14:32 UTC`, `24 May 2025 14:32 UTC`.
pub fn clock(time: Timestamp, near: Timestamp) -> String {
    format!("{} UTC", without_zone(time, near))
}

/// Returns the time with its whole date: `2026-05-24 14:32 UTC`.
pub fn full(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Returns both times as [`clock`] does, the second without what it shares with the first:
/// `24 May 14:32 to 15:10 UTC`. Times within the same minute are shown as one.
pub fn period(from: Timestamp, to: Timestamp, near: Timestamp) -> String {
    let to = match (date(from) == date(to), without_zone(to, from)) {
        (true, to) if to == without_zone(from, from) => return clock(from, near),
        (true, to) => to,
        (false, _) => without_zone(to, near),
    };
    format!("{} to {to} UTC", without_zone(from, near))
}

fn without_zone(time: Timestamp, near: Timestamp) -> String {
    let (day, today) = (date(time), date(near));
    let format = match day == today {
        true => "%H:%M",
        false if day.year() == today.year() => "%-d %b %H:%M",
        false => "%-d %b %Y %H:%M",
    };
    time.strftime(format).to_string()
}

/// Returns the date of a time.
pub fn date(time: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(time).date()
}

/// Returns a length of time in its two largest units: `2 h 5 min`.
pub fn span(length: SignedDuration) -> String {
    let seconds = length.round(Unit::Second).unwrap_or(length).as_secs();
    let seconds = seconds.max(0);
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let largest = units.iter().position(|(number, _)| *number > 0);
    let units = units[largest.unwrap_or(3)..].iter().take(2).enumerate();
    let parts = units
        .filter(|(place, (number, _))| *place == 0 || *number > 0)
        .map(|(_, (number, unit))| format!("{number} {unit}"));
    parts.collect::<Vec<_>>().join(" ")
}

/// Returns whether less than `length` has passed since then. A time in the future does not count: it is from
/// before the clock was set back.
pub fn within(now: Timestamp, since: Timestamp, length: SignedDuration) -> bool {
    let elapsed = now.duration_since(since);
    !elapsed.is_negative() && elapsed < length
}

/// Parses a duration as people type it, as in `1h30m` or `7 days`. Months and years are refused, since they
/// have no fixed length, and so is a time of day.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let span: Span = text.trim().to_ascii_lowercase().parse().ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    (!length.is_negative() && !text.contains(':')).then_some(length)
}

/// Parses an RFC 3339 time, which is UTC if it names no zone.
pub fn utc(text: &str) -> Option<Timestamp> {
    let without_zone = || TimeZone::UTC.to_timestamp(text.parse().ok()?).ok();
    text.parse().ok().or_else(without_zone)
}

/// Parses the start of a period: a duration before `now`, or a time, which is UTC if it names no zone.
pub fn since(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(length) = duration(text.trim_end_matches("ago")) {
        return now.checked_sub(length).ok();
    }
    let today = DateTime::from(date(now));
    let start = match text.as_str() {
        "today" => today,
        "yesterday" => today.checked_sub(1.day()).ok()?,
        _ if text.parse::<Timestamp>().is_ok() => return text.parse().ok(),
        _ => text.trim_end_matches("utc").trim_end().parse().ok()?,
    };
    TimeZone::UTC.to_timestamp(start).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn a_time_has_as_much_of_its_date_as_the_reader_needs() {
        let near = at("2026-05-24T23:59:00Z");
        for (time, expected) in [
            ("2026-05-24T14:32:59Z", "14:32 UTC"),
            ("2026-05-23T14:32:00Z", "23 May 14:32 UTC"),
            ("2026-06-01T00:00:00Z", "1 Jun 00:00 UTC"),
            ("2025-05-24T14:32:00Z", "24 May 2025 14:32 UTC"),
        ] {
            assert_eq!(clock(at(time), near), expected);
        }
    }

    #[test]
    fn a_period_says_each_thing_once() {
        let near = at("2026-05-24T23:59:00Z");
        for (from, to, expected) in [
            (
                "2026-05-24T08:00:00Z",
                "2026-05-24T16:53:00Z",
                "08:00 to 16:53 UTC",
            ),
            ("2026-05-24T08:00:00Z", "2026-05-24T08:00:59Z", "08:00 UTC"),
            (
                "2026-05-23T08:00:00Z",
                "2026-05-23T16:53:00Z",
                "23 May 08:00 to 16:53 UTC",
            ),
            (
                "2026-05-23T08:00:00Z",
                "2026-05-24T08:00:00Z",
                "23 May 08:00 to 08:00 UTC",
            ),
            (
                "2026-05-22T08:00:00Z",
                "2026-05-23T16:53:00Z",
                "22 May 08:00 to 23 May 16:53 UTC",
            ),
            (
                "2025-12-31T08:00:00Z",
                "2026-01-01T01:00:00Z",
                "31 Dec 2025 08:00 to 1 Jan 01:00 UTC",
            ),
        ] {
            assert_eq!(period(at(from), at(to), near), expected);
        }
    }

    #[test]
    fn a_length_of_time_is_in_its_two_largest_units() {
        for (seconds, expected) in [
            (-5, "0 s"),
            (0, "0 s"),
            (40, "40 s"),
            (60, "1 min"),
            (3_605, "1 h"),
            (10_500, "2 h 55 min"),
            (90_061, "1 d 1 h"),
            (86_460, "1 d"),
        ] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), expected);
        }
        assert_eq!(span(SignedDuration::from_millis(59_600)), "1 min");
    }

    #[test]
    fn durations_are_what_people_type() {
        let minutes = |text| duration(text).map(|length| length.as_mins());
        for (text, expected) in [
            ("30m", 30),
            ("2h", 120),
            ("1h30m", 90),
            ("1h 30min", 90),
            ("7d", 10_080),
            ("7days", 10_080),
            ("1w", 10_080),
            ("2H", 120),
            (" 90 minutes ", 90),
            ("0s", 0),
        ] {
            assert_eq!(minutes(text), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "24",
            "h",
            "-1h",
            "1h ago",
            "1mo",
            "1y",
            "14:00:00",
            "99999999999d",
            "soon",
        ] {
            assert_eq!(minutes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_period_begins_at_a_time_or_so_long_ago() {
        let now = at("2026-05-24T14:00:30Z");
        for (text, expected) in [
            ("30m", "2026-05-24T13:30:30Z"),
            ("1h30m", "2026-05-24T12:30:30Z"),
            ("7d", "2026-05-17T14:00:30Z"),
            ("7days", "2026-05-17T14:00:30Z"),
            ("1w", "2026-05-17T14:00:30Z"),
            ("2 hours ago", "2026-05-24T12:00:30Z"),
            ("today", "2026-05-24T00:00:00Z"),
            ("Yesterday", "2026-05-23T00:00:00Z"),
            ("2026-05-01", "2026-05-01T00:00:00Z"),
            ("2026-05-24 14:00", "2026-05-24T14:00:00Z"),
            ("2026-05-24 14:00 UTC", "2026-05-24T14:00:00Z"),
            ("2026-05-24T14:00", "2026-05-24T14:00:00Z"),
            ("2026-05-24T14:00:00Z", "2026-05-24T14:00:00Z"),
            ("2026-05-24T14:00:00.5+02:00", "2026-05-24T12:00:00.5Z"),
        ] {
            assert_eq!(since(text, now), Some(at(expected)), "{text}");
        }
        for wrong in [
            "",
            "h",
            "-1h",
            "24",
            "1y",
            "tomorrow",
            "2026-05",
            "2026-02-30",
            "9999999w",
        ] {
            assert_eq!(since(wrong, now), None, "{wrong}");
        }
    }
}
