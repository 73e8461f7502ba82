//! The stamps of one audit log: one for each (probe, category), as the state holds them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::{Decision, Policy, Stamp};
use crate::audit::wake::Wake;

/// Whose wakes are repeats of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pair {
    pub probe: String,
    pub category: String,
}

impl Pair {
    pub fn of(wake: &Wake) -> Self {
        Self {
            probe: wake.probe.clone(),
            category: wake.category.clone(),
        }
    }

    pub fn is_of(&self, wake: &Wake) -> bool {
        self.probe == wake.probe && self.category == wake.category
    }
}

/// The stamps of one audit log, kept in the state as a list of flat objects.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Vec<Entry>")]
pub struct Stamps(BTreeMap<Pair, Stamp>);

#[derive(Deserialize)]
struct Entry {
    #[serde(flatten)]
    pair: Pair,
    #[serde(flatten)]
    stamp: Stamp,
}

#[derive(Serialize)]
struct EntryRef<'a> {
    #[serde(flatten)]
    pair: &'a Pair,
    #[serde(flatten)]
    stamp: &'a Stamp,
}

impl From<Vec<Entry>> for Stamps {
    fn from(entries: Vec<Entry>) -> Self {
        let pairs = entries.into_iter().map(|entry| (entry.pair, entry.stamp));
        Self(pairs.collect())
    }
}

impl Serialize for Stamps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(pair, stamp)| EntryRef { pair, stamp }))
    }
}

impl Stamps {
    /// Decides on a wake and remembers the decision: the stamp of a dispatch is set here, before
    /// its DM is tried.
    pub fn decide(&mut self, wake: &Wake, policy: &Policy, now: Timestamp) -> Decision {
        let stamp = self.0.entry(Pair::of(wake)).or_default();
        stamp.decide(wake, policy, now)
    }

    /// Drops the stamps that no decision and no DM will need again.
    pub fn prune(&mut self, policy: &Policy, now: Timestamp) {
        self.0.retain(|_, stamp| !stamp.is_spent(policy, now));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// In the pairs' order.
    pub fn iter(&self) -> impl Iterator<Item = (&Pair, &Stamp)> {
        self.0.iter()
    }

    /// Forgets a pair: its window ends, and its repeats are told by no DM.
    pub fn remove(&mut self, pair: &Pair) {
        self.0.remove(pair);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
