//! `silences/`: a file for each silence and each acknowledgement. Making and ending one takes no lock: a run
//! reads the folder when it has something to decide.

use std::os::unix::fs::{MetadataExt, chown};

use anyhow::{Context, Result};
use log::warn;

use super::{Folder, Store};
use crate::audit::proof::sha256;
use crate::incident::Silence;

pub const FOLDER: &str = "silences";

/// Returns all silences that can be read, those that are over among them. Others are warned of.
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
            warn!("{} is ignored: {error}", folder.path(file).display());
            None
        }
    });
    silences.collect()
}

/// Writes a silence in place of one of the same pair. Made by root it gets the folder's owner.
pub fn put(store: &Store, silence: &Silence) -> Result<()> {
    let (folder, file) = (store.silences(), file(silence));
    let failed = || format!("cannot write {}", folder.path(&file).display());
    let bytes = serde_json::to_vec_pretty(silence)?;
    folder.write(&file, &bytes).with_context(failed)?;
    folder.sync().with_context(failed)?;
    let owner = std::fs::metadata(&store.dir).with_context(failed)?;
    if owner.uid() != rustix::process::geteuid().as_raw() {
        for path in [folder.path(""), folder.path(&file)] {
            chown(&path, Some(owner.uid()), Some(owner.gid())).with_context(failed)?;
        }
    }
    Ok(())
}

/// Removes a silence that is over. A failure is a warning: it is over all the same.
pub fn remove(store: &Store, silence: &Silence) {
    let (folder, file) = (store.silences(), file(silence));
    if let Err(error) = folder.remove(&file) {
        warn!("cannot remove {}: {error}", folder.path(&file).display());
    }
}

fn file(silence: &Silence) -> String {
    let kind = match silence.acknowledges {
        Some(_) => "ack",
        None => "silence",
    };
    let scope = serde_json::to_vec(&silence.scope).unwrap_or_default();
    format!("{kind}-{}.json", &sha256(&scope)[..16])
}

impl Store {
    pub fn silences(&self) -> Folder {
        Folder::new(&self.dir, FOLDER)
    }
}
