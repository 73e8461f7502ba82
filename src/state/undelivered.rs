//! `undelivered.jsonl`: the DMs that were given up, a row each. A process that is killed between this
//! file and the state leaves a DM in both. One that was taken back into the outbox says so and is
//! queued; any other one is undelivered, and the next run takes it out of the state.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Store;
use super::outbox::{Dm, Outbox};
use crate::audit::proof::sha256;
use crate::files::open_own;
use crate::text::serialize_time;

pub const FILE: &str = "undelivered.jsonl";

/// A DM that was given up.
#[derive(Debug, Serialize, Deserialize)]
pub struct Undelivered<'a> {
    #[serde(serialize_with = "serialize_time")]
    pub given_up_at: Timestamp,
    pub reason: Cow<'a, str>,
    caller_session_id: Cow<'a, str>,
    #[serde(flatten)]
    pub dm: Cow<'a, Dm>,
}

impl<'a> Undelivered<'a> {
    pub fn new(dm: &'a Dm, reason: &'a str, given_up_at: Timestamp) -> Self {
        Self {
            given_up_at,
            reason: reason.into(),
            caller_session_id: dm.caller_session_id().into(),
            dm: Cow::Borrowed(dm),
        }
    }
}

/// A line of the file, whether it can be read or not.
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    pub bytes: Vec<u8>,
}

impl Line {
    /// The row, or why it is none. A row of an older version has no id: its hash stands for it.
    pub fn read(&self) -> Result<Undelivered<'static>, String> {
        let mut row: Value =
            serde_json::from_slice(&self.bytes).map_err(|_| "it is not JSON".to_owned())?;
        if let Some(fields) = row.as_object_mut() {
            let hash = || sha256(&self.bytes)[..32].into();
            fields.entry("id").or_insert_with(hash);
        }
        let row: Undelivered = serde_json::from_value(row).map_err(|error| error.to_string())?;
        match row.dm.text.trim() {
            "" => Err("its text is lost".to_owned()),
            _ => Ok(row),
        }
    }

    fn is_one_of(&self, ids: &HashSet<String>) -> bool {
        !ids.is_empty() && self.read().is_ok_and(|row| ids.contains(&row.dm.id))
    }
}

/// Gives each line whose DM does not lie in the outbox again.
pub fn for_each(store: &Store, outbox: &Outbox, mut take: impl FnMut(Line)) -> Result<()> {
    let retried = retried(outbox);
    for_each_line(store, |line| {
        if !line.is_one_of(&retried) {
            take(line);
        }
        Ok(())
    })
    .with_context(|| format!("cannot read {}", store.path(FILE).display()))
}

/// How many DMs are undelivered, those among them that cannot be read.
pub fn count(store: &Store, outbox: &Outbox) -> Result<u64> {
    let mut count = 0;
    for_each(store, outbox, |_| count += 1)?;
    Ok(count)
}

/// The ids of the DMs that are undelivered.
pub fn ids(store: &Store, outbox: &Outbox) -> Result<HashSet<String>> {
    let mut ids = HashSet::new();
    for_each(store, outbox, |line| {
        ids.extend(line.read().map(|row| row.dm.into_owned().id));
    })?;
    Ok(ids)
}

/// Takes the rows out whose DMs lie in the outbox again, and the mark off these.
pub fn forget_retried(store: &Store, outbox: &mut Outbox) -> Result<()> {
    let retried = retried(outbox);
    if retried.is_empty() {
        return Ok(());
    }
    let mut is_there = false;
    for_each_line(store, |line| {
        is_there |= line.is_one_of(&retried);
        Ok(())
    })
    .with_context(|| format!("cannot read {}", store.path(FILE).display()))?;
    if is_there {
        let keep = |out: &mut BufWriter<File>| {
            for_each_line(store, |line| match line.is_one_of(&retried) {
                true => Ok(()),
                false => out.write_all(&line.bytes),
            })
        };
        store
            .replace(FILE, keep)
            .with_context(|| format!("cannot write {}", store.path(FILE).display()))?;
    }
    outbox.iter_mut().for_each(|dm| dm.is_retried = false);
    Ok(())
}

/// Removes the file.
pub fn clear(store: &Store) -> Result<()> {
    let path = store.path(FILE);
    fs::remove_file(&path)
        .and_then(|()| File::open(&store.dir)?.sync_all())
        .with_context(|| format!("cannot remove {}", path.display()))
}

fn retried(outbox: &Outbox) -> HashSet<String> {
    let retried = outbox.iter().filter(|dm| dm.is_retried);
    retried.map(|dm| dm.id.clone()).collect()
}

fn for_each_line(store: &Store, mut take: impl FnMut(Line) -> io::Result<()>) -> io::Result<()> {
    let file = match open_own(&store.path(FILE), File::options().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    for number in 1.. {
        let mut bytes = Vec::new();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if !bytes.trim_ascii().is_empty() {
            take(Line { number, bytes })?;
        }
    }
    Ok(())
}
