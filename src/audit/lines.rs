//! Bytes → the complete lines that matter: those that contain the seam's name, and those too long
//! to hold in memory. The others are counted and skipped at memory speed, whole chunks at a time.
//! The source decides where the input ends: wrap a reader that must stop at an offset in
//! `Read::take`.
//!
//! A row begins after any NUL bytes before it. These are dropped and do not count towards the
//! line's length, so the hole that a writer leaves after a truncation may be of any size.

use std::io::{self, Read};
use std::ops::Range;

use memchr::{memchr, memmem, memrchr};
use sha2::{Digest, Sha256};

use super::proof::Proof;
use super::row::SEAM;

/// The longest line that is kept, in bytes, without its `\n` and the NUL bytes before it.
const MAX_LINE: usize = 4 * 1024 * 1024;

/// Small enough to stay in the cache between reading and counting, and large enough to need few
/// system calls: the fastest of 64 KiB to 1 MiB, as measured.
const CHUNK: usize = 256 * 1024;

/// Bytes are searched and then counted in blocks of this size, small enough to stay in a near cache
/// in between.
const BLOCK: usize = 64 * 1024;

/// In bytes, on the processors that this runs on.
const CACHE_LINE: usize = 64;

/// A line. Offsets are those of the source, counted from the start given to [`Lines::new`].
#[derive(Debug, PartialEq)]
pub struct Line<'a> {
    /// The offset of `bytes`, after any NUL bytes before the row.
    pub start: u64,
    /// Without the `\n`; empty if the line is overlong.
    pub bytes: &'a [u8],
    pub overlong: Option<Overlong>,
    /// Whether it has its `\n`.
    pub is_complete: bool,
}

/// A line over [`MAX_LINE`], whose bytes were not kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlong {
    pub holds_seam: bool,
}

/// A lending reader of the lines that matter. Holds at most [`MAX_LINE`] and one chunk.
pub struct Lines<R> {
    pub source: R,
    chunk: usize,
    max_line: usize,
    seam: memmem::Finder<'static>,
    /// Holds the source's bytes from `front` to `filled`; after them is room to read into.
    buffer: Vec<u8>,
    front: usize,
    filled: usize,
    /// The offset of the byte at `front`, which begins a row (or continues the overlong one).
    base: u64,
    /// The line found last: the offset where it begins, and where its bytes are in the buffer.
    start: u64,
    line: Range<usize>,
    is_complete: bool,
    /// The end of the last line passed.
    passed: usize,
    /// The position after the last `\n` in the buffer.
    complete: usize,
    /// How many complete lines were passed, including the one found last.
    pub read: u64,
    /// The last complete row before the buffer.
    row_before: Option<Proof>,
    /// The overlong line being passed, with the hash of the bytes dropped from it, and the overlong
    /// line found last.
    passing: Option<(Overlong, Sha256)>,
    overlong: Option<Overlong>,
}

impl<R: Read> Lines<R> {
    /// Reads from a source whose first byte is at offset `start` and begins a line.
    pub fn new(source: R, start: u64) -> Self {
        Self::with_limits(source, start, CHUNK, MAX_LINE)
    }

    fn with_limits(source: R, start: u64, chunk: usize, max_line: usize) -> Self {
        // Then only the first line in the buffer can be overlong.
        let chunk = chunk.min(max_line);
        Self {
            source,
            chunk,
            max_line,
            seam: memmem::Finder::new(SEAM),
            buffer: vec![0; chunk],
            front: 0,
            filled: 0,
            base: start,
            start,
            line: 0..0,
            is_complete: true,
            passed: 0,
            complete: 0,
            read: 0,
            row_before: None,
            passing: None,
            overlong: None,
        }
    }

    /// Moves to the next line that contains the seam's name or is overlong, and finally to the rest
    /// after the last `\n`, even if that is empty. Returns whether there is one. An error is the
    /// source's own; everything passed before it stays passed.
    pub fn advance(&mut self) -> io::Result<bool> {
        self.overlong = None;
        while self.is_complete {
            let is_found = match self.passing.take() {
                Some((overlong, hash)) => self.pass_overlong(overlong, hash),
                None => self.find(),
            };
            if is_found {
                return Ok(true);
            }
            if self.refill()? == 0 {
                self.is_complete = false;
                match self.passing.take() {
                    Some((overlong, _)) => self.overlong = Some(overlong),
                    None => self.found(self.passed, self.filled),
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the line found last.
    pub fn line(&self) -> Line<'_> {
        Line {
            start: self.start,
            bytes: &self.buffer[self.line.clone()],
            overlong: self.overlong,
            is_complete: self.is_complete,
        }
    }

    /// Returns the last complete row, up to and including the one found last; `None` if there is none yet.
    pub fn last_row(&self) -> Option<Proof> {
        if self.passed == self.front {
            return self.row_before.clone();
        }
        let line = line_start(&self.buffer[self.front..], self.passed - 1 - self.front);
        let start = skip_nuls(&self.buffer, self.front + line);
        let row = &self.buffer[start..self.passed];
        Some(Proof::of(self.offset(start), row))
    }

    fn found(&mut self, start: usize, end: usize) {
        let start = skip_nuls(&self.buffer[..end], start);
        (self.start, self.line) = (self.offset(start), start..end);
    }

    /// Passes the buffer's complete lines up to and including the next one that contains the seam's name.
    fn find(&mut self) -> bool {
        while self.passed < self.complete {
            let lines = &self.buffer[self.passed..self.complete];
            let block = &lines[..line_end(lines, BLOCK.min(lines.len()) - 1)];
            let found = self.seam.find(block);
            let end = found.map_or(block.len(), |at| line_end(block, at));
            self.read += bytecount::count(&block[..end], b'\n') as u64;
            let line = found.map(|at| self.passed + line_start(block, at));
            self.passed += end;
            if let Some(line) = line {
                self.found(line, self.passed - 1);
                return true;
            }
        }
        false
    }

    /// Passes as much of the overlong line at the buffer's front as has been read. Returns whether
    /// that was all of it.
    fn pass_overlong(&mut self, mut overlong: Overlong, mut hash: Sha256) -> bool {
        let newline = memchr(b'\n', &self.buffer[self.front..self.filled]);
        let end = newline.map_or(self.filled, |at| self.front + at + 1);
        overlong.holds_seam |= self.seam.find(&self.buffer[self.front..end]).is_some();
        // The name may begin in these bytes and end in the next read.
        let kept = if newline.is_some() { 0 } else { SEAM.len() - 1 };
        let dropped = end.saturating_sub(kept).max(self.front);
        hash.update(&self.buffer[self.front..dropped]);
        self.keep_from(dropped);
        if newline.is_none() {
            self.passing = Some((overlong, hash));
            return false;
        }
        let rest = &self.buffer[self.front..self.filled];
        self.complete = self.front + line_start(rest, rest.len());
        self.read += 1;
        self.row_before = Some(Proof::hashed(self.start, self.base, hash));
        self.overlong = Some(overlong);
        true
    }

    /// Reads once. The new bytes go after the unfinished line (or the rest of the overlong one),
    /// which moves to the buffer's front.
    fn refill(&mut self) -> io::Result<usize> {
        if self.passing.is_none() {
            self.row_before = self.last_row();
            self.keep_from(skip_nuls(&self.buffer[..self.filled], self.passed));
        }
        let old = self.filled;
        let end = old + self.chunk;
        self.make_room(end);
        self.filled += loop {
            match self.source.read(&mut self.buffer[old..end]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        let new = &self.buffer[old..self.filled];
        self.complete = memrchr(b'\n', new).map_or(self.front, |at| old + at + 1);
        let first_line = memchr(b'\n', new).map_or(self.filled, |at| old + at);
        if self.passing.is_none() && first_line - self.front > self.max_line {
            (self.start, self.line) = (self.base, 0..0);
            self.passing = Some((Overlong { holds_seam: false }, Sha256::new()));
        }
        Ok(self.filled - old)
    }

    fn make_room(&mut self, end: usize) {
        if self.buffer.len() < end {
            // Doubling would hold twice the longest line.
            self.buffer.reserve_exact(end - self.buffer.len());
            self.buffer.resize(end, 0);
        }
    }

    /// Moves the bytes from this index on to the buffer's front, and drops those before them. The
    /// next read then starts at a cache line, where the kernel copies a tenth faster.
    fn keep_from(&mut self, index: usize) {
        self.base = self.offset(index);
        let length = self.filled - index;
        let line = self.buffer.as_ptr().align_offset(CACHE_LINE);
        self.front = (line + CACHE_LINE - length % CACHE_LINE) % CACHE_LINE;
        self.filled = self.front + length;
        self.make_room(self.filled);
        self.buffer.copy_within(index..index + length, self.front);
        (self.passed, self.complete) = (self.front, self.front);
    }

    fn offset(&self, index: usize) -> u64 {
        self.base + (index - self.front) as u64
    }
}

/// Returns where the line that contains the byte at `at` begins.
fn line_start(bytes: &[u8], at: usize) -> usize {
    memrchr(b'\n', &bytes[..at]).map_or(0, |newline| newline + 1)
}

/// Returns the position after the `\n` of the line that contains the byte at `at`.
fn line_end(bytes: &[u8], at: usize) -> usize {
    memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |newline| at + newline + 1)
}

/// Skips whole blocks first, since a hole may be gigabytes long.
fn skip_nuls(bytes: &[u8], at: usize) -> usize {
    let blocks = bytes[at..].chunks_exact(64);
    let empty = blocks.take_while(|block| block.iter().fold(0, |any, byte| any | byte) == 0);
    let at = at + 64 * empty.count();
    at + bytes[at..].iter().take_while(|byte| **byte == 0).count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WAKE: &[u8] = b"{\"seam\":\"probe.wake_requested\"}\n";

    /// A line as it was returned, with what `read` and `last_row` said of it.
    type Seen = (u64, Vec<u8>, Option<Overlong>, u64, Option<Proof>);
    /// What is left at the end: unfinished offset, bytes and length flag, lines read, last mark.
    type End = (u64, Vec<u8>, Option<Overlong>, u64, Option<Proof>);

    /// Gives out at most as many bytes a read as the script says, and is interrupted where it says
    /// 0.
    struct Dribble<'a> {
        bytes: &'a [u8],
        script: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    }

    impl Read for Dribble<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let most = match self.script.next() {
                Some(0) => return Err(io::ErrorKind::Interrupted.into()),
                most => room.len().min(most.copied().unwrap_or(1)),
            };
            self.bytes.read(&mut room[..most])
        }
    }

    fn dribble<'a>(bytes: &'a [u8], script: &'a [usize]) -> Dribble<'a> {
        Dribble {
            bytes,
            script: script.iter().cycle(),
        }
    }

    fn see(mut lines: Lines<impl Read>) -> (Vec<Seen>, End) {
        let mut seen = Vec::new();
        while lines.advance().unwrap() {
            let Line {
                start,
                bytes,
                overlong,
                ..
            } = lines.line();
            seen.push((
                start,
                bytes.to_vec(),
                overlong,
                lines.read,
                lines.last_row(),
            ));
        }
        let end = seen.pop().unwrap();
        (seen, end)
    }

    fn holds_seam(bytes: &[u8]) -> bool {
        memmem::find(bytes, SEAM.as_bytes()).is_some()
    }

    /// What the lines of a file are, written without regard for speed or memory.
    fn naive(source: &[u8], offset: u64, max_line: usize) -> (Vec<Seen>, End) {
        let (mut seen, mut mark, mut read, mut at) = (Vec::new(), None, 0, offset);
        for whole in source.split_inclusive(|byte| *byte == b'\n') {
            let end = at + whole.len() as u64;
            let row = &whole[whole.iter().take_while(|byte| **byte == 0).count()..];
            let bytes = row.strip_suffix(b"\n").unwrap_or(row);
            let start = end - row.len() as u64;
            let overlong = (bytes.len() > max_line).then(|| Overlong {
                holds_seam: holds_seam(bytes),
            });
            let kept = if overlong.is_some() {
                Vec::new()
            } else {
                bytes.to_vec()
            };
            if bytes.len() == row.len() {
                return (seen, (start, kept, overlong, read, mark));
            }
            mark = Some(Proof::of(start, row));
            read += 1;
            if overlong.is_some() || holds_seam(bytes) {
                seen.push((start, kept, overlong, read, mark.clone()));
            }
            at = end;
        }
        (seen, (at, Vec::new(), None, read, mark))
    }

    fn source() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            3 => Just(SEAM.as_bytes().to_vec()),
            3 => Just(b"\n".to_vec()),
            1 => Just(WAKE.to_vec()),
            1 => Just(b"\r\n".to_vec()),
            1 => (0..SEAM.len()).prop_map(|cut| SEAM.as_bytes()[..cut].to_vec()),
            2 => (0..90_usize).prop_map(|count| vec![b'x'; count]),
            2 => (0..200_usize).prop_map(|count| vec![0; count]),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn lines_are_those_of_a_naive_split(
            source in source(), offset in 0..1000_u64, chunk in 1..80_usize, max_line in 1..120_usize,
            script in proptest::collection::vec(0..100_usize, 1..8),
        ) {
            prop_assume!(script.iter().any(|most| *most > 0));
            let lines = Lines::with_limits(dribble(&source, &script), offset, chunk, max_line);
            prop_assert_eq!(see(lines), naive(&source, offset, max_line));
        }
    }

    #[test]
    fn an_empty_source_has_nothing() {
        assert_eq!(
            see(Lines::new(&b""[..], 7)),
            (vec![], (7, vec![], None, 0, None))
        );
    }

    #[test]
    fn real_limits_hold_as_the_small_ones_do() {
        let filler = b"{\"seam\":\"mcp.tool_called\"}\n".repeat(CHUNK / 20);
        let longest = [&vec![b' '; MAX_LINE - WAKE.len() + 1], WAKE].concat();
        let too_long = [b" ", &longest[..]].concat();
        let hole = vec![0; 3 * MAX_LINE];
        let source = [
            &filler[..],
            WAKE,
            &longest,
            &too_long,
            &filler,
            &vec![b'x'; MAX_LINE + 1],
            b"\n",
            &hole,
            WAKE,
            b"torn",
        ]
        .concat();
        let (seen, end) = see(Lines::new(&source[..], 5));
        assert_eq!(seen.len(), 5);
        assert_eq!((seen, end), naive(&source, 5, MAX_LINE));
    }

    #[test]
    fn a_block_ends_with_a_line_wherever_that_lies() {
        for cut in 0..=WAKE.len() {
            let filler = [&vec![b'x'; BLOCK - cut - 1], &b"\n"[..]].concat();
            let source = [&filler[..], WAKE, WAKE, b"\n", &filler, WAKE, b"torn"].concat();
            let (seen, end) = see(Lines::new(&source[..], 0));
            assert_eq!(seen.len(), 3, "{cut}");
            assert_eq!((seen, end), naive(&source, 0, MAX_LINE), "{cut}");
        }
    }

    #[test]
    fn the_longest_line_is_held_and_a_longer_one_is_not() {
        let line = [&b"12345"[..], WAKE].concat();
        let overlong = |max_line| see(Lines::with_limits(&line[..], 0, 8, max_line)).0[0].2;
        assert_eq!(overlong(line.len() - 1), None);
        assert_eq!(
            overlong(line.len() - 2),
            Some(Overlong { holds_seam: true })
        );
    }

    #[test]
    fn memory_is_bounded_by_the_longest_line_and_a_chunk() {
        let source = [&vec![b'x'; 5000], &b"\n"[..], &vec![b'y'; 1000]].concat();
        let mut lines = Lines::with_limits(&source[..], 0, 16, 100);
        assert!(lines.advance().unwrap() && lines.line().is_complete);
        assert!(lines.advance().unwrap() && !lines.line().is_complete);
        assert!(!lines.advance().unwrap());
        assert!(lines.buffer.capacity() <= 100 + 16 + CACHE_LINE);
    }

    #[test]
    fn an_error_of_the_source_leaves_what_was_passed() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let source = [WAKE, b"\ntorn"].concat();
        let mut lines = Lines::new(source.as_slice().chain(Broken), 0);
        assert!(lines.advance().unwrap());
        let error = lines.advance().unwrap_err();
        assert_eq!(
            (error.kind(), lines.read),
            (io::ErrorKind::UnexpectedEof, 2)
        );
        assert_eq!(lines.last_row().unwrap().end, WAKE.len() as u64 + 1);
    }
}
