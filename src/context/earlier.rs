//! Earlier investigations, as recorded in the outcome rows. The rows are read once, from the end of their
//! file; each question then takes those of its pair from before its incident.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use jiff::Timestamp;

use crate::audit::seams::{Row, for_each_row};
use crate::incident::Pair;
use crate::mask::Masker;
use crate::outcome::{COMPLETED_SEAM, RECOVERED_SEAM};
use crate::text::cut;
use crate::time::span;

/// How many of a pair are kept, and how many of them a question gets.
const MOST_KEPT: usize = 16;
const MOST_SHOWN: usize = 3;
/// The most bytes of a diagnosis that are kept.
const MOST_DIAGNOSIS: usize = 800;

/// One investigation of a pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Earlier {
    /// When its incident began, or, if its row does not say, when the row was written.
    pub at: Timestamp,
    /// When its wake was raised, or, if its row does not say, `at`.
    pub raised: Timestamp,
    pub title: Option<String>,
    pub diagnosis: Option<String>,
    /// When its service was healthy again, if a recovery was sent.
    pub recovered: Option<Timestamp>,
    /// Of the investigation; some rows have none.
    pub id: Option<String>,
}

impl Earlier {
    /// Returns `, over after 22 min`, counted from this time, or nothing.
    pub fn over(&self, from: Timestamp) -> String {
        let over = |at: Timestamp| format!(", over after {}", span(at.duration_since(from)));
        self.recovered.map(over).unwrap_or_default()
    }
}

/// What the outcome rows say, by pair, the newest last.
#[derive(Debug, Default)]
pub struct Past(HashMap<Pair, Vec<Earlier>>);

impl Past {
    /// Reads the outcome rows in the last `most` bytes of each file, the oldest file first. (Of a gzip file
    /// it reads more, since its content is longer than the file.) In a replay, the only file is the log
    /// itself. What cannot be read is left out.
    pub fn read(files: &[impl AsRef<Path>], most: u64, masker: Masker) -> Self {
        let mut past = Self::default();
        for path in files {
            let path = path.as_ref();
            let length = fs::metadata(path).map_or(0, |meta| meta.len());
            let _ = for_each_row(path, length.saturating_sub(most), "probe.", |row| {
                past.add(&row, masker);
            });
        }
        past
    }

    /// Adds what a row says; rows must come in order. Returns `None` for a row that adds no investigation.
    pub fn add(&mut self, row: &Row, masker: Masker) -> Option<()> {
        let time = |field| row.detail(field)?.parse().ok();
        let written = row.emitted_at()?;
        let id = row.detail("id");
        let pair = self.0.entry(row.pair()?).or_default();
        if row.is_of(RECOVERED_SEAM) {
            let recovered = time("healthy_at").unwrap_or(written);
            // The row names the first investigation of its incident.
            for one in pair.iter_mut().rev() {
                one.recovered = Some(recovered);
                if id.is_none() || one.id == id {
                    break;
                }
            }
        }
        if !row.is_of(COMPLETED_SEAM) {
            return None;
        }
        let is_fallback = |status: String| status.starts_with("engine_unavailable");
        let is_failed = row.detail("reasoning_error").is_some()
            || row.detail("dm_status").is_some_and(is_fallback);
        let diagnosis = row.detail("investigation_summary_text");
        let diagnosis = diagnosis.filter(|text| !is_failed && !text.is_empty());
        let raised = time("raised_at");
        let at = time("first_wake_at").or(raised).unwrap_or(written);
        // A row may occur twice, and a late diagnosis adds another.
        pair.retain(|one| id.is_none() || one.id != id);
        pair.push(Earlier {
            at,
            raised: raised.unwrap_or(at),
            title: row.detail("title").map(|title| masker.text(title)),
            diagnosis: diagnosis.map(|text| cut(&masker.text(text), MOST_DIAGNOSIS)),
            recovered: None,
            id,
        });
        pair.drain(..pair.len().saturating_sub(MOST_KEPT));
        Some(())
    }

    /// Returns a pair's investigations, the newest first.
    fn of(&self, pair: &Pair) -> impl Iterator<Item = &Earlier> {
        self.0.get(pair).into_iter().flatten().rev()
    }

    /// Returns the pair's last investigations before its incident began, the oldest first.
    pub fn last(&self, pair: &Pair, before: Timestamp) -> Vec<Earlier> {
        let before = self.of(pair).filter(|one| one.at < before);
        let mut last: Vec<_> = before.take(MOST_SHOWN).cloned().collect();
        last.reverse();
        last
    }

    /// Returns the pair's last investigation before its incident that had a diagnosis.
    pub fn diagnosed(&self, pair: &Pair, before: Timestamp) -> Option<&Earlier> {
        let mut all = self.of(pair);
        all.find(|one| one.at < before && one.diagnosis.is_some())
    }

    /// Returns the pairs that were investigated since then.
    pub fn pairs_since(&self, since: Timestamp) -> impl Iterator<Item = &Pair> {
        let is_recent = move |all: &[Earlier]| all.iter().any(|one| one.at >= since);
        let recent = self.0.iter().filter(move |(_, all)| is_recent(all));
        recent.map(|(pair, _)| pair)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::{Value, json};

    use super::*;
    use crate::context::Folder;
    use jiff::SignedDuration;

    fn at(time: &str) -> Timestamp {
        format!("2026-05-{time}:00Z").parse().unwrap()
    }

    /// An outcome row of fly, written two minutes after its incident began.
    fn outcome(id: &str, first: &str, change: impl Fn(&mut Value)) -> String {
        let first = at(first);
        let mut details = json!({"id": id, "probe": "fly", "issue_category": "down", "title": "HTTP 401",
            "first_wake_at": first.to_string(), "dm_status": "sent",
            "investigation_summary_text": format!("diagnosis {id}")});
        change(&mut details);
        row(
            COMPLETED_SEAM,
            &(first + SignedDuration::from_mins(2)).to_string(),
            &details,
        )
    }

    fn recovery(id: &str, time: &str) -> String {
        let details = json!({"id": id, "probe": "fly", "issue_category": "down"});
        row(RECOVERED_SEAM, &at(time).to_string(), &details)
    }

    fn row(seam: &str, at: &str, details: &Value) -> String {
        format!(
            "{}\n",
            json!({"emitted_at": at, "seam": seam, "details": details})
        )
    }

    fn read(files: &[String]) -> Past {
        let folder = Folder::new();
        let paths = (0..)
            .zip(files)
            .map(|(n, text)| folder.write(&n.to_string(), text));
        let paths: Vec<_> = paths.collect();
        Past::read(&paths, u64::MAX, Masker::default())
    }

    fn diagnoses(earlier: &[Earlier]) -> Vec<&str> {
        earlier
            .iter()
            .map(|one| one.diagnosis.as_deref().unwrap_or("none"))
            .collect()
    }

    #[test]
    fn the_last_three_before_the_incident_are_found_across_files() {
        let plain = |id: &str, first: &str| outcome(id, first, |_| {});
        let older = plain("0", "10T10:00") + &plain("1", "11T10:00") + "torn\n{}\n";
        let newer = plain("2", "12T10:00")
            + &outcome("x", "12T10:00", |details| details["probe"] = "neon".into())
            + &plain("3", "13T10:00")
            + &plain("4", "14T10:00");
        let past = read(&[older, newer]);
        let of_incident = past.last(&Pair::new("fly", "down"), at("14T10:00"));
        assert_eq!(
            diagnoses(&of_incident),
            ["diagnosis 1", "diagnosis 2", "diagnosis 3"]
        );
        assert_eq!(of_incident[0].at, at("11T10:00"));
        assert_eq!(of_incident[0].title.as_deref(), Some("HTTP 401"));
        assert_eq!(past.last(&Pair::new("fly", "other"), at("14T10:00")), []);
        assert_eq!(
            past.diagnosed(&Pair::new("neon", "down"), at("14T10:00"))
                .unwrap()
                .at,
            at("12T10:00")
        );
        let mut recent: Vec<_> = past.pairs_since(at("13T00:00")).collect();
        recent.sort_unstable();
        assert_eq!(recent, [&Pair::new("fly", "down")]);
    }

    #[test]
    fn a_fallback_is_no_diagnosis_and_a_row_with_the_same_id_replaces_the_first() {
        let failed = |id: &str, first: &str| {
            outcome(id, first, |details| {
                details["dm_status"] = "engine_unavailable_fallback".into()
            })
        };
        let error = outcome("3", "13T10:00", |details| {
            details["reasoning_error"] = "refusal".into()
        });
        let late = outcome("2", "12T10:00", |_| {});
        let past = read(&[failed("1", "11T10:00") + &failed("2", "12T10:00") + &late + &error]);
        let last = past.last(&Pair::new("fly", "down"), at("20T10:00"));
        assert_eq!(diagnoses(&last), ["none", "diagnosis 2", "none"]);
        let diagnosed = past
            .diagnosed(&Pair::new("fly", "down"), at("20T10:00"))
            .unwrap();
        assert_eq!(diagnosed.at, at("12T10:00"));
    }

    #[test]
    fn a_recovery_belongs_to_the_incident_that_it_names() {
        let again = outcome("3", "12T10:00", |_| {});
        let rows = [
            outcome("1", "11T10:00", |_| {}),
            outcome("2", "12T10:00", |_| {}),
            again,
            recovery("2", "12T10:22"),
            outcome("4", "13T10:00", |_| {}),
        ];
        let past = read(&[rows.concat()]);
        let mut last = past.last(&Pair::new("fly", "down"), at("20T10:00"));
        last.extend(past.last(&Pair::new("fly", "down"), at("12T10:00")));
        let minutes = last
            .iter()
            .map(|one| one.recovered.map(|at| at.duration_since(one.at).as_mins()));
        assert_eq!(
            minutes.collect::<Vec<_>>(),
            [Some(22), Some(22), None, None]
        );
    }

    #[test]
    fn each_investigation_has_the_time_of_its_own_wake() {
        let rows = [
            outcome("1", "11T10:00", |_| {}),
            outcome("2", "11T10:00", |details| {
                details["raised_at"] = at("11T10:15").to_string().into()
            }),
            recovery("1", "11T10:22"),
        ];
        let past = read(&[rows.concat()]);
        let last = past.last(&Pair::new("fly", "down"), at("20T10:00"));
        let shown = last.iter().map(|one| (one.raised, one.over(one.raised)));
        let expected = [
            (at("11T10:00"), ", over after 22 min".to_owned()),
            (at("11T10:15"), ", over after 7 min".to_owned()),
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_gzip_file_is_read_as_a_plain_one() {
        let rows = outcome("1", "11T10:00", |_| {}) + &recovery("1", "11T10:22");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(rows.as_bytes()).unwrap();
        let folder = Folder::new();
        let path = folder.write("log.gz", gzip.finish().unwrap());
        let past = Past::read(&[&path], u64::MAX, Masker::default());
        let last = past.last(&Pair::new("fly", "down"), at("20T10:00"));
        assert_eq!(
            last,
            read(&[rows]).last(&Pair::new("fly", "down"), at("20T10:00"))
        );
        assert_eq!(diagnoses(&last), ["diagnosis 1"]);
    }

    #[test]
    fn what_is_too_much_is_left_out() {
        let rows: String = (0..100)
            .map(|n| outcome(&n.to_string(), "11T10:00", |_| {}))
            .collect();
        let folder = Folder::new();
        let path = folder.write("rows", &rows);
        let past = Past::read(&[&path], 1_000, Masker::default());
        assert!((1..4).contains(&past.of(&Pair::new("fly", "down")).count()));
        assert_eq!(
            read(&[rows]).of(&Pair::new("fly", "down")).count(),
            MOST_KEPT
        );
        let long = outcome("1", "11T10:00", |details| {
            details["investigation_summary_text"] = "é".repeat(9_000).into()
        });
        let past = read(&[long]);
        let text = diagnoses(&past.last(&Pair::new("fly", "down"), at("20T10:00")))[0].to_owned();
        assert!(text.len() <= MOST_DIAGNOSIS && text.ends_with("é [cut]"));
        assert!(
            Past::read(&[Path::new("/nowhere")], 1, Masker::default())
                .0
                .is_empty()
        );
    }
}
