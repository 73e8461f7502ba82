//! What the file system says about a file. It makes the common case quick and decides between files
//! whose content agrees, but proves nothing: inodes are reused, and files are restored, copied and
//! remounted.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The kernel's clock for files stands still for at most this long.
const CLOCK_STEP: SignedDuration = SignedDuration::from_millis(20);

/// What the file system says about a file. Serialized as a single string, since the state may hold
/// thousands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stat {
    pub device: u64,
    pub inode: u64,
    /// In bytes on disk.
    pub size: u64,
    pub modified: Timestamp,
    pub born: Option<Timestamp>,
}

impl TryFrom<String> for Stat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = text.split(' ');
        let mut parse = || {
            Some(Self {
                device: parts.next()?.parse().ok()?,
                inode: parts.next()?.parse().ok()?,
                size: parts.next()?.parse().ok()?,
                modified: parts.next()?.parse().ok()?,
                born: parts.next().map(str::parse).transpose().ok()?,
            })
        };
        parse().ok_or_else(|| format!("{text:?} does not tell a file"))
    }
}

impl From<Stat> for String {
    fn from(stat: Stat) -> Self {
        let (device, inode, size, modified) = (stat.device, stat.inode, stat.size, stat.modified);
        let born = stat.born.map(|born| format!(" {born}"));
        format!(
            "{device} {inode} {size} {modified}{}",
            born.unwrap_or_default()
        )
    }
}

impl Stat {
    pub fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            born: meta.created().ok().and_then(|time| time.try_into().ok()),
            size: meta.len(),
            modified: modified(meta),
        }
    }

    /// Returns what no two files share at the same time.
    pub fn key(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Returns whether both are of the same file: an inode is reused, but not with the same birth time.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let is_another = |(one, other)| one != other;
        let was_made_anew = self.born.zip(other.born).is_some_and(is_another);
        self.key() == other.key() && !was_made_anew
    }
}

/// Returns when the file was last written to; the Unix epoch if that is unknown.
pub fn modified(meta: &Metadata) -> Timestamp {
    let time = meta.modified().ok().and_then(|time| time.try_into().ok());
    time.unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Returns whether a change right after `now` could leave this time of the last change as it is.
pub fn is_racy(modified: Timestamp, now: Timestamp) -> bool {
    modified + CLOCK_STEP > now
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_text_in_the_state() {
        let modified = "2026-05-24T14:32:00.5Z".parse().unwrap();
        for (born, text) in [
            (
                Some(Timestamp::UNIX_EPOCH),
                "1 2 3 2026-05-24T14:32:00.5Z 1970-01-01T00:00:00Z",
            ),
            (None, "1 2 3 2026-05-24T14:32:00.5Z"),
        ] {
            let stat = Stat {
                device: 1,
                inode: 2,
                size: 3,
                modified,
                born,
            };
            assert_eq!(String::from(stat.clone()), text);
            assert_eq!(Stat::try_from(text.to_owned()).unwrap(), stat);
        }
        for text in [
            "",
            "1 2 3",
            "1 2 3 yesterday",
            "1 2 3 2026-05-24T14:32:00Z x",
        ] {
            assert!(Stat::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_of_this_very_moment_proves_nothing() {
        let now = Timestamp::now();
        for (milliseconds, expected) in [(-1, true), (0, true), (5, true), (20, false), (50, false)]
        {
            let modified = now - SignedDuration::from_millis(milliseconds);
            assert_eq!(is_racy(modified, now), expected, "{milliseconds}");
        }
    }
}
