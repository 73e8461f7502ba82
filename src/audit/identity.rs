//! What the file system says of a file. It makes the common case quick and tells files whose content
//! agrees apart, and proves nothing: inodes are used again, files are restored, copied and
//! remounted.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<Timestamp>,
}

impl Identity {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            born: meta.created().ok().and_then(timestamp),
        }
    }

    /// Whether both are the same file, as far as this tells: an inode is used again, but not with the
    /// time at which the file before was made.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let is_other = |(one, other)| one != other;
        let was_made_anew = self.born.zip(other.born).is_some_and(is_other);
        (self.device, self.inode) == (other.device, other.inode) && !was_made_anew
    }
}

/// When the file was last written to; the Unix epoch where that is not told.
pub fn modified(meta: &Metadata) -> Timestamp {
    let time = meta.modified().ok().and_then(timestamp);
    time.unwrap_or(Timestamp::UNIX_EPOCH)
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}
