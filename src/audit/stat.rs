//! What the file system says of a file. It makes the common case quick and decides between files
//! whose content agrees, and proves nothing: inodes are used again, files are restored, copied and
//! remounted.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The kernel's clock for files stands still for so long at most.
const CLOCK_STEP: SignedDuration = SignedDuration::from_millis(20);

/// In the state, which may hold thousands, it is a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Parts", into = "Parts")]
pub struct Stat {
    pub device: u64,
    pub inode: u64,
    /// In bytes as they lie on the disk.
    pub size: u64,
    pub modified: Timestamp,
    pub born: Option<Timestamp>,
}

type Parts = (u64, u64, u64, Timestamp, Option<Timestamp>);

impl From<Parts> for Stat {
    fn from((device, inode, size, modified, born): Parts) -> Self {
        Self {
            device,
            inode,
            size,
            modified,
            born,
        }
    }
}

impl From<Stat> for Parts {
    fn from(stat: Stat) -> Self {
        (stat.device, stat.inode, stat.size, stat.modified, stat.born)
    }
}

impl Stat {
    pub fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            born: meta.created().ok().and_then(timestamp),
            size: meta.len(),
            modified: modified(meta),
        }
    }

    /// What no two files have at one time.
    pub fn key(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether both are of one file: an inode is used again, but not with the same birth time.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let is_another = |(one, other)| one != other;
        let was_made_anew = self.born.zip(other.born).is_some_and(is_another);
        self.key() == other.key() && !was_made_anew
    }
}

/// When the file was last written to; the Unix epoch where that is unknown.
pub fn modified(meta: &Metadata) -> Timestamp {
    let time = meta.modified().ok().and_then(timestamp);
    time.unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Whether a change right after `now` could leave this time of the last change as it is.
pub fn is_racy(modified: Timestamp, now: Timestamp) -> bool {
    modified + CLOCK_STEP > now
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}
