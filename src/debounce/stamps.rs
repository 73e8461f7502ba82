//! The stamps of one audit log: one for each (probe, category), as the state holds them.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::ser::{Error, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Decision, Policy, Stamp};
use crate::audit::wake::Wake;

/// Whose wakes are repeats of each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<Entry>")]
pub struct Stamps(BTreeMap<Pair, Kept>);

/// A stamp with its text in the state. The state is written several times for each wake, and all
/// stamps but one are then the same as before.
#[derive(Clone, Debug, Default)]
struct Kept {
    stamp: Stamp,
    text: OnceCell<Box<RawValue>>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    pair: Pair,
    #[serde(flatten)]
    stamp: Stamp,
}

impl PartialEq for Stamps {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl From<Vec<Entry>> for Stamps {
    fn from(entries: Vec<Entry>) -> Self {
        let kept = |stamp| Kept {
            stamp,
            text: OnceCell::new(),
        };
        let pairs = entries
            .into_iter()
            .map(|entry| (entry.pair, kept(entry.stamp)));
        Self(pairs.collect())
    }
}

impl Serialize for Stamps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (pair, kept) in &self.0 {
            if kept.text.get().is_none() {
                let entry = Entry {
                    pair: pair.clone(),
                    stamp: kept.stamp.clone(),
                };
                let text = serde_json::value::to_raw_value(&entry).map_err(S::Error::custom)?;
                let _ = kept.text.set(text);
            }
            list.serialize_element(&kept.text.get())?;
        }
        list.end()
    }
}

impl Stamps {
    /// Decides on a wake and remembers the decision: the stamp of a dispatch is set here, before
    /// its DM is tried.
    pub fn decide(&mut self, wake: &Wake, policy: &Policy, now: Timestamp) -> Decision {
        let kept = self.0.entry(Pair::of(wake)).or_default();
        kept.text.take();
        kept.stamp.decide(wake, policy, now)
    }

    /// Drops the stamps that no decision and no DM will need again.
    pub fn prune(&mut self, policy: &Policy, now: Timestamp) {
        self.0.retain(|_, kept| !kept.stamp.is_spent(policy, now));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// In the pairs' order.
    pub fn iter(&self) -> impl Iterator<Item = (&Pair, &Stamp)> {
        self.0.iter().map(|(pair, kept)| (pair, &kept.stamp))
    }

    /// Forgets a pair: its window ends, and its repeats are told by no DM.
    pub fn remove(&mut self, pair: &Pair) {
        self.0.remove(pair);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
