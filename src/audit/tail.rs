//! The end of the log: what other rows say about the time around an alert. Rows are grouped as they
//! are read, so that only their kinds and a few details are kept in memory. No checkpoint is read
//! or moved here, and no row becomes a wake again.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str;

use jiff::Timestamp;

use super::file::LogFile;
use super::row::{SEAM, read_rows};
use super::seams::{files, for_each_line};
use super::wake::Wake;
use crate::json;
use crate::mask::Masker;
use crate::text::{cut, label};

/// The most bytes that are read of the log and of the generations before it.
const MOST_BYTES: u64 = 8 * 1024 * 1024;
/// Compressed rotated files are read only up to this size, and only this much of their content.
const MOST_COMPRESSED: u64 = 1024 * 1024;
const MOST_INFLATED: u64 = 64 * 1024 * 1024;
/// A longer row is only counted.
const LONGEST_ROW: usize = 1024 * 1024;

/// The fields whose short strings tell rows of one seam apart.
const KIND_FIELDS: [&str; 5] = ["tool_name", "action", "endpoint", "kind", "status"];
/// The longest value, as written in the row, that counts as a short string.
const LONGEST_VALUE: usize = 80;
/// Rows of any further kinds are only counted.
const MOST_KINDS: usize = 1_000;
/// How many rows of a kind are kept, and how many bytes of their details.
const ROWS_KEPT: usize = 3;
const MOST_DETAILS: usize = 400;
/// Longer details are masked as soon as they are read.
const MOST_RAW: usize = 1024;

/// Rows of one seam that have the same short strings.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    pub seam: String,
    /// `tool_name=get_state status=ok`, or empty.
    pub fields: String,
    /// The session of the investigation that the rows belong to (`probe:fly:service_unhealthy`), or empty.
    pub session: String,
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    /// The newest rows, the oldest of them first: the time, and the masked details as compact JSON.
    pub rows: Vec<(Timestamp, String)>,
}

/// What the rows of a window say.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    pub window: RangeInclusive<Timestamp>,
    /// The rarest first; of equally rare kinds, the later one.
    pub kinds: Vec<Kind>,
    /// Rows that were too long, or of a kind beyond the limit.
    pub left_out: u64,
    /// The oldest row's time, if the log before it was not read.
    pub cut_at: Option<Timestamp>,
}

impl Tail {
    /// Reads the end of the log at this path and of the files that it was rotated into.
    pub fn of_log(log: &Path, window: RangeInclusive<Timestamp>, masker: Masker) -> Self {
        let from = *window.start();
        let mut grouping = Grouping::new(window, masker);
        let mut left = MOST_BYTES;
        // The look at the log reports what cannot be read.
        for file in files(log, Some(from)).unwrap_or_default() {
            if left > 0 && (file.is_plain() || file.stat.size <= MOST_COMPRESSED) {
                let read = grouping.read(&file, left, u64::MAX).unwrap_or(0);
                left = left.saturating_sub(read);
            }
        }
        grouping.finish(left == 0)
    }

    /// Reads a replayed log up to a row, whose offset is in decompressed bytes.
    pub fn of_replay(
        log: &Path,
        end: u64,
        window: RangeInclusive<Timestamp>,
        masker: Masker,
    ) -> Self {
        let mut grouping = Grouping::new(window, masker);
        let read = LogFile::open(log).and_then(|file| grouping.read(&file, MOST_BYTES, end));
        grouping.finish(read.is_ok_and(|read| read == MOST_BYTES))
    }
}

struct Grouping<'a> {
    window: RangeInclusive<Timestamp>,
    masker: Masker<'a>,
    /// By seam, session and values as written in the rows.
    kinds: HashMap<Vec<u8>, Kind>,
    left_out: u64,
    oldest: Option<Timestamp>,
}

impl<'a> Grouping<'a> {
    fn new(window: RangeInclusive<Timestamp>, masker: Masker<'a>) -> Self {
        Self {
            window,
            masker,
            kinds: HashMap::new(),
            left_out: 0,
            oldest: None,
        }
    }

    /// Adds the rows of the last `most` bytes before `end`; a gzip file is read from its start. Returns
    /// how many bytes were read.
    fn read(&mut self, file: &LogFile, most: u64, end: u64) -> io::Result<u64> {
        let size = file.stat.size.min(end);
        let (start, end) = match file.is_plain() {
            true => (size.saturating_sub(most), size),
            false => (0, end.min(MOST_INFLATED)),
        };
        // From one byte earlier, so that a whole first line is not taken for the rest of one.
        let from = start.saturating_sub(1);
        let mut is_cut = start > 0;
        let mut content = file.read_from(from)?.take(end - from);
        for_each_line(&mut content, &[""], |line| {
            if line.len() > LONGEST_ROW {
                self.left_out += 1;
            } else if !std::mem::take(&mut is_cut) {
                self.add(line);
            }
        })?;
        // The file may have become shorter.
        Ok((end - start).saturating_sub(content.limit()))
    }

    /// Adds a row that has a seam and a time. A torn row may have both; its details are then empty.
    fn add(&mut self, line: &[u8]) -> Option<()> {
        let start = memchr::memchr(b'{', line)?;
        let names = ["seam", "emitted_at", "details", "caller_session_id"];
        let [seam, at, details, session] = json::last_of(&line[start..], names);
        let at: Timestamp = str::from_utf8(at?).ok()?.trim_matches('"').parse().ok()?;
        let seam = seam.filter(|seam| seam.starts_with(b"\""))?;
        if !self.window.contains(&at) {
            return None;
        }
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        let details = details.unwrap_or(b"{}");
        let values = json::last_of(details, KIND_FIELDS);
        let is_short = |value: &&[u8]| value.starts_with(b"\"") && value.len() <= LONGEST_VALUE;
        let values = values.map(|value| value.filter(is_short));
        // A wake belongs to the session in which it is investigated, whatever its row says.
        let session = if seam.get(1..seam.len() - 1) == Some(SEAM.as_bytes()) {
            read_rows(line).wakes().last().map(Wake::caller_session_id)
        } else {
            let session = session.filter(|name| name.starts_with(b"\"probe:"));
            session.and_then(json::string)
        };
        let masked = |text| label(&self.masker.text(text));
        let session = session.map(masked).unwrap_or_default();
        let mut key = vec![seam, session.as_bytes()];
        key.extend(values.map(Option::unwrap_or_default));
        let is_full = self.kinds.len() == MOST_KINDS;
        let kind = match self.kinds.entry(key.join(&0)) {
            Entry::Occupied(kind) => kind.into_mut(),
            Entry::Vacant(_) if is_full => {
                self.left_out += 1;
                return None;
            }
            Entry::Vacant(place) => {
                let text = |raw| json::string(raw).map(masked);
                let fields = KIND_FIELDS.iter().zip(values);
                let fields =
                    fields.filter_map(|(name, raw)| Some(format!("{name}={}", text(raw?)?)));
                place.insert(Kind {
                    seam: text(seam).unwrap_or_default(),
                    fields: fields.collect::<Vec<_>>().join(" "),
                    session,
                    count: 0,
                    first: at,
                    last: at,
                    rows: Vec::new(),
                })
            }
        };
        kind.count += 1;
        kind.first = kind.first.min(at);
        kind.last = kind.last.max(at);
        // A row with the same time comes after those before it in the log.
        let place = kind.rows.partition_point(|(other, _)| *other <= at);
        if place > 0 || kind.rows.len() < ROWS_KEPT {
            // Most are pushed out again, so only those that would take much memory are masked now.
            let kept = match details.len() {
                ..=MOST_RAW => String::from_utf8_lossy(details).into_owned(),
                _ => self.masker.details(details, MOST_DETAILS),
            };
            kind.rows.insert(place, (at, kept));
            kind.rows.drain(..kind.rows.len().saturating_sub(ROWS_KEPT));
        }
        Some(())
    }

    fn finish(self, is_cut: bool) -> Tail {
        let mut kinds: Vec<Kind> = self.kinds.into_values().collect();
        for (_, details) in kinds.iter_mut().flat_map(|kind| &mut kind.rows) {
            let masked = self.masker.details(details.as_bytes(), MOST_DETAILS);
            *details = cut(&masked, MOST_DETAILS);
        }
        let name = |kind: &Kind| (kind.seam.clone(), kind.fields.clone(), kind.session.clone());
        kinds.sort_by_cached_key(|kind| (kind.count, Reverse(kind.last), name(kind)));
        let is_missing = |oldest: &Timestamp| is_cut && oldest > self.window.start();
        Tail {
            cut_at: self.oldest.filter(is_missing),
            window: self.window,
            kinds,
            left_out: self.left_out,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::{Duration, SystemTime};

    use flate2::Compression as Level;
    use flate2::write::GzEncoder;
    use serde_json::{Value, json};

    use super::*;
    use crate::context::Folder;
    use crate::secret::Secret;

    const LOG: &str = "kora_audit_log.jsonl";

    fn at(time: &str) -> Timestamp {
        format!("2026-05-24T{time}Z").parse().unwrap()
    }

    fn window() -> RangeInclusive<Timestamp> {
        at("13:33:00")..=at("14:33:00")
    }

    fn row(time: &str, seam: &str, details: Value) -> String {
        let at = at(time).to_string();
        let session = Value::Null;
        let row = json!({"emitted_at": at, "seam": seam, "details": details, "caller_session_id": session});
        format!("{row}\n")
    }

    fn tool(time: &str, name: &str) -> String {
        row(time, "mcp.tool_called", json!({"tool_name": name, "n": 1}))
    }

    fn read(log: &Path) -> Tail {
        Tail::of_log(log, window(), Masker::default())
    }

    /// Each kind with its count and times: `mcp.tool_called tool_name=a 2 14:00 14:10`.
    fn shown(tail: &Tail) -> Vec<String> {
        let minute = |time: Timestamp| time.strftime("%H:%M").to_string();
        let kinds = tail.kinds.iter().map(|kind| {
            let (first, last) = (minute(kind.first), minute(kind.last));
            let (seam, fields, count) = (&kind.seam, &kind.fields, kind.count);
            format!("{seam} {fields} {count} {first} {last}")
        });
        kinds.collect()
    }

    #[test]
    fn rows_are_grouped_by_seam_and_short_strings_the_rarest_and_latest_first() {
        let folder = Folder::new();
        let long = "x".repeat(LONGEST_VALUE);
        let rows = [
            tool("13:32:59", "early"),
            tool("13:33:00", "a"),
            tool("14:00:00", "b"),
            tool("14:10:00", "b"),
            row(
                "14:11:00",
                "x",
                json!({"action": "go", "status": "ok", "kind": 7, "endpoint": long}),
            ),
            row("14:12:00", "x", json!({"action": "go", "status": "ok"})),
            row("14:20:00", "y", Value::Null),
            row("14:33:00", "y", json!([{"tool_name": "inner"}])),
            tool("14:33:01", "late"),
        ];
        let tail = read(&folder.write(LOG, rows.concat()));
        let expected = [
            "mcp.tool_called tool_name=a 1 13:33 13:33",
            "y  2 14:20 14:33",
            "x action=go status=ok 2 14:11 14:12",
            "mcp.tool_called tool_name=b 2 14:00 14:10",
        ];
        assert_eq!(shown(&tail), expected);
        assert_eq!((tail.left_out, tail.cut_at), (0, None));
        assert_eq!(
            tail.kinds[1].rows[1],
            (at("14:33:00"), r#"[{"tool_name":"inner"}]"#.to_owned())
        );
    }

    #[test]
    fn of_each_kind_the_newest_rows_are_kept_in_order_and_cut() {
        let folder = Folder::new();
        let text = |n: usize| row("14:00:00", "x", json!({"n": n}));
        let long = row("14:02:00", "x", json!({"text": "é".repeat(500_000)}));
        let late = row("13:59:00", "x", json!({"n": 9}));
        let rows = [text(1), text(2), text(3), long, late].concat();
        let tail = read(&folder.write(LOG, rows));
        let details: Vec<_> = tail.kinds[0]
            .rows
            .iter()
            .map(|(_, details)| details.as_str())
            .collect();
        assert_eq!(details[..2], [r#"{"n":2}"#, r#"{"n":3}"#]);
        assert!(details[2].starts_with(r#"{"text":"éé"#) && details[2].ends_with("é [cut]"));
        assert!(details[2].len() <= MOST_DETAILS);
    }

    #[test]
    fn wakes_and_sessions_of_investigations_are_told_apart() {
        let folder = Folder::new();
        let in_session = |session: &str| {
            format!(
                "{{\"emitted_at\":\"2026-05-24T14:00:00Z\",\"seam\":\"x\",\"caller_session_id\":\"{session}\"}}\n"
            )
        };
        let rows = [
            in_session("probe:fly:down"),
            in_session("D0OP:1"),
            in_session("D0OP:2"),
            row("14:00:00", SEAM, json!({"probe": "fly"})),
        ];
        let tail = read(&folder.write(LOG, rows.concat()));
        let mut sessions: Vec<_> = tail
            .kinds
            .iter()
            .map(|kind| (&*kind.session, kind.count))
            .collect();
        sessions.sort_unstable();
        assert_eq!(
            sessions,
            [("", 2), ("probe:fly:down", 1), ("probe:fly:unknown", 1)]
        );
    }

    #[test]
    fn what_is_no_row_is_passed_over() {
        let folder = Folder::new();
        let whole = tool("14:00:00", "a");
        let text = [
            b"\xef\xbb\xbf",
            whole.as_bytes(),
            b"\0\0\0\0",
            whole.as_bytes(),
            b"\r\n\n[]\n{}\nnull\n{\"seam\":1,\"emitted_at\":\"2026-05-24T14:00:00Z\"}\n",
            b"{\"seam\":\"x\",\"emitted_at\":\"today\"}\n\xff\xfe{\n",
            b"{\"seam\":\"x\"}\n{\"emitted_at\":\"2026-05-24T14:00:00Z\"}\n{\"seam\":\"x\",\"details\":{\"tool_n",
            &b"x".repeat(5 * 1024 * 1024),
            b"\n",
            whole.trim_end().as_bytes(),
        ];
        let tail = read(&folder.write(LOG, text.concat()));
        assert_eq!(shown(&tail), ["mcp.tool_called tool_name=a 3 14:00 14:00"]);
        assert!(tail.left_out > 0);
    }

    #[test]
    fn hostile_kinds_and_details_take_bounded_space_and_are_masked() {
        let folder = Folder::new();
        let secrets = [Secret::new("our-own-token-1".to_owned())];
        let mut rows = String::new();
        for n in 0..3_000 {
            rows += &tool("14:00:00", &format!("our-own-token-1 \u{1b}[2J {n}"));
        }
        let token =
            json!({"Authorization": "Bearer x", "text": "our-own-token-1 sk-1234567890abc"});
        rows += &row("14:00:00", "x", token);
        let masker = Masker(&secrets);
        let tail = Tail::of_log(&folder.write(LOG, rows), window(), masker);
        assert_eq!((tail.kinds.len(), tail.left_out), (MOST_KINDS, 2_001));
        let lines = format!("{:?}", tail.kinds);
        assert!(
            !lines.contains("our-own-token-1") && !lines.contains("u{1b}"),
            "{}",
            tail.kinds[0].fields
        );
    }

    #[test]
    fn the_log_is_read_through_its_rotated_files_up_to_a_limit() {
        let folder = Folder::new();
        let log = folder.write(LOG, tool("14:30:00", "c"));
        folder.write(&format!("{LOG}.1"), tool("14:20:00", "b"));
        let gzip = |text: &[u8]| {
            let mut gzip = GzEncoder::new(Vec::new(), Level::default());
            gzip.write_all(text).unwrap();
            gzip.finish().unwrap()
        };
        folder.write(
            &format!("{LOG}.2.gz"),
            gzip(tool("14:10:00", "a").as_bytes()),
        );
        folder.write(
            &format!("{LOG}.1.gz"),
            gzip(tool("14:20:00", "b").as_bytes()),
        );
        folder.write(&format!("{LOG}.3.zst"), b"\x28\xb5\x2f\xfd");
        let old = folder.write(&format!("{LOG}.4"), tool("14:00:00", "of another clock"));
        let yesterday = at("13:00:00") - Duration::from_secs(86_400);
        let file = fs::File::options().write(true).open(old).unwrap();
        file.set_modified(SystemTime::from(yesterday)).unwrap();
        let expected = ["c 1 14:30", "b 1 14:20", "a 1 14:10"];
        let lines = shown(&read(&log));
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (lines, expected) in lines.iter().zip(expected) {
            assert!(lines.contains(expected), "{lines}");
        }
        // Eight megabytes of the log itself leave nothing of the others.
        let noise = tool("14:29:00", "n").repeat(100_000);
        let log = folder.write(
            LOG,
            tool("14:01:00", "too far back") + &noise + &tool("14:30:00", "c"),
        );
        let tail = read(&log);
        assert_eq!(tail.kinds.len(), 2);
        assert_eq!(tail.cut_at, Some(at("14:29:00")));
        fs::remove_file(&log).unwrap();
        assert_eq!(shown(&read(&log)).len(), 2);
    }

    #[test]
    fn a_file_that_begins_as_another_is_read_too() {
        let folder = Folder::new();
        let header = row("13:40:00", "x", json!({"text": "x".repeat(2_000)}));
        folder.write(&format!("{LOG}.1"), header.clone() + &tool("14:20:00", "a"));
        let log = folder.write(LOG, header + &tool("14:30:00", "b"));
        let lines = shown(&read(&log)).concat();
        assert!(lines.contains("tool_name=a"), "{lines}");
        assert!(lines.contains("tool_name=b"), "{lines}");
    }

    #[test]
    fn a_file_that_is_being_compressed_is_read_itself() {
        let folder = Folder::new();
        let log = folder.write(LOG, tool("14:30:00", "c"));
        let noise = (0..20_000_u64).map(|n| {
            let text = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            row("14:10:00", "x", json!({"text": text}))
        });
        let rotated = noise.collect::<String>() + &tool("14:20:00", "b");
        let mut gzip = GzEncoder::new(Vec::new(), Level::default());
        gzip.write_all(rotated.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        folder.write(&format!("{LOG}.1"), &rotated);
        folder.write(&format!("{LOG}.1.gz"), &gzip[..gzip.len() / 2]);
        let lines = shown(&read(&log)).concat();
        assert!(lines.contains("tool_name=b 1"), "{lines}");
        assert!(lines.contains("x  20000"), "{lines}");
    }

    #[test]
    fn a_file_that_is_truncated_meanwhile_has_nothing_more() {
        let folder = Folder::new();
        let log = folder.write(LOG, tool("14:30:00", "c").repeat(3));
        let file = LogFile::open(&log).unwrap();
        fs::write(&log, "").unwrap();
        let mut grouping = Grouping::new(window(), Masker::default());
        assert_eq!(grouping.read(&file, 10, u64::MAX).unwrap(), 0);
    }

    #[test]
    fn a_replay_does_not_see_what_comes_after_its_row() {
        let folder = Folder::new();
        let rows = [tool("14:00:00", "a"), tool("14:00:00", "b")];
        let log = folder.write(LOG, rows.concat());
        let mut gzip = GzEncoder::new(Vec::new(), Level::default());
        gzip.write_all(rows.concat().as_bytes()).unwrap();
        let gzip = folder.write("log.gz", gzip.finish().unwrap());
        for path in [log, gzip] {
            let tail = |end| shown(&Tail::of_replay(&path, end, window(), Masker::default())).len();
            assert_eq!(tail(rows[0].len() as u64), 1);
            assert_eq!(tail(u64::MAX), 2);
            assert_eq!(tail(0), 0);
        }
    }

    #[test]
    fn a_fifo_or_a_folder_is_no_log() {
        let folder = Folder::new();
        let fifo = folder.0.join(LOG);
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        assert_eq!(read(&fifo).kinds, []);
        assert_eq!(read(&folder.0).kinds, []);
    }
}
