//! A replay: the wakes of a whole log, each decided on at its own time, and worked off before the next.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use super::Run;
use super::effects::Replay;
use crate::audit::wake::Wake;

impl Run<'_, Replay> {
    /// Does what runs would have done, one every cadence. A wake without a time of its own is taken to have
    /// come right after the one before it.
    pub fn replay(&mut self, wakes: impl Iterator<Item = Result<Wake>>) -> Result<()> {
        self.progress.is_blind = true;
        let cadence = SignedDuration::try_from(self.config.cadence).unwrap_or(SignedDuration::MAX);
        let length = self
            .config
            .digest_wakes
            .map_or(SignedDuration::ZERO, |_| cadence);
        let mut batch: Vec<(Timestamp, Wake)> = Vec::new();
        let mut clock = self.effects.clock;
        for wake in wakes {
            let wake = wake?;
            clock = wake.raised_at().unwrap_or(clock);
            let is_in = |(began, _): &(Timestamp, Wake)| {
                let since = clock.duration_since(*began);
                !since.is_negative() && since < length
            };
            if !batch.first().is_some_and(is_in) {
                self.replay_batch(std::mem::take(&mut batch))?;
            }
            batch.push((clock, wake));
        }
        self.replay_batch(batch)?;
        self.replay_due(Timestamp::MAX)
    }

    fn replay_batch(&mut self, batch: Vec<(Timestamp, Wake)>) -> Result<()> {
        let Some((began, _)) = batch.first() else {
            return Ok(());
        };
        self.replay_due(*began)?;
        let Some(mut kept) = self.state.logs.remove(&self.log) else {
            return Ok(());
        };
        for (at, wake) in batch {
            self.effects.clock = at;
            self.decide(&mut kept, wake, at);
        }
        self.state.logs.insert(self.log.clone(), kept);
        self.make_digest();
        self.work()
    }

    /// Dispatches what was held back, each when its window ends.
    fn replay_due(&mut self, until: Timestamp) -> Result<()> {
        let rules = &self.config.debounce;
        loop {
            let Some(kept) = self.state.logs.get(&self.log) else {
                return Ok(());
            };
            let due = kept
                .incidents
                .iter()
                .filter_map(|one| one.due_at(rules))
                .min();
            let Some(due) = due.filter(|due| *due <= until) else {
                return Ok(());
            };
            self.effects.clock = due;
            let Some(mut kept) = self.state.logs.remove(&self.log) else {
                return Ok(());
            };
            self.decide_on_due(&mut kept, due);
            self.state.logs.insert(self.log.clone(), kept);
            self.make_digest();
            self.work()?;
        }
    }
}
