//! How a file is compressed, recognized by its first bytes.

use std::path::Path;

/// How many bytes at the start of a file identify its compression.
pub(super) const MAGIC_BYTES: u64 = 6;

/// The endings that compressions add to a file's name.
pub(super) const ENDINGS: [&str; 7] = [".gz", ".zst", ".xz", ".bz2", ".lz4", ".lzma", ".Z"];

/// How a file that the log may have been rotated into is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    /// The compression's name. Its content cannot be read here.
    Unreadable(&'static str),
}

impl Compression {
    /// Returns the compression of a file with this name and these first bytes, at most
    /// [`MAGIC_BYTES`] of them.
    pub(super) fn of(path: &Path, start: &[u8]) -> Self {
        let is_named_gzip = path.extension().is_some_and(|extension| extension == "gz");
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // An empty .gz is one that is about to be written, not an empty log.
            [] if is_named_gzip => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Unreadable("xz"),
            // The second is a skippable frame, which pzstd writes first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Self::Unreadable("zstd")
            }
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Unreadable("bzip2"),
            // The second is the frame of `lz4 -l`.
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Self::Unreadable("lz4"),
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_is_told_by_its_first_bytes() {
        use Compression::{Gzip, None, Unreadable};
        for (name, start, compression) in [
            ("a.1", &b"\x1f\x8b\x08\0"[..], Gzip),
            ("a.1.gz", b"", Gzip),
            ("a.1.gz", b"{\"seam", None),
            ("a.1", b"", None),
            ("a.1", b"{\"seam", None),
            ("a.1", b"\xfd7zXZ\0", Unreadable("xz")),
            ("a.1.xz", b"\xfd7zXZ", None),
            ("a.1.xz", b"", None),
            ("a.1", b"\x28\xb5\x2f\xfd", Unreadable("zstd")),
            ("a.1", b"\x50\x2a\x4d\x18\x04\0", Unreadable("zstd")),
            ("a.1", b"BZh91A", Unreadable("bzip2")),
            ("a.1", b"BZh{\"", None),
            ("a.1", b"\x04\x22\x4d\x18", Unreadable("lz4")),
            ("a.1", b"\x02\x21\x4c\x18", Unreadable("lz4")),
        ] {
            let told = Compression::of(Path::new(name), start);
            assert_eq!(told, compression, "{name} {start:?}");
        }
    }
}
