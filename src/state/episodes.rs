//! Episodes: from a pair's first wake until it is well again. They are kept only where recoveries are
//! told, for 24 hours behind the pair's last DM.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::outbox::Follows;
use crate::audit::wake::Wake;
use crate::debounce::Pair;

/// For so long after a pair's last DM its recovery is told.
const PERIOD: SignedDuration = SignedDuration::from_hours(24);

/// The wakes of a pair since it was well, and the DM that told of the last dispatched one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    #[serde(flatten)]
    pub pair: Pair,
    /// When the first and the last wake were raised, or read where they do not say.
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Follows>,
    /// When the last DM was made, or the first wake read while there was none.
    pub told_at: Timestamp,
}

/// The episodes of one audit log, in the order in which they began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Episodes(Vec<Episode>);

impl Episodes {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Episode> {
        self.0.iter_mut()
    }

    /// Counts a wake, whether it is dispatched or held back.
    pub fn note_wake(&mut self, wake: &Wake, now: Timestamp) {
        let at = wake.raised_at().unwrap_or(now);
        if let Some(episode) = self.of(wake) {
            episode.count += 1;
            episode.last = episode.last.max(at);
            return;
        }
        self.0.push(Episode {
            pair: Pair::of(wake),
            first: at,
            last: at,
            count: 1,
            told: None,
            told_at: now,
        });
    }

    /// A DM was made for a wake of the pair.
    pub fn note_told(&mut self, wake: &Wake, told: &Follows, now: Timestamp) {
        if let Some(episode) = self.of(wake) {
            episode.told = Some(told.clone());
            episode.told_at = now;
        }
    }

    fn of(&mut self, wake: &Wake) -> Option<&mut Episode> {
        self.0.iter_mut().find(|episode| episode.pair.is_of(wake))
    }

    /// Takes out the episodes that are over.
    pub fn take_if(&mut self, is_over: impl FnMut(&mut Episode) -> bool) -> Vec<Episode> {
        self.0.extract_if(.., is_over).collect()
    }

    /// Forgets the episodes whose recovery is told no more. A time in the future is a clock that was
    /// set back.
    pub fn prune(&mut self, now: Timestamp) {
        self.0
            .retain(|episode| now.duration_since(episode.told_at) < PERIOD);
    }
}
