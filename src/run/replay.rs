//! A replay: the wakes of a whole log, each decided on at its own time, and worked through before the next.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use super::Run;
use crate::audit::row::Event;
use crate::audit::wake::Wake;
use crate::time::within;

impl Run<'_> {
    /// Does what runs would have done, one every cadence. A row without a time of its own is assumed to come
    /// right after the one before it.
    pub fn replay(&mut self, events: impl Iterator<Item = Result<Event>>) -> Result<()> {
        self.progress.is_blind = true;
        self.clock = Some(Timestamp::UNIX_EPOCH);
        let cadence = self.config.cadence;
        let digest_wakes = self.config.digest_wakes;
        let length = digest_wakes.map_or(SignedDuration::ZERO, |_| cadence);
        let mut batch: Vec<(Timestamp, Wake)> = Vec::new();
        let mut clock = self.now();
        for event in events {
            match event? {
                Event::Wake(wake) => {
                    clock = wake.raised_at().unwrap_or(clock);
                    let is_in = |(began, _): &(Timestamp, Wake)| within(clock, *began, length);
                    if !batch.first().is_some_and(is_in) {
                        self.replay_batch(std::mem::take(&mut batch))?;
                    }
                    batch.push((clock, wake));
                }
                Event::Recovery(recovery) => {
                    self.replay_batch(std::mem::take(&mut batch))?;
                    clock = recovery.emitted_at.unwrap_or(clock);
                    self.replay_due(clock)?;
                    self.clock = Some(clock);
                    self.with_log(|run, kept| run.note_recovery(kept, recovery, clock));
                    self.work()?;
                }
            }
        }
        self.replay_batch(batch)?;
        self.replay_due(Timestamp::MAX)
    }

    fn replay_batch(&mut self, batch: Vec<(Timestamp, Wake)>) -> Result<()> {
        let Some((began, _)) = batch.first() else {
            return Ok(());
        };
        self.replay_due(*began)?;
        self.with_log(|run, kept| {
            for (at, wake) in batch {
                run.clock = Some(at);
                run.decide(kept, wake, at);
            }
        });
        self.make_digest();
        self.work()
    }

    /// Dispatches the wakes that were held back, each when its window ends.
    fn replay_due(&mut self, until: Timestamp) -> Result<()> {
        let rules = &self.config.debounce;
        loop {
            let due = self.incidents().filter_map(|one| one.due_at(rules)).min();
            let Some(due) = due.filter(|due| *due <= until) else {
                return Ok(());
            };
            self.clock = Some(due);
            let before = self.report.tally.dispatched;
            self.with_log(|run, kept| run.decide_on_due(kept, due));
            // What is dispatched after all does not count as held back.
            let tally = &mut self.report.tally;
            tally.held_back = tally.held_back.saturating_sub(tally.dispatched - before);
            self.make_digest();
            self.work()?;
        }
    }
}
