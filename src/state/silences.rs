//! `silences/`: a file for each silence and each acknowledgement. Making and ending one takes no lock: a run
//! reads the folder when it has something to decide.

use anyhow::{Context, Result};
use jiff::Timestamp;
use log::warn;
use serde::{Deserialize, Serialize};

use super::{Folder, LogState, Store};
use crate::audit::proof::sha256;
use crate::incident::Silence;
use crate::logger::{SILENCE, warn_lasting};

pub const FOLDER: &str = "silences";

/// Returns all silences that can be read, including those that are over. Warns about the others.
pub fn list(store: &Store) -> Vec<Silence> {
    let folder = store.silences();
    let files = folder.list().unwrap_or_else(|error| {
        warn!("cannot read {}: {error}", folder.path("").display());
        Vec::new()
    });
    let read = |file: &String| {
        let bytes = folder.read(file)?;
        Ok::<Silence, std::io::Error>(serde_json::from_slice(&bytes)?)
    };
    let silences = files.iter().filter_map(|file| match read(file) {
        Ok(silence) => Some(silence),
        Err(error) => {
            let path = folder.path(file);
            let warning = format!("the silence in {} is ignored: {error}", path.display());
            warn_lasting(SILENCE, file, &warning);
            None
        }
    });
    silences.collect()
}

/// Writes a silence, replacing an earlier one for the same scope.
pub fn put(store: &Store, silence: &Silence) -> Result<()> {
    let (folder, file) = (store.silences(), file(silence));
    let failed = || format!("cannot write {}", folder.path(&file).display());
    let bytes = serde_json::to_vec_pretty(silence)?;
    folder.write(&file, &bytes).with_context(failed)?;
    folder.sync().with_context(failed)
}

/// Removes a silence that is over, unless a new one has taken its place. A failure is only a warning: the
/// silence is over all the same.
pub fn remove(store: &Store, silence: &Silence) {
    let (folder, file) = (store.silences(), file(silence));
    let is_it =
        |bytes: Vec<u8>| serde_json::from_slice(&bytes).is_ok_and(|one: Silence| one == *silence);
    if !folder.read(&file).is_ok_and(is_it) {
        return;
    }
    if let Err(error) = folder.remove(&file) {
        warn!("cannot remove {}: {error}", folder.path(&file).display());
    }
}

/// How many wakes a silence has held back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldBackBy {
    /// When the silence began: a silence that replaces it has held back none yet.
    since: Timestamp,
    wakes: u64,
}

impl LogState {
    /// Returns how many wakes a silence or an acknowledgement has held back.
    pub fn held_back_by(&self, silence: &Silence) -> u64 {
        let held = self.silenced.get(&file(silence));
        held.filter(|held| held.since == silence.since)
            .map_or(0, |held| held.wakes)
    }

    pub fn count_held_back_by(&mut self, silence: &Silence) {
        let held = HeldBackBy {
            since: silence.since,
            wakes: self.held_back_by(silence) + 1,
        };
        self.silenced.insert(file(silence), held);
    }

    /// Forgets the counts of silences that no longer exist.
    pub fn forget_held_back_by_others(&mut self, silences: &[Silence]) {
        let files: Vec<_> = silences.iter().map(file).collect();
        self.silenced.retain(|name, _| files.contains(name));
    }
}

fn file(silence: &Silence) -> String {
    // Two logs may have incidents of the same pair.
    let log = silence.acknowledges.as_ref().map(|one| &one.log);
    let kind = match log {
        Some(_) => "ack",
        None => "silence",
    };
    let what = serde_json::to_vec(&(&silence.scope, log)).unwrap_or_default();
    format!("{kind}-{}.json", &sha256(&what)[..16])
}

impl Store {
    pub fn silences(&self) -> Folder {
        Folder::new(&self.dir, FOLDER)
    }
}
