//! Long texts: each is written once, into a file of its own in `texts/`, before the commit that names it,
//! and removed after the commit that drops it. A file is named by the hash of its content, so that a text
//! that the state names twice is stored once.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;

use log::warn;
use serde::{Deserialize, Serialize};

use super::Folder;
use crate::audit::proof::sha256;
use crate::audit::wake::{Stored, Wake};
use crate::text::short;

/// Texts longer than this, in bytes, are not kept in the state itself.
pub(super) const LONGEST: usize = 64 * 1024;
/// The same for a wake that is held back and may be dispatched later: there can be thousands of them.
pub(super) const LONGEST_HELD: usize = 2 * 1024;

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
    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Here(text) => text.len(),
            Self::Stored { length, .. } => *length,
        }
    }

    /// Returns the whole text, or a note that it is lost.
    pub fn load(&self, folder: &Folder) -> Cow<'_, str> {
        match self {
            Self::Here(text) => Cow::Borrowed(text),
            Self::Stored { file, .. } => Cow::Owned(match folder.read(file) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => lost(folder, file, &error),
            }),
        }
    }

    /// Returns a text that was loaded; empty if it was not.
    pub fn here(&self) -> &str {
        match self {
            Self::Here(text) => text,
            Self::Stored { .. } => "",
        }
    }
}

/// What can be too long for the state.
pub(super) enum Long<'a> {
    /// A wake, if its texts are longer than this.
    Wake(&'a mut Wake, usize),
    Text(&'a mut Text),
}

impl Long<'_> {
    /// Returns its file in `texts/`, if it has one.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Wake(wake, _) => Some(wake.stored.as_ref()?.file.as_str()),
            Self::Text(Text::Stored { file, .. }) => Some(file),
            Self::Text(Text::Here(_)) => None,
        }
    }

    /// Loads the text, if it is stored in a file of its own.
    pub fn load(self, folder: &Folder) {
        match self {
            Self::Wake(wake, _) => *wake = load_wake(wake, folder).into_owned(),
            Self::Text(text) => *text = text.load(folder).into_owned().into(),
        }
    }
}

/// Returns the wake with its whole texts.
pub fn load_wake<'a>(wake: &'a Wake, folder: &Folder) -> Cow<'a, Wake> {
    let Some(Stored { file, .. }) = &wake.stored else {
        return Cow::Borrowed(wake);
    };
    let read = folder.read(file);
    Cow::Owned(
        read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
            .unwrap_or_else(|error| Wake {
                detail: lost(folder, file, &error),
                stored: None,
                ..wake.clone()
            }),
    )
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
    pub folder: Folder,
    /// The files that are known to exist.
    pub files: HashSet<String>,
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

    pub fn store(&mut self, long: Long) -> io::Result<()> {
        let (wake, longest) = match long {
            Long::Wake(wake, longest) => (wake, longest),
            Long::Text(text) => {
                if let Text::Here(long) = text
                    && long.len() > LONGEST
                {
                    let (file, length) = (self.write(long.as_bytes())?, long.len());
                    *text = Text::Stored { file, length };
                }
                return Ok(());
            }
        };
        let length = wake.size();
        if wake.stored.is_none() && length > longest {
            let file = self.write(&serde_json::to_vec(wake)?)?;
            wake.stored = Some(Stored { file, length });
            wake.snapshot_details.clear();
            for text in [
                &mut wake.title,
                &mut wake.detail,
                &mut wake.envelope_fix_name,
            ] {
                *text = short(text).to_owned();
            }
        }
        Ok(())
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

    /// Removes all files but those in `named`. A later sweep removes what cannot be removed now.
    pub fn remove_all_but(&mut self, named: &HashSet<String>) {
        let folder = &self.folder;
        self.files.retain(|file| {
            let is_named = named.contains(file);
            if !is_named {
                let _ = folder.remove(file);
            }
            is_named
        });
    }
}
