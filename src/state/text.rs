//! Long texts: each is written once, into a file of its own in `texts/`, before the commit that names
//! it, and removed after the commit that drops it. A file is called by the hash of its content, so that
//! a text that the state names twice is stored once.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;

use log::warn;
use serde::{Deserialize, Serialize};

use super::Folder;
use crate::audit::proof::sha256;
use crate::audit::wake::{Stored, Wake};

/// Longer texts, in bytes, are not kept in the state itself.
const LONGEST: usize = 64 * 1024;
/// The same for a wake that is held back and may be dispatched later: there can be thousands of them.
const LONGEST_HELD: usize = 2 * 1024;
/// How many characters of a wake's long text stay in the state.
const HEAD: usize = 200;

/// A text, in the state or beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    Here(String),
    Stored { file: String, length: usize },
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Here(text)
    }
}

impl Text {
    /// In bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Here(text) => text.len(),
            Self::Stored { length, .. } => *length,
        }
    }

    /// Returns the whole text, or one that says that it is lost.
    pub fn load(&self, folder: &Folder) -> Cow<'_, str> {
        match self {
            Self::Here(text) => Cow::Borrowed(text),
            Self::Stored { file, .. } => Cow::Owned(match folder.read(file) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => lost(folder, file, &error),
            }),
        }
    }

    /// Takes in a text that lies in a file of its own.
    pub fn take_in(&mut self, folder: &Folder) {
        *self = self.load(folder).into_owned().into();
    }

    /// Returns a text that was loaded.
    pub fn here(&self) -> &str {
        match self {
            Self::Here(text) => text,
            Self::Stored { .. } => "",
        }
    }

    pub(super) fn file(&self) -> Option<&str> {
        match self {
            Self::Here(_) => None,
            Self::Stored { file, .. } => Some(file),
        }
    }
}

/// The texts of a wake, as their file holds them.
#[derive(Serialize, Deserialize)]
struct WakeTexts {
    title: String,
    detail: String,
    snapshot_details: String,
    envelope_fix_name: String,
}

/// Returns the wake with its whole texts.
pub fn load_wake<'a>(wake: &'a Wake, folder: &Folder) -> Cow<'a, Wake> {
    let Some(Stored { file, .. }) = &wake.stored else {
        return Cow::Borrowed(wake);
    };
    let read = folder.read(file);
    let texts = read.and_then(|bytes| Ok(serde_json::from_slice::<WakeTexts>(&bytes)?));
    let mut whole = wake.clone();
    whole.stored = None;
    match texts {
        Ok(texts) => {
            whole.title = texts.title;
            whole.detail = texts.detail;
            whole.snapshot_details = texts.snapshot_details;
            whole.envelope_fix_name = texts.envelope_fix_name;
        }
        Err(error) => whole.detail = lost(folder, file, &error),
    }
    Cow::Owned(whole)
}

fn lost(folder: &Folder, file: &str, error: &io::Error) -> String {
    let path = folder.path(file);
    let path = path.display();
    warn!("a long text is lost: cannot read {path}: {error}");
    format!("(The text is lost: {path} cannot be read.)")
}

/// The files of the long texts.
#[derive(Debug)]
pub(super) struct Texts {
    folder: Folder,
    /// The files that are known to be there.
    files: HashSet<String>,
    is_unsynced: bool,
}

impl Texts {
    pub fn new(folder: Folder) -> Self {
        Self {
            folder,
            files: HashSet::new(),
            is_unsynced: false,
        }
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub fn note_stored(&mut self, named: &HashSet<&str>) {
        self.files
            .extend(named.iter().map(|file| (*file).to_owned()));
    }

    /// Finds the files that are there.
    pub fn find(&mut self) {
        self.files.extend(self.folder.list().unwrap_or_default());
    }

    pub fn store(&mut self, text: &mut Text) -> io::Result<()> {
        if let Text::Here(long) = text
            && long.len() > LONGEST
        {
            let (file, length) = (self.write(long.as_bytes())?, long.len());
            *text = Text::Stored { file, length };
        }
        Ok(())
    }

    pub fn store_wake(&mut self, wake: &mut Wake) -> io::Result<()> {
        self.store_longer(wake, LONGEST)
    }

    pub fn store_held(&mut self, wake: &mut Wake) -> io::Result<()> {
        self.store_longer(wake, LONGEST_HELD)
    }

    fn store_longer(&mut self, wake: &mut Wake, longest: usize) -> io::Result<()> {
        let length = wake.size();
        if wake.stored.is_some() || length <= longest {
            return Ok(());
        }
        let texts = WakeTexts {
            title: std::mem::take(&mut wake.title),
            detail: std::mem::take(&mut wake.detail),
            snapshot_details: std::mem::take(&mut wake.snapshot_details),
            envelope_fix_name: std::mem::take(&mut wake.envelope_fix_name),
        };
        let written = serde_json::to_vec(&texts).map_err(io::Error::from);
        match written.and_then(|bytes| self.write(&bytes)) {
            Ok(file) => {
                wake.stored = Some(Stored { file, length });
                wake.title = head(&texts.title);
                wake.detail = head(&texts.detail);
                wake.envelope_fix_name = head(&texts.envelope_fix_name);
                Ok(())
            }
            Err(error) => {
                wake.title = texts.title;
                wake.detail = texts.detail;
                wake.snapshot_details = texts.snapshot_details;
                wake.envelope_fix_name = texts.envelope_fix_name;
                Err(error)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<String> {
        let file = sha256(bytes)[..32].to_owned();
        if self.files.insert(file.clone()) {
            self.is_unsynced = true;
            self.folder.write(&file, bytes).inspect_err(|_| {
                self.files.remove(&file);
            })?;
        }
        Ok(file)
    }

    pub fn sync(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.is_unsynced) {
            true => self.folder.sync(),
            false => Ok(()),
        }
    }

    /// A file that cannot be removed now is by a later sweep.
    pub fn remove_all_but(&mut self, named: &HashSet<&str>) {
        let folder = &self.folder;
        self.files.retain(|file| {
            let is_named = named.contains(file.as_str());
            if !is_named {
                let _ = folder.remove(file);
            }
            is_named
        });
    }
}

fn head(text: &str) -> String {
    text.chars().take(HEAD).collect()
}
