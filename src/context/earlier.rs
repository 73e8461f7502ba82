//! Earlier investigations, as the outcome rows tell of them. The rows are read once, from the end of
//! their file; each question then takes those of its pair from before its incident.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::audit::seams::{Row, for_each_row};
use crate::mask::Masker;
use crate::text::cut;

/// The seams of an outcome row, and of the row for a recovery that was told.
pub const OUTCOME_SEAM: &str = "probe.investigation_completed";
const RECOVERY_SEAM: &str = "probe.recovery_told";

/// How many of a pair are kept, and how many of them a question gets.
const MOST_KEPT: usize = 16;
const MOST_SHOWN: usize = 3;
/// The most bytes of a diagnosis that are kept.
const MOST_DIAGNOSIS: usize = 800;

/// One investigation of a pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Earlier {
    /// When its incident began; when its row was written, where the row does not say.
    pub at: Timestamp,
    pub title: Option<String>,
    pub diagnosis: Option<String>,
    /// How long it took until a recovery was told.
    pub recovered_after: Option<SignedDuration>,
    id: Option<String>,
}

/// What the outcome rows say, by probe and category, the newest last.
#[derive(Debug, Default)]
pub struct Past(HashMap<(String, String), Vec<Earlier>>);

impl Past {
    /// Reads the last so many bytes of outcome rows, `files` being the oldest first. In a replay the only
    /// file is the log itself. What cannot be read is left out.
    pub fn read<'a>(
        files: impl DoubleEndedIterator<Item = &'a Path>,
        most: u64,
        masker: Masker,
    ) -> Self {
        let mut left = most;
        let length = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let starts = files.rev().map(|path| {
            let start = length(path).saturating_sub(left);
            left = left.saturating_sub(length(path));
            (path, start)
        });
        let starts: Vec<_> = starts.collect();
        let mut past = Self::default();
        for (path, start) in starts.into_iter().rev() {
            let _ = for_each_row(path, start, "probe.", |row| {
                past.add(&row, masker);
            });
        }
        past
    }

    fn add(&mut self, row: &Row, masker: Masker) -> Option<()> {
        let time = |field| row.detail(field)?.parse().ok();
        let written = row.emitted_at()?;
        let id = row.detail("id");
        let pair = (row.detail("probe")?, row.detail("issue_category")?);
        let pair = self.0.entry(pair).or_default();
        if row.is_of(RECOVERY_SEAM) {
            let recovered = time("healthy_at").unwrap_or(written);
            // It names the first investigation of its incident.
            for one in pair.iter_mut().rev() {
                one.recovered_after = Some(recovered.duration_since(one.at));
                if id.is_none() || one.id == id {
                    break;
                }
            }
        }
        if !row.is_of(OUTCOME_SEAM) {
            return None;
        }
        let is_fallback = |status: String| status.starts_with("engine_unavailable");
        let is_failed = row.detail("reasoning_error").is_some()
            || row.detail("dm_status").is_some_and(is_fallback);
        let diagnosis = row.detail("investigation_summary_text");
        let diagnosis = diagnosis.filter(|text| !is_failed && !text.is_empty());
        let at = time("first_wake_at").or_else(|| time("raised_at"));
        // A row may stand twice, and a late diagnosis adds another.
        pair.retain(|one| id.is_none() || one.id != id);
        pair.push(Earlier {
            at: at.unwrap_or(written),
            title: row.detail("title").map(|title| masker.text(title)),
            diagnosis: diagnosis.map(|text| cut(&masker.text(text), MOST_DIAGNOSIS)),
            recovered_after: None,
            id,
        });
        pair.drain(..pair.len().saturating_sub(MOST_KEPT));
        Some(())
    }

    /// A pair's investigations, the newest first.
    fn of(&self, probe: &str, category: &str) -> impl Iterator<Item = &Earlier> {
        let pair = self.0.get(&(probe.to_owned(), category.to_owned()));
        pair.into_iter().flatten().rev()
    }

    /// Returns the pair's last investigations before its incident began, the oldest first.
    pub fn last(&self, probe: &str, category: &str, before: Timestamp) -> Vec<Earlier> {
        let before = self.of(probe, category).filter(|one| one.at < before);
        let mut last: Vec<_> = before.take(MOST_SHOWN).cloned().collect();
        last.reverse();
        last
    }

    /// Returns the pair's last investigation before its incident that had a diagnosis.
    pub fn diagnosed(&self, probe: &str, category: &str, before: Timestamp) -> Option<&Earlier> {
        let mut all = self.of(probe, category);
        all.find(|one| one.at < before && one.diagnosis.is_some())
    }

    /// Returns the pairs that were investigated since then.
    pub fn pairs_since(&self, since: Timestamp) -> impl Iterator<Item = (&str, &str)> {
        let is_recent = move |all: &[Earlier]| all.iter().any(|one| one.at >= since);
        let recent = self.0.iter().filter(move |(_, all)| is_recent(all));
        recent.map(|((probe, category), _)| (probe.as_str(), category.as_str()))
    }
}
