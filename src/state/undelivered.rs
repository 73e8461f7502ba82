//! `undelivered/`: the messages that were given up, a file each, named by the message's id. A process that
//! is killed between changing such a file and changing the state leaves the message in both. A message that
//! was taken back into the outbox says so and is queued; any other is undelivered, and the next run takes it
//! out of the state.

use std::collections::HashSet;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::outbox::{Message, Outbox};
use super::{Folder, Store};
use crate::text::serialize_time;

pub const FOLDER: &str = "undelivered";
const ENDING: &str = ".json";

/// A message that was given up, with its whole texts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Undelivered {
    #[serde(serialize_with = "serialize_time")]
    pub given_up_at: Timestamp,
    pub reason: String,
    pub caller_session_id: String,
    #[serde(flatten)]
    pub message: Message,
}

/// A file of the folder.
pub struct Entry {
    pub file: String,
    /// Or why it cannot be read.
    pub read: Result<Undelivered, String>,
}

/// Writes a message into the folder and syncs it to disk.
pub fn add(store: &Store, message: &Message, reason: &str, now: Timestamp) -> Result<()> {
    let folder = store.undelivered();
    let mut message = message.clone();
    message.long().for_each(|long| long.load(store.texts()));
    message.cause = None;
    message.given_up = None;
    let undelivered = Undelivered {
        given_up_at: now,
        reason: reason.to_owned(),
        caller_session_id: message.subject().caller_session_id(),
        message,
    };
    let file = file(&undelivered.message.id);
    let bytes = serde_json::to_vec_pretty(&undelivered)?;
    let written = folder.write(&file, &bytes).and_then(|()| folder.sync());
    written.with_context(|| format!("cannot write {}", folder.path("").display()))
}

/// Removes the file of a message.
pub fn remove(store: &Store, id: &str) -> Result<()> {
    let (folder, file) = (store.undelivered(), file(id));
    let removed = folder.remove(&file);
    removed.with_context(|| format!("cannot remove {}", folder.path(&file).display()))
}

/// Returns the ids of the messages whose files are there.
pub fn ids(store: &Store) -> Result<HashSet<String>> {
    let files = all_files(store)?;
    let id = |file: &String| file.strip_suffix(ENDING).map(str::to_owned);
    Ok(files.iter().filter_map(id).collect())
}

/// Returns the undelivered messages, the oldest first.
pub fn list(store: &Store, outbox: &Outbox) -> Result<Vec<Entry>> {
    let (folder, files) = (store.undelivered(), files(store, outbox)?);
    let mut entries: Vec<Entry> = files.map(|file| read(&folder, file)).collect();
    let times = |one: &Undelivered| (one.given_up_at, one.message.queued_at);
    entries.sort_by_key(|entry| entry.read.as_ref().ok().map(times));
    Ok(entries)
}

/// Returns how many messages are undelivered, including those that cannot be read.
pub fn count(store: &Store, outbox: &Outbox) -> Result<u64> {
    Ok(files(store, outbox)?.count() as u64)
}

/// Returns the files of the undelivered messages. A message that is back in the outbox is not one of them.
fn files(store: &Store, outbox: &Outbox) -> Result<impl Iterator<Item = String>> {
    let retried = outbox.iter().filter(|message| message.is_retried);
    let retried: HashSet<_> = retried.map(|message| file(&message.id)).collect();
    let files = all_files(store)?.into_iter();
    Ok(files.filter(move |file| !retried.contains(file)))
}

fn all_files(store: &Store) -> Result<Vec<String>> {
    let folder = store.undelivered();
    let files = folder.list();
    files.with_context(|| format!("cannot read {}", folder.path("").display()))
}

fn read(folder: &Folder, file: String) -> Entry {
    let parse = |bytes: Vec<u8>| Ok(serde_json::from_slice(&bytes)?);
    let read = folder.read(&file).and_then(parse);
    let mut read = read.map_err(|error| error.to_string());
    // By this name it is taken back into the outbox.
    if read
        .as_ref()
        .is_ok_and(|one: &Undelivered| file != self::file(&one.message.id))
    {
        read = Err("its name is not its message's id".to_owned());
    }
    Entry { file, read }
}

fn file(id: &str) -> String {
    format!("{id}{ENDING}")
}
