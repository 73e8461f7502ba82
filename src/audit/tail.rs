//! The end of the log: what other rows say about the time around an alert. Rows are grouped while they
//! are read, so that only their kinds and a few details are held. No checkpoint is read or moved here,
//! and no row is taken for a wake again.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str;

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use memchr::memmem;

use super::compression::Compression;
use super::names::list;
use super::row::{SEAM, read_rows};
use super::seams::for_each_line;
use super::stat::modified;
use crate::files::open_without_waiting;
use crate::json;
use crate::mask::Masker;
use crate::text::{cut, label};

/// How much is read of the log and of the generations before it.
const MOST_BYTES: u64 = 8 * 1024 * 1024;
/// Compressed files are read from their start, and only up to this size; of their content this much.
const MOST_COMPRESSED: u64 = 1024 * 1024;
const MOST_INFLATED: u64 = 64 * 1024 * 1024;
/// A longer row is only counted.
const LONGEST_ROW: usize = 1024 * 1024;

/// The fields whose short strings tell rows of one seam apart.
const KIND_FIELDS: [&str; 5] = ["tool_name", "action", "endpoint", "kind", "status"];
/// The longest value, as it stands in the row, that counts as a short string.
const LONGEST_VALUE: usize = 80;
/// Rows of further kinds are only counted.
const MOST_KINDS: usize = 1_000;
/// How many rows of a kind are kept, and how many bytes of their details.
const ROWS_KEPT: usize = 3;
const MOST_DETAILS: usize = 400;
/// Longer details are masked as soon as they are read.
const MOST_RAW: usize = 1024;

/// Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// Rows of one seam that have the same short strings.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    pub seam: String,
    /// `tool_name=get_state status=ok`, or nothing.
    pub fields: String,
    /// The session of the investigation that the rows belong to (`probe:fly:service_unhealthy`), or
    /// nothing.
    pub session: String,
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    /// The newest rows, the oldest of them first: when, and the masked details as compact JSON.
    pub rows: Vec<(Timestamp, String)>,
}

/// What the rows of a window say.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    pub window: Window,
    /// The rarest first; of two as rare, the later one.
    pub kinds: Vec<Kind>,
    /// Rows that were too long, or whose kind was one too many.
    pub left_out: u64,
    /// The oldest row's time, where the log before it was not read.
    pub cut_at: Option<Timestamp>,
}

impl Tail {
    /// Reads the end of the log at this path and of the files that it was rotated into.
    pub fn of_log(log: &Path, window: Window, masker: Masker) -> Self {
        let mut grouping = Grouping::new(window, masker);
        let mut left = MOST_BYTES;
        for path in newest_first(log, window.from) {
            // What cannot be read is a matter of the look at the log.
            let read = grouping.read(&path, left, MOST_COMPRESSED, u64::MAX);
            left -= read.unwrap_or(0).min(left);
            if left == 0 {
                break;
            }
        }
        grouping.finish(left == 0)
    }

    /// Reads a replayed log up to a row, whose offset is in decompressed bytes.
    pub fn of_replay(log: &Path, end: u64, window: Window, masker: Masker) -> Self {
        let mut grouping = Grouping::new(window, masker);
        let read = grouping.read(log, MOST_BYTES, u64::MAX, end);
        grouping.finish(read.is_ok_and(|read| read == MOST_BYTES))
    }
}

/// The log and the files that it was rotated into, the newest first, without those last written before
/// the window and those that are being compressed.
fn newest_first(log: &Path, from: Timestamp) -> Vec<PathBuf> {
    let listing = list(log, None).unwrap_or_default();
    let paths: BTreeSet<PathBuf> = listing.files.into_iter().map(|(path, _)| path).collect();
    let is_copy = |path: &Path| paths.contains(&path.with_extension(""));
    let rotated = paths.iter().filter_map(|path| {
        let modified = modified(&path.metadata().ok()?);
        (modified >= from && !is_copy(path)).then_some((Reverse(modified), path.clone()))
    });
    let mut rotated: Vec<_> = rotated.collect();
    rotated.sort();
    let rotated = rotated.into_iter().map(|(_, path)| path);
    [log.to_owned()].into_iter().chain(rotated).collect()
}

/// The rows of a kind while they are read. The newest of them are kept, the oldest of these first.
struct Group {
    count: u64,
    first: Timestamp,
    last: Timestamp,
    rows: Vec<(Timestamp, Vec<u8>)>,
}

struct Grouping<'a> {
    window: Window,
    masker: Masker<'a>,
    /// By seam, session and values as they stand in the rows, with NUL bytes between them.
    groups: HashMap<Vec<u8>, Group>,
    left_out: u64,
    oldest: Option<Timestamp>,
}

impl<'a> Grouping<'a> {
    fn new(window: Window, masker: Masker<'a>) -> Self {
        Self {
            window,
            masker,
            groups: HashMap::new(),
            left_out: 0,
            oldest: None,
        }
    }

    /// Adds the rows of the last `most` bytes before `end`. Returns how many bytes were read.
    fn read(&mut self, path: &Path, most: u64, most_gzip: u64, end: u64) -> io::Result<u64> {
        let mut file = open_without_waiting(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Ok(0);
        }
        let mut start = [0; 6];
        let length = file.read_at(&mut start, 0)?;
        match Compression::of(path, &start[..length]) {
            Compression::None => {
                let end = end.min(meta.len());
                let length = end.min(most);
                // From one byte before, so that a whole first line is not taken for the rest of one.
                let start = end - length;
                file.seek(SeekFrom::Start(start.saturating_sub(1)))?;
                self.add_lines(file.take(length + u64::from(start > 0)), start > 0)?;
                Ok(length)
            }
            Compression::Gzip if meta.len() <= most_gzip => {
                let mut content = MultiGzDecoder::new(file).take(end.min(MOST_INFLATED));
                self.add_lines(&mut content, false)?;
                Ok(end.min(MOST_INFLATED) - content.limit())
            }
            _ => Ok(0),
        }
    }

    fn add_lines(&mut self, source: impl Read, mut is_cut: bool) -> io::Result<()> {
        let mut key = Vec::new();
        for_each_line(source, &[""], |line| {
            if line.len() > LONGEST_ROW {
                self.left_out += 1;
            } else if !std::mem::take(&mut is_cut) {
                self.add(line, &mut key);
            }
        })
    }

    /// Adds a row that has a seam and a time. A torn one may have both; its details are nothing then.
    fn add(&mut self, line: &[u8], key: &mut Vec<u8>) -> Option<()> {
        let start = memchr::memchr(b'{', line)?;
        let names = ["seam", "emitted_at", "details", "caller_session_id"];
        let [seam, at, details, session] = json::last_of(&line[start..], names);
        let at: Timestamp = str::from_utf8(at?).ok()?.trim_matches('"').parse().ok()?;
        let seam = seam.filter(|seam| seam.starts_with(b"\""))?;
        if at < self.window.from || at > self.window.until {
            return None;
        }
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        let details = details.unwrap_or(b"{}");
        let values = json::last_of(details, KIND_FIELDS);
        let is_short = |value: &&[u8]| value.starts_with(b"\"") && value.len() <= LONGEST_VALUE;
        let values = values.map(|value| value.filter(is_short));
        // A wake belongs to the session in which it is investigated, whatever its row says.
        let session = match memmem::find(seam, SEAM.as_bytes()) {
            None => session
                .filter(|name| name.starts_with(b"\"probe:"))
                .and_then(json::string),
            Some(_) => read_rows(line)
                .wakes()
                .last()
                .map(|wake| wake.caller_session_id()),
        };
        let session = session
            .map(|session| label(&self.masker.text(session)))
            .unwrap_or_default();
        key.clear();
        for part in [seam, session.as_bytes()]
            .into_iter()
            .chain(values.map(Option::unwrap_or_default))
        {
            key.extend_from_slice(part);
            key.push(0);
        }
        if !self.groups.contains_key(key) {
            if self.groups.len() == MOST_KINDS {
                self.left_out += 1;
                return None;
            }
            let (first, last) = (at, at);
            self.groups.insert(
                key.clone(),
                Group {
                    count: 0,
                    first,
                    last,
                    rows: Vec::new(),
                },
            );
        }
        let group = self.groups.get_mut(key)?;
        group.count += 1;
        group.first = group.first.min(at);
        group.last = group.last.max(at);
        // A row of the same time comes after those that stand before it in the log.
        let place = group.rows.partition_point(|(other, _)| *other <= at);
        if place > 0 || group.rows.len() < ROWS_KEPT {
            // Most are pushed out again, so only those are masked at once that would take much memory.
            let kept = match details.len() {
                ..=MOST_RAW => details.to_vec(),
                _ => self.masker.details(details, MOST_DETAILS).into_bytes(),
            };
            group.rows.insert(place, (at, kept));
            group
                .rows
                .drain(..group.rows.len().saturating_sub(ROWS_KEPT));
        }
        Some(())
    }

    fn finish(self, is_cut: bool) -> Tail {
        let text = |raw| json::string(raw).map(|text| label(&self.masker.text(text)));
        let details = |raw: &[u8]| cut(&self.masker.details(raw, MOST_DETAILS), MOST_DETAILS);
        let kinds = self.groups.iter().map(|(key, group)| {
            let mut parts = key.split(|byte| *byte == 0);
            let mut part = || parts.next().unwrap_or_default();
            let (seam, session) = (part(), String::from_utf8_lossy(part()));
            let fields =
                KIND_FIELDS.map(|name| text(part()).map(|value| format!("{name}={value}")));
            let rows = group.rows.iter();
            Kind {
                seam: text(seam).unwrap_or_default(),
                fields: fields.into_iter().flatten().collect::<Vec<_>>().join(" "),
                session: session.into_owned(),
                count: group.count,
                first: group.first,
                last: group.last,
                rows: rows.map(|(at, raw)| (*at, details(raw))).collect(),
            }
        });
        let mut kinds: Vec<Kind> = kinds.collect();
        let name = |kind: &Kind| (kind.seam.clone(), kind.fields.clone(), kind.session.clone());
        kinds.sort_by_cached_key(|kind| (kind.count, Reverse(kind.last), name(kind)));
        Tail {
            window: self.window,
            kinds,
            left_out: self.left_out,
            cut_at: self
                .oldest
                .filter(|oldest| is_cut && *oldest > self.window.from),
        }
    }
}
