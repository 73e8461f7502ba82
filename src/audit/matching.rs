//! Which generation is in which file: a pure function over the table and the files found.

use std::cmp::Reverse;
use std::io;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::compression::Compression;
use super::file::End;
use super::generations::{Generation, Status};
use super::proof::Proof;
use super::stat::Stat;

/// How long after its last change a compressed file counts as still being written.
const BEING_WRITTEN: SignedDuration = SignedDuration::from_mins(10);

/// A file of the log as it was found. Generations are given by their number in the table.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub path: PathBuf,
    pub stat: Stat,
    pub is_current: bool,
    /// The generation whose file this is, if unchanged since it was read. Such a file is not examined.
    pub unchanged: Option<usize>,
    pub compression: Compression,
    pub key: Option<Proof>,
    /// The first bytes of the content.
    pub head: Vec<u8>,
    /// Of the content, in bytes; `WHOLE` if unknown.
    pub length: u64,
    pub end: End,
    /// The generations that begin as this file does.
    pub alike: Vec<usize>,
    /// Those of them whose last row is in this file, too.
    pub holds: Vec<usize>,
    /// Why it could not be examined.
    pub failure: Option<io::Error>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The file of this generation. `is_proven`: no other file could be it.
    GoesOn {
        generation: usize,
        is_proven: bool,
    },
    New,
    /// A copy of what is in another file, or of what was in the file of this generation.
    Copy {
        of: Option<usize>,
    },
    /// Incomplete, or could not be examined. It is looked at again.
    Waits,
    /// It cannot be read, and may hold new rows.
    Unreadable,
}

/// Returns whether the content of the first file is a prefix of the second's.
type IsPart<'a> = dyn Fn(&Found, &Found) -> io::Result<bool> + 'a;

/// What has been found out so far.
struct Matching<'a> {
    table: &'a [Generation],
    found: &'a [Found],
    now: Timestamp,
    is_part: &'a IsPart<'a>,
    fates: Vec<Option<Fate>>,
    /// Which generations have not been found yet.
    is_free: Vec<bool>,
    /// The generation that each file belongs to, if its identity alone shows it: one that had no
    /// row yet, or one that counts as read whole.
    own: Vec<Option<usize>>,
}

/// Finds out what each file is.
pub(super) fn match_files(
    table: &[Generation],
    found: &[Found],
    now: Timestamp,
    is_part: &IsPart,
) -> io::Result<Vec<Fate>> {
    let own = |file: &Found| {
        let is_own = |one: &Generation| {
            let had_no_row = one.is_blank() && one.status == Status::Read && one.is_followed();
            let is_meant = had_no_row || !one.is_followed() && !file.is_current;
            is_meant && one.stat.is_same_file(&file.stat)
        };
        table.iter().position(is_own)
    };
    let mut matching = Matching {
        table,
        found,
        now,
        is_part,
        fates: vec![None; found.len()],
        is_free: vec![true; table.len()],
        own: found.iter().map(own).collect(),
    };
    matching.judge_alone();
    matching.keep_copies()?;
    matching.match_content();
    for number in 0..found.len() {
        if matching.fates[number].is_none() {
            matching.fates[number] = Some(matching.judge(number)?);
        }
    }
    Ok(matching.fates.into_iter().flatten().collect())
}

impl Found {
    /// Returns whether a compressor may still be writing it. A time in the future means that the
    /// clock was set back: it must not hold up the rows for long.
    fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.stat.modified).abs() < BEING_WRITTEN
    }

    /// Returns whether a tool has cut its time to the second.
    fn is_cut(&self) -> bool {
        self.stat.modified.subsec_nanosecond() == 0
    }

    /// Returns whether it has the time of another file: compressing a file keeps its time.
    fn has_time(&self, time: Timestamp) -> bool {
        let own = self.stat.modified;
        own == time || self.is_cut() && own.as_second() == time.as_second()
    }

    /// Returns whether it has not changed since then. A time that was cut to the second proves less.
    fn is_older_than(&self, time: Timestamp, is_cut_enough: bool) -> bool {
        let own = self.stat.modified;
        own <= time && (!self.is_cut() || is_cut_enough || own.as_second() < time.as_second())
    }

    pub fn is_plain(&self) -> bool {
        self.compression == Compression::None
    }
}

impl Matching<'_> {
    fn go_on(&mut self, number: usize, generation: usize, is_proven: bool) -> Fate {
        self.is_free[generation] = false;
        let fate = Fate::GoesOn {
            generation,
            is_proven,
        };
        self.fates[number] = Some(fate);
        fate
    }

    /// Returns the generation whose file this is, if it is one that counts as read whole.
    fn own_whole(&self, number: usize) -> Option<usize> {
        self.own[number].filter(|own| !self.table[*own].is_followed())
    }

    /// Judges the files that can be judged on their own. The first run takes what it cannot read for
    /// history; later runs try it again until it can be read.
    fn judge_alone(&mut self) {
        for (number, file) in self.found.iter().enumerate() {
            if let Some(generation) = file.unchanged {
                self.go_on(number, generation, true);
            } else if file.failure.is_some() && self.table.is_empty() {
                self.fates[number] = Some(Fate::Unreadable);
            } else if file.failure.is_some() || file.end == End::Early && file.is_fresh(self.now) {
                self.fates[number] = Some(Fate::Waits);
            }
        }
    }

    /// Keeps a known copy as a copy if another file still holds all of it. Otherwise it may be all
    /// that is left of its original.
    fn keep_copies(&mut self) -> io::Result<()> {
        for (number, file) in self.found.iter().enumerate() {
            let (Some(copy), None) = (self.own_whole(number), self.fates[number]) else {
                continue;
            };
            for (other_number, other) in self.found.iter().enumerate() {
                let is_original = self.own_whole(other_number).is_none();
                if is_original && other.length >= file.length && (self.is_part)(file, other)? {
                    self.go_on(number, copy, true);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Finds generations by their content. If several files could be the same generation, the one
    /// with its identity wins, then the one that holds most; a file that could be several
    /// generations is the one of which it holds most.
    fn match_content(&mut self) {
        let mut pairs = Vec::new();
        let mut files = vec![0; self.table.len()];
        for (number, file) in self.found.iter().enumerate() {
            let holds = file.holds.iter().filter(|one| self.is_free[**one]);
            for &generation in holds.filter(|_| self.fates[number].is_none()) {
                let Generation { offset, stat, .. } = &self.table[generation];
                let is_own = stat.is_same_file(&file.stat);
                let rank = (*offset, file.length, file.is_current, file.is_plain());
                pairs.push((is_own, rank, generation, number));
                files[generation] += 1;
            }
        }
        pairs.sort_unstable_by(|one, other| other.cmp(one));
        for (is_own, _, generation, number) in pairs {
            if self.is_free[generation] && self.fates[number].is_none() {
                let was_left = self.table[generation].left_at.is_some();
                let is_proven = files[generation] == 1 || is_own && was_left;
                self.go_on(number, generation, is_proven);
            }
        }
    }

    /// Judges a file whose content continues no generation.
    fn judge(&mut self, number: usize) -> io::Result<Fate> {
        let file = &self.found[number];
        if let Compression::Unreadable(_) = file.compression {
            return Ok(self.judge_unreadable(number));
        }
        let is_free = |own: &usize| self.is_free[*own];
        let own = self.own[number].filter(is_free);
        if !file.is_current {
            if let Some(of) = self.consumed(number) {
                return Ok(Fate::Copy { of });
            }
            if let Some(own) = self.own_whole(number).filter(is_free) {
                return Ok(self.go_on(number, own, true));
            }
            if self.is_copy(number)? {
                return Ok(Fate::Copy { of: None });
            }
        }
        Ok(own.map_or(Fate::New, |own| self.go_on(number, own, false)))
    }

    /// Returns the generation that the file is a copy of, if the copy was made before the
    /// generation's offset was reached and nothing else is left of the generation. If another
    /// generation or file begins alike, too, that alone is no proof: then the file must not have
    /// changed since the generation was read. If it did change, returns `Some(None)`: rows may have
    /// been missed.
    fn consumed(&self, number: usize) -> Option<Option<usize>> {
        let file = &self.found[number];
        let is_other = |one: &usize| !self.table[*one].stat.is_same_file(&file.stat);
        let alike: Vec<_> = file.alike.iter().copied().filter(is_other).collect();
        let free = alike.iter().filter(|one| self.is_free[**one]);
        free.copied().find_map(|generation| {
            let one = &self.table[generation];
            let is_at_hand = self
                .found
                .iter()
                .any(|file| file.stat.is_same_file(&one.stat));
            let begins_alike = |file: &&Found| file.alike.contains(&generation);
            let is_alone = alike.len() == 1 && self.found.iter().filter(begins_alike).count() == 1;
            let is_older = file.is_older_than(one.stat.modified, is_alone);
            let is_copy = file.end == End::Whole
                && file.length < one.offset
                && (one.is_followed() || one.judged == 0 && !is_at_hand)
                && (is_alone || is_older && one.status != Status::Gone);
            is_copy.then_some(is_older.then_some(generation))
        })
    }

    /// Returns whether the content is a prefix of another file's. Of several files with the same
    /// content, one is read.
    fn is_copy(&self, number: usize) -> io::Result<bool> {
        let is_own = |number: usize| self.own[number].is_some_and(|own| self.is_free[own]);
        let rank = |number: usize, is_certain| {
            let file = &self.found[number];
            (file.length, is_certain, file.is_plain(), Reverse(number))
        };
        let file = &self.found[number];
        for (other_number, other) in self.found.iter().enumerate() {
            let (is_read, is_certain) = match self.fates[other_number] {
                // A file that was not examined is compared only if it begins alike. A copy does not
                // show whether its content was read.
                Some(Fate::GoesOn { generation, .. }) => {
                    let one = &self.table[generation];
                    let is_alike = other.unchanged.is_none() || file.alike.contains(&generation);
                    (is_alike && (one.is_followed() || one.judged == 0), true)
                }
                Some(Fate::New) | None => (true, other.is_current || is_own(other_number)),
                _ => (false, false),
            };
            if is_read
                && rank(number, is_own(number)) < rank(other_number, is_certain)
                && (self.is_part)(file, other)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Judges a file whose compression cannot be read. Its time identifies it, and one that is still
    /// being made from the file beside it is not reported.
    fn judge_unreadable(&mut self, number: usize) -> Fate {
        let file = &self.found[number];
        let is_it = |(number, one): (usize, &Generation)| {
            let is_open = self.is_free[number] && one.status != Status::Unread;
            is_open && file.has_time(one.stat.modified)
        };
        if let Some(generation) = self.table.iter().enumerate().position(is_it) {
            return self.go_on(number, generation, true);
        }
        let plain = file.path.with_extension("");
        let is_made_of = |other: &Found| {
            let is_time = file.is_fresh(self.now) || file.has_time(other.stat.modified);
            other.path == plain && is_time
        };
        match self.found.iter().any(is_made_of) {
            true => Fate::Copy { of: None },
            false => Fate::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(seconds_ago: i64) -> Timestamp {
        Timestamp::from_second(NOW - seconds_ago).unwrap_or_default()
    }

    /// A generation that was read up to here, in the file of this inode, an hour ago.
    fn generation(inode: u64, offset: u64) -> Generation {
        let proof = Proof::of(0, b"row");
        Generation {
            key: Some(proof.clone()),
            offset,
            last_row: Some(proof),
            stat: stat(inode, 3_600),
            left_at: Some(at(3_600)),
            ..Generation::default()
        }
    }

    fn stat(inode: u64, seconds_ago: i64) -> Stat {
        let modified = at(seconds_ago);
        Stat {
            inode,
            modified,
            ..Stat::default()
        }
    }

    /// A file of this inode and length, changed a minute ago, that begins as all of these
    /// generations do.
    fn file(inode: u64, length: u64, alike: &[usize]) -> Found {
        Found {
            path: format!("{inode}").into(),
            stat: stat(inode, 60),
            length,
            alike: alike.to_vec(),
            ..Found::default()
        }
    }

    impl Found {
        fn holding(mut self, holds: &[usize]) -> Self {
            self.holds = holds.to_vec();
            self
        }

        fn at_the_path(mut self) -> Self {
            self.is_current = true;
            self
        }

        fn changed(mut self, seconds_ago: i64) -> Self {
            self.stat.modified = at(seconds_ago);
            self
        }

        fn ending(mut self, compression: Compression, end: End) -> Self {
            (self.compression, self.end) = (compression, end);
            self
        }

        fn named(mut self, name: &str) -> Self {
            self.path = name.into();
            self
        }

        fn failed(mut self, kind: io::ErrorKind) -> Self {
            self.failure = Some(kind.into());
            self
        }
    }

    /// The fates of the files; `parts` are pairs of inodes, the first a prefix of the second.
    fn fates(table: &[Generation], found: &[Found], parts: &[(u64, u64)]) -> Vec<Fate> {
        let is_part =
            |part: &Found, whole: &Found| Ok(parts.contains(&(part.stat.inode, whole.stat.inode)));
        match_files(table, found, at(0), &is_part).unwrap_or_default()
    }

    fn on(generation: usize) -> Fate {
        let is_proven = true;
        Fate::GoesOn {
            generation,
            is_proven,
        }
    }

    fn perhaps(generation: usize) -> Fate {
        let is_proven = false;
        Fate::GoesOn {
            generation,
            is_proven,
        }
    }

    const COPY: Fate = Fate::Copy { of: None };

    #[test]
    fn identity_decides_where_content_agrees_then_length() {
        let table = [generation(1, 100)];
        let both = |one| {
            [
                file(one, 150, &[0]).holding(&[0]),
                file(3, 200, &[0]).holding(&[0]),
            ]
        };
        assert_eq!(fates(&table, &both(1), &[]), [on(0), Fate::New]);
        assert_eq!(fates(&table, &both(2), &[]), [Fate::New, perhaps(0)]);
    }

    #[test]
    fn a_file_is_the_generation_of_which_it_holds_most() {
        let table = [generation(1, 100), generation(2, 200)];
        let found = [file(3, 300, &[0, 1]).holding(&[0, 1])];
        assert_eq!(fates(&table, &found, &[]), [on(1)]);
    }

    #[test]
    fn a_prefix_of_another_file_is_a_copy_but_not_at_the_path() {
        let found = [file(1, 100, &[]), file(2, 200, &[])];
        assert_eq!(fates(&[], &found, &[(1, 2)]), [COPY, Fate::New]);
        let found = [file(1, 100, &[]).at_the_path(), file(2, 200, &[])];
        assert_eq!(fates(&[], &found, &[(1, 2)]), [Fate::New, Fate::New]);
        // Of two with the same content the one at the path is read, then the plain one.
        let found = [file(1, 100, &[]).at_the_path(), file(2, 100, &[])];
        assert_eq!(fates(&[], &found, &[(1, 2), (2, 1)]), [Fate::New, COPY]);
        let gzip = file(1, 100, &[]).ending(Compression::Gzip, End::Whole);
        let found = [gzip, file(2, 100, &[])];
        assert_eq!(fates(&[], &found, &[(1, 2), (2, 1)]), [COPY, Fate::New]);
    }

    #[test]
    fn what_ends_before_the_offset_of_a_lost_generation_was_consumed() {
        let table = [generation(1, 100)];
        let copy = || file(2, 50, &[0]).changed(3_601);
        let sure = Fate::Copy { of: Some(0) };
        assert_eq!(fates(&table, &[copy()], &[]), [sure]);
        // It was changed since: rows may have been missed.
        assert_eq!(fates(&table, &[copy().changed(60)], &[]), [COPY]);
        // The generation is not lost.
        let found = [file(1, 100, &[0]).holding(&[0]), copy()];
        assert_eq!(fates(&table, &found, &[]), [on(0), Fate::New]);
        // All generations begin alike: only a file that did not change since is a copy.
        let other = || file(3, 70, &[0]).at_the_path();
        assert_eq!(fates(&table, &[other(), copy()], &[]), [Fate::New, sure]);
        let found = [other(), copy().changed(60)];
        assert_eq!(fates(&table, &found, &[]), [Fate::New, Fate::New]);
    }

    #[test]
    fn what_is_not_complete_waits_for_ten_minutes() {
        let gzip = |end| file(1, 50, &[]).ending(Compression::Gzip, end);
        for (found, fate) in [
            (gzip(End::Early), Fate::Waits),
            (gzip(End::Early).changed(601), Fate::New),
            (gzip(End::Early).changed(-601), Fate::New),
            (gzip(End::Broken), Fate::New),
        ] {
            assert_eq!(fates(&[], &[found], &[]), [fate]);
        }
    }

    #[test]
    fn what_cannot_be_read_waits_but_is_history_on_the_first_run() {
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::Other] {
            let failed = || [file(2, 50, &[]).failed(kind)];
            assert_eq!(fates(&[generation(1, 100)], &failed(), &[]), [Fate::Waits]);
            assert_eq!(fates(&[], &failed(), &[]), [Fate::Unreadable]);
        }
    }

    #[test]
    fn another_compression_is_known_by_its_time() {
        let xz = || {
            file(5, 50, &[])
                .ending(Compression::Unreadable("xz"), End::Whole)
                .named("a.1.xz")
        };
        let table = [generation(1, 100)];
        assert_eq!(fates(&table, &[xz()], &[]), [Fate::Unreadable]);
        assert_eq!(fates(&table, &[xz().changed(3_600)], &[]), [on(0)]);
        let plain = || file(1, 100, &[0]).holding(&[0]).named("a.1");
        assert_eq!(fates(&table, &[plain(), xz()], &[]), [on(0), COPY]);
        assert_eq!(
            fates(&table, &[plain(), xz().changed(7_200)], &[]),
            [on(0), Fate::Unreadable]
        );
    }

    #[test]
    fn a_generation_without_a_row_is_known_by_its_file() {
        let table = [Generation {
            stat: stat(1, 3_600),
            ..Generation::default()
        }];
        assert_eq!(fates(&table, &[file(1, 100, &[])], &[]), [perhaps(0)]);
        assert_eq!(fates(&table, &[file(2, 100, &[])], &[]), [Fate::New]);
    }
}
